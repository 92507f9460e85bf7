package rpc

import (
	"cmp"
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
)

func (s *Server) AddRepository(ctx context.Context, r *connect.Request[api.AddRepositoryRequest]) (*connect.Response[api.AddRepositoryResponse], error) {
	added, key, err := s.Reconciler.AddRepository(ctx, repository.Added{Name: r.Msg.Name, URL: r.Msg.Url, Key: r.Msg.RecoveryKey, Environment: r.Msg.Environment}, who(ctx, r))
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.AddRepositoryResponse{Repository: s.stored(added), RecoveryKey: key}), nil
}

func (s *Server) ListRepositories(context.Context, *connect.Request[api.ListRepositoriesRequest]) (*connect.Response[api.ListRepositoriesResponse], error) {
	all, err := s.Reconciler.Repositories()
	if err != nil {
		return nil, fail(err)
	}
	out := &api.ListRepositoriesResponse{}
	for _, r := range all {
		out.Repositories = append(out.Repositories, s.stored(r))
	}
	return connect.NewResponse(out), nil
}

func (s *Server) RemoveRepository(ctx context.Context, r *connect.Request[api.RemoveRepositoryRequest]) (*connect.Response[api.RemoveRepositoryResponse], error) {
	key, err := s.Reconciler.RemoveRepository(r.Msg.Name, who(ctx, r))
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.RemoveRepositoryResponse{RecoveryKey: key}), nil
}

func (s *Server) GetRecoveryKey(ctx context.Context, r *connect.Request[api.GetRecoveryKeyRequest]) (*connect.Response[api.GetRecoveryKeyResponse], error) {
	key, err := s.Reconciler.RecoveryKey(r.Msg.Name, who(ctx, r))
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.GetRecoveryKeyResponse{RecoveryKey: key}), nil
}

func (s *Server) MakeSnapshot(ctx context.Context, r *connect.Request[api.MakeSnapshotRequest], out *connect.ServerStream[api.SnapshotProgress]) error {
	ctx, tell, sent := steps(ctx, out)
	made, err := s.Reconciler.Backups().BackUp(ctx, r.Msg.Id, r.Msg.Repository, who(ctx, r), tell)
	if err := sent(err); err != nil {
		return fail(err)
	}
	return fail(out.Send(&api.SnapshotProgress{Message: "done", Done: 1, Snapshot: snapshot(made)}))
}

func (s *Server) ListSnapshots(ctx context.Context, r *connect.Request[api.ListSnapshotsRequest]) (*connect.Response[api.ListSnapshotsResponse], error) {
	all, err := s.Reconciler.Snapshots(ctx, r.Msg.Repository, r.Msg.Id)
	if err != nil {
		return nil, fail(err)
	}
	out := &api.ListSnapshotsResponse{}
	for _, made := range all {
		out.Snapshots = append(out.Snapshots, snapshot(made))
	}
	return connect.NewResponse(out), nil
}

func (s *Server) ProveSnapshot(ctx context.Context, r *connect.Request[api.ProveSnapshotRequest], out *connect.ServerStream[api.SnapshotProgress]) error {
	ctx, tell, sent := steps(ctx, out)
	proven, err := s.Reconciler.Backups().Prove(ctx, r.Msg.Id, r.Msg.Repository, who(ctx, r), tell)
	if err := sent(err); err != nil {
		return fail(err)
	}
	said := "it came up from it: " + proven.Seen
	if proven.NotStarted != "" {
		said = "it was not started from it: " + proven.NotStarted
	}
	return fail(out.Send(&api.SnapshotProgress{Message: said, Done: 1, Snapshot: snapshot(proven.Snapshot)}))
}

func (s *Server) RestoreSnapshot(ctx context.Context, r *connect.Request[api.RestoreSnapshotRequest], out *connect.ServerStream[api.SnapshotProgress]) error {
	ctx, tell, sent := steps(ctx, out)
	gen, err := s.Reconciler.Backups().RestoreSnapshot(ctx, r.Msg.Id, r.Msg.Repository, r.Msg.Snapshot, who(ctx, r), r.Msg.Consent, tell)
	if err := sent(err); err != nil {
		return fail(err)
	}
	return fail(out.Send(&api.SnapshotProgress{Message: "restored", Done: 1, Operation: &api.Operation{App: r.Msg.Id, Generation: gen}}))
}

// steps sends how far work has come. Where the caller is gone, the work's context ends, and
// sent says why.
func steps(ctx context.Context, out *connect.ServerStream[api.SnapshotProgress]) (_ context.Context, tell func(backup.Step), sent func(error) error) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, func(s backup.Step) {
			if err := out.Send(&api.SnapshotProgress{Message: s.Message, Done: s.Done}); err != nil {
				cancel(err)
			}
		}, func(err error) error {
			if err == nil {
				err = context.Cause(ctx)
			}
			cancel(nil)
			return err
		}
}

func (s *Server) stored(r *repository.Repository) *api.Repository {
	h, keep := s.Reconciler.Backups().Health(r.Name), r.Settings.Rule()
	out := &api.Repository{Name: r.Name, Url: r.URL, Problem: cmp.Or(r.Problem, h.Problem), Schedule: &api.Schedule{
		Hours: int32(r.Settings.Every().Hours()), Window: r.Settings.Window,
		KeepLast: uint32(keep.Last), KeepDaily: uint32(keep.Daily), KeepWeekly: uint32(keep.Weekly), KeepMonthly: uint32(keep.Monthly)}}
	if r.Settings.Hours < 0 {
		out.Schedule.Hours = -1
	}
	if !h.Checked.IsZero() {
		out.Checked = timestamppb.New(h.Checked)
	}
	return out
}

func (s *Server) SetRepository(ctx context.Context, r *connect.Request[api.SetRepositoryRequest]) (*connect.Response[api.SetRepositoryResponse], error) {
	w := r.Msg.GetSchedule()
	changed, err := s.Reconciler.SetRepository(r.Msg.Name, repository.Settings{Hours: int(w.GetHours()), Window: w.GetWindow(),
		Keep: repository.Keep{Last: int(w.GetKeepLast()), Daily: int(w.GetKeepDaily()), Weekly: int(w.GetKeepWeekly()), Monthly: int(w.GetKeepMonthly())}}, who(ctx, r))
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.SetRepositoryResponse{Repository: s.stored(changed)}), nil
}

func snapshot(s repository.Snapshot) *api.Snapshot {
	return &api.Snapshot{Id: s.ID, App: s.App, Host: s.Host, Made: timestamppb.New(s.Made), Size: s.Size, Added: s.New}
}
