package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"github.com/archipelago-cloud/archipelago/cmd/internal/script"
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
			public, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			block, err := ssh.MarshalPrivateKey(private, "")
			if err != nil {
				return err
			}
			host, err := ssh.NewPublicKey(public)
			if err != nil {
				return err
			}
			e.Setenv("HOSTKEY", strings.TrimSpace(string(ssh.MarshalAuthorizedKey(host))))
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
