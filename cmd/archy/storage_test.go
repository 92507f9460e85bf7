package main

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// The node has two folders, of which one is not there, whatever is added and removed.
func (node) ListStorage(context.Context, *connect.Request[api.ListStorageRequest]) (*connect.Response[api.ListStorageResponse], error) {
	return connect.NewResponse(&api.ListStorageResponse{Storage: []*api.Storage{
		{Name: "music", Dir: "/mnt/disk/music", Problem: "/mnt/disk/music is not there"},
		{Name: "photos", Dir: "/srv/photos", Apps: []string{"album", "sync"}},
	}}), nil
}

func (node) AddStorage(_ context.Context, r *connect.Request[api.AddStorageRequest]) (*connect.Response[api.AddStorageResponse], error) {
	if r.Msg.Dir == "/etc" {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("/etc is the system's"))
	}
	out := &api.AddStorageResponse{Storage: &api.Storage{Name: r.Msg.Name, Dir: r.Msg.Dir}}
	if r.Msg.All {
		out.Left = 3
	}
	return connect.NewResponse(out), nil
}

func (node) RemoveStorage(_ context.Context, r *connect.Request[api.RemoveStorageRequest]) (*connect.Response[api.RemoveStorageResponse], error) {
	if r.Msg.Name == "photos" {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the folder photos is in use by album, sync"))
	}
	return connect.NewResponse(&api.RemoveStorageResponse{}), nil
}
