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
	"runtime"
	"strings"
	"time"

	"connectrpc.com/connect"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
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

	for i, verb := range plan.Verbs {
		l, ok := lives[verb]
		if !ok {
			continue
		}
		for j, point := range []string{"before", "after"} {
			labels := Label() // in 'make few-faults', each action on one side of it
			if i%2 != j {
				labels = Label("long")
			}
			It(fmt.Sprintf("%s %s", point, verb), labels, func(ctx SpecContext) {
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
	const stateDir = nodes.DataDir + "/_daemon/state"
	var before *matrix.Snapshot
	var home string
	var key *sign.Signer
	archy := func(ctx context.Context, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, bin("archy"), args...)
		cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+home)
		cmd.Stdin = strings.NewReader(node.Token)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	forget := func(ctx context.Context) {
		GinkgoHelper()
		onNode(ctx, "systemctl --user stop %[1]s; rm -rf %[2]s/subscription ~/.local/bin/archipelago.trial ~/.local/bin/archipelago.previous; systemctl --user start %[1]s", nodes.DaemonUnit, stateDir)
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
	}
	// described is a file that holds the release of a program.
	described := func(program, version string, created time.Time, by *sign.Signer) string {
		GinkgoHelper()
		b, err := description.Sign(context.Background(), description.Description{Version: version, Created: created.UTC().Truncate(time.Second), Commit: "ab",
			Files: map[string]string{description.Daemon(runtime.GOARCH): digest(program)}}, by)
		Expect(err).NotTo(HaveOccurred())
		file := filepath.Join(GinkgoT().TempDir(), description.File)
		Expect(os.WriteFile(file, b, 0o600)).To(Succeed())
		return file
	}
	// script is a program that says version 9.0.0 and leaves a mark where it ran.
	script := func(rest string) string {
		GinkgoHelper()
		file := filepath.Join(home, "script")
		Expect(os.WriteFile(file, []byte("#!/bin/sh\ntouch ~/ran\n[ \"$1\" = --version ] && echo archipelago version 9.0.0 && exit\n"+rest+"\n"), 0o755)).To(Succeed())
		return file
	}
	BeforeEach(func(ctx SpecContext) {
		fresh(ctx)
		forget(ctx)
		DeferCleanup(func(ctx SpecContext) { forget(ctx) })
		before, _ = installed(ctx, "page")
		home = GinkgoT().TempDir()
		out, err := archy(ctx, "login", node.RPC(), "--fingerprint", node.Authority.Fingerprint())
		Expect(err).NotTo(HaveOccurred(), out)
		key, err = sign.NewSigner("release")
		Expect(err).NotTo(HaveOccurred())
		role := root.Role{Keys: []sign.PublicKey{key.PublicKey}, Threshold: 1}
		trusted, err := root.Sign(root.Policy{Version: 1, Expires: time.Now().Add(time.Hour), Root: role, Catalog: role}, key)
		Expect(err).NotTo(HaveOccurred())
		file := filepath.Join(home, "root.json")
		Expect(os.WriteFile(file, trusted, 0o600)).To(Succeed())
		out, err = archy(ctx, "subscribe", "beta", "--root", file)
		Expect(err).NotTo(HaveOccurred(), out)
	})
	untouched := func(ctx context.Context) {
		GinkgoHelper()
		Expect(matrix.CheckUntouched(app("page"), before, settled(ctx, app("page"), before, bound))).To(BeEmpty())
	}
	// inPlace expects a program in the daemon's place, and no trial under way.
	inPlace := func(ctx context.Context, program string) {
		GinkgoHelper()
		Expect(onNode(ctx, "ls ~/.local/bin/archipelago.trial 2>/dev/null; sha256sum < ~/.local/bin/archipelago")).To(HavePrefix(digest(program)))
	}

	It("to one that serves, signed as its release", func(ctx SpecContext) {
		begin := time.Now()
		program := bin("archipelago-faults")
		out, err := archy(ctx, "upgrade", program, "--release", described(program, faultsVersion, time.Now(), key))
		Expect(err).NotTo(HaveOccurred(), out)
		recovered(begin, bound)
		inPlace(ctx, program)
		untouched(ctx)
	}, SpecTimeout(2*time.Minute))

	for name, rest := range map[string]string{
		"that ends at once":         "exit 1",
		"that hangs and never says": "exec sleep 600",
	} {
		It("to one "+name+": the old one returns", func(ctx SpecContext) {
			program := script(rest)
			begin := time.Now()
			out, err := archy(ctx, "upgrade", program, "--release", described(program, "9.0.0", time.Now(), key))
			Expect(err).To(HaveOccurred())
			Expect(out).To(ContainSubstring("the new daemon did not come up"))
			recovered(begin, 90*time.Second)
			inPlace(ctx, bin("archipelago"))
			untouched(ctx)
		}, SpecTimeout(3*time.Minute))
	}

	It("to what is no daemon is refused", func(ctx SpecContext) {
		file := filepath.Join(home, "text")
		Expect(os.WriteFile(file, []byte("hello"), 0o755)).To(Succeed())
		out, err := archy(ctx, "upgrade", file, "--release", described(file, "9.0.0", time.Now(), key))
		Expect(err).To(HaveOccurred())
		Expect(out).To(ContainSubstring("does not say its version"))
		untouched(ctx)
	}, SpecTimeout(2*time.Minute))

	It("by whoever has only the token is refused, and no program is run", func(ctx SpecContext) {
		onNode(ctx, "rm -f ~/ran")
		started, err := rpc.Status(ctx, connect.NewRequest(&api.StatusRequest{}))
		Expect(err).NotTo(HaveOccurred())
		thief, err := sign.NewSigner("thief")
		Expect(err).NotTo(HaveOccurred())
		program := script("exec sleep 600")
		text, err := os.ReadFile(program)
		Expect(err).NotTo(HaveOccurred())
		for name, c := range map[string]struct{ release, want string }{
			"unsigned":                            {"", "it is unsigned"},
			"signed by an unknown key":            {described(program, "9.0.0", time.Now(), thief), "not trusted"},
			"a signed, older release":             {described(program, "0.0.0-0", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), key), "is older than what runs"},
			"another program than the signed one": {described(bin("archipelago-faults"), faultsVersion, time.Now(), key), "has the SHA-256"},
		} {
			By(name)
			first := &api.UpgradeRequest{Sha256: digest(program), Program: text}
			if c.release != "" {
				first.Release, err = os.ReadFile(c.release)
				Expect(err).NotTo(HaveOccurred())
			}
			stream := rpc.Upgrade(ctx)
			Expect(stream.Send(first)).To(Succeed())
			_, err = stream.CloseAndReceive()
			Expect(err).To(MatchError(ContainSubstring(c.want)), name)
		}
		Expect(onNode(ctx, "ls ~/ran ~/.local/bin/archipelago.new 2>/dev/null; true")).To(BeEmpty())
		inPlace(ctx, bin("archipelago"))
		now, err := rpc.Status(ctx, connect.NewRequest(&api.StatusRequest{}))
		Expect(err).NotTo(HaveOccurred())
		Expect(now.Msg.StartedAt.AsTime()).To(Equal(started.Msg.StartedAt.AsTime()), "the daemon did not end")
		untouched(ctx)
	}, SpecTimeout(2*time.Minute))

	It("without a signature, from the node's own shell", func(ctx SpecContext) {
		const upgrade = "~/.local/bin/archipelago upgrade --unsigned ~/new 2>&1"
		DeferCleanup(func(ctx SpecContext) { onNode(ctx, "rm -f ~/new ~/ran") })
		onNode(ctx, "printf '#!/bin/sh\\n[ \"$1\" = --version ] && echo archipelago version 9.0.0 && exit\\nexit 1\\n' > ~/new")
		Expect(onNode(ctx, upgrade+" || true")).To(ContainSubstring("the previous one has returned"))
		inPlace(ctx, bin("archipelago"))
		onNode(ctx, "cp ~/.local/bin/archipelago ~/new")
		begin := time.Now()
		Expect(onNode(ctx, upgrade)).To(ContainSubstring("the daemon is archipelago version"))
		recovered(begin, bound)
		inPlace(ctx, bin("archipelago"))
		Expect(onNode(ctx, "tail -n 2 %s/audit.jsonl | grep -c 'unsigned, SHA-256'", stateDir)).To(Equal("2"))
		untouched(ctx)
	}, SpecTimeout(3*time.Minute))
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
