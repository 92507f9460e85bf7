package gate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
