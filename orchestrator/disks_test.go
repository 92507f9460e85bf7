package orchestrator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// mount has the node have other disks mounted, beside the system's, and tells it.
func (h *fakeHost) mount(r *Reconciler, disks ...disk.Disk) {
	h.mu.Lock()
	h.mounts = append(disk.Mounts{{UUID: "aaaa", At: "/"}}, disks...)
	h.calls = nil
	h.mu.Unlock()
	r.Wake()
}

// waits wants the pair to wait, with nothing started or deleted on its behalf.
func waits(t *testing.T, h *fakeHost, r *Reconciler, what string) {
	t.Helper()
	time.Sleep(2 * passInterval)
	synctest.Wait()
	v, err := r.App("pair")
	if err != nil || v.State != view.Waiting || v.Note != "waiting for "+what {
		t.Errorf("%s: %s, %s, %v", v.State, v.Note, v.Error, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, call := range []string{"start", "delete", "copy", "write"} {
		if slices.Contains(h.calls, call) {
			t.Errorf("while its disk is not there: %q", h.calls)
		}
	}
}

// TestADiskThatComesLateIsWaitedFor: whatever lies at its place meanwhile, another disk with the
// same directories among it, nothing is started on it, and nothing of it is changed.
func TestADiskThatComesLateIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, at := movingNode(t, h, dir)
		big, other := disk.Disk{UUID: "bbbb", Name: "BIG", At: at}, disk.Disk{UUID: "cccc", At: at}
		h.mount(r, big)
		to, err := r.MoveVolume(t.Context(), "pair", "db", at, "owner", func(string) {})
		if err != nil || r.store.Disks()[to] != big {
			t.Fatal(err, r.store.Disks())
		}
		inForce(t, h, r, to)
		if f := r.disks(); !f.OK || f.Detail != "BIG (bbbb) at "+at {
			t.Errorf("%+v", f)
		}
		if err := ask(t, r, "stop"); err != nil {
			t.Fatal(err)
		}
		h.mount(r)
		if _, err := r.Request(request.Request{App: "pair", Verb: "start"}); err != nil {
			t.Fatal(err)
		}
		waits(t, h, r, "disk BIG (bbbb) at "+at+": connect and mount it")
		// The test's directory is its user's to write.
		if f := r.disks(); f.OK || !strings.Contains(f.Detail, "waiting for disk BIG (bbbb) at "+at) || !strings.Contains(f.Remedy, "chattr +i "+at) {
			t.Errorf("%+v", f)
		}
		h.mount(r, other)
		waits(t, h, r, "disk BIG (bbbb) at "+at+": another one is there, cccc; mount the right one")
		if _, err := r.MoveVolume(t.Context(), "pair", "db", "", "owner", func(string) {}); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "another one is there") {
			t.Errorf("it is moved from another disk: %v", err)
		}
		h.mount(r, disk.Disk{UUID: "bbbb", Name: "BIG", At: "/media/big"})
		waits(t, h, r, "disk BIG (bbbb) at "+at+": it is mounted at /media/big; mount it where it was")
		h.mount(r, big)
		time.Sleep(passInterval / 2) // it is told, and need not look
		synctest.Wait()
		if got := stateOf(t, r); got != view.Up {
			t.Errorf("with its disk: %s", got)
		}
		inForce(t, h, r, to)
		// A disk that takes its place does so by the owner's word.
		h.mount(r, other)
		if got, err := r.MoveVolume(t.Context(), "pair", "db", at, "owner", func(string) {}); err != nil || got != to || r.store.Disks()[to] != other {
			t.Errorf("%s, %v, %v", got, err, r.store.Disks())
		}
	})
}

