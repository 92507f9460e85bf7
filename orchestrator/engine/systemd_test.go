package engine

import (
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
