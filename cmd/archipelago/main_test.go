package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/archipelago-cloud/archipelago/cmd/internal/script"
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
		return nil
	}, Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": script.Status}})
}
