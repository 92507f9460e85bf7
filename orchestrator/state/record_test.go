package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// tree gives every file below a directory with its content.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		fmt.Fprintf(&out, "%s: %s\n", path, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestRecordOfANewerDaemonIsLeftAlone(t *testing.T) {
	record := `{"app":"a","goal":"running","generation":4,"accepted_at":"2026-01-02T03:04:05Z","update":{"to":{"id":"a"},"phase":"staged","generation":4}}`
	data := `{"app":"a","version":"1"}`
	for name, c := range map[string]struct {
		kind, record string
		format       int
		says         string
	}{
		"format":                      {"desired", record, 2, "format 2, this one knows 1"},
		"another shape":               {"desired", `["a"]`, 7, "format 7, this one knows 1"},
		"unknown field":               {"desired", strings.Replace(record, `"goal"`, `"later":1,"goal"`, 1), 1, `"later"`},
		"unknown field inside":        {"desired", strings.Replace(record, `"phase"`, `"later":1,"phase"`, 1), 1, `"later"`},
		"unknown field of a way back": {"desired", strings.Replace(record, `"update"`, `"previous":{"manifest":{"id":"a"},"later":1,"taken":"2026-01-02T03:04:05Z","since":"2026-01-02T03:04:05Z"},"update"`, 1), 1, `"later"`},
		"back to nothing":             {"desired", strings.Replace(record, `"phase"`, `"back":true,"phase"`, 1), 1, "nothing on record that it could go back to"},
		"unknown goal":                {"desired", strings.Replace(record, `"running"`, `"asleep"`, 1), 1, `"asleep"`},
		"unknown phase":               {"desired", strings.Replace(record, `"staged"`, `"sideways"`, 1), 1, `"sideways"`},
		"format of data":              {"data", data, 2, "format 2, this one knows 1"},
		"unknown field of data":       {"data", strings.Replace(data, `"version"`, `"later":1,"version"`, 1), 1, `"later"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			if err := errors.Join(s.keep(Desired{App: "a", Goal: Running, Generation: 3}), s.PutData(Data{App: "a"}), s.keep(Desired{App: "b", Goal: Running})); err != nil {
				t.Fatal(err)
			}
			b, err := seal(c.format, json.RawMessage(c.record))
			file := filepath.Join(dir, c.kind, "a.json")
			if err := errors.Join(err, os.WriteFile(file, b, 0o600)); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			s = open(t, dir)
			err = s.Broken()["a"]
			for _, says := range []string{"written by a newer daemon", c.says, "install a daemon at least as new", file} {
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("does not say %q: %v", says, err)
				}
			}
			if _, got := s.Get("a"); got == nil || errors.Is(got, ErrNotFound) {
				t.Errorf("read: %v", got)
			}
			// What is wanted of it stays known where only the data's record is newer: others are
			// not decided on as if it were gone.
			known := []string{"b"}
			if c.kind == "data" {
				known = []string{"a", "b"}
			}
			var all []string
			for _, d := range s.All() {
				all = append(all, d.App)
			}
			if !slices.Equal(all, known) {
				t.Errorf("%q, expected %q", all, known)
			}
			for write, do := range map[string]func() error{
				"accept": func() error { _, err := s.Accept([]Desired{{App: "a", Goal: Running}}); return err },
				"with others": func() error {
					_, err := s.Accept([]Desired{{App: "b", Goal: Running}, {App: "a", Goal: Running}})
					return err
				},
				"update":      func() error { _, err := s.Update("a", func(*Desired) {}); return err },
				"delete":      func() error { _, err := s.DeleteIf("a", 3); return err },
				"put data":    func() error { return s.PutData(Data{App: "a"}) },
				"delete data": func() error { return s.DeleteData("a") },
			} {
				if do() == nil {
					t.Errorf("%s: succeeded", write)
				}
			}
			if after := tree(t, dir); after != before {
				t.Errorf("something was changed:\n%s\nbefore:\n%s", after, before)
			}
			if _, err := s.Accept([]Desired{{App: "b", Goal: Stopped}}); err != nil {
				t.Errorf("the others are affected: %v", err)
			}
		})
	}
}

// TestTheWayBackIsOnRecord, whatever its manifest has that this daemon does not know; and a
// record without one is as daemons have written it that know of none.
func TestTheWayBackIsOnRecord(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	m := &manifest.Manifest{ID: "a", Version: "1"}
	before := &Previous{Manifest: m, Source: "catalog beta 7", Copy: otherCopy, Volumes: []string{"db"}, Taken: at, Since: at.Add(time.Hour)}
	d := Desired{App: "a", Goal: Running, Manifest: m, Previous: before, Held: "x", Update: &Update{To: m, Phase: Returning, Back: true, Taken: at, Had: []string{"db"}}}
	s := open(t, dir)
	if _, err := s.Accept([]Desired{d, {App: "b", Goal: Running, Manifest: m, Update: &Update{To: m, Phase: Staged}}}); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	got, err := s.Get("a")
	if err != nil || got.Previous == nil || got.Previous.Manifest.Version != "1" || got.Held != "x" {
		t.Fatalf("%+v, %v", got, err)
	}
	p := *got.Previous
	p.Manifest = m
	if !reflect.DeepEqual(&p, before) || got.Update.Phase != Returning || !got.Update.Back || !got.Update.Taken.Equal(at) {
		t.Errorf("%+v, %+v", p, got.Update)
	}
	b, err := os.ReadFile(filepath.Join(dir, "desired", "b.json"))
	for _, field := range []string{"previous", "held", "copy", "taken", "back"} {
		if err != nil || strings.Contains(string(b), `"`+field+`"`) {
			t.Errorf("%s, %v", b, err)
		}
	}
	later := `{"app":"a","goal":"running","generation":4,"accepted_at":"2026-01-02T03:04:05Z","previous":{"manifest":{"id":"a","later":1},"taken":"2026-01-02T03:04:05Z","since":"2026-01-02T03:04:05Z"}}`
	if r, err := decodeDesired(json.RawMessage(later)); err != nil || r.Previous.Manifest.ID != "a" {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestCopiesHaveNamesInTurn: the one that is kept is not written over by the next.
func TestCopiesHaveNamesInTurn(t *testing.T) {
	d := Desired{App: "a"}
	for range 3 {
		next := d.FreeCopy()
		if slices.Contains(d.Copies(), next) || !slices.Contains(CopyKinds, next) {
			t.Errorf("%q is next, and %q are there", next, d.Copies())
		}
		d.Update = &Update{Copy: next}
		if have := d.Copies(); !slices.Contains(have, next) || d.Previous != nil && !slices.Contains(have, d.Previous.Copy) {
			t.Errorf("%q of %+v, %+v", have, d.Update, d.Previous)
		}
		d.Previous, d.Update = &Previous{Copy: next}, nil
	}
}

func TestNewerSecondCopyIsLeftAlone(t *testing.T) {
	for name, first := range map[string]func(string) error{"missing": os.Remove, "damaged": func(f string) error { return os.Truncate(f, 20) }} {
		dir := t.TempDir()
		if err := open(t, dir).keep(Desired{App: "a", Goal: Running}); err != nil {
			t.Fatal(err)
		}
		b, err := seal(2, []any{})
		file := filepath.Join(dir, "desired", "a.json")
		if err := errors.Join(err, os.WriteFile(file+lastGood, b, 0o600), first(file)); err != nil {
			t.Fatal(err)
		}
		before := tree(t, dir)
		if s := open(t, dir); s.Broken()["a"] == nil || tree(t, dir) != before {
			t.Errorf("%s: %v, %s", name, s.Broken(), tree(t, dir))
		}
	}
}

func TestRecordWithoutFormatIsOfTheFirst(t *testing.T) {
	dir := t.TempDir()
	// As daemons wrote it before there were formats; a manifest may hold what this one does not know.
	b := `{"sha256":"5f34ecf3e1bfa4c1ad8b1a8acca4e7d94f31b1a5b9d59d8ba1d2f6e0b4cd0f5e","record":RECORD}`
	record := `{"app":"a","goal":"running","generation":4,"accepted_at":"2026-01-02T03:04:05Z","manifest":{"id":"a","later":1},"update":{"to":{"id":"a","version":"2","later":{}},"phase":"staged","generation":4}}`
	sealed, err := seal(1, json.RawMessage(record))
	if err != nil {
		t.Fatal(err)
	}
	var e envelope
	if err := json.Unmarshal(sealed, &e); err != nil {
		t.Fatal(err)
	}
	b = strings.NewReplacer("RECORD", record, b[11:75], e.SHA256).Replace(b)
	open(t, dir) // which makes the directories
	if err := os.WriteFile(filepath.Join(dir, "desired", "a.json"), []byte(b), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	d, err := s.Get("a")
	if err != nil || d.Generation != 4 || d.Manifest.ID != "a" || d.Update.To.Version != "2" || d.Update.Generation != 4 {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := s.Update("a", func(*Desired) {}); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(filepath.Join(dir, "desired", "a.json")); err != nil || !strings.Contains(string(now), `"format":1,`) {
		t.Errorf("%s, %v", now, err)
	}
}

func TestOlderRecordsAreBroughtToTheFormat(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).keep(Desired{App: "a", Goal: Running, Generation: 1, Note: "old"}); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	newer := func(patches map[int]func(json.RawMessage) (json.RawMessage, error)) *Store {
		s := newStore(dir)
		s.desired.format, s.desired.patches = 3, patches
		if err := s.load(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	replace := func(old, by string) func(json.RawMessage) (json.RawMessage, error) {
		return func(b json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(strings.Replace(string(b), old, by, 1)), nil
		}
	}
	for name, patches := range map[string]map[int]func(json.RawMessage) (json.RawMessage, error){
		"a patch is missing": {1: replace("old", "newer")},
		"a patch fails":      {1: replace("old", "newer"), 2: func(json.RawMessage) (json.RawMessage, error) { return nil, errors.New("odd") }},
	} {
		if s := newer(patches); s.Broken()["a"] == nil || tree(t, dir) != before {
			t.Errorf("%s: %v\n%s", name, s.Broken(), tree(t, dir))
		}
	}
	s := newer(map[int]func(json.RawMessage) (json.RawMessage, error){1: replace("old", "newer"), 2: replace("newer", "newest")})
	if d, err := s.Get("a"); err != nil || d.Note != "newest" {
		t.Errorf("%+v, %v", d, err)
	}
	// An older daemon can still go on, until the record is written.
	if tree(t, dir) != before {
		t.Errorf("reading changed it: %s", tree(t, dir))
	}
	if _, err := s.Update("a", func(*Desired) {}); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Broken()["a"]; err == nil || !strings.Contains(err.Error(), "format 3, this one knows 1") {
		t.Error(err)
	}
}

func TestRecallIgnoresOtherFormats(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	type look struct{ N int }
	var got look
	if err := s.Recall("seen.json", &got); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := errors.Join(s.Remember("seen.json", look{3}), s.Recall("seen.json", &got)); err != nil || got.N != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, content := range map[string]string{"older": `{"N":4}`, "newer": `{"format":2,"value":{"N":5}}`} {
		got = look{}
		if err := os.WriteFile(filepath.Join(dir, "seen.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Recall("seen.json", &got); !errors.Is(err, fs.ErrNotExist) || got.N != 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
