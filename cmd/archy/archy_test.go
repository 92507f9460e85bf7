package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/archipelago-cloud/archipelago/cmd/internal/script"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
	"github.com/archipelago-cloud/archipelago/orchestrator/certificate"
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
	ca, err := certificate.Open(t.TempDir(), certificate.Names{Host: "box"})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewOrchestratorHandler(node{}))
	plain, secure := httptest.NewServer(mux), httptest.NewUnstartedServer(mux)
	secure.Listener = tls.NewListener(secure.Listener, ca.Config())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // clients reject it, as they are to
	secure.Start()
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("CATALOG", apps)
		e.Setenv("PLAIN", plain.URL)
		e.Setenv("SECURE", strings.Replace(secure.URL, "http:", "https:", 1))
		e.Setenv("FINGERPRINT", ca.Fingerprint())
		e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
		return nil
	}, Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": script.Status}})
}
