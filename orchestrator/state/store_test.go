package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// keep writes a record as it is, with the generation that it has.
func (s *Store) keep(d Desired) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.broken[d.App]; err != nil {
		return err
	}
	return s.put(d)
}

func TestRecordsAreKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	d := Desired{App: "a", Goal: Running, Generation: 3, AcceptedAt: time.Now().UTC(), Config: map[string]string{"k": "v"},
		Manifest: &manifest.Manifest{ID: "a", Version: "1"}, Update: &Update{To: &manifest.Manifest{ID: "a", Version: "2"}, Phase: Staged}}
	if err := errors.Join(s.keep(d), s.PutData(Data{App: "a", Migration: 2, Volumes: []string{"v"}})); err != nil {
		t.Fatal(err)
	}
	d.Digest = d.Manifest.Digest()
	again := open(t, dir)
	if got, err := again.Get("a"); err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := again.Get("b"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, want := range []bool{true, false} {
		if deleted, err := again.DeleteIf("a", 3); deleted != want || err != nil {
			t.Fatalf("deleted: %v, %v; expected %v", deleted, err, want)
		}
	}
	if all := open(t, dir).All(); len(all) != 0 {
		t.Errorf("%v", all)
	}
	if got := open(t, dir).Data("a"); got.Migration != 2 {
		t.Errorf("what is known of the data went with the record: %+v", got)
	}
}

func TestDamagedRecordGivesWayToItsLastGoodCopy(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut off": func(b []byte) []byte { return b[:len(b)/2] },
		"empty":   func([]byte) []byte { return nil },
		"one bit": func(b []byte) []byte { return bytes.Replace(b, []byte(`"generation":7`), []byte(`"generation":6`), 1) },
		"other app's, whole": func([]byte) []byte {
			b, err := seal(1, Desired{App: "b", Goal: Running, Generation: 9})
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			if err := errors.Join(s.keep(Desired{App: "a", Goal: Running, Generation: 7}), s.keep(Desired{App: "good", Goal: Stopped})); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "desired", "a.json")
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			spoilt := damage(b)
			if bytes.Equal(spoilt, b) {
				t.Fatal("nothing was damaged")
			}
			if err := os.WriteFile(file, spoilt, 0o600); err != nil {
				t.Fatal(err)
			}
			again := open(t, dir)
			if d, err := again.Get("a"); err != nil || d.Generation != 7 {
				t.Errorf("%+v, %v", d, err)
			}
			if aside, _ := filepath.Glob(file + ".damaged-*"); len(aside) != 1 {
				t.Errorf("put aside: %v", aside)
			}
			// On a disk that is full, the last good copy is used all the same.
			if err := os.WriteFile(file, spoilt, 0o600); err != nil {
				t.Fatal(err)
			}
			full := newStore(dir)
			full.write = func(string, []byte, fs.FileMode) error { return syscall.ENOSPC }
			if err := full.load(); err != nil {
				t.Errorf("it does not open on a full disk: %v", err)
			}
			if d, err := full.Get("a"); err != nil || d.Generation != 7 {
				t.Errorf("on a full disk: %+v, %v", d, err)
			}
			// With both copies damaged the record is known to be unreadable, and the others are not touched.
			if err := errors.Join(os.WriteFile(file, spoilt, 0o600), os.WriteFile(file+lastGood, spoilt, 0o600)); err != nil {
				t.Fatal(err)
			}
			again = open(t, dir)
			if _, err := again.Get("a"); err == nil || errors.Is(err, ErrNotFound) || again.Broken()["a"] == nil {
				t.Errorf("both damaged: %v", err)
			}
			if _, err := again.Accept([]Desired{{App: "a", Goal: Absent}}); err == nil {
				t.Error("a record that could not be read was replaced")
			}
			if all := again.All(); len(all) != 1 || all[0].App != "good" {
				t.Errorf("%v", all)
			}
			// It is not forgotten by the daemons after that one, even where there is no second copy.
			if err := os.Remove(file + lastGood); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if again = open(t, dir); again.Broken()["a"] == nil {
					t.Error("a record that cannot be read was forgotten")
				}
			}
		})
	}
}

func TestRefusedWriteLeavesTheRecordInForce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	// A directory stands where the record should go.
	if err := os.MkdirAll(filepath.Join(dir, "desired", "a.json", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := s.Accept([]Desired{{App: "a", Goal: Running}})
	if err == nil || !strings.Contains(err.Error(), "state of a") || !strings.Contains(err.Error(), filepath.Join("desired", "a.json")) {
		t.Fatalf("expected an error that names the application and the file: %v", err)
	}
	if _, err := s.Get("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a record that was refused is in force: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "desired", "a.json"+lastGood)); !os.IsNotExist(err) {
		t.Errorf("its second copy was left: %v", err)
	}
}

func TestTokenIsMadeOnceAndPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Token()
	if err != nil {
		t.Fatal(err)
	}
	if second, err := s.Token(); err != nil || second != first {
		t.Errorf("%q, then %q, %v", first, second, err)
	}
	for name, want := range map[string]fs.FileMode{"token": 0o600, ".": 0o700} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	// What is left of one is too easily guessed.
	for _, part := range []string{"", "\n", first[:10]} {
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(part), 0o600); err != nil {
			t.Fatal(err)
		}
		if again, err := s.Token(); err != nil || again == first || len(again) < 26 {
			t.Errorf("after %q: %q, %v", part, again, err)
		}
	}
}