// TestADiskInTheApplicationsDirectoryIsWaitedFor as one that a volume was moved to, until all of
// the application is deleted.
func TestADiskInTheApplicationsDirectoryIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, _ := movingNode(t, h, dir)
		at := r.dataDir + "/pair/db"
		big, other := disk.Disk{UUID: "bbbb", Name: "BIG", At: at}, disk.Disk{UUID: "cccc", At: at}
		h.mount(r, big)
		time.Sleep(2 * passInterval)
		synctest.Wait()
		if got := stateOf(t, r); got != view.Up || r.store.Disks()[at] != big {
			t.Fatal(got, r.store.Disks())
		}
		h.mu.Lock()
		body := h.obs.Files["pair-db.container"]
		h.mu.Unlock()
		if !strings.Contains(body, "ExecCondition=%h/.local/bin/archipelago on-disk") {
			t.Errorf("systemd starts it without its disk: %s", body)
		}
		if err := ask(t, r, "stop"); err != nil {
			t.Fatal(err)
		}
		h.mount(r)
		if _, err := r.Request(request.Request{App: "pair", Verb: "start"}); err != nil {
			t.Fatal(err)
		}
		waits(t, h, r, "disk BIG (bbbb) at "+at+": connect and mount it")
		r.forgetDisks()
		h.mount(r, other)
		waits(t, h, r, "disk BIG (bbbb) at "+at+": another one is there, cccc; mount the right one")
		if got, err := r.MoveVolume(t.Context(), "pair", "db", "", "owner", func(string) {}); err != nil || got != at || r.store.Disks()[at] != other {
			t.Errorf("%s, %v, %v", got, err, r.store.Disks())
		}
		time.Sleep(passInterval)
		synctest.Wait()
		if got := stateOf(t, r); got != view.Up {
			t.Errorf("with the disk that is to be there: %s", got)
		}
		h.mount(r)
		gen, err := r.Request(request.Request{App: "pair", Verb: "uninstall", Purge: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if v, err := r.App("pair"); err != nil || r.operations.Status("pair").Observed >= gen || !strings.HasSuffix(v.Note, "or, if that is lost, remove the directory "+at) {
			t.Errorf("%+v, %v", v, err)
		}
		if err := os.RemoveAll(at); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		gone(t, r.dataDir+"/pair")
		if disks := r.store.Disks(); len(disks) > 0 {
			t.Errorf("disks of nothing are known: %v", disks)
		}
	})
}

// TestNothingIsDeletedOnADiskThatTookTheOthersPlace: neither by a purge, nor what a move has left.
func TestNothingIsDeletedOnADiskThatTookTheOthersPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, at := movingNode(t, h, dir)
		big, other := disk.Disk{UUID: "bbbb", Name: "BIG", At: at}, disk.Disk{UUID: "cccc", At: at}
		h.mount(r, big)
		to, err := r.MoveVolume(t.Context(), "pair", "db", at, "owner", func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		inForce(t, h, r, to)
		h.mount(r, other)
		gen, err := r.Request(request.Request{App: "pair", Verb: "uninstall", Purge: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if r.operations.Status("pair").Observed >= gen {
			t.Error("the purge is said to be done")
		}
		if b, err := os.ReadFile(to + "/file"); err != nil || string(b) != "content" || len(r.store.Data("pair").Volumes) == 0 {
			t.Errorf("%q, %v, %+v", b, err, r.store.Data("pair"))
		}
		if v, err := r.App("pair"); err != nil || v.State != view.Removing || !strings.Contains(v.Note, "waiting for disk BIG (bbbb) at "+at) {
			t.Errorf("%s: %s, %v", v.State, v.Note, err)
		}
		h.mu.Lock()
		if len(h.obs.Files) > 0 || h.obs.Containers["pair"].State == "running" {
			t.Errorf("it is not taken off: %v, %v", h.obs.Files, h.obs.Containers)
		}
		h.mu.Unlock()
		h.mount(r, big)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		gone(t, to, r.dataDir+"/pair")
		r.forgetDisks()
		if disks := r.store.Disks(); len(disks) > 0 {
			t.Errorf("disks of nothing are known: %v", disks)
		}
	})
}

