package matrix

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// owned is a daemon that asks its owner before it installs, or does not.
type owned struct {
	keeper
	state    api.State
	asks     []string
	lax      bool // it installs without consent
	broken   bool // it installs nothing
	installs int
}

func (o *owned) GetApp(context.Context, *connect.Request[api.GetAppRequest]) (*connect.Response[api.App], error) {
	return connect.NewResponse(&api.App{State: o.state, NewPrivileges: o.asks}), nil
}

func (o *owned) Install(_ context.Context, r *connect.Request[api.InstallRequest]) (*connect.Response[api.Operation], error) {
	o.installs++
	switch {
	case o.broken:
		return nil, connect.NewError(connect.CodeInternal, errors.New("broken"))
	case !o.lax && o.state == api.State_STATE_NOT_INSTALLED && len(r.Msg.Consent) < len(o.asks):
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the owner's consent is missing"))
	}
	o.consent = r.Msg.Consent
	return connect.NewResponse(&api.Operation{App: r.Msg.Id, Generation: 1}), nil
}

func TestAnInstallationAgreesToWhatIsAskedAndWantsToBeAsked(t *testing.T) {
	const privilege = "may end any of its processes (KILL) in its container pair"
	for name, c := range map[string]struct {
		daemon *owned
		want   string // in the error; empty: it is installed
		times  int
	}{
		"asked":             {&owned{state: api.State_STATE_NOT_INSTALLED, asks: []string{privilege}}, "", 2},
		"installed already": {&owned{state: api.State_STATE_STOPPED}, "", 1},
		"not asked":         {&owned{state: api.State_STATE_NOT_INSTALLED, asks: []string{privilege}, lax: true}, "installed without its owner's consent to what it has: it " + privilege, 1},
		"not told":          {&owned{state: api.State_STATE_NOT_INSTALLED, asks: []string{"may fly"}}, "its owner is not told that it " + privilege, 0},
		"broken":            {&owned{state: api.State_STATE_NOT_INSTALLED, asks: []string{privilege}, broken: true}, "broken", 1},
	} {
		mux := http.NewServeMux()
		mux.Handle(apiconnect.NewOrchestratorHandler(c.daemon))
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		s := harness(t, boot, nil)
		s.Daemon = client.New(server.URL, "token", "")
		m := stack()
		m.Containers[1].Capabilities = []string{"KILL"}
		err := (&Environment{Session: s, App: m}).do(t.Context(), newRecorder(s.Shard, "pair", Install), Install, false)
		switch {
		case c.daemon.installs != c.times:
			t.Errorf("%s: it was asked for %d times, expected %d", name, c.daemon.installs, c.times)
		case c.want == "" && (err != nil || !slices.Equal(c.daemon.consent, c.daemon.asks)):
			t.Errorf("%s: %v, consent %q", name, err, c.daemon.consent)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
	}
}
