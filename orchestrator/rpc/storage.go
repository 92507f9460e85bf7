package rpc

import (
	"context"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func (s *Server) AddStorage(ctx context.Context, r *connect.Request[api.AddStorageRequest]) (*connect.Response[api.AddStorageResponse], error) {
	f, left, err := s.Reconciler.AddFolder(ctx, r.Msg.Name, r.Msg.Dir, r.Msg.All, who(ctx, r))
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.AddStorageResponse{Storage: folder(f), Left: uint32(left)}), nil
}

func (s *Server) ListStorage(context.Context, *connect.Request[api.ListStorageRequest]) (*connect.Response[api.ListStorageResponse], error) {
	folders, err := s.Reconciler.Folders()
	if err != nil {
		return nil, fail(err)
	}
	out := &api.ListStorageResponse{}
	for _, f := range folders {
		out.Storage = append(out.Storage, folder(f))
	}
	return connect.NewResponse(out), nil
}

func (s *Server) RemoveStorage(ctx context.Context, r *connect.Request[api.RemoveStorageRequest]) (*connect.Response[api.RemoveStorageResponse], error) {
	if err := s.Reconciler.RemoveFolder(r.Msg.Name, who(ctx, r)); err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.RemoveStorageResponse{}), nil
}

func (s *Server) MoveVolume(ctx context.Context, r *connect.Request[api.MoveVolumeRequest], out *connect.ServerStream[api.MoveVolumeResponse]) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir, err := s.Reconciler.MoveVolume(ctx, r.Msg.Id, r.Msg.Volume, r.Msg.Dir, who(ctx, r), func(message string) {
		if out.Send(&api.MoveVolumeResponse{Message: message}) != nil {
			cancel() // nobody waits for it any more
		}
	})
	if err != nil {
		return fail(err)
	}
	return out.Send(&api.MoveVolumeResponse{Dir: dir})
}

func folder(f orchestrator.Folder) *api.Storage {
	return &api.Storage{Name: f.Name, Dir: f.Dir, Apps: f.Apps, Problem: f.Problem}
}
