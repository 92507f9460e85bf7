package main

import (
	"cmp"
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// The node has the volume library of album.
func (node) MoveVolume(_ context.Context, r *connect.Request[api.MoveVolumeRequest], out *connect.ServerStream[api.MoveVolumeResponse]) error {
	if r.Msg.Id != "album" || r.Msg.Volume != "library" {
		return connect.NewError(connect.CodeFailedPrecondition, errors.New("refused: album has no volume "+r.Msg.Volume))
	}
	return errors.Join(out.Send(&api.MoveVolumeResponse{Message: "copying its volume library"}), out.Send(&api.MoveVolumeResponse{Dir: cmp.Or(r.Msg.Dir, "/var/lib/archipelago") + "/album/library"}))
}
