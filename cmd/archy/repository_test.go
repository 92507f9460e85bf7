package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// The node has one repository, with one snapshot, whatever is added and removed.
var snapshotOfFeeds = &api.Snapshot{Id: strings.Repeat("71b15237", 8), App: "feeds", Host: "nodename", Made: timestamppb.New(time.Unix(1e9, 0)), Size: 20 << 20, Added: 3000}

func (node) AddRepository(_ context.Context, r *connect.Request[api.AddRepositoryRequest]) (*connect.Response[api.AddRepositoryResponse], error) {
	switch {
	case strings.HasPrefix(r.Msg.Url, "s3:") && r.Msg.Environment["AWS_SECRET_ACCESS_KEY"] != "hunter2":
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("S3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"))
	case r.Msg.RecoveryKey != "" && r.Msg.RecoveryKey != "OPEN":
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the recovery key does not open the repository"))
	case !strings.HasPrefix(r.Msg.Url, "s3:") && len(r.Msg.Environment) > 0:
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("it was told what it need not know"))
	}
	return connect.NewResponse(&api.AddRepositoryResponse{Repository: &api.Repository{Name: r.Msg.Name, Url: r.Msg.Url}, RecoveryKey: "OPEN"}), nil
}

func (node) ListRepositories(context.Context, *connect.Request[api.ListRepositoriesRequest]) (*connect.Response[api.ListRepositoriesResponse], error) {
	return connect.NewResponse(&api.ListRepositoriesResponse{Repositories: []*api.Repository{
		{Name: "disk", Url: "/mnt/disk/backups", Schedule: &api.Schedule{Hours: 24, Window: "02:00-05:00"}, Checked: timestamppb.New(time.Unix(1e9, 0))}, {Name: "nas", Url: "sftp:b@nas:/b", Problem: "there is no repository"}}}), nil
}

func (node) SetRepository(_ context.Context, r *connect.Request[api.SetRepositoryRequest]) (*connect.Response[api.SetRepositoryResponse], error) {
	return connect.NewResponse(&api.SetRepositoryResponse{Repository: &api.Repository{Name: r.Msg.Name, Schedule: r.Msg.Schedule}}), nil
}

func (node) ListSnapshots(_ context.Context, r *connect.Request[api.ListSnapshotsRequest]) (*connect.Response[api.ListSnapshotsResponse], error) {
	out := &api.ListSnapshotsResponse{}
	if r.Msg.Id == "" || r.Msg.Id == snapshotOfFeeds.App {
		out.Snapshots = append(out.Snapshots, snapshotOfFeeds)
	}
	return connect.NewResponse(out), nil
}

func (node) GetRecoveryKey(context.Context, *connect.Request[api.GetRecoveryKeyRequest]) (*connect.Response[api.GetRecoveryKeyResponse], error) {
	return connect.NewResponse(&api.GetRecoveryKeyResponse{RecoveryKey: "OPEN"}), nil
}

func (node) RemoveRepository(context.Context, *connect.Request[api.RemoveRepositoryRequest]) (*connect.Response[api.RemoveRepositoryResponse], error) {
	return connect.NewResponse(&api.RemoveRepositoryResponse{RecoveryKey: "OPEN"}), nil
}

func (node) MakeSnapshot(_ context.Context, r *connect.Request[api.MakeSnapshotRequest], out *connect.ServerStream[api.SnapshotProgress]) error {
	if r.Msg.Repository != "disk" {
		return connect.NewError(connect.CodeNotFound, errors.New(`no repository is named "`+r.Msg.Repository+`"`))
	}
	return errors.Join(out.Send(&api.SnapshotProgress{Message: "storing", Done: 0.41}), out.Send(&api.SnapshotProgress{Message: "storing", Done: 0.42}),
		out.Send(&api.SnapshotProgress{Message: "done", Done: 1, Snapshot: snapshotOfFeeds}))
}

func (node) ProveSnapshot(_ context.Context, r *connect.Request[api.ProveSnapshotRequest], out *connect.ServerStream[api.SnapshotProgress]) error {
	if r.Msg.Id != "feeds" {
		return connect.NewError(connect.CodeInternal, errors.New("the repository is damaged"))
	}
	return errors.Join(out.Send(&api.SnapshotProgress{Message: "restoring on trial", Done: 0.5}), out.Send(&api.SnapshotProgress{Message: "it came up from it: 1 of 1 containers run", Done: 1, Snapshot: snapshotOfFeeds}))
}

func (node) RestoreSnapshot(_ context.Context, r *connect.Request[api.RestoreSnapshotRequest], out *connect.ServerStream[api.SnapshotProgress]) error {
	if r.Msg.Snapshot == "ffff" {
		return connect.NewError(connect.CodeNotFound, errors.New("no such snapshot"))
	}
	return errors.Join(out.Send(&api.SnapshotProgress{Message: "restoring the volumes"}),
		out.Send(&api.SnapshotProgress{Message: "restored", Done: 1, Operation: &api.Operation{App: r.Msg.Id, Generation: 1}}))
}

func TestTheListSaysHowOldBackupsAreWhereThereAreAny(t *testing.T) {
	plain, none := &api.App{Id: "plain"}, &api.App{Id: "none", Backup: &api.Backup{Problem: "backup overdue"}}
	has := &api.App{Id: "has", Backup: &api.Backup{Made: timestamppb.New(time.Unix(1e9, 0)), Size: 20 << 20}}
	if got := backedUp(plain, []*api.App{plain}); got != "" {
		t.Errorf("a column that nobody needs: %q", got)
	}
	all := []*api.App{plain, none, has}
	for app, want := range map[*api.App]string{plain: "\tno backup", none: "\tno backup", has: "\tbackup of 2001-09-0"} {
		if got := backedUp(app, all); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", app.Id, got)
		}
	}
	has.Backup.Proven = timestamppb.New(time.Unix(2e9, 0))
	if got := backedUp(has, all); !strings.HasSuffix(got, ", 20 MiB, proven 2033-05-18") {
		t.Errorf("%q", got)
	}
	has.Backup.DataOnly = "it requires chain"
	if got := backedUp(has, all); !strings.HasSuffix(got, ", proven 2033-05-18 (data only: it requires chain)") {
		t.Errorf("%q", got)
	}
}
