package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/cmd/internal/script"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
	"github.com/archipelago-cloud/archipelago/orchestrator/certificate"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"archy": main})
}

// node stands in for a node's daemon, whose token is sesame. It writes the settings that
// it is given into a file, one a line.
type node struct {
	apiconnect.UnimplementedOrchestratorHandler
	file string
}

func (n node) handler() http.Handler { return handlerOf(n) }

func handlerOf(h apiconnect.OrchestratorHandler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewOrchestratorHandler(h))
	return mux
}

func (node) Status(_ context.Context, r *connect.Request[api.StatusRequest]) (*connect.Response[api.StatusResponse], error) {
	if r.Header().Get("Authorization") != "Bearer sesame" {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("wrong token"))
	}
	return connect.NewResponse(&api.StatusResponse{Version: "1.2.3"}), nil
}

// hub is an application that needs consent to be installed.
const consentToHub = "uses the node's graphics processor in its container hub"

func (n node) Install(_ context.Context, r *connect.Request[api.InstallRequest]) (*connect.Response[api.Operation], error) {
	return n.installed(r.Msg.Id, r.Msg.Config, r.Msg.Consent)
}

func (n node) Adopt(_ context.Context, r *connect.Request[api.AdoptRequest]) (*connect.Response[api.Operation], error) {
	return n.installed(r.Msg.Id, nil, r.Msg.Consent)
}

func (n node) installed(id string, config map[string]string, consent []string) (*connect.Response[api.Operation], error) {
	if id == "hub" && !slices.Contains(consent, consentToHub) {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("no consent"))
	}
	return n.Configure(context.Background(), connect.NewRequest(&api.ConfigureRequest{Id: id, Config: config}))
}

func (node) GetApp(_ context.Context, r *connect.Request[api.GetAppRequest]) (*connect.Response[api.App], error) {
	if r.Msg.Id == "hub" {
		return connect.NewResponse(&api.App{Id: "hub", Version: "1", State: api.State_STATE_NOT_INSTALLED, NewPrivileges: []string{consentToHub}, Containers: []*api.Container{{Name: "hub", State: "running"}, {Name: "hub-db", State: "running"}, {Name: "hub-old", State: "exited"}}}), nil
	}
	if r.Msg.Id == "notes" {
		return connect.NewResponse(&api.App{Id: "notes", Version: "2", State: api.State_STATE_RUNNING, Previous: &api.Previous{Version: "1", Taken: timestamppb.New(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)), NewPrivileges: []string{consentToNotes}}}), nil
	}
	return connect.NewResponse(&api.App{Id: r.Msg.Id, Config: map[string]string{"api-key": "set", "mode": "plain"}, SecretSettings: []string{"api-key"}}), nil
}

// notes is an application that can be gone back with.
const consentToNotes = "publishes port 80/tcp of the node"

func (node) Rollback(_ context.Context, r *connect.Request[api.RollbackRequest]) (*connect.Response[api.Operation], error) {
	switch {
	case r.Msg.Id != "notes":
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("no earlier version of "+r.Msg.Id+" is kept"))
	case r.Msg.Version != "1":
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the version that is kept is 1, not "+r.Msg.Version))
	case !slices.Contains(r.Msg.Consent, consentToNotes):
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("no consent"))
	}
	return connect.NewResponse(&api.Operation{App: r.Msg.Id, Generation: 1}), nil
}

func (n node) Configure(_ context.Context, r *connect.Request[api.ConfigureRequest]) (*connect.Response[api.Operation], error) {
	var lines string
	for _, k := range slices.Sorted(maps.Keys(r.Msg.Config)) {
		lines += k + "=" + r.Msg.Config[k] + "\n"
	}
	return connect.NewResponse(&api.Operation{App: r.Msg.Id, Generation: 1}), os.WriteFile(n.file, []byte(lines), 0o600)
}

func (n node) ImportSecret(_ context.Context, r *connect.Request[api.ImportSecretRequest]) (*connect.Response[api.ImportSecretResponse], error) {
	return connect.NewResponse(&api.ImportSecretResponse{}), os.WriteFile(n.file, []byte(r.Msg.Value), 0o600)
}

func (node) Watch(_ context.Context, _ *connect.Request[api.WatchRequest], stream *connect.ServerStream[api.Progress]) error {
	return stream.Send(&api.Progress{Done: true})
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
	secure := httptest.NewUnstartedServer(node{}.handler())
	secure.Listener = tls.NewListener(secure.Listener, ca.Config())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // clients reject it, as they are to
	secure.Start()
	t.Cleanup(secure.Close)
	registry, archive := image(t)
	pinned, digest := registered(t)
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		plain := httptest.NewServer(node{file: e.WorkDir + "/configured"}.handler())
		e.Defer(plain.Close)
		e.Setenv("CATALOG", apps)
		e.Setenv("PLAIN", plain.URL)
		e.Setenv("IMAGE", pinned)
		e.Setenv("DIGEST", digest)
		e.Setenv("SECURE", strings.Replace(secure.URL, "http:", "https:", 1))
		e.Setenv("FINGERPRINT", ca.Fingerprint())
		e.Setenv("REGISTRY", registry)
		e.Setenv("ARCHIVE", archive)
		e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
		return nil
	}, Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": script.Status}})
}

func TestCallsInDocumentsAreTaken(t *testing.T) { script.Documented(t, "../..", Command) }
