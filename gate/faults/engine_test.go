//go:build lab

package faults

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// engineProcess are Podman's service: after a boot it is two processes, of which
// the second, in the user namespace, does the work.
const engineProcess = "$(pgrep -d ' ' -f '^/usr/bin/podman system service')"

// wakeUp makes the daemon ask its engine now.
func wakeUp(ctx context.Context) {
	onNode(ctx, "systemctl --user kill --signal=HUP %s", nodes.DaemonUnit)
}

var _ = Describe("the engine", func() {
	var before *matrix.Snapshot
	var check func()
	BeforeEach(func(ctx SpecContext) {
		fresh(ctx)
		before, check = installed(ctx, "page")
	})

	// lastKnown wants what is shown to be what was known, with its age.
	lastKnown := func(ctx context.Context) {
		GinkgoHelper()
		Eventually(func(g Gomega) {
			begin := time.Now()
			r, err := rpc.ListApps(ctx, connect.NewRequest(&api.ListAppsRequest{}))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(time.Since(begin)).To(BeNumerically("<", time.Second), "the answer waited for the engine")
			g.Expect(r.Msg.Stale).NotTo(BeEmpty())
			g.Expect(r.Msg.ObservedAt.AsTime()).To(BeTemporally("~", time.Now(), time.Minute))
			for _, a := range r.Msg.Apps {
				if a.Id == "page" {
					g.Expect(a.State).To(BeElementOf(api.State_STATE_RUNNING, api.State_STATE_STARTING))
					g.Expect(a.Containers).To(HaveLen(1))
					g.Expect(a.Containers[0].State).To(Equal("running"))
				}
			}
		}).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Succeed())
	}

	It("is killed", func(ctx SpecContext) {
		onNode(ctx, "kill -KILL "+engineProcess)
		// The daemon may have asked the next engine before this command returned: only
		// what it observes from here on shows that it can.
		begin := time.Now()
		wakeUp(ctx)
		Eventually(func(g Gomega) {
			r, err := rpc.Status(ctx, connect.NewRequest(&api.StatusRequest{}))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.Msg.Stale).To(BeEmpty())
			g.Expect(r.Msg.ObservedAt.AsTime()).To(BeTemporally(">", begin))
		}).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Succeed())
		recovered(begin, bound)
		Expect(matrix.CheckUntouched(app("page"), before, settled(ctx, app("page"), before, bound))).To(BeEmpty())
		check()
	}, SpecTimeout(2*time.Minute))

	It("is stuck: the last known state is shown, requests are kept", func(ctx SpecContext) {
		pid := onNode(ctx, "echo "+engineProcess)
		onNode(ctx, "kill -STOP %s", pid)
		DeferCleanup(func(ctx SpecContext) { onNode(ctx, "kill -CONT %s 2>/dev/null; true", pid) })
		wakeUp(ctx)
		lastKnown(ctx)
		op, err := rpc.Request(ctx, "restart", "page", false)
		Expect(err).NotTo(HaveOccurred())
		// Another daemon knows as much: the last known state is on the disk.
		onNode(ctx, "systemctl --user restart %s", nodes.DaemonUnit)
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		lastKnown(ctx)
		onNode(ctx, "kill -CONT %s", pid)
		begin := time.Now()
		_, err = rpc.Await(ctx, op, nil)
		Expect(err).NotTo(HaveOccurred())
		after := settled(ctx, app("page"), before, bound)
		recovered(begin, bound)
		Expect(matrix.CheckRestarted(app("page"), before, after)).To(BeEmpty())
		check()
	}, SpecTimeout(3*time.Minute))

	It("answers after five seconds", func(ctx SpecContext) {
		onNode(ctx, `systemd-run --user --quiet --unit slow-engine /bin/bash -c 'while :; do p=$(pgrep -d " " -f "^/usr/bin/podman system service"); kill -STOP $p; sleep 5; kill -CONT $p; sleep 0.3; done'`)
		DeferCleanup(func(ctx SpecContext) {
			onNode(ctx, "systemctl --user stop slow-engine; kill -CONT "+engineProcess+"; true")
		})
		begin := time.Now()
		do(ctx, "stop", "page")
		do(ctx, "start", "page")
		onNode(ctx, "systemctl --user stop slow-engine; kill -CONT "+engineProcess)
		settled(ctx, app("page"), before, bound)
		recovered(begin, 2*time.Minute)
		check()
	}, SpecTimeout(4*time.Minute))

	It("has its storage locked by someone", func(ctx SpecContext) {
		onNode(ctx, "systemd-run --user --quiet --unit held-lock flock $HOME/.local/share/containers/storage/overlay-containers/containers.lock sleep 300")
		DeferCleanup(func(ctx SpecContext) { onNode(ctx, "systemctl --user stop held-lock; true") })
		op, err := rpc.Request(ctx, "restart", "page", false)
		Expect(err).NotTo(HaveOccurred())
		Consistently(func(g Gomega) {
			r, err := rpc.ListApps(ctx, connect.NewRequest(&api.ListAppsRequest{}))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.Msg.Apps).To(HaveLen(4))
			for _, a := range r.Msg.Apps {
				g.Expect(a.Id == "page" && a.State == api.State_STATE_NOT_INSTALLED).To(BeFalse())
			}
		}).WithContext(ctx).WithTimeout(5 * time.Second).WithPolling(poll).Should(Succeed())
		onNode(ctx, "systemctl --user stop held-lock")
		begin := time.Now()
		_, err = rpc.Await(ctx, op, nil)
		if err != nil {
			GinkgoWriter.Println("the operation ended in an error, as it may:", err)
		}
		settled(ctx, app("page"), before, bootBound)
		recovered(begin, bootBound)
		check()
	}, SpecTimeout(4*time.Minute))
})

