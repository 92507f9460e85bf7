package main

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

var invitedUntil = timestamppb.New(time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC))

func (node) ListUsers(context.Context, *connect.Request[api.ListUsersRequest]) (*connect.Response[api.ListUsersResponse], error) {
	added := timestamppb.New(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	return connect.NewResponse(&api.ListUsersResponse{Users: []*api.User{
		{Name: "anna", Role: "guest", Added: added, Shared: []string{"immich", "jellyfin"}},
		{Name: "bert", Role: "owner", Added: added, Invited: invitedUntil},
	}}), nil
}

func (node) AddUser(_ context.Context, r *connect.Request[api.AddUserRequest]) (*connect.Response[api.Invitation], error) {
	if r.Msg.Role != "guest" && r.Msg.Role != "owner" {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("refused: there are the roles owner and guest"))
	}
	return connect.NewResponse(&api.Invitation{Code: "K7QF-M2XP-0000-" + map[string]string{"guest": "GGGG", "owner": "WWWW"}[r.Msg.Role], Until: invitedUntil, Links: []string{"https://box.local:7443/join?code=K7QF&name=" + r.Msg.Name}}), nil
}

func (node) SetUser(_ context.Context, r *connect.Request[api.SetUserRequest]) (*connect.Response[api.SetUserResponse], error) {
	u := &api.User{Name: r.Msg.Name, Role: "guest", Shared: []string{"immich"}}
	if r.Msg.Role != "" {
		u.Role = r.Msg.Role
	}
	if r.Msg.Shared != nil {
		u.Shared = r.Msg.Shared.Apps
	}
	return connect.NewResponse(&api.SetUserResponse{User: u}), nil
}

func (node) ResetUser(_ context.Context, r *connect.Request[api.ResetUserRequest]) (*connect.Response[api.Invitation], error) {
	return connect.NewResponse(&api.Invitation{Code: "AAAA-BBBB-CCCC-DDDD", Until: invitedUntil}), nil
}

func (node) RemoveUser(_ context.Context, r *connect.Request[api.RemoveUserRequest]) (*connect.Response[api.RemoveUserResponse], error) {
	if r.Msg.Name != "anna" {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such user"))
	}
	return connect.NewResponse(&api.RemoveUserResponse{}), nil
}
