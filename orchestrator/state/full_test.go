package state

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/internal/mountstest"
)

// TestWithNoByteLeftAnApplicationIsStoppedAndUninstalled: durably, and nothing more is started on
// what is held for that.
func TestWithNoByteLeftAnApplicationIsStoppedAndUninstalled(t *testing.T) {
	if !mountstest.Inside(t) {
		return
	}
	dir := mountstest.Tmpfs(t, "16m")
	s := open(t, dir)
	accept := func(app string, goal Goal) error {
		_, err := s.Accept([]Desired{{App: app, Goal: goal, Purge: goal == Absent}})
		return err
	}
	is := func(app string, goal Goal) {
		t.Helper()
		if d, err := open(t, dir).Get(app); err != nil || d.Goal != goal {
			t.Errorf("after a power cut, %s is to be %q: %v", app, d.Goal, err)
		}
	}
	if err := errors.Join(accept("page", Running), accept("other", Running), s.PutData(Data{App: "page", Volumes: []string{"data"}})); err != nil {
		t.Fatal(err)
	}
	filler := mountstest.Fill(t, dir)
	for _, app := range []string{"page", "third"} {
		if err := accept(app, Running); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s is to run: %v", app, err)
		}
	}
	if err := accept("page", Stopped); err != nil {
		t.Error(err)
	}
	is("page", Stopped)
	mountstest.Fill(t, dir) // it takes what is left of what was given up
	if _, err := s.Accept([]Desired{{App: "page", Goal: Absent, Purge: true}, {App: "other", Goal: Stopped}}); err != nil {
		t.Error(err)
	}
	is("page", Absent)
	is("other", Stopped)
	mountstest.Fill(t, dir)
	if err := s.UpdateData("page", func(d Data) Data { return d.At("data", Place{Left: "/mnt/big/page/data"}) }); err != nil {
		t.Errorf("while it is purged: %v", err)
	}
	if err := s.DeleteData("page"); err != nil {
		t.Error(err)
	}
	d, err := s.Get("page")
	if err != nil {
		t.Fatal(err)
	}
	if gone, err := s.DeleteIf("page", d.Generation); !gone || err != nil {
		t.Errorf("%t, %v", gone, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := accept("other", Running); err != nil {
		t.Errorf("with room: %v", err)
	}
	is("other", Running)
}
