//go:build lab

package faults

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// withFiles gives the page two files, one with secrets in it, and what is made of its key.
var withFiles = edit{"page": {
	"    health: {exec", `    files:
      - path: /etc/page/page.conf
        template: true
        content: |
          node={{node:name}} at={{url:web}}
          level={{setting:level}}
          key={{secret:key}}
          api={{secret:api-key}}
          hash={{secret:hash}}
          {{secret:tls}}{{secret:cert}}
      - {path: /usr/local/bin/hello, mode: "0755", content: "#!/bin/sh\necho hello {{setting:level}}\n"}
    health: {exec`,
	"generated_secrets: [", `settings: [{name: level, default: info}, {name: api-key, secret: true}]
generated_secrets: [{name: tls, form: ed25519}, {name: cert, derive: {from: tls, as: certificate}}, {name: hash, derive: {from: key, as: bcrypt}}, `,
}}

var _ = Describe("a file", func() {
	It("has its settings and secrets, is its container's user's alone, follows what is set, and is nowhere else", func(ctx SpecContext) {
		fresh(ctx)
		equip(ctx, "archipelago", nil, withFiles)
		before, check := installed(ctx, "page")
		home := loggedIn(ctx)
		host := onNode(ctx, "uname -n")
		const place = "/etc/page/page.conf"
		run := func(stdin string, args ...string) {
			GinkgoHelper()
			out, err := archy(ctx, home, strings.NewReader(stdin), args...)
			Expect(err).NotTo(HaveOccurred(), out)
		}
		// as wants what runs to be as meant with these settings, and gives the file's text.
		as := func(level string, within time.Duration) string {
			GinkgoHelper()
			s := settled(ctx, app("page"), before, within)
			meant, err := matrix.ExpectationOf(app("page"), matrix.Facts{DataDir: nodes.DataDir, Node: matrix.NodeOf(host), Config: map[string]string{"level": level, "api-key": strings.Repeat("x", 20)}})
			Expect(err).NotTo(HaveOccurred())
			if onNode(ctx, "podman exec page grep -c '^api=.' %s; true", place) == "0" {
				meant, err = matrix.ExpectationOf(app("page"), matrix.Facts{DataDir: nodes.DataDir, Node: matrix.NodeOf(host), Config: map[string]string{"level": level}})
				Expect(err).NotTo(HaveOccurred())
			}
			Expect(matrix.CheckAsMeant(meant, s)).To(BeEmpty())
			Expect(onNode(ctx, "ls %s/_daemon/files/page | wc -l", nodes.DataDir)).To(Equal("2"), "a file of before is left")
			Expect(onNode(ctx, "stat -c %%a %s/_daemon/files/page", nodes.DataDir)).To(Equal("700"))
			return onNode(ctx, "podman exec page cat %s", place)
		}
		text := as("info", bound)
		Expect(text).To(ContainSubstring("level=info\n"))
		Expect(text).To(ContainSubstring("key=" + onNode(ctx, "cat %s/_daemon/secrets/page/key", nodes.DataDir) + "\napi=\nhash=$2a$10$"))
		Expect(text).To(ContainSubstring("-----BEGIN PRIVATE KEY-----"))
		Expect(onNode(ctx, "podman exec page /usr/local/bin/hello")).To(Equal("hello {{setting:level}}"))
		onNode(ctx, "podman exec page sh -c '! echo x >>%s'", place)

		By("setting a secret")
		first, second := newTyped(), newTyped()
		only := func(t typed) {
			GinkgoHelper()
			Expect(as("info", bound)).To(ContainSubstring("api=" + t.value + "\n"))
			Expect(t.holders(ctx)).To(ConsistOf(
				MatchRegexp(`^%s/_daemon/secrets/page/api-key\.[A-Za-z0-9]{20}$`, nodes.DataDir),
				MatchRegexp(`^%s/_daemon/files/page/page\.[0-9a-f]{16}$`, nodes.DataDir),
				MatchRegexp(`/containers/storage/secrets/`),
			))
		}
		run(first.value, "configure", "page", "api-key=-")
		only(first)
		run(second.value, "configure", "page", "api-key=-")
		only(second)
		Expect(first.holders(ctx)).To(BeEmpty(), "the value before is still there")

		By("setting another level")
		run("", "configure", "page", "level=debug")
		Expect(as("debug", bound)).To(ContainSubstring("level=debug\n"))

		By("losing the files, and rebooting")
		onNode(ctx, "rm %s/_daemon/files/page/*", nodes.DataDir)
		_, err := node.SSH.Reboot(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(as("debug", bootBound)).To(ContainSubstring("api=" + second.value + "\n"))
		check()

		By("uninstalling, which keeps the data")
		do(ctx, "uninstall", "page")
		Expect(matrix.CheckAbsent(app("page"), look(ctx, app("page")))).To(BeEmpty())
		do(ctx, "install", "page")
		Expect(as("info", bound)).To(ContainSubstring("api=" + second.value + "\n"))
		check()

		By("purging")
		purge(ctx, "page")
		Expect(matrix.CheckPurged(look(ctx, app("page")))).To(BeEmpty())
		Expect(second.holders(ctx)).To(BeEmpty(), "it is left after a purge")
	}, SpecTimeout(6*time.Minute))
})
