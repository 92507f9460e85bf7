package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func TestOnlyYesAtATerminalIsConsent(t *testing.T) {
	app := &api.App{Id: "a", Version: "1", AvailableVersion: "2"}
	asked := []string{"publishes port 8333/tcp of the node", "changes the setting k of b to \"it's\""}
	for _, c := range []struct {
		answer   string
		terminal bool
		agrees   bool
	}{
		{"y\n", true, true}, {"Yes\n", true, true}, {"n\n", true, false}, {"\n", true, false}, {"", true, false}, {"yesterday\n", true, false},
		{"y\n", false, false},
	} {
		var out strings.Builder
		err := consent(strings.NewReader(c.answer), &out, c.terminal, "update", app, asked)
		if (err == nil) != c.agrees {
			t.Errorf("%q, terminal %v: %v", c.answer, c.terminal, err)
		}
		for _, p := range asked {
			if !strings.Contains(out.String(), p) {
				t.Errorf("%q was not shown:\n%s", p, &out)
			}
		}
		if !c.terminal && !strings.Contains(err.Error(), `--accept 'publishes port 8333/tcp of the node' --accept 'changes the setting k of b to "it'\''s"'`) {
			t.Errorf("a script is not told what to accept: %v", err)
		}
	}
	if got := missing(asked, asked[:1]); !slices.Equal(got, asked[1:]) {
		t.Errorf("missing: %q", got)
	}
}
