//go:build lab

package faults

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
)

// Where a node keeps what these specs back up: in a directory of its disk, and on disks that
// can be plugged in below another, which Podman's mount namespace follows as on a machine.
const (
	kept    = "/srv/kept"    // the repository "disk" is in it
	sockets = "/srv/sockets" // disks are mounted in it
)

// slowly has restic write backups so slowly that anything can happen meanwhile, until the
// spec ends or quickly is called.
func slowly(ctx context.Context) (quickly func(context.Context)) {
	GinkgoHelper()
	const program = "/usr/local/bin/restic"
	asRoot(ctx, `printf '%s\n' '#!/bin/sh' 'case " $* " in *" backup "*) set -- --limit-upload 512 "$@" ;; esac' 'exec /usr/bin/restic "$@"' >`+program+`; chmod 755 `+program)
	quickly = func(ctx context.Context) { GinkgoHelper(); asRoot(ctx, "rm -f "+program) }
	DeferCleanup(func(ctx SpecContext) { quickly(ctx) })
	return quickly
}

// fill has the page's volume hold so many MiB that no repository has.
func fill(ctx context.Context, mib int) {
	GinkgoHelper()
	onNode(ctx, "podman unshare sh -c 'head -c %dM /dev/urandom >%s/page/data/large'", mib, nodes.DataDir)
}

// restic runs it on the node in the repository "disk", without the daemon.
func restic(ctx context.Context, args string) string {
	GinkgoHelper()
	return onNode(ctx, "restic --no-cache -r %s/page --password-file %s/_daemon/repositories/disk/password %s", kept, nodes.DataDir, args)
}

