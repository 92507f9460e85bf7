package main

import (
	"strings"
	"testing"
)

func TestATerminalIsShownWhatAnApplicationSaysAndObeysNoneOfIt(t *testing.T) {
	for said, want := range map[string]string{
		"grün\tund\ngut\n":        "grün\tund\ngut\n",
		"\x1b[2J\x1b]52;c;Zm9v\a": `\x1b[2J\x1b]52;c;Zm9v\a`,
		"GREEN\rRED":              `GREEN\rRED`,
		"\u009b31m":               `\u009b31m`,
		"\u202egnp.exe":           `\u202egnp.exe`,
		"not UTF-8: \xff":         "not UTF-8: \ufffd",
		"\x00\x7f":                `\x00\x7f`,
	} {
		var out strings.Builder
		if n, err := (plain{&out}).Write([]byte(said)); err != nil || n != len(said) || out.String() != want {
			t.Errorf("%q: %q, %d, %v", said, out.String(), n, err)
		}
	}
}
