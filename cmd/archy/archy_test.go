package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"connectrpc.com/connect"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/archipelago-cloud/archipelago/cmd/internal/script"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"archy": main})
}

// node stands in for a node's daemon, whose token is sesame.
type node struct {
	apiconnect.UnimplementedOrchestratorHandler
}

func (node) Status(_ context.Context, r *connect.Request[api.StatusRequest]) (*connect.Response[api.StatusResponse], error) {
	if r.Header().Get("Authorization") != "Bearer sesame" {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("wrong token"))
	}
	return connect.NewResponse(&api.StatusResponse{Version: "1.2.3"}), nil
}

func TestScripts(t *testing.T) {
	apps, err := filepath.Abs("../../catalog/apps")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewOrchestratorHandler(node{}))
	plain := httptest.NewServer(mux)
	t.Cleanup(plain.Close)
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("CATALOG", apps)
		e.Setenv("PLAIN", plain.URL)
		e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
		return nil
	}, Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": script.Status}})
}
