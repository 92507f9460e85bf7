package main

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// Two browsers are signed in to the node, whatever is ended.
func (node) ListSessions(context.Context, *connect.Request[api.ListSessionsRequest]) (*connect.Response[api.ListSessionsResponse], error) {
	begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return connect.NewResponse(&api.ListSessionsResponse{Sessions: []*api.Session{
		{Id: "kq3v7m2a", Begun: timestamppb.New(begun), Ends: timestamppb.New(begun.AddDate(0, 0, 30)), Address: "192.0.2.9", Browser: "Firefox/140", User: "anna"},
		{Id: "zz2v7m2a", Begun: timestamppb.New(begun), Ends: timestamppb.New(begun.AddDate(0, 0, 30)), Address: "2001:db8::9"},
	}}), nil
}

func (node) EndSessions(_ context.Context, r *connect.Request[api.EndSessionsRequest]) (*connect.Response[api.EndSessionsResponse], error) {
	switch r.Msg.Id {
	case "":
		return connect.NewResponse(&api.EndSessionsResponse{Ended: 2}), nil
	case "kq3v7m2a":
		return connect.NewResponse(&api.EndSessionsResponse{Ended: 1}), nil
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("no such session"))
}
