package engine

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDropInsComeAndGoWithTheUnits: with those of containers alone, and never with the
// owner's.
func TestDropInsComeAndGoWithTheUnits(t *testing.T) {
	dir := t.TempDir()
	names := []string{"page.container", "archipelago-page.network", "pair.container"}
	owner := filepath.Join(dir, "pair.service.d", "limit.conf")
	if err := os.MkdirAll(filepath.Dir(owner), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(owner, []byte("[Service]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} { // the second time, nothing changes
		if changed, err := writeDropIns(dir, names); changed != want || err != nil {
			t.Errorf("changed %v, %v; wanted %v", changed, err, want)
		}
	}
	if got, _ := filepath.Glob(dir + "/*/*"); len(got) != 3 {
		t.Errorf("%q", got)
	}
	for _, name := range []string{"page", "pair"} {
		if !same(filepath.Join(dir, name+".service.d", "archipelago.conf"), []byte(stopOnce)) {
			t.Errorf("%s has no drop-in, or another", name)
		}
	}
	for range 2 {
		if err := removeDropIns(dir, names); err != nil {
			t.Error(err)
		}
	}
	if got, _ := filepath.Glob(dir + "/*"); len(got) != 1 {
		t.Errorf("left: %q", got)
	}
	if _, err := os.Stat(owner); err != nil {
		t.Error(err)
	}
}
