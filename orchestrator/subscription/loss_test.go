package subscription

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/root"
)

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

// damage changes a byte of a file, in the middle.
func (w *world) damage(name string) {
	w.t.Helper()
	b, err := os.ReadFile(w.file(name))
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(w.file(name), b, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestACatalogThatIsLostIsFetchedAgain: whatever became of it on the disk, the mirror, which
// has the same document still, is not asked whether it has changed.
func TestACatalogThatIsLostIsFetchedAgain(t *testing.T) {
	for name, lose := range map[string]func(w *world) error{
		"damaged": func(w *world) error { w.damage(catalogFile); return nil },
		"gone":    func(w *world) error { return os.Remove(w.file(catalogFile)) },
		"empty":   func(w *world) error { return os.Truncate(w.file(catalogFile), 0) },
		"a folder": func(w *world) error {
			return errors.Join(os.Remove(w.file(catalogFile)), os.Mkdir(w.file(catalogFile), 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.follow()
			if err := lose(w); err != nil {
				t.Fatal(err)
			}
			w.docs = nil
			w.open()
			if s, err := w.sub.Status(); err != nil || s.Serial != 0 || len(w.docs) != 0 || name == "damaged" && s.Error == "" {
				t.Fatalf("%+v, %v", s, err)
			}
			changed, err := w.sub.Refresh(t.Context())
			if name == "a folder" { // nothing can be kept there, and the status says so
				if s, _ := w.sub.Status(); err == nil || !strings.Contains(s.Error, catalogFile) {
					t.Errorf("%v, %+v", err, s)
				}
				return
			}
			if err != nil || !changed || w.serial() != 7 {
				t.Errorf("%v, %v, serial %d: it is never held again", changed, err, w.serial())
			}
		})
	}
}

// TestAPowerCutBetweenTwoFilesLosesNothing puts the files of before and after a change side
// by side, as a cut between the two writes leaves them.
func TestAPowerCutBetweenTwoFilesLosesNothing(t *testing.T) {
	keep := func(w *world) map[string][]byte {
		all := map[string][]byte{}
		for _, name := range []string{recordFile, recordFile + lastGood, catalogFile} {
			if b, err := os.ReadFile(w.file(name)); err == nil {
				all[name] = b
			}
		}
		return all
	}
	t.Run("a new document", func(t *testing.T) {
		w := newWorld(t)
		w.follow()
		before := keep(w)
		before["/beta.json"] = w.files["/beta.json"]
		w.publish(8)
		if _, err := w.sub.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{recordFile, recordFile + lastGood} {
			os.WriteFile(w.file(name), before[name], 0o600)
		}
		w.open()
		if w.serial() != 8 {
			t.Errorf("serial %d is held", w.serial())
		}
		if changed, err := w.sub.Load(t.Context(), before["/beta.json"]); changed || !errors.Is(err, document.ErrRollback) {
			t.Errorf("it went back: %v, %v", changed, err)
		}
	})
	t.Run("another channel", func(t *testing.T) {
		w := newWorld(t)
		w.follow()
		before := keep(w)
		if err := w.sub.Follow(Config{Channel: "user", Mirrors: []string{w.mirror.URL}}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(w.file(catalogFile)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the catalog of the other channel is kept: %v", err)
		}
		os.WriteFile(w.file(catalogFile), before[catalogFile], 0o600)
		w.docs = nil
		w.open()
		if len(w.docs) != 0 {
			t.Errorf("the other channel's is in force: %+v", w.docs)
		}
		w.files["/user.json"] = w.document("user", 3, w.clock.AddDate(0, 0, 7), w.keys[0])
		if changed, err := w.sub.Refresh(t.Context()); err != nil || !changed || w.serial() != 3 {
			t.Errorf("%v, %v", changed, err)
		}
	})
}

// TestAnExpiredRootFreezes: what it vouches for stays in force, also after a restart, and
// nothing new is taken until there is a successor.
func TestAnExpiredRootFreezes(t *testing.T) {
	w := newWorld(t)
	w.follow()
	successor := func() []byte { return w.root(2, 1, w.keys[:1], w.keys[0]) }
	w.clock = w.clock.AddDate(1, 0, 1)
	w.files["/beta.json"] = w.document("beta", 8, w.clock.AddDate(0, 0, 7), w.keys[0])
	for _, when := range []string{"while it runs", "after a restart"} {
		if changed, err := w.sub.Refresh(t.Context()); changed || !errors.Is(err, root.ErrRoot) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("%s: %v, %v", when, changed, err)
		}
		if _, err := w.sub.Load(t.Context(), w.files["/beta.json"]); !errors.Is(err, document.ErrExpired) || !strings.Contains(err.Error(), "the root document that vouches for the catalog beta 8 expired") {
			t.Errorf("%s, from the owner's hand: %v", when, err)
		}
		s, err := w.sub.Status()
		if err != nil || s.Serial != 7 || s.RootVersion != 1 || !strings.Contains(s.Error, "expired") {
			t.Errorf("%s: %+v, %v", when, s, err)
		}
		if d := w.docs[len(w.docs)-1]; d.Serial != 7 || !strings.Contains(d.Frozen(w.clock), "expired") {
			t.Errorf("%s: serial %d, frozen %q", when, d.Serial, d.Frozen(w.clock))
		}
		w.docs = nil
		w.open()
		if len(w.docs) != 1 {
			t.Fatal("after a restart, nothing is held")
		}
	}
	w.files["/root/2.json"] = successor()
	if changed, err := w.sub.Refresh(t.Context()); err != nil || !changed || w.serial() != 8 || w.docs[len(w.docs)-1].Frozen(w.clock) != "" {
		t.Errorf("with its successor: %v, %v", changed, err)
	}
}

// TestADamagedSubscriptionHasASecondCopy, and the daemon starts even without both.
func TestADamagedSubscriptionHasASecondCopy(t *testing.T) {
	w := newWorld(t)
	w.follow()
	want, _ := w.sub.Status()
	for _, c := range []struct {
		name string
		lose func()
	}{
		{"a byte of it is another", func() { w.damage(recordFile) }},
		{"its digest is another", func() {
			b, _ := os.ReadFile(w.file(recordFile))
			b[len(b)-5] ^= 1
			os.WriteFile(w.file(recordFile), b, 0o600)
		}},
		{"it is empty", func() { os.Truncate(w.file(recordFile), 0) }},
		{"it is gone", func() { os.Remove(w.file(recordFile)) }},
		{"the second copy is damaged", func() { w.damage(recordFile + lastGood) }},
	} {
		c.lose()
		for _, when := range []string{"at once", "the next time"} {
			w.docs = nil
			w.open()
			if s, err := w.sub.Status(); err != nil || s.Channel != want.Channel || s.Serial != 7 || !slices.Equal(s.Mirrors, want.Mirrors) || len(w.docs) != 1 {
				t.Errorf("%s, %s: %+v, %v", c.name, when, s, err)
			}
		}
		if _, err := w.sub.Refresh(t.Context()); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if aside, _ := filepath.Glob(w.file(recordFile + ".damaged-*")); len(aside) == 0 {
		t.Error("what was damaged is not kept")
	}
	os.Truncate(w.file(recordFile), 100)
	os.Truncate(w.file(recordFile+lastGood), 0)
	w.open()
	_, err := w.sub.Status()
	_, refresh := w.sub.Refresh(t.Context())
	follow := w.sub.Follow(Config{Channel: "beta"}, w.root(1, 1, w.keys[2:], w.keys[2]))
	for what, err := range map[string]error{"status": err, "refresh": refresh, "another root": follow} {
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), w.dir) {
			t.Errorf("both are damaged: %s: %v", what, err)
		}
	}
	// Nor does a file in the directory's place keep the daemon from starting.
	os.RemoveAll(w.dir)
	if err := os.WriteFile(w.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.open()
	if _, err := w.sub.Status(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), w.dir) {
		t.Errorf("a file is in the directory's place: %v", err)
	}
}

// TestTheRecordOfAnotherDaemonIsRead: one without a digest, and one with more fields.
func TestTheRecordOfAnotherDaemonIsRead(t *testing.T) {
	w := newWorld(t)
	w.follow()
	sealed, err := os.ReadFile(w.file(recordFile))
	if err != nil {
		t.Fatal(err)
	}
	open := sealed[:bytes.LastIndex(sealed, []byte(digestKey))]
	for name, b := range map[string][]byte{"older": append(bytes.Clone(open), "}\n"...), "newer": seal(append(bytes.Clone(open), `,"more":1`...))} {
		os.Remove(w.file(recordFile + lastGood))
		os.WriteFile(w.file(recordFile), b, 0o600)
		w.open()
		if w.serial() != 7 {
			t.Errorf("%s: serial %d", name, w.serial())
		}
	}
}

// TestNobodyWaitsForTheDisk: what is followed can be asked while it is being written.
func TestNobodyWaitsForTheDisk(t *testing.T) {
	w := newWorld(t)
	w.follow()
	genuine := w.sub.replace
	written := 0
	w.sub.replace = func(name string, data []byte, mode fs.FileMode) error {
		written++
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			w.sub.Status()
			w.sub.MayUpdate(w.clock)
			w.sub.Policy()
		}()
		select {
		case <-asked:
		case <-time.After(5 * time.Second):
			t.Errorf("%s is being written, and nobody can ask", filepath.Base(name))
		}
		return genuine(name, data, mode)
	}
	w.files["/root/2.json"] = w.root(2, 1, w.keys[:1], w.keys[0])
	w.publish(8)
	if _, err := w.sub.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.sub.Follow(Config{Channel: "user"}, nil); err != nil || written != 7 {
		t.Errorf("%v, %d files written", err, written)
	}
}

// TestARecordThatLacksWhatEachHasIsDamaged: it is JSON, and has no digest that would not fit.
func TestARecordThatLacksWhatEachHasIsDamaged(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":         `null`,
		"an empty object": `{}`,
		"no root":         `{"channel":"stable","mirrors":["http://127.0.0.1:1"]}`,
		"no channel":      `{"roots":["e30="]}`,
		"no root's text":  `{"channel":"stable","mirrors":["http://127.0.0.1:1"],"roots":[null]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, file := range []string{recordFile, recordFile + lastGood} {
				if err := os.WriteFile(w.file(file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			w.docs = nil
			w.open()
			func() {
				defer func() {
					if r := recover(); r != nil {
						t.Errorf("the daemon would end: %v", r)
					}
				}()
				if _, err := w.sub.Refresh(t.Context()); err == nil || errors.Is(err, ErrNone) {
					t.Errorf("%v: it is taken for one that follows nothing", err)
				}
			}()
			if s, err := w.sub.Status(); !errors.Is(err, ErrDamaged) && name != "no root's text" {
				t.Errorf("%+v, %v", s, err)
			}
			if err := w.sub.Follow(Config{Channel: "stable"}, w.root(1, 1, w.keys[:1], w.keys[0])); err == nil && name != "no root's text" {
				t.Error("whoever comes first has his root trusted")
			}
		})
	}
}
