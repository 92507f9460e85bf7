package release

import (
	"os/exec"
	"strings"
	"testing"
)

func TestMakeReleaseTrustsTheWaiversThatItIsTold(t *testing.T) {
	for waivers, want := range map[string]string{
		"WAIVERS=":                    "",
		"WAIVERS=ann.pub":             " --trust-waivers 'ann.pub'",
		"WAIVERS=ann.pub keys/bo.pub": " --trust-waivers 'ann.pub' --trust-waivers 'keys/bo.pub'",
	} {
		out, err := exec.Command("make", "-C", "../..", "-n", "release", "TRUST=gate.key.pub", "KEYS=release.key", "VERSION=1", waivers).CombinedOutput()
		if n := strings.Count(want, "--trust-waivers"); err != nil || !strings.Contains(string(out), "--trust gate.key.pub"+want) || strings.Count(string(out), "--trust-waivers") != n {
			t.Errorf("%q: %v, expected %q in\n%s", waivers, err, want, out)
		}
	}
}
