package engine

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSystemdsVersionIsItsFirstNumber(t *testing.T) {
	for version, want := range map[string]string{`"257.9-1~deb13u1"`: "257", `"v256-rc1"`: "256", `"254"`: "254", "": "", `"unknown"`: ""} {
		if got := major(version); got != want {
			t.Errorf("%s: %q, expected %q", version, got, want)
		}
	}
}

func TestSubordinateIDsAreAddedUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	if err := os.WriteFile(file, []byte("other:100000:65536\narchipelago:165536:65536\narchipelago:300000:1000\nbroken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := subordinate(file, "archipelago"); n != 66536 {
		t.Error(n)
	}
	if n := subordinate(file, "nobody"); n != 0 {
		t.Error(n)
	}
	if n := subordinate(file+".absent", "archipelago"); n != 0 {
		t.Error(n)
	}
}
