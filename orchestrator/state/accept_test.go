package state

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func TestAcceptNumbersWhatItAccepts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("east", 3600))
	s.now = func() time.Time { return at }
	if err := s.keep(Desired{App: "a", Goal: Running, Generation: 6}); err != nil {
		t.Fatal(err)
	}
	staged := &Update{To: &manifest.Manifest{ID: "a", Version: "2"}, Phase: Staged}
	out, err := s.Accept([]Desired{
		{App: "b", Goal: Stopped, Generation: 40, Restart: RestartRequested},
		{App: "a", Goal: Running, Generation: 6, Restart: 3, Update: staged},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Desired{
		{App: "b", Goal: Stopped, Generation: 1, Restart: 1, AcceptedAt: at.UTC()},
		{App: "a", Goal: Running, Generation: 7, Restart: 3, AcceptedAt: at.UTC(), Update: &Update{To: staged.To, Phase: Staged, Generation: 7}},
	}
	if !reflect.DeepEqual(out, want) {
		t.Errorf("got  %+v\nwant %+v", out, want)
	}
	if staged.Generation != 0 {
		t.Error("the caller's update was changed in place")
	}
	slices.Reverse(want)
	for name, s := range map[string]*Store{"in memory": s, "on disk": open(t, dir)} {
		if all := s.All(); !reflect.DeepEqual(all, want) {
			t.Errorf("%s: got  %+v\nwant %+v", name, all, want)
		}
	}
	// A later request leaves the number of an update that is under way.
	if out, err = s.Accept(out[1:]); err != nil || out[0].Generation != 8 || out[0].Update.Generation != 7 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestGenerationsGoOnAfterDelete(t *testing.T) {
	s := open(t, t.TempDir())
	for want := uint64(1); want <= 3; want++ {
		out, err := s.Accept([]Desired{{App: "a", Goal: Running}})
		if err != nil || out[0].Generation != want {
			t.Fatalf("%v, %v; expected generation %d", out, err, want)
		}
		if deleted, err := s.DeleteIf("a", want); !deleted || err != nil {
			t.Fatal(deleted, err)
		}
	}
}

func TestAcceptRefusesAllWhereItRefusesOne(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "desired"), 0o700), os.WriteFile(filepath.Join(dir, "desired", "bad.json"), []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	for name, d := range map[string]Desired{
		"broken":       {App: "bad", Goal: Running},
		"twice":        {App: "a", Goal: Stopped},
		"no name":      {Goal: Running},
		"a path":       {App: "../a", Goal: Running},
		"no goal":      {App: "b"},
		"unknown step": {App: "b", Goal: Running, Update: &Update{Phase: "sideways"}},
	} {
		if out, err := s.Accept([]Desired{{App: "a", Goal: Running}, d}); err == nil || out != nil {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
	if out, err := s.Accept(nil); out != nil || err != nil {
		t.Error(out, err)
	}
	for _, s := range []*Store{s, open(t, dir)} {
		if all := s.All(); len(all) > 0 {
			t.Errorf("accepted: %v", all)
		}
	}
	if out, err := s.Accept([]Desired{{App: "a", Goal: Running}}); err != nil || out[0].Generation != 1 {
		t.Errorf("what was refused counts: %v, %v", out, err)
	}
}

// cut is a way for the disk to fail at a step: what that step leaves, and whether
// later ones succeed.
type cut struct {
	name    string
	done    bool // the step takes effect, but reports a failure
	torn    bool // the step leaves half of a journal or record, which only a faulty disk does
	full    bool // every later write fails, but files can be removed
	forever bool // every later step fails too, without effect: a power cut, or a full disk
}

var errCut = errors.New("cut")

// fail makes the n-th step of the store on the disk fail, and counts them all.
func (c cut) fail(s *Store, n int) (steps *int) {
	steps = new(int)
	write, remove := s.write, s.remove
	step := func(do func() error, torn func() error, removal bool) error {
		*steps++
		switch {
		case *steps < n || *steps > n && (!c.forever && !c.full || c.full && removal):
			return do()
		case *steps > n:
		case c.torn:
			return errors.Join(errCut, torn())
		case c.done:
			return errors.Join(errCut, do())
		}
		return errCut
	}
	s.write = func(name string, b []byte, mode fs.FileMode) error {
		return step(func() error { return write(name, b, mode) }, func() error {
			if strings.HasSuffix(name, lastGood) {
				return nil // a second copy without a first one is known to be broken
			}
			return os.WriteFile(name, b[:len(b)/2], mode)
		}, false)
	}
	s.remove = func(name string) error {
		return step(func() error { return remove(name) }, func() error { return nil }, true)
	}
	return steps
}

func TestCutsLeaveAllOrNothing(t *testing.T) {
	a, b := Desired{App: "a", Goal: Running}, Desired{App: "b", Goal: Running}
	accept := func(records ...Desired) func(*Store) error {
		return func(s *Store) error { _, err := s.Accept(records); return err }
	}
	for name, op := range map[string]func(*Store) error{
		"accept one":        accept(Desired{App: "a", Goal: Stopped}),
		"accept a new one":  accept(Desired{App: "c", Goal: Running}),
		"accept three":      accept(Desired{App: "c", Goal: Running}, Desired{App: "a", Goal: Stopped}, Desired{App: "d", Goal: Running}),
		"update":            func(s *Store) error { _, err := s.Update("a", func(d *Desired) { d.Note = "x" }); return err },
		"delete":            func(s *Store) error { _, err := s.DeleteIf("a", 1); return err },
		"delete and accept": func(s *Store) error { _, err := s.DeleteIf("c", 1); return errors.Join(err, accept(a, b)(s)) },
	} {
		for _, c := range []cut{{name: "fails once"}, {name: "fails late, once", done: true}, {name: "fails from then on", forever: true}, {name: "full from then on", full: true},
			{name: "cut after", done: true, forever: true}, {name: "torn", torn: true, forever: true}} {
			t.Run(name+", "+c.name, func(t *testing.T) {
				for n, acceptNext, reached := 1, true, true; reached; n, acceptNext = n+map[bool]int{false: 1}[acceptNext], !acceptNext {
					dir := t.TempDir()
					s := open(t, dir)
					s.write, s.remove = quick, quickRemove
					s.now = func() time.Time { return time.Unix(0, 0) }
					if _, err := s.Accept([]Desired{a, b}); err != nil {
						t.Fatal(err)
					}
					before := s.All()
					after := outcome(t, s.now, before, op)
					steps := c.fail(s, n)
					err := op(s)
					reached = *steps >= n
					now := s.All()
					if want := map[bool][]Desired{true: after, false: before}[err == nil]; !reflect.DeepEqual(now, want) {
						t.Fatalf("step %d: %v, and in force is\n%+v, expected\n%+v", n, err, now, want)
					}
					if err != nil && (!errors.Is(err, errCut) || !strings.Contains(err.Error(), dir)) {
						t.Fatalf("step %d: the error names no file: %v", n, err)
					}
					// The power goes now: what is on disk is what counts.
					copied := t.TempDir()
					if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
						t.Fatal(err)
					}
					reopened := open(t, copied)
					got := reopened.All()
					if !reflect.DeepEqual(got, before) && !reflect.DeepEqual(got, after) || len(reopened.Broken()) > 0 {
						t.Fatalf("step %d: reopened, in force is neither all nor nothing:\n%+v, %v", n, got, reopened.Broken())
					}
					if (err == nil || !c.forever && !c.full) && !reflect.DeepEqual(got, now) {
						t.Fatalf("step %d: %v, but reopened, in force is\n%+v", n, err, got)
					}
					if left, _ := filepath.Glob(filepath.Join(copied, "accept.json")); len(left) > 0 {
						t.Fatalf("step %d: the journal was left", n)
					}
					// Or the disk recovers: the daemon goes on from what it holds in memory.
					s.write, s.remove = quick, quickRemove
					if acceptNext {
						out, err := s.Accept([]Desired{{App: "z", Goal: Running}})
						if err != nil {
							t.Fatalf("step %d: after the disk recovered: %v", n, err)
						}
						now = append(now, out...)
					} else {
						for _, d := range now {
							if deleted, err := s.DeleteIf(d.App, d.Generation); !deleted || err != nil {
								t.Fatalf("step %d: deleting %s after the disk recovered: %v, %v", n, d.App, deleted, err)
							}
						}
						now = []Desired{}
					}
					if all := open(t, dir).All(); !reflect.DeepEqual(all, now) {
						t.Fatalf("step %d: after the disk recovered, in force is\n%+v, expected\n%+v", n, all, now)
					}
				}
			})
		}
	}
}

// quick writes without waiting for the disk: what a cut leaves is said by the test.
func quick(name string, b []byte, mode fs.FileMode) error {
	return errors.Join(os.WriteFile(name+".new", b, mode), os.Rename(name+".new", name))
}

func quickRemove(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// outcome is what an operation puts in force where nothing fails.
func outcome(t *testing.T, now func() time.Time, before []Desired, op func(*Store) error) []Desired {
	t.Helper()
	s := open(t, t.TempDir())
	s.now, s.write, s.remove = now, quick, quickRemove
	for _, d := range before {
		if err := s.keep(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := op(s); err != nil {
		t.Fatal(err)
	}
	return s.All()
}

// interrupted gives a directory in which a power cut left a whole journal.
func interrupted(t *testing.T, records ...Desired) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	cut{done: true, forever: true}.fail(s, 1)
	if _, err := s.Accept(records); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(filepath.Join(dir, "accept.json")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReplayCanBeCutToo(t *testing.T) {
	for _, c := range []cut{{forever: true}, {forever: true, done: true}, {forever: true, torn: true}} {
		n, reached := 1, true
		for ; reached; n++ {
			dir := interrupted(t, Desired{App: "a", Goal: Running}, Desired{App: "b", Goal: Running})
			s := newStore(dir)
			steps := c.fail(s, n)
			err := s.load()
			if reached = *steps >= n; reached != errors.Is(err, errCut) {
				t.Errorf("step %d: %v", n, err)
			}
			if all := open(t, dir).All(); len(all) != 2 {
				t.Errorf("step %d: %+v", n, all)
			}
		}
		if n != 7 { // two copies of two records, the journal's removal, and the run that is not cut
			t.Errorf("replay was cut at %d steps", n-2)
		}
	}
}

func TestReplayLeavesWhatIsNewer(t *testing.T) {
	dir := interrupted(t, Desired{App: "a", Goal: Running}, Desired{App: "b", Goal: Running})
	journal, err := os.ReadFile(filepath.Join(dir, "accept.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if _, err := s.Update("a", func(d *Desired) { d.Note = "same generation, later" }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Accept([]Desired{{App: "b", Goal: Stopped}}); err != nil {
		t.Fatal(err)
	}
	want := s.All()
	if err := os.WriteFile(filepath.Join(dir, "accept.json"), journal, 0o600); err != nil {
		t.Fatal(err)
	}
	if all := open(t, dir).All(); !reflect.DeepEqual(all, want) {
		t.Errorf("got  %+v\nwant %+v", all, want)
	}
}

func TestReplayLeavesTheRecordOfANewerDaemonAsItIs(t *testing.T) {
	dir := interrupted(t, Desired{App: "a", Goal: Running}, Desired{App: "b", Goal: Running})
	file := filepath.Join(dir, "desired", "a.json")
	b, err := seal(2, map[string]any{"app": "a", "newer": true})
	if err := errors.Join(err, os.WriteFile(file, b, 0o600)); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if all := s.All(); len(all) != 1 || all[0].App != "b" || s.Broken()["a"] == nil {
		t.Errorf("%+v, broken %v", all, s.Broken())
	}
	if left, err := os.ReadFile(file); err != nil || string(left) != string(b) {
		t.Errorf("it was changed: %s, %v", left, err)
	}
}

// A journal of what was refused would bring that into force at the next start.
func TestNothingIsWrittenWhileTheJournalOfWhatWasRefusedIsLeft(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.keep(Desired{App: "z", Goal: Running, Generation: 1}); err != nil {
		t.Fatal(err)
	}
	cut{}.fail(s, 2)
	remove := s.remove
	s.remove = func(name string) error {
		if name == s.journalFile() {
			return errCut
		}
		return remove(name)
	}
	if _, err := s.Accept([]Desired{{App: "a", Goal: Running}, {App: "b", Goal: Running}}); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	for name, write := range map[string]func() error{
		"accept": func() error { _, err := s.Accept([]Desired{{App: "z", Goal: Stopped}}); return err },
		"update": func() error { _, err := s.Update("z", func(d *Desired) { d.Note = "x" }); return err },
		"delete": func() error { _, err := s.DeleteIf("z", 1); return err },
	} {
		if err := write(); err == nil || !strings.Contains(err.Error(), "accept.json cannot be cleared away") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.remove = remove
	if _, err := s.Accept([]Desired{{App: "z", Goal: Stopped}}); err != nil {
		t.Fatal(err)
	}
	if all := open(t, dir).All(); len(all) != 1 || all[0].App != "z" || all[0].Goal != Stopped || all[0].Note != "" {
		t.Errorf("%+v", all)
	}
}

func TestTornJournalIsPutAside(t *testing.T) {
	dir := interrupted(t, Desired{App: "a", Goal: Running}, Desired{App: "b", Goal: Running})
	file := filepath.Join(dir, "accept.json")
	if err := os.Truncate(file, 100); err != nil {
		t.Fatal(err)
	}
	if all := open(t, dir).All(); len(all) > 0 {
		t.Errorf("%v", all)
	}
	if aside, _ := filepath.Glob(file + ".damaged-*"); len(aside) != 1 {
		t.Errorf("put aside: %v", aside)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was left: %v", err)
	}
}

func TestNewerJournalIsLeftAlone(t *testing.T) {
	dir := interrupted(t, Desired{App: "a", Goal: Running}, Desired{App: "b", Goal: Running})
	file := filepath.Join(dir, "accept.json")
	for name, spoil := range map[string]func() ([]byte, error){
		"format": func() ([]byte, error) { return seal(2, []any{}) },
		"a field": func() ([]byte, error) {
			return seal(1, []any{map[string]any{"app": "a", "goal": Running, "generation": 1, "newer": true}})
		},
	} {
		b, err := spoil()
		if err := errors.Join(err, os.WriteFile(file, b, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "written by a newer daemon") || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadFile(file); err != nil || string(left) != string(b) {
			t.Errorf("%s: it was changed: %s, %v", name, left, err)
		}
	}
}

func TestRestartRequestedIsNoGeneration(t *testing.T) {
	if RestartRequested != math.MaxUint64 {
		t.Error("it could be a generation")
	}
}

func TestARecordThatHoldsTheValueOfASecretSettingIsNotAccepted(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Accept([]Desired{{App: "a", Goal: Running, Typed: map[string]string{"key": "hunter2"}}}); err == nil || strings.Contains(err.Error(), "hunter2") || len(s.All()) > 0 {
		t.Errorf("%v, %+v", err, s.All())
	}
}