var _ = Describe("someone", func() {
	var before *matrix.Snapshot
	var check func()
	BeforeEach(func(ctx SpecContext) {
		fresh(ctx)
		before, check = installed(ctx, "page")
	})

	for _, c := range []struct{ name, command string }{
		{"kills the container's program", "podman kill page"},
		{"deletes the container", "podman rm -f -t 0 page"},
		{"removes the unit", "rm ~/.config/containers/systemd/page.container && systemctl --user daemon-reload && systemctl --user kill --signal=HUP " + nodes.DaemonUnit},
		{"stops it by systemctl", "systemctl --user stop page"},
	} {
		It(c.name, func(ctx SpecContext) {
			onNode(ctx, "%s", c.command)
			begin := time.Now()
			settled(ctx, app("page"), before, bound)
			recovered(begin, bound)
			check()
		}, SpecTimeout(2*time.Minute))
	}

	It("has Podman make its namespaces anew, while its service is in the old ones", func(ctx SpecContext) {
		onNode(ctx, "podman system migrate")
		begin := time.Now()
		settled(ctx, app("page"), before, migrateBound)
		recovered(begin, migrateBound)
		check()
		do(ctx, "restart", "page")
	}, SpecTimeout(5*time.Minute))

	It("edits the unit", func(ctx SpecContext) {
		onNode(ctx, `sed -i 's/MARK=1/MARK=edited/' ~/.config/containers/systemd/page.container && systemctl --user daemon-reload && systemctl --user restart page`)
		wakeUp(ctx)
		begin := time.Now()
		Eventually(func() string {
			return onNode(ctx, "grep -c MARK=1 ~/.config/containers/systemd/page.container; podman exec page printenv MARK; true")
		}).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Equal("1\n1"))
		settled(ctx, app("page"), before, bound)
		recovered(begin, bound)
		check()
	}, SpecTimeout(2*time.Minute))

	It("runs into the unit's start limit", func(ctx SpecContext) {
		onNode(ctx, `mkdir -p ~/.config/systemd/user/page.service.d && printf '[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n' > ~/.config/systemd/user/page.service.d/limit.conf && systemctl --user daemon-reload; podman kill page`)
		DeferCleanup(func(ctx SpecContext) {
			onNode(ctx, "rm -r ~/.config/systemd/user/page.service.d; systemctl --user daemon-reload")
		})
		begin := time.Now()
		settled(ctx, app("page"), before, bound)
		recovered(begin, bound)
		check()
	}, SpecTimeout(2*time.Minute))

	It("removes a volume's directory: nothing is started over missing data", func(ctx SpecContext) {
		home := nodes.DataDir + "/page"
		onNode(ctx, "podman unshare mv %s/data %s/aside", home, home)
		onNode(ctx, "systemctl --user stop page")
		got := awaitState(ctx, "page", api.State_STATE_FAILED, bound)
		Expect(got.Error).To(ContainSubstring("its data is gone: " + home + "/data is missing"))
		_, err := rpc.Do(ctx, "restart", "page", false, nil)
		Expect(err).To(MatchError(ContainSubstring("is missing")))
		Expect(onNode(ctx, "podman ps -q --filter name=page | wc -l; ls %s", home)).To(Equal("0\naside"))
		onNode(ctx, "podman unshare mv %s/aside %s/data", home, home)
		begin := time.Now()
		do(ctx, "start", "page")
		settled(ctx, app("page"), before, bound)
		recovered(begin, bound)
		check()
	}, SpecTimeout(2*time.Minute))

	It("loses a secret's file: it is not made anew, and can be brought in", func(ctx SpecContext) {
		file := nodes.DataDir + "/_daemon/secrets/page/key"
		value := onNode(ctx, "cat %s && rm %s", file, file)
		do(ctx, "uninstall", "page")
		_, err := rpc.Do(ctx, "install", "page", false, nil)
		Expect(err).To(MatchError(And(ContainSubstring("secret key of page: secret lost"), ContainSubstring("archy secret import page key"))))
		Expect(err.Error()).NotTo(ContainSubstring(value))
		_, err = rpc.ImportSecret(ctx, connect.NewRequest(&api.ImportSecretRequest{Id: "page", Name: "key", Value: value}))
		Expect(err).NotTo(HaveOccurred())
		begin := time.Now()
		do(ctx, "install", "page")
		settled(ctx, app("page"), before, bound)
		recovered(begin, bound)
		check()
		_, err = rpc.ImportSecret(ctx, connect.NewRequest(&api.ImportSecretRequest{Id: "page", Name: "key", Value: "another"}))
		Expect(err).To(MatchError(ContainSubstring("secret in use")))
	}, SpecTimeout(2*time.Minute))

	It("runs a second container on the data", func(ctx SpecContext) {
		do(ctx, "stop", "page")
		image := onNode(ctx, "podman images -q | head -1")
		onNode(ctx, "podman run -d --name intruder -v %s/page/data:/mnt --entrypoint sleep %s 300", nodes.DataDir, image)
		DeferCleanup(func(ctx SpecContext) { onNode(ctx, "podman rm -f -t 0 intruder") })
		_, err := rpc.Do(ctx, "start", "page", false, nil)
		Expect(err).To(MatchError(And(ContainSubstring(`the unmanaged container "intruder"`), ContainSubstring("uses the application's data"))))
		Expect(onNode(ctx, "podman ps -q --filter name=page | wc -l")).To(Equal("0"))
		onNode(ctx, "podman rm -f -t 0 intruder")
		begin := time.Now()
		settled(ctx, app("page"), before, bound)
		recovered(begin, bound)
		check()
	}, SpecTimeout(2*time.Minute))

	It("holds the port", func(ctx SpecContext) {
		do(ctx, "stop", "page")
		onNode(ctx, `systemd-run --user --quiet --unit squatter perl -MIO::Socket::INET -e '@kept = (IO::Socket::INET->new(Listen => 1, LocalPort => 8900, ReuseAddr => 1) or die); sleep 300'`)
		DeferCleanup(func(ctx SpecContext) { onNode(ctx, "systemctl --user stop squatter; true") })
		Eventually(func() string { return onNode(ctx, "grep -c ':22C4 00000000:0000 0A' /proc/net/tcp; true") }).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Equal("1"))
		_, err := rpc.Do(ctx, "start", "page", false, nil)
		Expect(err).To(MatchError(And(ContainSubstring("port 8900 of the node is taken by process"), ContainSubstring("(perl)"))))
		onNode(ctx, "systemctl --user stop squatter")
		begin := time.Now()
		settled(ctx, app("page"), before, bound)
		recovered(begin, bound)
		check()
	}, SpecTimeout(2*time.Minute))

	It("asks for two things at once, again and again", func(ctx SpecContext) {
		begin := time.Now()
		for range 10 {
			done := make(chan error, 2)
			var last [2]uint64
			for i, verb := range []string{"uninstall", "install"} {
				go func() {
					op, err := rpc.Request(ctx, verb, "page", false)
					if err == nil {
						last[i] = op.Generation
					}
					done <- err
				}()
			}
			Expect(<-done).To(Succeed())
			Expect(<-done).To(Succeed())
			Expect(last[0]).NotTo(Equal(last[1]), "both have the same generation")
			if last[1] > last[0] {
				settled(ctx, app("page"), before, bound)
			} else {
				eventually(ctx, app("page"), before, bound, matrix.CheckAbsent)
			}
		}
		recovered(begin, 3*time.Minute)
		do(ctx, "install", "page")
		settled(ctx, app("page"), before, bound)
		check()
	}, SpecTimeout(5*time.Minute))

	It("damages the record of what is desired: the last good one is used, the bad one kept", func(ctx SpecContext) {
		file := nodes.DataDir + "/_daemon/state/desired/page.json"
		onNode(ctx, "systemctl --user stop %s; printf '{\"broken' > %s; systemctl --user start %s", nodes.DaemonUnit, file, nodes.DaemonUnit)
		begin := time.Now()
		awaitState(ctx, "page", api.State_STATE_RUNNING, bound)
		recovered(begin, bound)
		Expect(matrix.CheckUntouched(app("page"), before, settled(ctx, app("page"), before, bound))).To(BeEmpty())
		Expect(onNode(ctx, "cat %s.damaged-*", file)).To(Equal(`{"broken`))
		do(ctx, "restart", "page")
		check()
	}, SpecTimeout(2*time.Minute))

	It("damages both copies: nothing is done, and it is said", func(ctx SpecContext) {
		file := nodes.DataDir + "/_daemon/state/desired/page.json"
		onNode(ctx, "systemctl --user stop %s; cp %s /tmp/record; printf '{\"broken' | tee %s > %s.last; systemctl --user start %s", nodes.DaemonUnit, file, file, file, nodes.DaemonUnit)
		got := awaitState(ctx, "page", api.State_STATE_FAILED, bound)
		Expect(got.Error).To(ContainSubstring("the record of page cannot be read"))
		Expect(matrix.CheckUntouched(app("page"), before, settled(ctx, app("page"), before, bound))).To(BeEmpty())
		_, err := rpc.Request(ctx, "uninstall", "page", true)
		Expect(err).To(HaveOccurred())
		onNode(ctx, "cp /tmp/record %s; systemctl --user restart %s", file, nodes.DaemonUnit)
		begin := time.Now()
		awaitState(ctx, "page", api.State_STATE_RUNNING, bound)
		recovered(begin, bound)
		check()
	}, SpecTimeout(2*time.Minute))
})

