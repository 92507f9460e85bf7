package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// reading is an Engine whose systemd notes, at each reload, which unit files it read.
func reading(dir string, reload func() error) (e *Engine, read *[][]string) {
	read = new([][]string) // to be looked at while no reload is under way
	return &Engine{quadlet: dir, drops: filepath.Join(filepath.Dir(dir), "drop-ins"), reloads: newReloads(func(context.Context) error {
		err := reload()
		var names []string
		entries, readErr := os.ReadDir(dir)
		for _, f := range entries {
			names = append(names, f.Name())
		}
		*read = append(*read, names)
		return errors.Join(err, readErr)
	})}, read
}

func noTrouble() error { return nil }

// TestUnitsThatChangeNothingCostNoReload: no file is written anew, and systemd reads none.
func TestUnitsThatChangeNothingCostNoReload(t *testing.T) {
	dir := t.TempDir()
	e, read := reading(dir, noTrouble)
	files := map[string]string{"a.container": "one", "a.network": "two"}
	for _, c := range []struct {
		what    string
		files   map[string]string
		gone    []string
		reloads int
	}{
		{"new ones", files, nil, 1},
		{"the same", files, nil, 0},
		{"the same, and none of one that is not there", files, []string{"b.container"}, 0},
		{"one is another", map[string]string{"a.container": "three", "a.network": "two"}, nil, 1},
		{"one goes", nil, []string{"a.network"}, 1},
		{"it has gone", nil, []string{"a.network"}, 0},
		{"nothing", nil, nil, 0},
	} {
		before := infos(t, dir)
		*read = nil
		if err := e.WriteUnits(t.Context(), c.files, c.gone); err != nil {
			t.Fatal(err)
		}
		if len(*read) != c.reloads {
			t.Errorf("%s: %d reloads, expected %d", c.what, len(*read), c.reloads)
		}
		if after := infos(t, dir); c.reloads == 0 && !maps.EqualFunc(before, after, os.SameFile) {
			t.Errorf("%s: files were written", c.what)
		}
	}
}

func infos(t *testing.T, dir string) map[string]os.FileInfo {
	t.Helper()
	out := map[string]os.FileInfo{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range entries {
		if out[f.Name()], err = f.Info(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestUnitsOfADaemonThatWasKilledAreRead: it may have been killed, or have failed, between
// the writing and the reload.
func TestUnitsOfADaemonThatWasKilledAreRead(t *testing.T) {
	dir := t.TempDir()
	if err := atomicfile.Write(filepath.Join(dir, "a.container"), []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	var trouble error
	e, read := reading(dir, func() error { return trouble })
	write := func() error { return e.WriteUnits(t.Context(), map[string]string{"a.container": "one"}, nil) }
	if err := write(); err != nil || len(*read) != 1 {
		t.Errorf("a new daemon's first: %v, %d reloads", err, len(*read))
	}
	trouble = errors.New("no answer")
	if err := e.WriteUnits(t.Context(), nil, []string{"a.container"}); !errors.Is(err, trouble) {
		t.Errorf("%v", err)
	}
	trouble = nil
	if err := e.reloads.after(func() (bool, error) { return false, nil }); err != nil || len(*read) != 3 {
		t.Errorf("after a reload that failed: %v, %d reloads", err, len(*read))
	}
}

// TestReloadsThatWaitAreMerged: while one is under way, whoever comes waits for one that
// begins after all of them have written, and no file changes under the one that runs.
func TestReloadsThatWaitAreMerged(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e, read := reading(dir, func() error { time.Sleep(time.Second); return nil })
		var want []string
		var workers sync.WaitGroup
		begin := time.Now()
		for i := range 40 {
			name := fmt.Sprintf("app%02d.container", i)
			want = append(want, name)
			workers.Go(func() {
				if err := e.WriteUnits(t.Context(), map[string]string{name: "one"}, nil); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); i > 0 && took != 2*time.Second {
					t.Errorf("%s: answered after %s, when systemd had not read it", name, took)
				}
			})
			if i == 0 {
				time.Sleep(time.Second / 2) // the first reload is under way
			}
		}
		workers.Wait()
		if len(*read) != 2 || !slices.Equal((*read)[0], want[:1]) || !slices.Equal((*read)[1], want) {
			t.Errorf("%d reloads, of %d files and then %d; expected 2, of the first and of all", len(*read), len((*read)[0]), len((*read)[len(*read)-1]))
		}
	})
}

// TestAReloadsTroubleIsItsBatchs: what one caller cannot write is that one's error alone.
func TestAReloadsTroubleIsItsBatchs(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e, _ := reading(dir, func() error { time.Sleep(time.Second); return nil })
		var workers sync.WaitGroup
		workers.Go(func() { e.WriteUnits(t.Context(), map[string]string{"a.container": "one"}, nil) })
		time.Sleep(time.Second / 2)
		errs := make([]error, 2)
		for i, name := range []string{"none/b.container", "c.container"} {
			workers.Go(func() { errs[i] = e.WriteUnits(t.Context(), map[string]string{name: "one"}, nil) })
		}
		workers.Wait()
		if errs[0] == nil || errs[1] != nil {
			t.Errorf("%v", errs)
		}
	})
}
