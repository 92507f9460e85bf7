// Package rpc serves the daemon's typed interface: the Connect protocol over HTTP,
// behind a bearer token.
package rpc

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"filippo.io/age"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/strength"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/subscription"
)

const (
	maxRequest  = 1 << 20 // bytes of a message; the largest are pieces of a backup
	chunkSize   = 256 << 10
	defaultTail = 100
)

// Host is what is asked of the node itself.
type Host interface {
	Doctor(ctx context.Context, dataDir string) []host.Finding
	Logs(ctx context.Context, container string, follow bool, tail int, emit func(host.LogLine) error) error
	Version(ctx context.Context) (string, error)
}

// Server answers for a reconciler.
type Server struct {
	apiconnect.UnimplementedOrchestratorHandler
	Reconciler   *orchestrator.Reconciler
	Subscription *subscription.Subscription
	Engine       Host
	Sessions     *access.Sessions
	DataDir      string
	Node         string          // its name, such as "box.local"
	Addresses    func() []string // at which browsers find My Apps; nil: they are not known
	Program      string          // path of the running binary
	End          func()          // ends the daemon; systemd starts what is there then
	Version      string
	Digest       string // SHA-256 of the running binary
	StartedAt    time.Time
}

// Handler gives the path and handler; every call must carry a token, of the scope that it takes.
func (s *Server) Handler(guard *access.Guard) (string, http.Handler) {
	path, h := apiconnect.NewOrchestratorHandler(s, connect.WithReadMaxBytes(maxRequest), connect.WithCodec(strictJSON{"json"}), connect.WithCodec(strictJSON{"json; charset=utf-8"}), connect.WithCodec(strictBinary{}))
	return path, guard.Token(scope, h)
}

func fail(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, request.ErrUnknownApp), errors.Is(err, access.ErrNoSession), errors.Is(err, access.ErrNoPasskey), errors.Is(err, request.ErrUnknownFolder), errors.Is(err, repository.ErrUnknown), errors.Is(err, repository.ErrNoSnapshot):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, request.ErrNotInstalled), errors.Is(err, request.ErrRefused), errors.Is(err, operation.ErrBusy), errors.Is(err, secrets.ErrInUse), errors.Is(err, repository.ErrRefused), errors.Is(err, repository.ErrNone), errors.Is(err, repository.ErrKey), errors.Is(err, repository.ErrLocked):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, err)
	}
	return connect.NewError(connect.CodeInternal, err)
}

func (s *Server) ListApps(context.Context, *connect.Request[api.ListAppsRequest]) (*connect.Response[api.ListAppsResponse], error) {
	views, at, stale := s.Reconciler.Apps()
	out := &api.ListAppsResponse{Stale: stale}
	if !at.IsZero() {
		out.ObservedAt = timestamppb.New(at)
	}
	for _, v := range views {
		if v.Goal != "" && fault.Planted(fault.HidesOne) {
			continue
		}
		out.Apps = append(out.Apps, app(v))
	}
	return connect.NewResponse(out), nil
}

func (s *Server) GetApp(_ context.Context, r *connect.Request[api.GetAppRequest]) (*connect.Response[api.App], error) {
	v, err := s.Reconciler.App(r.Msg.Id)
	if err != nil {
		return nil, fail(err)
	}
	a := app(v)
	a.Listing.Description, a.Listing.Screenshots = v.Manifest.Description, v.Manifest.Screenshots
	return connect.NewResponse(a), nil
}

var states = map[view.State]api.State{
	view.NotInstalled: api.State_STATE_NOT_INSTALLED,
	view.Starting:     api.State_STATE_STARTING,
	view.Up:           api.State_STATE_RUNNING,
	view.Unhealthy:    api.State_STATE_UNHEALTHY,
	view.Stopping:     api.State_STATE_STOPPING,
	view.Down:         api.State_STATE_STOPPED,
	view.Removing:     api.State_STATE_REMOVING,
	view.Failed:       api.State_STATE_FAILED,
	view.Waiting:      api.State_STATE_WAITING,
	view.Updating:     api.State_STATE_UPDATING,
}

