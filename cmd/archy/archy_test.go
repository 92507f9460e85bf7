package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/archipelago-cloud/archipelago/cmd/internal/script"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"archy": main})
}

func TestScripts(t *testing.T) {
	apps, err := filepath.Abs("../../catalog/apps")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("CATALOG", apps)
		e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
		return nil
	}, Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": script.Status}})
}
