package main

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
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

// node stands in for a node's daemon. It writes the settings that it is given into a
// file, one a line.
type node struct {
	apiconnect.UnimplementedOrchestratorHandler
	file string
}

func (node) Status(context.Context, *connect.Request[api.StatusRequest]) (*connect.Response[api.StatusResponse], error) {
	return connect.NewResponse(&api.StatusResponse{}), nil
}

func (node) GetApp(_ context.Context, r *connect.Request[api.GetAppRequest]) (*connect.Response[api.App], error) {
	return connect.NewResponse(&api.App{Id: r.Msg.Id, Config: map[string]string{"api-key": "set", "mode": "plain"}, SecretSettings: []string{"api-key"}}), nil
}

func (n node) Configure(_ context.Context, r *connect.Request[api.ConfigureRequest]) (*connect.Response[api.Operation], error) {
	var lines string
	for _, k := range slices.Sorted(maps.Keys(r.Msg.Config)) {
		lines += k + "=" + r.Msg.Config[k] + "\n"
	}
	return connect.NewResponse(&api.Operation{App: r.Msg.Id, Generation: 1}), os.WriteFile(n.file, []byte(lines), 0o600)
}

func (node) Watch(_ context.Context, _ *connect.Request[api.WatchRequest], stream *connect.ServerStream[api.Progress]) error {
	return stream.Send(&api.Progress{Done: true})
}

func TestScripts(t *testing.T) {
	apps, err := filepath.Abs("../../catalog/apps")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("CATALOG", apps)
		e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
		mux := http.NewServeMux()
		mux.Handle(apiconnect.NewOrchestratorHandler(node{file: e.WorkDir + "/configured"}))
		server := httptest.NewServer(mux)
		e.Defer(server.Close)
		e.Setenv("NODE", server.URL)
		return nil
	}, Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": script.Status}})
}