func app(v view.View) *api.App {
	m := v.Manifest
	a := &api.App{Id: m.ID, Name: m.Name, Version: m.Version, Summary: m.Summary, State: states[v.State], Error: v.Error, Generation: v.Generation, Note: v.Note, Config: v.Config, Source: v.Source, ReleaseNotes: v.Notes, NewPrivileges: v.NewPrivileges}
	a.Listing = &api.Listing{Category: m.Category, Tagline: m.Tagline, Icon: m.Icon, Website: m.Website, Source: m.SourceCode, License: m.License, Languages: m.Languages}
	for _, s := range m.Settings {
		if s.Secret {
			a.SecretSettings = append(a.SecretSettings, s.Name)
		}
	}
	if v.Available != nil {
		a.AvailableVersion, a.Held = v.Available.Version, v.Held
	}
	if p := v.Previous; p != nil {
		a.Previous = &api.Previous{Version: p.Version, Taken: timestamppb.New(p.Taken), Until: timestamppb.New(p.Until), NewPrivileges: p.NewPrivileges, Refused: p.Refused}
	}
	if web, port, ok := m.Web(); ok {
		a.ProxyPort = uint32(port.Host + manifest.ProxyOffset)
		a.WebPath = web.Path
	}
	if b := v.Backup; b != (view.Backup{}) {
		a.Backup = &api.Backup{Size: b.Size, Repository: b.Repository, Problem: b.Problem}
		if !b.Made.IsZero() {
			a.Backup.Made = timestamppb.New(b.Made)
		}
		if !b.Proven.IsZero() {
			a.Backup.Proven, a.Backup.DataOnly = timestamppb.New(b.Proven), b.DataOnly
		}
		if !b.Started.IsZero() {
			a.Backup.Started = timestamppb.New(b.Started)
		}
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

func (s *Server) request(ctx context.Context, r connect.AnyRequest, req request.Request) (*connect.Response[api.Operation], error) {
	req.Who = who(ctx, r)
	gen, err := s.Reconciler.Request(req)
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.Operation{App: req.App, Generation: gen}), nil
}

// who is the caller, for the audit log.
func who(ctx context.Context, r interface{ Peer() connect.Peer }) string {
	host, _, err := net.SplitHostPort(r.Peer().Addr)
	if err != nil {
		host = r.Peer().Addr
	}
	if name := access.TokenOf(ctx); name != "" {
		return "token " + name + " from " + host
	}
	return "token from " + host
}

func (s *Server) Install(ctx context.Context, r *connect.Request[api.InstallRequest]) (*connect.Response[api.Operation], error) {
	return s.request(ctx, r, request.Request{App: r.Msg.Id, Verb: request.Install, Config: r.Msg.Config, Consent: r.Msg.Consent})
}

func (s *Server) Start(ctx context.Context, r *connect.Request[api.StartRequest]) (*connect.Response[api.Operation], error) {
	return s.request(ctx, r, request.Request{App: r.Msg.Id, Verb: request.Start})
}

func (s *Server) Stop(ctx context.Context, r *connect.Request[api.StopRequest]) (*connect.Response[api.Operation], error) {
	return s.request(ctx, r, request.Request{App: r.Msg.Id, Verb: request.Stop})
}

func (s *Server) Restart(ctx context.Context, r *connect.Request[api.RestartRequest]) (*connect.Response[api.Operation], error) {
	return s.request(ctx, r, request.Request{App: r.Msg.Id, Verb: request.Restart})
}

func (s *Server) Uninstall(ctx context.Context, r *connect.Request[api.UninstallRequest]) (*connect.Response[api.Operation], error) {
	return s.request(ctx, r, request.Request{App: r.Msg.Id, Verb: request.Uninstall, Purge: r.Msg.Purge})
}

func (s *Server) Update(ctx context.Context, r *connect.Request[api.UpdateRequest]) (*connect.Response[api.Operation], error) {
	return s.request(ctx, r, request.Request{App: r.Msg.Id, Verb: request.Update, Consent: r.Msg.Consent})
}

func (s *Server) Rollback(ctx context.Context, r *connect.Request[api.RollbackRequest]) (*connect.Response[api.Operation], error) {
	return s.request(ctx, r, request.Request{App: r.Msg.Id, Verb: request.Rollback, Version: r.Msg.Version, Consent: r.Msg.Consent})
}

func (s *Server) Configure(ctx context.Context, r *connect.Request[api.ConfigureRequest]) (*connect.Response[api.Operation], error) {
	return s.request(ctx, r, request.Request{App: r.Msg.Id, Verb: request.Configure, Config: r.Msg.Config})
}

func (s *Server) Adopt(ctx context.Context, r *connect.Request[api.AdoptRequest]) (*connect.Response[api.Operation], error) {
	return s.request(ctx, r, request.Request{App: r.Msg.Id, Verb: request.Adopt, Consent: r.Msg.Consent})
}

func (s *Server) ImportSecret(ctx context.Context, r *connect.Request[api.ImportSecretRequest]) (*connect.Response[api.ImportSecretResponse], error) {
	if err := s.Reconciler.ImportSecret(r.Msg.Id, r.Msg.Name, r.Msg.Value, who(ctx, r)); err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.ImportSecretResponse{}), nil
}