var _ = Describe("a backup in a repository", Ordered, ContinueOnFailure, func() {
	var (
		home, key string
		before    *matrix.Snapshot
		check     func()
	)
	try := func(ctx context.Context, stdin string, args ...string) (string, error) {
		return archy(ctx, home, strings.NewReader(stdin), args...)
	}
	run := func(ctx context.Context, args ...string) string {
		GinkgoHelper()
		out, err := try(ctx, "", args...)
		Expect(err).NotTo(HaveOccurred(), out)
		return out
	}
	refused := func(ctx context.Context, why string, args ...string) {
		GinkgoHelper()
		out, err := try(ctx, "", args...)
		Expect(err).To(HaveOccurred(), out)
		Expect(out).To(ContainSubstring(why))
	}
	snapshots := func(ctx context.Context) int {
		GinkgoHelper()
		return strings.Count(run(ctx, "repository", "snapshots", "disk", "page"), "\n") - 1
	}
	// runs wants the page to run with its data and secrets, and no copy to be left.
	runs := func(ctx context.Context) {
		GinkgoHelper()
		settled(ctx, app("page"), before, bound)
		check()
		Eventually(func() string { return onNode(ctx, "ls %s/_daemon/snapshots", nodes.DataDir) }).
			WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(BeEmpty(), "a copy is left")
	}
	// restored wants the same of a page that has been brought back, in a directory that is another.
	restored := func(ctx context.Context) {
		GinkgoHelper()
		after := settled(ctx, app("page"), nil, bound)
		Expect(after.Secrets).To(Equal(before.Secrets))
		before = after
		runs(ctx)
	}
	untouched := func(ctx context.Context, seen *matrix.Snapshot) {
		GinkgoHelper()
		Expect(matrix.CheckUntouched(app("page"), seen, settled(ctx, app("page"), before, bound))).To(BeEmpty())
		check()
	}
	// another makes a backup, which is whole, and the first after so many.
	another := func(ctx context.Context, had int) {
		GinkgoHelper()
		run(ctx, "backup", "page", "--to", "disk")
		Expect(snapshots(ctx)).To(Equal(had + 1))
		restic(ctx, "check --read-data -q")
		runs(ctx)
	}
	// begun begins a backup that takes long, and gives what ends with it, once restic writes
	// to a repository.
	begun := func(ctx context.Context, to, dir string) (ended chan error) {
		GinkgoHelper()
		fill(ctx, 5)
		ended = make(chan error, 1)
		go func() {
			out, err := try(ctx, "", "backup", "page", "--to", to)
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			ended <- err
		}()
		Eventually(func() string { return onNode(ctx, "find %s/data -name '*-tmp-*' -size +64k", dir) }).
			WithContext(ctx).WithTimeout(bound).WithPolling(poll).ShouldNot(BeEmpty(), "restic writes")
		return ended
	}

	BeforeAll(func(ctx SpecContext) {
		fresh(ctx)
		asRoot(ctx, fmt.Sprintf("install -d -o archipelago %[1]s %[2]s /srv/usb; mountpoint -q %[2]s || mount --bind %[2]s %[2]s; mount --make-shared %[2]s; install -d -o archipelago %[2]s/usb %[2]s/small", kept, sockets))
		onNode(ctx, newNamespace)
		DeferCleanup(func(ctx SpecContext) {
			for _, name := range []string{"disk", "usb", "small", "damaged"} {
				try(ctx, "", "repository", "remove", name)
			}
			asRoot(ctx, fmt.Sprintf("for d in %[2]s/usb %[2]s/small %[2]s; do umount -l $d 2>/dev/null || true; done; rm -rf %[1]s %[2]s /srv/usb", kept, sockets))
		})
		home = loggedIn(ctx)
		before, check = installed(ctx, "page")
		run(ctx, "repository", "add", "disk", kept+"/page")
		run(ctx, "repository", "set", "disk", "--every", "-1")
		key = strings.TrimSpace(run(ctx, "repository", "key", "disk"))
		another(ctx, 0)
	})

	It("is refused while that is gone: nothing is stopped, none is made in its place, and it goes on when it is back", func(ctx SpecContext) {
		had, seen := snapshots(ctx), look(ctx, app("page"))
		back := fmt.Sprintf("[ ! -e %[1]s/away ] || { rm -rf %[1]s/page; mv %[1]s/away %[1]s/page; }", kept)
		DeferCleanup(func(ctx SpecContext) { onNode(ctx, "%s", back) })
		onNode(ctx, "mv %s/page %s/away", kept, kept)
		refused(ctx, "there is no repository", "backup", "page", "--to", "disk")
		untouched(ctx, seen)
		Expect(onNode(ctx, "ls %s", kept)).To(Equal("away"))
		onNode(ctx, "%s", back)
		begin := time.Now()
		another(ctx, had)
		recovered(begin, bound)
	}, SpecTimeout(2*time.Minute))

	It("is refused by another key: nothing is stopped, and none is added", func(ctx SpecContext) {
		had, seen := snapshots(ctx), look(ctx, app("page"))
		out, err := try(ctx, "NOTTHEKEYOFTHISREPOSITORY\n", "repository", "add", "other", kept+"/page", "--recovery-key")
		Expect(err).To(HaveOccurred(), out)
		Expect(out).To(ContainSubstring("the recovery key does not open the repository"))
		Expect(run(ctx, "repository", "list")).NotTo(ContainSubstring("other"))
		file := nodes.DataDir + "/_daemon/repositories/disk/password"
		back := fmt.Sprintf("[ ! -e %[1]s.right ] || mv %[1]s.right %[1]s", file)
		DeferCleanup(func(ctx SpecContext) { onNode(ctx, "%s", back) })
		onNode(ctx, "mv %[1]s %[1]s.right; echo NOTTHEKEYOFTHISREPOSITORY >%[1]s", file)
		refused(ctx, "the recovery key does not open the repository", "backup", "page", "--to", "disk")
		untouched(ctx, seen)
		onNode(ctx, "%s", back)
		begin := time.Now()
		another(ctx, had)
		recovered(begin, bound)
	}, SpecTimeout(2*time.Minute))

	It("does not fit on that disk: the page runs, and the next one is made when there is room", func(ctx SpecContext) {
		asRoot(ctx, fmt.Sprintf("mount -t tmpfs -o size=12m,mode=0700,uid=1000,gid=1000 none %s/small", sockets))
		run(ctx, "repository", "add", "small", sockets+"/small/page")
		run(ctx, "repository", "set", "small", "--every", "-1")
		fill(ctx, 20)
		refused(ctx, "no space left", "backup", "page", "--to", "small")
		runs(ctx)
		Expect(strings.Count(run(ctx, "repository", "snapshots", "small"), "\n")).To(Equal(1), "half a backup is taken for one")
		asRoot(ctx, fmt.Sprintf("mount -o remount,size=100m none %s/small", sockets))
		begin := time.Now()
		run(ctx, "backup", "page", "--to", "small")
		runs(ctx)
		recovered(begin, bound)
		Expect(strings.Count(run(ctx, "repository", "snapshots", "small"), "\n")).To(Equal(2))
		run(ctx, "repository", "remove", "small")
	}, SpecTimeout(2*time.Minute))

	It("loses its disk while restic writes: the page runs, it is said, and the next one is made when it is plugged in", func(ctx SpecContext) {
		plugIn := fmt.Sprintf("mount --bind /srv/usb %s/usb", sockets)
		asRoot(ctx, plugIn)
		run(ctx, "repository", "add", "usb", sockets+"/usb/page")
		run(ctx, "repository", "set", "usb", "--every", "-1")
		Expect(asRoot(ctx, "ls /srv/usb")).To(Equal("page"), "what is plugged in is not seen in Podman's namespace")
		quickly := slowly(ctx)
		ended := begun(ctx, "usb", "/srv/usb/page")
		asRoot(ctx, fmt.Sprintf("umount -l %s/usb", sockets))
		quickly(ctx)
		Eventually(ended).WithContext(ctx).WithTimeout(bound).Should(Receive(HaveOccurred()))
		runs(ctx)
		refused(ctx, "there is no repository", "backup", "page", "--to", "usb")
		Expect(asRoot(ctx, fmt.Sprintf("ls %s/usb", sockets))).To(BeEmpty(), "something is made in place of the disk")
		asRoot(ctx, plugIn)
		begin := time.Now()
		run(ctx, "backup", "page", "--to", "usb")
		runs(ctx)
		recovered(begin, bound)
		Expect(strings.Count(run(ctx, "repository", "snapshots", "usb"), "\n")).To(Equal(2))
		run(ctx, "repository", "remove", "usb")
	}, SpecTimeout(4*time.Minute))

	It("is cut off by a kill of the daemon while restic writes", func(ctx SpecContext) {
		had := snapshots(ctx)
		quickly := slowly(ctx)
		ended := begun(ctx, "disk", kept+"/page")
		onNode(ctx, "systemctl --user kill -s KILL %s", nodes.DaemonUnit)
		quickly(ctx)
		begin := time.Now()
		Eventually(ended).WithContext(ctx).WithTimeout(bound).Should(Receive(HaveOccurred()))
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		runs(ctx)
		Eventually(func() string { return onNode(ctx, "pgrep -x restic; true") }).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(BeEmpty(), "restic goes on")
		recovered(begin, bound)
		another(ctx, had)
	}, SpecTimeout(3*time.Minute))

	It("is cut off with the power while restic writes", func(ctx SpecContext) {
		had := snapshots(ctx)
		quickly := slowly(ctx)
		ended := begun(ctx, "disk", kept+"/page")
		_, err := node.SSH.PowerCut(ctx)
		Expect(err).NotTo(HaveOccurred())
		begin := time.Now()
		Eventually(ended).WithContext(ctx).WithTimeout(bootBound).Should(Receive(HaveOccurred()))
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		runs(ctx)
		recovered(begin, bootBound)
		quickly(ctx)
		another(ctx, had)
	}, SpecTimeout(4*time.Minute))

	It("is damaged: a restoration leaves nothing, and a whole one brings everything back", func(ctx SpecContext) {
		onNode(ctx, "cp -a %[1]s/page %[1]s/damaged; for f in $(find %[1]s/damaged/data -type f); do chmod u+w $f; printf damaged | dd of=$f conv=notrunc status=none; done", kept)
		out, err := try(ctx, key+"\n", "repository", "add", "damaged", kept+"/damaged", "--recovery-key")
		Expect(err).NotTo(HaveOccurred(), out)
		purge(ctx, "page")
		refused(ctx, "the repository is damaged", "restore", "page", "--from", "damaged")
		Expect(matrix.CheckPurged(look(ctx, app("page")))).To(BeEmpty(), "half of it is left")
		Expect(onNode(ctx, "ls %s/_daemon/snapshots", nodes.DataDir)).To(BeEmpty())
		begin := time.Now()
		run(ctx, "restore", "page", "--from", "disk")
		restored(ctx)
		recovered(begin, bound)
		run(ctx, "repository", "remove", "damaged")
	}, SpecTimeout(2*time.Minute))

	It("of release 0.1, a file whose secrets alone are encrypted, comes back", func(ctx SpecContext) {
		identity, recipient := ageKey(home)
		file := filepath.Join(home, "page.zip.age")
		run(ctx, "backup", "page", "--recipient", recipient, "--output", file)
		old := filepath.Join(home, "page.zip")
		Expect(unsealed(identity, file, old)).To(Succeed())
		purge(ctx, "page")
		begin := time.Now()
		run(ctx, "restore", old, "--identity", identity)
		restored(ctx)
		recovered(begin, bound)
	}, SpecTimeout(2*time.Minute))

	It("brings an application back on a fresh node that has the recovery key, with its data and its secrets", func(ctx SpecContext) {
		Expect(theFleet.Clean(ctx)).To(Succeed())
		onNode(ctx, "systemctl --user stop %s; podman unshare rm -rf %s/_daemon", nodes.DaemonUnit, nodes.DataDir)
		equip(ctx, "archipelago", nil, nil)
		logIn(ctx, home)
		begin := time.Now()
		out, err := try(ctx, key+"\n", "repository", "add", "disk", kept+"/page", "--recovery-key")
		Expect(err).NotTo(HaveOccurred(), out)
		run(ctx, "repository", "set", "disk", "--every", "-1")
		run(ctx, "restore", "page", "--from", "disk")
		restored(ctx)
		recovered(begin, bootBound)
		had := snapshots(ctx)
		another(ctx, had)
		Expect(run(ctx, "repository", "key", "disk")).To(ContainSubstring(key))
	}, SpecTimeout(3*time.Minute))

	for _, part := range backup.Parts {
		labels := Label("long")
		if part == backup.Recorded { // in 'make few-faults', the one after which most is there
			labels = Label()
		}
		It(fmt.Sprintf("is cut off by a kill of the daemon after %s", part), labels, func(ctx SpecContext) {
			onNode(ctx, "rm -f /run/user/$(id -u)/archipelago-*-*")
			equip(ctx, "archipelago-faults", []string{"ARCHIPELAGO_FAULT=cut:after:" + string(part)}, nil)
			had := snapshots(ctx)
			restoring := strings.HasPrefix(string(part), "restore-")
			args := []string{"backup", "page", "--to", "disk"}
			if restoring {
				purge(ctx, "page")
				args = []string{"restore", "page", "--from", "disk"}
			}
			out, err := try(ctx, "", args...)
			Expect(err).To(HaveOccurred(), out)
			Expect(onNode(ctx, "ls /run/user/$(id -u)/ | grep ^archipelago-after")).To(Equal("archipelago-after-" + string(part)))
			begin := time.Now()
			Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
			switch {
			case part == backup.Stored:
				runs(ctx)
				Expect(snapshots(ctx)).To(Equal(had+1), "what is in the repository counts, though nobody was told")
			case !restoring:
				runs(ctx)
				another(ctx, had)
			case part == backup.Fetched, part == backup.Keyed: // it is undone
				Eventually(func() error {
					_, err := try(ctx, "", "restore", "page", "--from", "disk")
					return err
				}).WithContext(ctx).WithTimeout(bound).WithPolling(time.Second).Should(Succeed())
				restored(ctx)
			default:
				restored(ctx)
			}
			recovered(begin, bound)
		}, SpecTimeout(2*time.Minute))
	}
})

// unsealed writes the zip file that a backup is once it is decrypted, as those of release 0.1
// were.
func unsealed(identity, from, to string) error {
	keys, err := os.Open(identity)
	if err != nil {
		return err
	}
	defer keys.Close()
	ids, err := age.ParseIdentities(keys)
	if err != nil {
		return err
	}
	sealed, err := os.Open(from)
	if err != nil {
		return err
	}
	defer sealed.Close()
	plain, err := age.Decrypt(sealed, ids...)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(plain)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