var _ = Describe("an application", func() {
	It("crashes again and again: it goes into crash-loop back-off, and is tried again when asked", func(ctx SpecContext) {
		fresh(ctx)
		equip(ctx, "archipelago", nil, edit{"page": {`MARK: "1"`, `MARK: "1", CRASH: "2"`}})
		_, err := rpc.Request(ctx, "install", "page", false)
		Expect(err).NotTo(HaveOccurred())
		begin := time.Now()
		got := awaitState(ctx, "page", api.State_STATE_FAILED, 2*time.Minute)
		Expect(got.Error).To(ContainSubstring("crash-loop back-off"))
		recovered(begin, 2*time.Minute)
		started := func() string {
			return onNode(ctx, "journalctl --user -u page -o cat --no-pager | grep -c '^Started page'; systemctl --user is-active page; true")
		}
		Eventually(started).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(HaveSuffix("inactive"))
		count := started()
		Consistently(started).WithContext(ctx).WithTimeout(8 * time.Second).WithPolling(time.Second).Should(Equal(count))
		equip(ctx, "archipelago", nil, nil)
		do(ctx, "update", "page")
		settled(ctx, app("page"), nil, bound)
	}, SpecTimeout(5*time.Minute))

	It("runs and stops being healthy: it is restarted", func(ctx SpecContext) {
		fresh(ctx)
		before, check := installed(ctx, "page")
		onNode(ctx, "podman exec page rm /tmp/www/index.html")
		begin := time.Now()
		Eventually(func() bool {
			s := look(ctx, app("page"))
			return len(matrix.CheckRunning(app("page"), s)) == 0 && len(matrix.CheckRestarted(app("page"), before, s)) == 0
		}).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(BeTrue())
		recovered(begin, bound)
		settled(ctx, app("page"), before, bound)
		check()
	}, SpecTimeout(2*time.Minute))

	It("has a member that never serves: the error says so, the others are not doubled, and an update mends it", func(ctx SpecContext) {
		fresh(ctx)
		equip(ctx, "archipelago", nil, edit{"ledger": {`user: "1000:1000"`, "user: \"1000:1000\"\n    environment: {DELAY: \"600\"}", "budget: {start: 60s", "budget: {start: 8s"}})
		_, err := rpc.Do(ctx, "install", "ledger", false, nil)
		Expect(err).To(MatchError(ContainSubstring("not healthy within its budget of 8s")))
		Expect(onNode(ctx, "podman ps -a --format '{{.Names}}' | sort | uniq -d")).To(BeEmpty())
		before := look(ctx, app("ledger"))
		equip(ctx, "archipelago", nil, nil)
		begin := time.Now()
		do(ctx, "update", "ledger")
		settled(ctx, app("ledger"), before, bootBound)
		recovered(begin, bootBound)
	}, SpecTimeout(3*time.Minute))

	It("is healthy, and systemd is not told", func(ctx SpecContext) {
		fresh(ctx)
		before, check := installed(ctx, "page")
		// Podman hands the unit's main process to conmon before it says READY, so
		// systemd refuses the message from then on.
		const deafen = "$HOME/.config/systemd/user/page.service.d"
		onNode(ctx, `mkdir -p %[1]s && printf '[Service]\nNotifyAccess=main\n' > %[1]s/deaf.conf && systemctl --user daemon-reload`, deafen)
		hear := func(ctx context.Context) { onNode(ctx, "rm -rf %s && systemctl --user daemon-reload", deafen) }
		DeferCleanup(func(ctx SpecContext) { hear(ctx) })
		begin := time.Now()
		op, err := rpc.Request(ctx, "restart", "page", false)
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() string {
			return onNode(ctx, `systemctl --user is-active page; podman inspect page --format '{{.State.Health.Status}}' 2>&1; true`)
		}).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Equal("activating\nhealthy"))
		hear(ctx)
		_, err = rpc.Await(ctx, op, nil)
		Expect(err).NotTo(HaveOccurred())
		recovered(begin, app("page").StartBudget())
		settled(ctx, app("page"), before, bound)
		check()
		// The page ignores SIGTERM: Podman ended it, within its own stop time.
		Expect(onNode(ctx, "journalctl --user -u page --since @%d -o cat --no-pager | grep 'timed out'; true", begin.Unix())).To(BeEmpty())
	}, SpecTimeout(2*time.Minute))

	It("is told to stop while it is starting", func(ctx SpecContext) {
		fresh(ctx)
		equip(ctx, "archipelago", nil, edit{"page": {`MARK: "1"`, `MARK: "1", DELAY: "15"`}})
		_, err := rpc.Request(ctx, "install", "page", false)
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() string { return onNode(ctx, "podman ps -q --filter name=page | wc -l") }).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Equal("1"))
		begin := time.Now()
		do(ctx, "stop", "page")
		eventually(ctx, app("page"), nil, bound, matrix.CheckStopped)
		recovered(begin, 10*time.Second)
	}, SpecTimeout(2*time.Minute))
})

