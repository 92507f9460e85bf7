package history

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// TestSearchFindsTheFirstBadOne searches all orders of up to 12 daemons, of which one may be one
// that nothing can be told of.
func TestSearchFindsTheFirstBadOne(t *testing.T) {
	for n := 2; n <= 12; n++ {
		for first := 1; first < n; first++ {
			for unknown := -1; unknown < n; unknown++ {
				tries := 0
				good, bad, err := Search(n, func(i int) (Outcome, error) {
					tries++
					switch {
					case i == unknown:
						return Unknown, nil
					case i < first:
						return Good, nil
					}
					return Bad, nil
				})
				alone := unknown >= 0 && (first == 1 && unknown == 0 || first == n-1 && unknown == n-1)
				if alone {
					if !errors.Is(err, ErrNoneBad) && !errors.Is(err, ErrNoneGood) {
						t.Fatalf("%d, %d, %d: %d to %d, %v", n, first, unknown, good, bad, err)
					}
					continue
				}
				wantGood, wantBad := first-1, first
				if unknown == wantGood {
					wantGood--
				}
				if unknown == wantBad {
					wantBad++
				}
				if err != nil || good != wantGood || bad != wantBad {
					t.Fatalf("%d daemons, the first bad is %d, unknown is %d: %d to %d, %v", n, first, unknown, good, bad, err)
				}
				if tries > 7 { // both ends, 4 halvings, and the unknown one
					t.Errorf("%d daemons: %d tries", n, tries)
				}
			}
		}
	}
	planted := errors.New("planted")
	for name, c := range map[string]struct {
		n    int
		try  func(int) (Outcome, error)
		want error
	}{
		"all good":    {5, func(int) (Outcome, error) { return Good, nil }, ErrNoneBad},
		"all bad":     {5, func(int) (Outcome, error) { return Bad, nil }, ErrNoneGood},
		"all unknown": {5, func(int) (Outcome, error) { return Unknown, nil }, ErrNoneBad},
		"one":         {1, func(int) (Outcome, error) { return Bad, nil }, ErrNoneGood},
		"none":        {0, nil, ErrNoneBad},
		"a try fails": {5, func(int) (Outcome, error) { return Unknown, planted }, planted},
	} {
		if _, _, err := Search(c.n, c.try); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// program puts the daemon of a run beside it.
func program(t *testing.T, out, run, text string) string {
	t.Helper()
	file := filepath.Join(out, run, "bin", "archipelago")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o755)); err != nil {
		t.Fatal(err)
	}
	return reports.Digest([]byte(text))
}

func TestDaemonsAreThoseThatAreThere(t *testing.T) {
	out := t.TempDir()
	for n := range 4 {
		sum := program(t, out, fmt.Sprintf("r%d", n), fmt.Sprintf("daemon %d", n/2)) // r0 and r1 have the same
		made(t, out, n, func(p *plan.Plan, r []reports.Result) { p.Subject.Daemon = sum })
	}
	program(t, out, "r3", "edited since")
	made(t, out, 9, nil) // keeps none
	release := t.TempDir()
	if err := os.WriteFile(filepath.Join(release, "archipelago-linux-"+runtime.GOARCH), []byte("released"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := opened(t, out)
	got, err := h.Daemons(t.Context(), []string{release})
	if err != nil || len(got) != 3 || got[0].SHA256 != reports.Digest([]byte("daemon 0")) || got[1].SHA256 != reports.Digest([]byte("daemon 1")) || got[1].File != filepath.Join(out, "r2", "bin", "archipelago") || got[2].SHA256 != reports.Digest([]byte("released")) {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := h.Daemons(t.Context(), []string{t.TempDir()}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestAProgramSaysWhichCommitItWasBuiltFrom builds one, which is older than it looks.
func TestAProgramSaysWhichCommitItWasBuiltFrom(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "p")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module p\n"), 0o644), os.WriteFile(filepath.Join(dir, "p.go"), []byte("package main\n\nfunc main() {}\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"git", "init", "-q"}, {"git", "add", "go.mod", "p.go"}, {"git", "-c", "user.name=x", "-c", "user.email=x@example.invalid", "commit", "-q", "-m", "x"}, {"go", "build", "-buildvcs=true", "-o", file}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	day := time.Unix(86400, 0).UTC()
	if at, commit := built(file, day); len(commit) != 40 || !at.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("%v, %q", at, commit)
	}
	if at, commit := built(filepath.Join(dir, "p.go"), day); commit != "" || !at.Equal(day) {
		t.Errorf("what is no program: %v, %q", at, commit)
	}
}

func TestWhatIsRecordedIsOfTheSameManifests(t *testing.T) {
	out := t.TempDir()
	daemon := func(d string, edit func(*plan.Plan, []reports.Result)) func(*plan.Plan, []reports.Result) {
		return func(p *plan.Plan, r []reports.Result) {
			p.Subject.Daemon = d
			if edit != nil {
				edit(p, r)
			}
		}
	}
	bad := red("feeds", "install", "planted")
	made(t, out, 1, daemon("d1", bad))
	made(t, out, 2, daemon("d1", nil)) // red stays red
	made(t, out, 3, daemon("d2", nil))
	made(t, out, 4, daemon("d3", func(p *plan.Plan, r []reports.Result) {
		bad(p, r)
		p.Subject.Manifests["broker"] = "b1"
	}))
	made(t, out, 5, daemon("d4", nil))
	h := opened(t, out)
	bits, err := h.Bits(t.Context(), "feeds")
	if err != nil || bits == "" {
		t.Fatal(bits, err)
	}
	got := []Daemon{{SHA256: "d1"}, {SHA256: "d2"}, {SHA256: "d3"}, {SHA256: "d5"}}
	if err := h.Recorded(t.Context(), "feeds", "install", bits, got); err != nil {
		t.Fatal(err)
	}
	if got[0].Outcome != Bad || got[0].Run != "r1" || got[1].Outcome != Good || got[2].Outcome != Unknown || got[3].Outcome != Unknown {
		t.Errorf("%+v", got)
	}
	for run, want := range map[string]bool{"r1": true, "r3": true, "r4": false, "r5": false} {
		if same, err := h.SameBits(t.Context(), run, "feeds"); err != nil || same != want {
			t.Errorf("%s: %v, %v", run, same, err)
		}
	}
	if bits, err := h.Bits(t.Context(), "ghost"); err != nil || bits != "" {
		t.Errorf("%q, %v", bits, err)
	}
}
