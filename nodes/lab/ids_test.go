package lab

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIDsOfNodesAreAddedOnce(t *testing.T) {
	whole := SubordinateIDs
	t.Cleanup(func() { SubordinateIDs = whole })
	for _, c := range []struct {
		name, has string
		enough    bool
	}{
		{"nothing", "", false},
		{"another user's", "archipelago:100000:65536\n", false},
		{"too few", "containers:100000:65536\n", false},
		{"not a number", "containers:100000:many\n", false},
		{"two ranges", "containers:100000:262144\ncontainers:500000:262144\n", true},
		{"enough", "root:1:1\n" + idsEntry, true},
	} {
		file := filepath.Join(t.TempDir(), "subuid")
		if err := os.WriteFile(file, []byte(c.has), 0o600); err != nil {
			t.Fatal(err)
		}
		SubordinateIDs = []string{file}
		want := "echo containers:2000000000:2097152 >> " + file
		if c.enough {
			want = ""
		}
		if got := IDsToAdd(); got != want {
			t.Errorf("%s: %q, expected %q", c.name, got, want)
		}
	}
	SubordinateIDs = []string{filepath.Join(t.TempDir(), "none")}
	if IDsToAdd() == "" {
		t.Error("no file: nothing to add")
	}
}