var _ = Describe("the registry", func() {
	BeforeEach(func(ctx SpecContext) {
		fresh(ctx)
		onNode(ctx, "podman rmi -af >/dev/null; true")
	})
	for _, c := range []struct {
		mode, words string
		labels      Labels
	}{{"down", "pulling", Label("long")}, {"damage", "digest", nil}} {
		It(fmt.Sprintf("is there in the end (%s at first): nothing half-installed in between", c.mode), c.labels, func(ctx SpecContext) {
			tamper.set(c.mode)
			DeferCleanup(func() { tamper.set("") })
			_, err := rpc.Do(ctx, "install", "ledger", false, nil)
			Expect(err).To(MatchError(ContainSubstring(c.words)))
			half := look(ctx, app("ledger"))
			half.Proxied = nil // it is to be installed: the proxy is there, and says that nobody answers
			Expect(matrix.CheckAbsent(app("ledger"), half)).To(BeEmpty())
			tamper.set("")
			begin := time.Now()
			settled(ctx, app("ledger"), nil, bootBound)
			recovered(begin, bootBound)
		}, SpecTimeout(3*time.Minute))
	}
})

// newNamespace has rootless Podman make its mount namespace anew, so that it sees
// what root has mounted since. Nobody may ask Podman in between, as the prober does: what
// the socket starts then stays in the old namespace.
const newNamespace = "systemctl --user stop " + dist.ProberUnit + " podman.socket podman.service; podman system migrate; systemctl --user start podman.socket " + dist.ProberUnit