func TestReadersDoNotWaitForTheDisk(t *testing.T) {
	s := open(t, t.TempDir())
	if err := errors.Join(s.keep(Desired{App: "a", Goal: Running, Generation: 1}), s.PutData(Data{App: "a", Version: "1"})); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"accept": func() error {
			_, err := s.Accept([]Desired{{App: "a", Goal: Stopped}, {App: "b", Goal: Running}})
			return err
		},
		"update": func() error { _, err := s.Update("a", func(d *Desired) { d.Goal = Stopped }); return err },
		"delete": func() error { _, err := s.DeleteIf("a", 1); return err },
		"data":   func() error { return s.PutData(Data{App: "a", Version: "2"}) },
	} {
		t.Run(name, func(t *testing.T) {
			reached, refuse := make(chan struct{}), make(chan struct{})
			var once sync.Once
			blocked := func() error {
				once.Do(func() { close(reached) })
				<-refuse
				return errors.New("refused")
			}
			s.write = func(string, []byte, fs.FileMode) error { return blocked() }
			s.remove = func(string) error { return blocked() }
			done := make(chan error, 1)
			go func() { done <- change() }()
			<-reached
			read := make(chan string, 1)
			go func() {
				d, err := s.Get("a")
				read <- fmt.Sprintf("%s %v %d %s %d", d.Goal, err, len(s.All()), s.Data("a").Version, len(s.Broken()))
			}()
			select {
			case got := <-read:
				if got != "running <nil> 1 1 0" {
					t.Errorf("before the write was durable, readers saw %q", got)
				}
			case <-time.After(10 * time.Second):
				t.Error("a reader waits for the disk")
			}
			close(refuse)
			if err := <-done; err == nil {
				t.Error("the write did not fail")
			}
			s.journal, s.undo = false, nil
		})
	}
}

func TestUpdateKeepsNameAndGeneration(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Update("a", func(*Desired) { t.Error("there is nothing to change") }); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := s.Accept([]Desired{{App: "a", Goal: Running}}); err != nil {
		t.Fatal(err)
	}
	d, err := s.Update("a", func(d *Desired) { d.App, d.Generation, d.Note = "b", 9, "changed" })
	if err != nil || d.App != "a" || d.Generation != 1 || d.Note != "changed" {
		t.Errorf("%+v, %v", d, err)
	}
	if again, err := open(t, dir).Get("a"); err != nil || !reflect.DeepEqual(again, d) {
		t.Errorf("on disk %+v, %v; expected %+v", again, err, d)
	}
	if _, err := s.Update("a", func(d *Desired) { d.Goal = "asleep" }); err == nil {
		t.Error("a record that could not be read back was written")
	}
	if got, _ := s.Get("a"); !reflect.DeepEqual(got, d) {
		t.Errorf("a refused change is in force: %+v", got)
	}
}

func TestDeleteLeavesANewerRequest(t *testing.T) {
	s := open(t, t.TempDir())
	for range 2 {
		if _, err := s.Accept([]Desired{{App: "a", Goal: Running}}); err != nil {
			t.Fatal(err)
		}
	}
	if deleted, err := s.DeleteIf("a", 1); deleted || err != nil {
		t.Errorf("deleted: %v, %v", deleted, err)
	}
	if d, err := s.Get("a"); err != nil || d.Generation != 2 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestWritersDoNotLoseEachOthersChanges(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Accept([]Desired{{App: "a", Goal: Running}, {App: "b", Goal: Running}}); err != nil {
		t.Fatal(err)
	}
	s.write, s.remove = quick, quickRemove
	const each = 10
	var readers, writers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		writers.Go(func() {
			for range each {
				if _, err := s.Update("a", func(d *Desired) { d.Note += "." }); err != nil {
					t.Error(err)
				}
			}
		})
		writers.Go(func() {
			for range each {
				out, err := s.Accept([]Desired{{App: "b", Goal: Running}, {App: "c", Goal: Running}})
				if err != nil || out[0].Generation != out[1].Generation+1 {
					t.Errorf("accepted together, numbered apart: %v, %v", out, err)
				}
			}
		})
		readers.Go(func() {
			for tick := time.NewTicker(50 * time.Microsecond); ; {
				select {
				case <-stop:
					tick.Stop()
					return
				case <-tick.C:
				}
				if all := s.All(); len(all) == 3 && all[1].Generation != all[2].Generation+1 {
					t.Errorf("a reader saw half of an acceptance: %v", all)
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	for _, s := range []*Store{s, open(t, dir)} {
		a, _ := s.Get("a")
		c, err := s.Get("c")
		if len(a.Note) != 4*each || c.Generation != 4*each || err != nil {
			t.Errorf("%d changes and %d acceptances, %v; expected %d of each", len(a.Note), c.Generation, err, 4*each)
		}
	}
}
