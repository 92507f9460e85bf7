package gate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

func TestARunIsWorkedOnByOneProcess(t *testing.T) {
	dir := t.TempDir()
	release, err := hold(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold(dir); !errors.Is(err, plan.ErrUsage) || !errors.Is(err, errWorkedOn) || !strings.Contains(err.Error(), fmt.Sprintf("process %d;", os.Getpid())) {
		t.Errorf("%v", err)
	}
	release()
	if release, err = hold(dir); err != nil {
		t.Fatal(err)
	}
	release()
}

func TestTokensAreTakenOutOfRunsThatNobodyWorksOn(t *testing.T) {
	out := t.TempDir()
	put := func(run string) string {
		t.Helper()
		file := filepath.Join(out, run, "suite", "s.json")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(filepath.Join(out, run, reports.PlanFile), []byte("{}"), 0o644), os.WriteFile(file, []byte(`{"token":"secret"}`), 0o600)); err != nil {
			t.Fatal(err)
		}
		return file
	}
	dead, live := put("dead"), put("live")
	if err := os.Symlink("dead", filepath.Join(out, latest)); err != nil {
		t.Fatal(err)
	}
	release, err := hold(filepath.Join(out, "live"))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := disarm(out); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{dead: false, live: true} {
		if b, err := os.ReadFile(file); err != nil || strings.Contains(string(b), "secret") != want {
			t.Errorf("%s: %s, %v", file, b, err)
		}
	}
}

// Runs that others made lie beside the gate's own: their links lead it to nothing of its owner's.
func TestLinksOfARunLeadNowhere(t *testing.T) {
	out, home := t.TempDir(), t.TempDir()
	dir := filepath.Join(out, "foreign")
	secrets := map[string]string{"keys": "ssh-ed25519 AAAA", "login.json": `{"token":"secret","address":"x"}`, "torn.json": "{"}
	plant := func(name, to string) {
		t.Helper()
		err := os.RemoveAll(dir)
		err = errors.Join(err, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, reports.PlanFile), []byte(`{"run":"r1"}`), 0o644))
		for file, text := range secrets {
			err = errors.Join(err, os.WriteFile(filepath.Join(home, file), []byte(text), 0o600))
		}
		if err := errors.Join(err, os.RemoveAll(filepath.Join(dir, name)), os.Symlink(filepath.Join(home, to), filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	untouched := func(what string, err error) {
		t.Helper()
		for file, text := range secrets {
			if b, readErr := os.ReadFile(filepath.Join(home, file)); readErr != nil || string(b) != text {
				t.Errorf("%s: %s is %q now, %v (%v)", what, file, b, readErr, err)
			}
		}
	}
	plant(lockFile, "keys")
	_, err := Clean(out, Cleaning{DryRun: true}, time.Now())
	untouched("gate clean --dry-run", err)
	plant("suite", "")
	err = disarm(out)
	untouched("the tokens of killed gates", err)
	if !errors.Is(err, plan.ErrUsage) {
		t.Error(err)
	}
	for _, name := range []string{reports.PlanFile, reports.ResultsFile, reports.WaiversDir, "evidence"} {
		plant(name, "keys")
		if _, err := Report(out, "foreign"); !errors.Is(err, plan.ErrUsage) || !errors.Is(err, reports.ErrForeign) {
			t.Errorf("gate report, where %s is a link: %v", name, err)
		}
	}
}