var _ = Describe("the disk", func() {
	limited := func(ctx context.Context, dir, size string) {
		GinkgoHelper()
		DeferCleanup(func(ctx SpecContext) {
			asRoot(ctx, "umount -l "+dir+" 2>/dev/null || true")
			onNode(ctx, newNamespace)
		})
		asRoot(ctx, fmt.Sprintf(`mkdir -p /tmp/kept && rm -rf /tmp/kept/* && cp -a %[1]s /tmp/kept/ && mount -t tmpfs -o size=%[2]s,mode=0700,uid=1000,gid=1000 none %[1]s && cp -a /tmp/kept/$(basename %[1]s)/. %[1]s/`, dir, size))
	}

	It("is full where the records are: what would run more is refused, and what runs can be stopped", func(ctx SpecContext) {
		fresh(ctx)
		before, check := installed(ctx, "page")
		dir := nodes.DataDir + "/_daemon/state"
		onNode(ctx, "systemctl --user stop %s", nodes.DaemonUnit)
		limited(ctx, dir, "8m")
		onNode(ctx, "systemctl --user start %s; head -c 16M /dev/zero > %s/filler; true", nodes.DaemonUnit, dir)
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		_, err := rpc.Request(ctx, "restart", "page", false)
		Expect(err).To(MatchError(ContainSubstring("no space left")))
		Expect(matrix.CheckUntouched(app("page"), before, settled(ctx, app("page"), before, bound))).To(BeEmpty())
		do(ctx, "stop", "page")
		eventually(ctx, app("page"), nil, bound, matrix.CheckStopped)
		onNode(ctx, "rm %s/filler", dir)
		begin := time.Now()
		do(ctx, "start", "page")
		recovered(begin, bound)
		check()
		onNode(ctx, "systemctl --user stop %s", nodes.DaemonUnit)
		asRoot(ctx, "rm -rf /tmp/kept/state && cp -a "+dir+" /tmp/kept/ && umount -l "+dir+" && cp -a /tmp/kept/state/. "+dir+"/")
		onNode(ctx, "systemctl --user start %s", nodes.DaemonUnit)
		settled(ctx, app("page"), before, bound)
	}, SpecTimeout(3*time.Minute))

	It("is full where images are stored: the error says so, and it goes on when there is room", func(ctx SpecContext) {
		fresh(ctx)
		onNode(ctx, "podman rmi -af >/dev/null; systemctl --user stop %s podman.service podman.socket", nodes.DaemonUnit)
		dir := "/home/archipelago/.local/share/containers/storage"
		asRoot(ctx, "mount -t tmpfs -o size=20m,mode=0700,uid=1000,gid=1000 none "+dir)
		DeferCleanup(func(ctx SpecContext) {
			onNode(ctx, "systemctl --user stop %s podman.socket podman.service", nodes.DaemonUnit)
			asRoot(ctx, "umount -l "+dir+" || true")
			onNode(ctx, "%s; systemctl --user start %s", newNamespace, nodes.DaemonUnit)
		})
		onNode(ctx, "%s; systemctl --user start %s", newNamespace, nodes.DaemonUnit)
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		_, err := rpc.Do(ctx, "install", "page", false, nil)
		Expect(err).To(MatchError(ContainSubstring("no space left")))
		asRoot(ctx, "mount -o remount,size=2g none "+dir)
		begin := time.Now()
		settled(ctx, app("page"), nil, bootBound)
		recovered(begin, bootBound)
		purge(ctx, "page")
	}, SpecTimeout(4*time.Minute))

	It("is full where the data is: an update is refused for want of space, the old version goes on", func(ctx SpecContext) {
		fresh(ctx)
		onNode(ctx, "systemctl --user stop %s", nodes.DaemonUnit)
		limited(ctx, nodes.DataDir, "420m")
		onNode(ctx, "%s; systemctl --user start %s", newNamespace, nodes.DaemonUnit)
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		before, check := installed(ctx, "page")
		onNode(ctx, "podman unshare head -c 120M /dev/zero | podman unshare tee %s/page/data/large >/dev/null", nodes.DataDir)
		equip(ctx, "archipelago", nil, newer)
		_, err := rpc.Do(ctx, "update", "page", false, nil)
		Expect(err).To(MatchError(ContainSubstring("the copy needs")))
		begin := time.Now()
		got := awaitState(ctx, "page", api.State_STATE_RUNNING, bound)
		Expect(got.Version).To(Equal("1.0"))
		Expect(got.Note).To(ContainSubstring("version 1.0 goes on"))
		settled(ctx, app("page"), before, bound)
		recovered(begin, bound)
		check()
		purge(ctx, "page")
		onNode(ctx, "systemctl --user stop %s; %s", nodes.DaemonUnit, newNamespace)
	}, SpecTimeout(3*time.Minute))
})
