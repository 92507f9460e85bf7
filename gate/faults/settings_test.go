//go:build lab

package faults

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// withKey gives the page a secret setting.
var withKey = edit{"page": {
	"{name: key, path: /run/secrets/key}", "{name: key, path: /run/secrets/key}, {name: api-key, path: /run/api-key}",
	"generated_secrets:", "settings: [{name: api-key, secret: true}]\ngenerated_secrets:",
}}

// keyFile is where that setting's value is in the container.
const keyFile = "/run/api-key"

// typed is a value for a secret setting, and what tells it from others: it stands at its
// beginning, in base64 as well.
type typed struct{ value, mark string }

func newTyped() typed {
	mark := rand.Text()[:24] // a multiple of three
	return typed{mark + ` %h $HOME "a" 'b'`, mark}
}

func (t typed) encoded() string { return base64.StdEncoding.EncodeToString([]byte(t.mark)) }

// in tells whether a text holds the value.
func (t typed) in(text string) bool {
	return strings.Contains(text, t.mark) || strings.Contains(text, t.encoded())
}

// holders are the node's files that hold the value, besides the layers of images: those
// of the daemon, of applications, of the user, and of the engine at run time.
func (t typed) holders(ctx context.Context) []string {
	GinkgoHelper()
	var out bytes.Buffer
	// 1 is none; 2 that a file could not be read, such as one that has just gone.
	command := fmt.Sprintf(`podman unshare grep -rslF -D skip --exclude-dir=overlay -f - %s "$HOME" "/run/user/$(id -u)" /tmp; test $? -le 2`, nodes.DataDir)
	Expect(node.SSH.Stream(ctx, command, strings.NewReader(t.mark+"\n"+t.encoded()+"\n"), &out)).To(Succeed())
	return strings.Fields(out.String())
}

var _ = Describe("a secret setting", func() {
	It("is a file in the container and in one of the daemon's, is replaced and cleared, and is nowhere else", func(ctx SpecContext) {
		fresh(ctx)
		equip(ctx, "archipelago", nil, withKey)
		begin := time.Now()
		before, check := installed(ctx, "page")
		home := loggedIn(ctx)
		run := func(stdin string, args ...string) string {
			GinkgoHelper()
			out, err := archy(ctx, home, strings.NewReader(stdin), args...)
			Expect(err).NotTo(HaveOccurred(), out)
			return out
		}
		there := func() string { return onNode(ctx, "podman exec page cat %s", keyFile) }
		absent := func() {
			GinkgoHelper()
			onNode(ctx, "podman exec page test ! -e %s", keyFile)
			onNode(ctx, "podman secret exists page.api-key; test $? -eq 1")
		}
		// only wants the value in the container and in three files: the daemon's, the
		// engine's, and the one that is mounted.
		only := func(t typed) {
			GinkgoHelper()
			settled(ctx, app("page"), before, bound) // with one container
			Expect(there()).To(Equal(t.value))
			Expect(onNode(ctx, "podman exec page busybox stat -c '%%a %%u:%%g' %s", keyFile)).To(Equal("400 1000:1000"))
			Expect(t.holders(ctx)).To(ConsistOf(
				MatchRegexp(`^%s/_daemon/secrets/page/api-key\.[A-Za-z0-9]{20}$`, nodes.DataDir),
				MatchRegexp(`/containers/storage/secrets/`),
				MatchRegexp(`/containers/storage/overlay-containers/[0-9a-f]{64}/userdata/secrets/`),
			))
			Expect(onNode(ctx, "stat -c %%a %s/_daemon/secrets/page/api-key.*", nodes.DataDir)).To(Equal("600"))
		}
		absent()

		first, second, third := newTyped(), newTyped(), newTyped()
		By("setting it")
		run(first.value, "configure", "page", "api-key=-")
		only(first)

		By("setting another")
		run(second.value, "configure", "page", "api-key=-")
		only(second)
		Expect(first.holders(ctx)).To(BeEmpty(), "the value before is still there")

		By("clearing it")
		run("", "configure", "page", "api-key=")
		settled(ctx, app("page"), before, bound)
		absent()
		Expect(run("", "configure", "page")).To(Equal("api-key=\n"))
		Expect(second.holders(ctx)).To(BeEmpty(), "the value before is still there")

		By("setting it again, and rebooting")
		run(third.value, "configure", "page", "api-key=-")
		only(third)
		_, err := node.SSH.Reboot(ctx)
		Expect(err).NotTo(HaveOccurred())
		settled(ctx, app("page"), before, bootBound)
		only(third)
		check()

		By("looking where it must not be")
		texts := map[string]string{
			"inspect":           onNode(ctx, "podman inspect $(podman ps -aq) && podman secret inspect page.api-key"),
			"the journal":       onNode(ctx, "journalctl --no-pager -a -o export --since @%d", begin.Unix()),
			"the unit":          onNode(ctx, "systemctl --user cat page && systemctl --user show page"),
			"the RPC":           state(ctx, "page").String(),
			"archy apps":        run("", "apps", "--json"),
			"archy configure":   run("", "configure", "page", "--json"),
			"archy credentials": run("", "credentials", "page", "--json"),
			"archy logs":        run("", "logs", "page"),
		}
		Expect(texts["inspect"]).To(ContainSubstring("page.api-key"))
		Expect(texts["the journal"]).To(ContainSubstring("USER_UNIT=page.service"))
		Expect(texts["the RPC"]).To(ContainSubstring("api-key"))
		Expect(texts["archy configure"]).To(ContainSubstring(`"api-key":"set"`))
		for where, text := range texts {
			for _, t := range []typed{first, second, third} {
				Expect(t.in(text)).To(BeFalse(), "a value stands in %s", where)
			}
		}
		Expect(onNode(ctx, "cat %s/_daemon/state/audit.jsonl", nodes.DataDir)).To(ContainSubstring("configure api-key"))

		By("purging")
		purge(ctx, "page")
		Expect(matrix.CheckPurged(look(ctx, app("page")))).To(BeEmpty())
		Expect(third.holders(ctx)).To(BeEmpty(), "it is left after a purge")
	}, SpecTimeout(6*time.Minute))
})