// TestDataThatIsLostWithItsDiskIsForgottenByTheOwnersWord: as where no disk is known.
func TestDataThatIsLostWithItsDiskIsForgottenByTheOwnersWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, at := movingNode(t, h, dir)
		h.mount(r, disk.Disk{UUID: "bbbb", At: at})
		to, err := r.MoveVolume(t.Context(), "pair", "db", at, "owner", func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		inForce(t, h, r, to)
		h.mount(r)
		if err := os.RemoveAll(at); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Request(request.Request{App: "pair", Verb: "uninstall", Purge: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(r.store.Data("pair").Volumes) == 0 {
			t.Error("what is on the disk is forgotten")
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if data := r.store.Data("pair"); data.App != "" {
			t.Errorf("%+v", data)
		}
	})
}

func TestWhatAMoveLeftOnADiskStaysWhileAnotherOneIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, dir := empty(), t.TempDir()
		r, at := movingNode(t, h, dir)
		left := at + "/pair/db"
		if err := errors.Join(os.MkdirAll(left, 0o700), r.store.SetDisk(left, disk.Disk{UUID: "bbbb", At: at}), r.recordPlace("pair", "db", state.Place{Left: left})); err != nil {
			t.Fatal(err)
		}
		h.mount(r, disk.Disk{UUID: "cccc", At: at})
		r.settleMoves(t.Context())
		if !there(left) {
			t.Error("something was deleted on a disk that is not the node's")
		}
		h.mount(r, disk.Disk{UUID: "bbbb", At: at})
		r.settleMoves(t.Context())
		gone(t, left)
	})
}

func TestAFolderOnADiskThatIsNotThereIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		photos := folderOf(t, "photos", "ONE")
		at := photos // a file system of its own is mounted there
		h, dir := empty(), t.TempDir()
		h.shared = "ONE"
		r := storing(t, h, dir, "photos")
		if err := os.MkdirAll(r.dataDir, 0o700); err != nil {
			t.Fatal(err)
		}
		big := disk.Disk{UUID: "bbbb", Name: "BIG", At: at}
		h.mount(r, big)
		if _, _, err := r.AddFolder(t.Context(), "photos", photos, false, "test"); err != nil {
			t.Fatal(err)
		}
		m, _ := r.Offer().Manifest("pair")
		if _, err := r.store.Accept([]state.Desired{{App: "pair", Goal: state.Running, Manifest: m}}); err != nil {
			t.Fatal(err)
		}
		h.mount(r) // what lies there bears the mark, as a copy on the system's disk does
		const late = ": connect and mount it"
		time.Sleep(2 * passInterval)
		synctest.Wait()
		v, err := r.App("pair")
		if want := "waiting for its folder photos: disk BIG (bbbb) at " + at + late; err != nil || v.State != view.Waiting || v.Note != want {
			t.Errorf("%s: %s, %v", v.State, v.Note, err)
		}
		if list, err := r.Folders(); err != nil || len(list) != 1 || list[0].Problem != "disk BIG (bbbb) at "+at+late {
			t.Errorf("%+v, %v", list, err)
		}
		h.mount(r, big)
		time.Sleep(passInterval / 2)
		synctest.Wait()
		if got := stateOf(t, r); got != view.Up {
			t.Errorf("with its disk: %s", got)
		}
		h.mount(r, disk.Disk{UUID: "cccc", At: at})
		if _, _, err := r.AddFolder(t.Context(), "photos", photos, false, "test"); err != nil || r.store.Disks()[photos].UUID != "cccc" {
			t.Errorf("named again: %v, %v", err, r.store.Disks())
		}
	})
}

// TestWhatRunsIsStoppedWhereNoUnitCanBeWritten: units are on a disk of their own, it may be, which
// has no byte left. They are written once there is room.
func TestWhatRunsIsStoppedWhereNoUnitCanBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		r := node(t, h, t.TempDir())
		if err := ask(t, r, "install"); err != nil {
			t.Fatal(err)
		}
		h.mu.Lock()
		h.fail["units"] = fmt.Errorf("writing unit pair.container: %w", unix.ENOSPC)
		h.mu.Unlock()
		if err := ask(t, r, "stop"); !errors.Is(err, unix.ENOSPC) && (err == nil || !strings.Contains(err.Error(), unix.ENOSPC.Error())) {
			t.Errorf("nobody is told: %v", err)
		}
		h.mu.Lock()
		for _, name := range []string{"pair", "pair-db"} {
			if h.obs.Containers[name].State == "running" {
				t.Errorf("%s runs on", name)
			}
		}
		delete(h.fail, "units")
		h.mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := stateOf(t, r); got != view.Down {
			t.Errorf("with room: %s", got)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if strings.Contains(h.obs.Files["pair.container"], "[Install]") {
			t.Error("it starts with the machine")
		}
	})
}