func (s *Server) Backup(ctx context.Context, r *connect.Request[api.BackupRequest], out *connect.ServerStream[api.Chunk]) error {
	var recipients []age.Recipient
	for _, text := range r.Msg.Recipients {
		rec, err := age.ParseX25519Recipient(text)
		if err != nil {
			return connect.NewError(connect.CodeInvalidArgument, err)
		}
		recipients = append(recipients, rec)
	}
	w := bufio.NewWriterSize(writerFunc(func(p []byte) (int, error) { return len(p), out.Send(&api.Chunk{Data: p}) }), chunkSize)
	if err := s.Reconciler.Backups().Write(ctx, r.Msg.Id, recipients, who(ctx, r), w); err != nil {
		return fail(err)
	}
	return fail(w.Flush())
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func (s *Server) Restore(ctx context.Context, in *connect.ClientStream[api.RestoreRequest]) (*connect.Response[api.Operation], error) {
	if !in.Receive() {
		return nil, fail(cmp.Or(in.Err(), io.ErrUnexpectedEOF))
	}
	head := in.Msg().GetHeader()
	if head == nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("the header comes first"))
	}
	var b backup.Backup
	if err := json.Unmarshal(head.Backup, &b); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%s: %w", archive.Header, err))
	}
	b.Consent = head.Consent
	body, w := io.Pipe()
	go func() {
		for in.Receive() {
			if _, err := w.Write(in.Msg().GetVolumes()); err != nil {
				return
			}
		}
		w.CloseWithError(in.Err())
	}()
	defer body.Close()
	gen, err := s.Reconciler.Backups().Restore(ctx, b, head.Secrets, body, head.VolumesSha256, who(ctx, in))
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.Operation{App: b.App, Generation: gen}), nil
}

func (s *Server) SetPassword(ctx context.Context, r *connect.Request[api.SetPasswordRequest]) (*connect.Response[api.SetPasswordResponse], error) {
	if weak := strength.Weak(strings.TrimSpace(r.Msg.Password), strength.OfNode(s.Node)...); weak != nil {
		s.Reconciler.Audit(who(ctx, r), "set password", access.ErrWeak)
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("this password was not taken: %w", weak))
	}
	err := s.Sessions.SetPassword(r.Msg.Password)
	s.Reconciler.Audit(who(ctx, r), "set password", err)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	s.Reconciler.PasswordChanged()
	return connect.NewResponse(&api.SetPasswordResponse{}), nil
}

func (s *Server) GetSecondFactor(context.Context, *connect.Request[api.GetSecondFactorRequest]) (*connect.Response[api.SecondFactor], error) {
	f, err := s.Sessions.Factor.Status()
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	out := &api.SecondFactor{On: f.On, RecoveryCodes: int32(f.Recovery)}
	if f.On {
		out.Since = timestamppb.New(f.Since)
	}
	return connect.NewResponse(out), nil
}

