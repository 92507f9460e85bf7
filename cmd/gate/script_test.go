package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/cmd/internal/script"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gate": main})
}

func TestScripts(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("CATALOG", root+"/../../catalog/apps")
			e.Setenv("FIELD", root+"/../../catalog/field")
			var private ed25519.PrivateKey
			for _, name := range []string{"HOSTKEY", "OTHERKEY"} {
				public, key, err := ed25519.GenerateKey(rand.Reader)
				if err != nil {
					return err
				}
				host, err := ssh.NewPublicKey(public)
				if err != nil {
					return err
				}
				e.Setenv(name, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(host))))
				private = key
			}
			block, err := ssh.MarshalPrivateKey(private, "")
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "id"), pem.EncodeToMemory(block), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": script.Status, "replace": replace},
	})
}

// replace edits a file: "replace OLD NEW FILE".
func replace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace OLD NEW FILE")
	}
	text := strings.ReplaceAll(ts.ReadFile(args[2]), args[0], args[1])
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(text), 0o600))
}

func TestExitStatusesSayTheVerdict(t *testing.T) {
	for v, want := range map[reports.Verdict]int{reports.Green: 0, reports.Red: 1, reports.Incomplete: 3, "": 3} {
		if got := verdictStatus(v); got != want {
			t.Errorf("%q: exit status %d, expected %d", v, got, want)
		}
	}
}

func TestExitStatusesSayWhatWentWrong(t *testing.T) {
	for err, want := range map[error]int{
		plan.ErrUsage: 2, keys.ErrUsage: 2, nodes.ErrInventory: 2, nodes.ErrRefused: 2, runner.ErrHeld: 2, fleet.ErrOccupied: 2, catalog.ErrInvalid: 2, sign.ErrKey: 2,
		usage.Wrap(errors.New("planted")): 2, attest.ErrAttestation: 1, runner.ErrIncomplete: 3, nodes.ErrLost: 3, verdictError{1}: 1, verdictError{3}: 3,
	} {
		if got := exitStatus(fmt.Errorf("somewhere: %w", err)); got != want {
			t.Errorf("%v: exit status %d, expected %d", err, got, want)
		}
	}
	if got := exitStatus(nil); got != 0 {
		t.Errorf("nothing went wrong: exit status %d", got)
	}
}

func TestAVerdictIsSaidBeforeTheNodesAreLetGo(t *testing.T) {
	var out bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	outcome := &gate.Outcome{Dir: "dir", Report: &reports.Report{Verdict: reports.Red}}
	err := carryOut(cmd, gate.Options{}, false, func(_ context.Context, o gate.Options) (*gate.Outcome, error) {
		o.Observer.Judged(outcome, errors.New("planted"))
		if said := out.String(); !strings.Contains(said, "gate: planted\ngate: go on with: gate resume dir\nRED: ") {
			t.Errorf("a node that hangs now hides the verdict: %q", said)
		}
		return outcome, errors.New("planted")
	})
	if status := exitStatus(err); status != exitRed {
		t.Errorf("exit status %d, %v", status, err)
	}
	if n := strings.Count(out.String(), "RED: "); n != 1 {
		t.Errorf("the verdict is said %d times: %q", n, out.String())
	}
}

func TestCallsInDocumentsAreTaken(t *testing.T) { script.Documented(t, "../..", (&app{}).command) }
