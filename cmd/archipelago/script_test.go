package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/archipelago-cloud/archipelago/cmd/internal/script"
	"github.com/archipelago-cloud/archipelago/orchestrator/certificate"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"archipelago": main})
}

func TestScripts(t *testing.T) {
	rollback, err := filepath.Abs("../../dist/rollback.sh")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("ROLLBACK", rollback)
		e.Setenv("HOME", e.WorkDir+"/home")
		e.Setenv("PATH", e.WorkDir+"/bin:"+e.Getenv("PATH"))
		state := e.WorkDir + "/node/_daemon/state"
		if err := os.MkdirAll(state, 0o700); err != nil {
			return err
		}
		ca, err := certificate.Open(state, certificate.Names{Host: "box"})
		if err == nil {
			e.Setenv("FINGERPRINT", ca.Fingerprint())
		}
		return err
	}, Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": script.Status}})
}

func TestTheDaemonIsNeverRoot(t *testing.T) {
	if err := unprivileged(1000); err != nil {
		t.Error(err)
	}
	if err := unprivileged(0); err == nil {
		t.Error("root was taken")
	}
	if os.Geteuid() != 0 {
		return
	}
	dir := t.TempDir()
	err := (&daemon{dataDir: dir, listen: "127.0.0.1:0", listenTLS: "127.0.0.1:0"}).run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "never as root") {
		t.Errorf("as root: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("as root, it wrote %v: %v", left, err)
	}
}

func TestOnlyLoopbackIsServedUnencrypted(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:7070": true, "127.1.2.3:0": true, "[::1]:7070": true, "localhost:7070": true,
		":7070": false, "0.0.0.0:7070": false, "[::]:7070": false, "192.0.2.7:7070": false, "box.local:7070": false, "127.0.0.1": false, "": false,
	} {
		if err := onLoopback(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestCallsInDocumentsAreTaken(t *testing.T) { script.Documented(t, "../..", command) }
