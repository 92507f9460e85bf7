package gate

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/reports"
)

func TestCleanRemovesWhatIsOldOrTooLargeAndNothingThatIsHeld(t *testing.T) {
	now := time.Now()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name string
		do   Cleaning
		left []string
	}{
		{"too old", Cleaning{Keep: 1, Age: 10 * day}, []string{"d1", "d2", "d3-held", "d4-signed"}},
		{"too large", Cleaning{Keep: 1, Age: 100 * day, Bytes: 3500}, []string{"d1", "d3-held", "d4-signed"}},
		{"all but the newest", Cleaning{Keep: 2}, []string{"d1", "d2", "d3-held", "d4-signed"}},
		{"signed ones, too", Cleaning{Keep: 1, Signed: true}, []string{"d1", "d3-held"}},
		{"only said", Cleaning{DryRun: true, Signed: true}, []string{"d1", "d2", "d3-held", "d4-signed", "d90"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := t.TempDir()
			for name, age := range map[string]time.Duration{"d1": day, "d2": 2 * day, "d3-held": 30 * day, "d4-signed": 40 * day, "d90": 90 * day} {
				dir := filepath.Join(out, name)
				err := errors.Join(os.MkdirAll(filepath.Join(dir, "evidence"), 0o755), os.WriteFile(filepath.Join(dir, reports.PlanFile), []byte("{}"), 0o644), os.WriteFile(filepath.Join(dir, "evidence", "e"), make([]byte, 1000), 0o644))
				if strings.HasSuffix(name, "signed") {
					err = errors.Join(err, os.WriteFile(filepath.Join(dir, reports.SignedFile), nil, 0o644))
				}
				if err := errors.Join(err, os.Chtimes(filepath.Join(dir, reports.PlanFile), now.Add(-age), now.Add(-age))); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(os.Symlink("d1", filepath.Join(out, latest)), os.Mkdir(filepath.Join(out, "no-run"), 0o755)); err != nil {
				t.Fatal(err)
			}
			release, err := hold(filepath.Join(out, "d3-held"))
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			done, err := Clean(out, c.do, now)
			if err != nil || len(done) != 5 {
				t.Fatalf("%+v, %v", done, err)
			}
			dirs, err := runs(out)
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, d := range dirs {
				left = append(left, filepath.Base(d))
			}
			if slices.Sort(left); !slices.Equal(left, c.left) {
				t.Errorf("left: %q", left)
			}
			for _, d := range done {
				if gone := !exists(d.Dir); gone != (d.Why == "" && !c.do.DryRun) {
					t.Errorf("said: %+v", d)
				}
			}
			if !exists(filepath.Join(out, "no-run")) {
				t.Error("what is no run is gone")
			}
		})
	}
}
