// Package rpc serves the daemon's typed interface: the Connect protocol over HTTP,
// behind a bearer token.
package rpc

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
)

const (
	maxRequest  = 64 << 10 // bytes; requests hold a name or two
	defaultTail = 100
)

// LogSource streams the lines of a container.
type LogSource interface {
	Logs(ctx context.Context, container string, follow bool, tail int, emit func(string) error) error
	Version(ctx context.Context) (string, error)
}

// Server answers for a reconciler.
type Server struct {
	apiconnect.UnimplementedOrchestratorHandler
	Reconciler *orchestrator.Reconciler
	Engine     LogSource
	Version    string
	Digest     string // SHA-256 of the running binary
	StartedAt  time.Time
}

// Handler gives the path and handler; every call must carry the token.
func (s *Server) Handler(token string) (string, http.Handler) {
	path, h := apiconnect.NewOrchestratorHandler(s, connect.WithReadMaxBytes(maxRequest))
	return path, RequireToken(token, h)
}

// RequireToken answers 401 to requests without "Authorization: Bearer TOKEN".
func RequireToken(token string, next http.Handler) http.Handler {
	want := []byte("Bearer " + token)
	deny := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			deny.Write(w, r, connect.NewError(connect.CodeUnauthenticated, errors.New("sign in first: send the node's access token (archy login)")))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func fail(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, orchestrator.ErrUnknownApp):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, orchestrator.ErrNotInstalled):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	}
	return connect.NewError(connect.CodeInternal, err)
}

// ListApps implements the service.
func (s *Server) ListApps(context.Context, *connect.Request[api.ListAppsRequest]) (*connect.Response[api.ListAppsResponse], error) {
	views, at, stale, err := s.Reconciler.Apps()
	if err != nil {
		return nil, fail(err)
	}
	out := &api.ListAppsResponse{Stale: stale}
	if !at.IsZero() {
		out.ObservedAt = timestamppb.New(at)
	}
	for _, v := range views {
		out.Apps = append(out.Apps, app(v))
	}
	return connect.NewResponse(out), nil
}

// GetApp implements the service.
func (s *Server) GetApp(_ context.Context, r *connect.Request[api.GetAppRequest]) (*connect.Response[api.App], error) {
	v, err := s.Reconciler.App(r.Msg.Id)
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(app(v)), nil
}

var states = map[orchestrator.State]api.State{
	orchestrator.NotInstalled: api.State_STATE_NOT_INSTALLED,
	orchestrator.Starting:     api.State_STATE_STARTING,
	orchestrator.Up:           api.State_STATE_RUNNING,
	orchestrator.Unhealthy:    api.State_STATE_UNHEALTHY,
	orchestrator.Stopping:     api.State_STATE_STOPPING,
	orchestrator.Down:         api.State_STATE_STOPPED,
	orchestrator.Removing:     api.State_STATE_REMOVING,
	orchestrator.Failed:       api.State_STATE_FAILED,
}

func app(v orchestrator.View) *api.App {
	m := v.Manifest
	a := &api.App{Id: m.ID, Name: m.Name, Version: m.Version, Summary: m.Summary, State: states[v.State], Error: v.Error, Generation: v.Generation}
	if web, port, ok := m.Web(); ok {
		a.ProxyPort = uint32(port.Host + manifest.ProxyOffset)
		a.WebPath = web.Path
	}
	for _, c := range v.Containers {
		pc := &api.Container{Name: c.Name, Id: c.ID, State: c.State, Health: c.Health}
		if c.State != "" {
			pc.StartedAt = timestamppb.New(c.StartedAt)
		}
		a.Containers = append(a.Containers, pc)
	}
	return a
}

func (s *Server) request(app, verb string, purge bool) (*connect.Response[api.Operation], error) {
	gen, err := s.Reconciler.Request(app, verb, purge)
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.Operation{App: app, Generation: gen}), nil
}

// Install implements the service.
func (s *Server) Install(_ context.Context, r *connect.Request[api.InstallRequest]) (*connect.Response[api.Operation], error) {
	return s.request(r.Msg.Id, "install", false)
}

// Start implements the service.
func (s *Server) Start(_ context.Context, r *connect.Request[api.StartRequest]) (*connect.Response[api.Operation], error) {
	return s.request(r.Msg.Id, "start", false)
}

// Stop implements the service.
func (s *Server) Stop(_ context.Context, r *connect.Request[api.StopRequest]) (*connect.Response[api.Operation], error) {
	return s.request(r.Msg.Id, "stop", false)
}

// Restart implements the service.
func (s *Server) Restart(_ context.Context, r *connect.Request[api.RestartRequest]) (*connect.Response[api.Operation], error) {
	return s.request(r.Msg.Id, "restart", false)
}

// Uninstall implements the service.
func (s *Server) Uninstall(_ context.Context, r *connect.Request[api.UninstallRequest]) (*connect.Response[api.Operation], error) {
	return s.request(r.Msg.Id, "uninstall", r.Msg.Purge)
}

// Watch implements the service.
func (s *Server) Watch(ctx context.Context, r *connect.Request[api.WatchRequest], out *connect.ServerStream[api.Progress]) error {
	return fail(s.Reconciler.Watch(ctx, r.Msg.App, r.Msg.Generation, func(p orchestrator.Progress) error {
		return out.Send(&api.Progress{Message: p.Message, Done: p.Done, Error: p.Err,
			EngineSeconds: p.Engine.Seconds(), AppSeconds: p.App.Seconds()})
	}))
}

// Credentials implements the service.
func (s *Server) Credentials(_ context.Context, r *connect.Request[api.CredentialsRequest]) (*connect.Response[api.CredentialsResponse], error) {
	values, err := s.Reconciler.Credentials(r.Msg.Id)
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.CredentialsResponse{Secrets: values}), nil
}

// Logs implements the service.
func (s *Server) Logs(ctx context.Context, r *connect.Request[api.LogsRequest], out *connect.ServerStream[api.LogLine]) error {
	v, err := s.Reconciler.App(r.Msg.Id)
	if err != nil {
		return fail(err)
	}
	tail := int(r.Msg.Tail)
	if tail == 0 {
		tail = defaultTail
	}
	present := slices.DeleteFunc(v.Containers, func(c orchestrator.Container) bool { return c.ID == "" })
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, len(present))
	for i, c := range present {
		read := func() {
			errs[i] = s.Engine.Logs(ctx, c.Name, r.Msg.Follow, tail, func(line string) error {
				mu.Lock()
				defer mu.Unlock()
				return out.Send(&api.LogLine{Container: c.Name, Text: line})
			})
		}
		if r.Msg.Follow {
			wg.Go(read)
		} else {
			read()
		}
	}
	wg.Wait()
	return fail(errors.Join(errs...))
}

// Status implements the service.
func (s *Server) Status(ctx context.Context, _ *connect.Request[api.StatusRequest]) (*connect.Response[api.StatusResponse], error) {
	_, at, stale, err := s.Reconciler.Apps()
	if err != nil {
		return nil, fail(err)
	}
	out := &api.StatusResponse{Version: s.Version, Digest: s.Digest, StartedAt: timestamppb.New(s.StartedAt), Stale: stale}
	if !at.IsZero() {
		out.ObservedAt = timestamppb.New(at)
	}
	if v, err := s.Engine.Version(ctx); err == nil {
		out.EngineVersion = v
	}
	return connect.NewResponse(out), nil
}
