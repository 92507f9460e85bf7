package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
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

func TestRecordsAreKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	d := Desired{App: "a", Goal: Running, Generation: 3, AcceptedAt: time.Now().UTC(), Config: map[string]string{"k": "v"},
		Manifest: &manifest.Manifest{ID: "a", Version: "1"}, Update: &Update{To: &manifest.Manifest{ID: "a", Version: "2"}, Phase: Staged}}
	if err := errors.Join(s.Put(d), s.PutData(Data{App: "a", Migration: 2, Volumes: []string{"v"}})); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if got, err := again.Get("a"); err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := again.Get("b"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := errors.Join(again.Delete("a"), again.Delete("a")); err != nil {
		t.Fatal(err)
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
		"cut off":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":       func([]byte) []byte { return nil },
		"one bit":     func(b []byte) []byte { return bytes.Replace(b, []byte(`"generation":7`), []byte(`"generation":6`), 1) },
		"other app's": func(b []byte) []byte { return bytes.Replace(b, []byte(`"app":"a"`), []byte(`"app":"b"`), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			if err := errors.Join(s.Put(Desired{App: "a", Goal: Running, Generation: 7}), s.Put(Desired{App: "good", Goal: Stopped})); err != nil {
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
			// With both copies damaged the record is known to be unreadable, and the others are not touched.
			if err := errors.Join(os.WriteFile(file, spoilt, 0o600), os.WriteFile(file+lastGood, spoilt, 0o600)); err != nil {
				t.Fatal(err)
			}
			again = open(t, dir)
			if _, err := again.Get("a"); err == nil || errors.Is(err, ErrNotFound) || again.Broken()["a"] == nil {
				t.Errorf("both damaged: %v", err)
			}
			if err := again.Put(Desired{App: "a", Goal: Absent}); err == nil {
				t.Error("a record that could not be read was replaced")
			}
			if all := again.All(); len(all) != 1 || all[0].App != "good" {
				t.Errorf("%v", all)
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
	if err := s.Put(Desired{App: "a", Goal: Running}); err == nil {
		t.Fatal("no error")
	}
	if _, err := s.Get("a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a record that was refused is in force: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "desired", "a.json"+lastGood)); !os.IsNotExist(err) {
		t.Errorf("its second copy was left: %v", err)
	}
}

func TestTokenIsMadeOnceAndPrivate(t *testing.T) {
	dir := t.TempDir()
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
	info, err := os.Stat(filepath.Join(dir, "token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
