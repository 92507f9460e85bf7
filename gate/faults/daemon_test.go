//go:build lab

package faults

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
)

// life is one in which a daemon is cut.
type life struct {
	installed bool   // before the operation that is cut
	cut       string // the operation
	edits     edit   // of the catalog that the operation finds
	version   string // in the end; empty for the first
}

// lives says, for each action, the life in which it occurs.
var lives = map[plan.Verb]life{
	plan.Prepare:    {cut: "install"},
	plan.WriteUnits: {cut: "install"},
	plan.Start:      {cut: "install"},
	plan.PostInst:   {cut: "install"},
	plan.StopUnits:  {installed: true, cut: "stop"},
	plan.Restarted:  {installed: true, cut: "restart"},
	plan.PreUpdate:  {installed: true, cut: "update", edits: newer, version: "2.0"},
	plan.Copy:       {installed: true, cut: "update", edits: newer, version: "2.0"},
	plan.Switch:     {installed: true, cut: "update", edits: newer, version: "2.0"},
	plan.PostUpdate: {installed: true, cut: "update", edits: newer, version: "2.0"},
	plan.Commit:     {installed: true, cut: "update", edits: newer, version: "2.0"},
	plan.PutBack:    {installed: true, cut: "update", edits: sick},
	plan.RolledBack: {installed: true, cut: "update", edits: sick},
	plan.RemoveAll:  {installed: true, cut: "uninstall"},
	plan.Forget:     {installed: true, cut: "uninstall"},
	plan.Purge:      {installed: true, cut: "uninstall --purge"},
}

// newer is an update that works; sick one that damages the data and never serves.
var (
	newer = edit{"page": {`version: "1.0"`, `version: "2.0"`, `MARK: "1"`, `MARK: "2"`}}
	sick  = edit{"page": {`version: "1.0"`, `version: "2.0"`, `MARK: "1"`, `MARK: "2", SPOIL: "1", DELAY: "60"`, "start: 20s", "start: 3s"}}
)

var _ = Describe("kill -9 of the daemon", func() {
	It("covers every action", func() {
		for _, v := range plan.Verbs {
			if _, ok := lives[v]; !ok && v != plan.Convert && v != plan.Link { // which have specs of their own
				Fail("no life has the action " + string(v))
			}
		}
	})

	cut := func(ctx context.Context, point, verb string, l life) {
		fresh(ctx)
		var before *matrix.Snapshot
		check := func() {}
		if l.installed {
			before, check = installed(ctx, "page")
		}
		onNode(ctx, "rm -f /run/user/$(id -u)/archipelago-*-*")
		equip(ctx, "archipelago-faults", []string{"ARCHIPELAGO_FAULT=cut:" + point + ":" + verb}, l.edits)
		op, purged := strings.CutSuffix(l.cut, " --purge")
		_, err := rpc.Request(ctx, op, "page", purged)
		if point != "accepted" {
			Expect(err).NotTo(HaveOccurred())
		}
		// It has been cut indeed: the mark that it leaves is there.
		Eventually(func() string {
			out, _ := node.SSH.Run(ctx, "ls /run/user/$(id -u)/ | grep ^archipelago-"+point)
			return strings.TrimSpace(out)
		}).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Equal("archipelago-" + point + "-" + verb))
		begin := time.Now()
		switch {
		case purged:
			eventually(ctx, app("page"), nil, bound, func(m *manifest.Manifest, s *matrix.Snapshot) []string {
				return append(matrix.CheckAbsent(m, s), matrix.CheckPurged(s)...)
			})
		case op == "uninstall":
			eventually(ctx, app("page"), before, bound, matrix.CheckAbsent)
			check()
		case op == "stop":
			eventually(ctx, app("page"), before, bound, matrix.CheckStopped)
			check()
		default:
			got := awaitState(ctx, "page", api.State_STATE_RUNNING, bound)
			settled(ctx, app("page"), nil, bound)
			check()
			Expect(got.Version).To(Equal(cmp.Or(l.version, "1.0")))
			if l.edits != nil && l.version == "" {
				Expect(got.Note).To(ContainSubstring("rolled back to 1.0"))
			}
		}
		recovered(begin, bound)
		Expect(onNode(ctx, "podman ps -aq --filter name=page | wc -l")).To(Or(Equal("0"), Equal("1")))
	}

	for _, verb := range plan.Verbs {
		l, ok := lives[verb]
		if !ok {
			continue
		}
		for _, point := range []string{"before", "after"} {
			It(fmt.Sprintf("%s %s", point, verb), func(ctx SpecContext) {
				cut(ctx, point, string(verb), l)
			}, SpecTimeout(3*time.Minute))
		}
	}
	It("between the record and the answer", func(ctx SpecContext) {
		cut(ctx, "accepted", "request", life{cut: "install"})
	}, SpecTimeout(3*time.Minute))

	It("while nothing is under way: containers are not touched", func(ctx SpecContext) {
		fresh(ctx)
		before, check := installed(ctx, "page")
		onNode(ctx, "systemctl --user kill -s KILL %s", nodes.DaemonUnit)
		begin := time.Now()
		awaitState(ctx, "page", api.State_STATE_RUNNING, bound)
		recovered(begin, bound)
		after := settled(ctx, app("page"), before, bound)
		Expect(matrix.CheckUntouched(app("page"), before, after)).To(BeEmpty())
		check()
	}, SpecTimeout(2*time.Minute))
})

