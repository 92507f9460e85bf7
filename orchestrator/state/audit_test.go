package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// audited gives what the files of the audit log say was asked for, the oldest first,
// and the largest file's size.
func audited(t *testing.T, dir string) (asked []string, largest int) {
	t.Helper()
	for n := auditKept + 1; n >= 0; n-- {
		file := filepath.Join(dir, auditFile)
		if n > 0 {
			file += fmt.Sprint(".", n)
		}
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if n > auditKept {
			t.Errorf("%s is kept", file)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
		largest = max(largest, len(b))
		for line := range bytes.Lines(b) {
			var l struct{ What string }
			if err := json.Unmarshal(line, &l); err != nil {
				t.Errorf("%s: %q: %v", file, line, err)
			}
			asked = append(asked, l.What)
		}
	}
	return asked, largest
}

func TestAuditLogRotatesAndKeepsTheNewestLines(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.auditMax = 1000
	const lines = 200
	for i := range lines {
		if err := s.Audit("test", "feeds", fmt.Sprint("ask ", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	asked, largest := audited(t, dir)
	if largest > int(s.auditMax) {
		t.Errorf("a file has %d bytes; the bound is %d", largest, s.auditMax)
	}
	if len(asked) < 4*10 || len(asked) > lines/2 {
		t.Errorf("%d lines are kept", len(asked))
	}
	for i, what := range asked {
		if want := fmt.Sprint("ask ", lines-len(asked)+i); what != want {
			t.Fatalf("line %d is %q, expected %q", i, what, want)
		}
	}
}

func TestRotationThatAPowerCutInterruptedLosesNoLine(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(`{"what":"old"}` + "\n")
	for _, name := range []string{"", ".2", ".3", ".4"} { // .1 had just become .2
		if err := os.WriteFile(filepath.Join(dir, auditFile+name), line, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.auditMax = int64(len(line))
	if err := s.Audit("test", "", "new", nil); err != nil {
		t.Fatal(err)
	}
	if asked, _ := audited(t, dir); len(asked) != 5 || asked[4] != "new" {
		t.Errorf("left: %q", asked)
	}
}

func TestAuditLogRotatesWhileManyWrite(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.auditMax = 2000
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if err := s.Audit("test", "", fmt.Sprint("ask ", i), errors.New("refused")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if asked, _ := audited(t, dir); len(asked) != 40 {
		t.Errorf("%d of 40 lines are there", len(asked))
	}
}

func TestTheNewestOfAnApplicationIsAskedOfTheAuditLog(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if asked, err := s.Asked("feeds", 2); err != nil || len(asked) > 0 {
		t.Errorf("of nothing: %v, %v", asked, err)
	}
	for i := range 3 {
		for app, refused := range map[string]error{"feeds": errors.New("why"), "feeds-2": nil, "": nil} {
			if err := s.Audit("owner", app, fmt.Sprint("ask ", i), refused); err != nil {
				t.Fatal(err)
			}
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, auditFile), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"app":"feeds","what":"cut`); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	asked, err := s.Asked("feeds", 2)
	if err != nil || len(asked) != 2 || asked[0].What != "ask 2" || asked[1].What != "ask 1" || asked[0].Refused != "why" {
		t.Errorf("%+v, %v", asked, err)
	}
	if asked, err := s.Asked("", 9); err != nil || len(asked) != 3 {
		t.Errorf("of the node: %+v, %v", asked, err)
	}
}
