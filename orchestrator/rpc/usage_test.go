package rpc

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/usage"
)

// chatty is a node whose containers have said two lines.
type chatty struct{ Host }

func (chatty) Logs(_ context.Context, _ string, _ bool, _ int, emit func(host.LogLine) error) error {
	for _, l := range []host.LogLine{{At: time.Unix(1_800_000_000, 0), Text: "An ERROR"}, {Text: "all is well"}} {
		if err := emit(l); err != nil {
			return err
		}
	}
	return nil
}

// bearing sends a token along.
type bearing struct {
	token string
	next  http.RoundTripper
}

func (b bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

func TestUsageAndLogsAreTold(t *testing.T) {
	dir := t.TempDir()
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]any{"apps": map[string][]usage.Point{"feeds": {{Span: 3_000_000, Milli: 250, Memory: 5, Received: usage.Unknown, Sent: usage.Unknown, Disk: 7}}}}
	if err := store.Remember("usage.json", kept); err != nil {
		t.Fatal(err)
	}
	if err := store.Remember("observed.json", host.Observation{At: time.Now(), Containers: map[string]host.Container{"feeds": {ID: "1", Name: "feeds", App: "feeds", State: "running"}}}); err != nil {
		t.Fatal(err)
	}
	s, _ := server(t, dir)
	s.Engine = chatty{}
	if _, err := s.Reconciler.Request(request.Request{App: "feeds", Verb: request.Install}); err != nil {
		t.Fatal(err)
	}
	_, h := s.Handler(access.NewGuard(s.Sessions))
	at := httptest.NewServer(h)
	defer at.Close()
	c := apiconnect.NewOrchestratorClient(&http.Client{Transport: bearing{"sesame", at.Client().Transport}}, at.URL)
	got, err := c.Usage(t.Context(), connect.NewRequest(&api.UsageRequest{Id: "feeds"}))
	if err != nil || got.Msg.SpanSeconds != 600 || len(got.Msg.Points) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	p := got.Msg.Points[0]
	if p.GetProcessors() != 0.25 || p.GetMemory() != 5 || p.Received != nil || p.Sent != nil || p.GetDisk() != 7 || p.At.AsTime().Unix() != 600*3_000_000 {
		t.Errorf("%+v", p)
	}
	if _, err := c.Usage(t.Context(), connect.NewRequest(&api.UsageRequest{Id: "none"})); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("of what is not there: %v", err)
	}

	logs := func(r *api.LogsRequest) (all []*api.LogLine, err error) {
		lines, err := c.Logs(t.Context(), connect.NewRequest(r))
		if err != nil {
			return nil, err
		}
		defer lines.Close()
		for lines.Receive() {
			all = append(all, lines.Msg())
		}
		return all, lines.Err()
	}
	if all, err := logs(&api.LogsRequest{Id: "feeds", Contains: "error"}); err != nil || len(all) != 1 || all[0].Text != "An ERROR" || all[0].Time.AsTime().Unix() != 1_800_000_000 {
		t.Errorf("%v, %v", all, err)
	}
	if all, err := logs(&api.LogsRequest{Id: "feeds", Container: "feeds"}); err != nil || len(all) != 2 || all[1].Time != nil {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := logs(&api.LogsRequest{Id: "feeds", Container: "other"}); connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("of a container that it does not have: %v", err)
	}
	if r, err := http.Get(at.URL + "/archipelago.v1.Orchestrator/Usage?encoding=json&message=%7B%22id%22:%22feeds%22%7D"); err != nil || r.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the token: %v, %v", r, err)
	}
}
