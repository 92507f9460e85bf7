package engine

import (
	"maps"
	"os"
	"strings"
	"testing"
)

func TestTheLastErrorOfAUnitIsBounded(t *testing.T) {
	long := "Error: " + strings.Repeat("é", maxOutput)
	for said, want := range map[string]string{
		"one\nError: first\nError: no such image\nstopped\n": ": Error: no such image",
		"all is well\n":   "",
		long:              ": " + long[:maxWords-1], // a character is two bytes
		long + "\nmore\n": ": " + long[:maxWords-1],
	} {
		if got := lastError(strings.NewReader(said)); got != want {
			t.Errorf("%.40q: %d bytes, %.60q", said, len(got), got)
		}
	}
}

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
	got, err := unitFiles([]string{first, first + "/none", second})
	if want := map[string]string{"a.service": first + "/a.service", "b.service": second + "/b.service"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, expected %v", got, err, want)
	}
	if _, err := unitFiles([]string{first + "/a.service"}); err == nil {
		t.Error("what cannot be read was taken for empty")
	}
}