var _ = Describe("an upgrade of the daemon", func() {
	var before *matrix.Snapshot
	var home string
	archy := func(ctx context.Context, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, bin("archy"), args...)
		cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+home)
		cmd.Stdin = strings.NewReader(node.Token)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	BeforeEach(func(ctx SpecContext) {
		fresh(ctx)
		before, _ = installed(ctx, "page")
		home = GinkgoT().TempDir()
		out, err := archy(ctx, "login", node.RPC(), "--fingerprint", node.Authority.Fingerprint())
		Expect(err).NotTo(HaveOccurred(), out)
		DeferCleanup(func(ctx SpecContext) {
			onNode(ctx, "rm -f ~/.local/bin/archipelago.trial ~/.local/bin/archipelago.previous")
		})
	})
	untouched := func(ctx context.Context) {
		GinkgoHelper()
		Expect(matrix.CheckUntouched(app("page"), before, settled(ctx, app("page"), before, bound))).To(BeEmpty())
	}

	It("to one that serves", func(ctx SpecContext) {
		begin := time.Now()
		out, err := archy(ctx, "upgrade", bin("archipelago-faults"))
		Expect(err).NotTo(HaveOccurred(), out)
		recovered(begin, bound)
		Expect(onNode(ctx, "ls ~/.local/bin/archipelago.trial 2>/dev/null; sha256sum < ~/.local/bin/archipelago")).To(HavePrefix(digest(bin("archipelago-faults"))))
		untouched(ctx)
	}, SpecTimeout(2*time.Minute))

	for name, program := range map[string]string{
		"that ends at once":         "#!/bin/sh\n[ \"$1\" = --version ] && echo archipelago version 9 && exit\nexit 1\n",
		"that hangs and never says": "#!/bin/sh\n[ \"$1\" = --version ] && echo archipelago version 9 && exit\nexec sleep 600\n",
	} {
		It("to one "+name+": the old one returns", func(ctx SpecContext) {
			file := filepath.Join(home, "broken")
			Expect(os.WriteFile(file, []byte(program), 0o755)).To(Succeed())
			begin := time.Now()
			out, err := archy(ctx, "upgrade", file)
			Expect(err).To(HaveOccurred())
			Expect(out).To(ContainSubstring("the new daemon did not come up"))
			recovered(begin, 90*time.Second)
			Expect(onNode(ctx, "ls ~/.local/bin/archipelago.trial 2>/dev/null; sha256sum < ~/.local/bin/archipelago")).To(HavePrefix(digest(bin("archipelago"))))
			untouched(ctx)
		}, SpecTimeout(3*time.Minute))
	}

	It("to what is no daemon is refused", func(ctx SpecContext) {
		file := filepath.Join(home, "text")
		Expect(os.WriteFile(file, []byte("hello"), 0o755)).To(Succeed())
		out, err := archy(ctx, "upgrade", file)
		Expect(err).To(HaveOccurred())
		Expect(out).To(ContainSubstring("does not say its version"))
		untouched(ctx)
	}, SpecTimeout(2*time.Minute))
})

// digest is a file's SHA-256 in hex.
func digest(file string) string {
	GinkgoHelper()
	b, err := os.ReadFile(file)
	Expect(err).NotTo(HaveOccurred())
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

var _ = Describe("an image of the owner's own, tagged :local", func() {
	It("takes the place of the published one at the next restart, and is never replaced", func(ctx SpecContext) {
		fresh(ctx)
		before, check := installed(ctx, "page")
		onNode(ctx, "printf 'FROM %s\\nENV OWN=1\\n' | podman build -q -t localhost/page/page:local -f - .", app("page").Containers[0].Image.Pinned())
		DeferCleanup(func(ctx SpecContext) { onNode(ctx, "podman rmi -f localhost/page/page:local 2>/dev/null; true") })
		own := onNode(ctx, "podman image inspect --format '{{.Id}}' localhost/page/page:local")
		do(ctx, "restart", "page")
		settled(ctx, app("page"), before, bound)
		runs := func() string { return onNode(ctx, "podman inspect --format '{{.Image}}' page") }
		Expect(runs()).To(Equal(own))
		Expect(state(ctx, "page").Note).To(ContainSubstring("localhost/page/page:local of your own"))
		equip(ctx, "archipelago", nil, newer)
		do(ctx, "update", "page")
		Expect(runs()).To(Equal(own))
		Expect(onNode(ctx, "podman exec page printenv OWN MARK")).To(Equal("1\n2"))
		onNode(ctx, "podman rmi -f localhost/page/page:local")
		do(ctx, "restart", "page")
		settled(ctx, app("page"), before, bound)
		Expect(runs()).NotTo(Equal(own))
		check()
	}, SpecTimeout(3*time.Minute))
})
