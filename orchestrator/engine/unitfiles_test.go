package engine

import (
	"maps"
	"os"
	"testing"
	"time"
)

func TestUnitFilesAreThoseThatSystemdTakes(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	for _, f := range []string{first + "/a.service", second + "/a.service", second + "/b.service", second + "/b.socket"} {
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(second+"/c.service", 0o755); err != nil {
		t.Fatal(err)
	}
	var units unitFiles
	got, err := units.find([]string{first, first + "/none", second})
	if want := map[string]string{"a.service": first + "/a.service", "b.service": second + "/b.service"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, expected %v", got, err, want)
	}
	if _, err := units.find([]string{first + "/a.service"}); err == nil {
		t.Error("what cannot be read was taken for empty")
	}
}

// TestUnitFilesAreReadAgainWhenADirectoryHasChanged also takes a file away without a change
// of the directory's time, to see that what is known is used.
func TestUnitFilesAreReadAgainWhenADirectoryHasChanged(t *testing.T) {
	dir := t.TempDir()
	var units unitFiles
	wantFiles := func(when string, names ...string) {
		t.Helper()
		got, err := units.find([]string{dir})
		if err != nil || len(got) != len(names) {
			t.Fatalf("%s: %v, %v", when, got, err)
		}
		for _, n := range names {
			if got[n] != dir+"/"+n {
				t.Errorf("%s: %v lacks %s", when, got, n)
			}
		}
	}
	put := func(name string) {
		t.Helper()
		if err := os.WriteFile(dir+"/"+name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	date := func(age time.Duration) {
		t.Helper()
		at := time.Now().Add(-age)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	put("a.service")
	wantFiles("just changed", "a.service")
	put("b.service")
	date(0) // within a tick of the change before
	wantFiles("changed again at once", "a.service", "b.service")
	date(time.Hour)
	wantFiles("long ago", "a.service", "b.service")
	was, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	put("c.service")
	if err := os.Chtimes(dir, was.ModTime(), was.ModTime()); err != nil {
		t.Fatal(err)
	}
	wantFiles("with the time of before", "a.service", "b.service")
	date(time.Minute)
	wantFiles("at another time", "a.service", "b.service", "c.service")
}