func (s *Server) EndSecondFactor(ctx context.Context, r *connect.Request[api.EndSecondFactorRequest]) (*connect.Response[api.EndSecondFactorResponse], error) {
	err := s.Sessions.Factor.Off()
	s.Reconciler.Audit(who(ctx, r), "second factor off", err)
	switch {
	case errors.Is(err, access.ErrNoFactor):
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	case err != nil:
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	return connect.NewResponse(&api.EndSecondFactorResponse{}), nil
}

func (s *Server) RenewRecoveryCodes(ctx context.Context, r *connect.Request[api.RenewRecoveryCodesRequest]) (*connect.Response[api.RenewRecoveryCodesResponse], error) {
	var codes []string
	err := s.Sessions.Factor.Judge(r.Msg.Code)
	if err == nil {
		codes, err = s.Sessions.Factor.Renew()
	}
	s.Reconciler.Audit(who(ctx, r), "recovery codes anew", err)
	switch {
	case errors.Is(err, access.ErrNoFactor), errors.Is(err, access.ErrFactor):
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	case err != nil:
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	return connect.NewResponse(&api.RenewRecoveryCodesResponse{Codes: codes}), nil
}

func (s *Server) Doctor(ctx context.Context, _ *connect.Request[api.DoctorRequest]) (*connect.Response[api.DoctorResponse], error) {
	out := &api.DoctorResponse{}
	for _, f := range append(s.Engine.Doctor(ctx, s.DataDir), s.Reconciler.Findings(ctx, s.Sessions.Damaged())...) {
		out.Findings = append(out.Findings, &api.Finding{Name: f.Name, Ok: f.OK, Detail: f.Detail, Remedy: f.Remedy})
	}
	return connect.NewResponse(out), nil
}

func (s *Server) Watch(ctx context.Context, r *connect.Request[api.WatchRequest], out *connect.ServerStream[api.Progress]) error {
	return fail(s.Reconciler.Watch(ctx, r.Msg.App, r.Msg.Generation, func(p view.Progress) error {
		return out.Send(&api.Progress{Message: p.Message, Done: p.Done, Error: p.Err,
			EngineSeconds: p.Engine.Seconds(), AppSeconds: p.App.Seconds()})
	}))
}

func (s *Server) Credentials(_ context.Context, r *connect.Request[api.CredentialsRequest]) (*connect.Response[api.CredentialsResponse], error) {
	values, err := s.Reconciler.Credentials(r.Msg.Id)
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.CredentialsResponse{Secrets: values}), nil
}

func (s *Server) Logs(ctx context.Context, r *connect.Request[api.LogsRequest], out *connect.ServerStream[api.LogLine]) error {
	v, err := s.Reconciler.App(r.Msg.Id)
	if err != nil {
		return fail(err)
	}
	tail := int(r.Msg.Tail)
	if tail == 0 {
		tail = defaultTail
	}
	if name := r.Msg.Container; name != "" && !slices.ContainsFunc(v.Containers, func(c host.Container) bool { return c.Name == name }) {
		return connect.NewError(connect.CodeNotFound, fmt.Errorf("%s has no container %q", r.Msg.Id, name))
	}
	present := slices.DeleteFunc(v.Containers, func(c host.Container) bool {
		return c.ID == "" || r.Msg.Container != "" && c.Name != r.Msg.Container
	})
	contains := strings.ToLower(r.Msg.Contains)
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := make([]error, len(present))
	for i, c := range present {
		read := func() {
			errs[i] = s.Engine.Logs(ctx, c.Name, r.Msg.Follow, tail, func(l host.LogLine) error {
				if !strings.Contains(strings.ToLower(l.Text), contains) {
					return nil
				}
				line := &api.LogLine{Container: c.Name, Text: l.Text}
				if !l.At.IsZero() {
					line.Time = timestamppb.New(l.At)
				}
				mu.Lock()
				defer mu.Unlock()
				return out.Send(line)
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

func (s *Server) Status(ctx context.Context, _ *connect.Request[api.StatusRequest]) (*connect.Response[api.StatusResponse], error) {
	_, at, stale := s.Reconciler.Apps()
	out := &api.StatusResponse{Version: s.Version, Digest: s.Digest, StartedAt: timestamppb.New(s.StartedAt), Stale: stale}
	if !at.IsZero() {
		out.ObservedAt = timestamppb.New(at)
	}
	if v, err := s.Engine.Version(ctx); err == nil {
		out.EngineVersion = v
	}
	return connect.NewResponse(out), nil
}
