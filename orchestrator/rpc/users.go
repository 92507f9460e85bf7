package rpc

import (
	"cmp"
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func (s *Server) ListUsers(context.Context, *connect.Request[api.ListUsersRequest]) (*connect.Response[api.ListUsersResponse], error) {
	all, err := s.Sessions.Users.List()
	if err != nil {
		return nil, userFailed(err)
	}
	out := &api.ListUsersResponse{}
	for _, u := range all {
		out.Users = append(out.Users, user(u))
	}
	return connect.NewResponse(out), nil
}

func (s *Server) AddUser(ctx context.Context, r *connect.Request[api.AddUserRequest]) (*connect.Response[api.Invitation], error) {
	i, err := s.Sessions.Users.Add(r.Msg.Name, access.Role(r.Msg.Role))
	s.Reconciler.Audit(who(ctx, r), "add user "+r.Msg.Name+" as "+r.Msg.Role, err)
	return s.invitation(i, err)
}

func (s *Server) SetUser(ctx context.Context, r *connect.Request[api.SetUserRequest]) (*connect.Response[api.SetUserResponse], error) {
	u, err := s.Sessions.Users.Get(r.Msg.Name)
	if err != nil {
		return nil, userFailed(err)
	}
	role, shared := access.Role(cmp.Or(r.Msg.Role, string(u.Role))), u.Shared
	if r.Msg.Shared != nil {
		shared = r.Msg.Shared.Apps
		for _, id := range shared {
			if _, err := s.Reconciler.App(id); err != nil {
				return nil, fail(err)
			}
		}
	}
	err = s.Sessions.Users.Set(u.Name, role, shared)
	s.Reconciler.Audit(who(ctx, r), access.Setting(u.Name, role, shared), err)
	if err == nil {
		u, err = s.Sessions.Users.Get(u.Name)
	}
	if err != nil {
		return nil, userFailed(err)
	}
	return connect.NewResponse(&api.SetUserResponse{User: user(u)}), nil
}

func (s *Server) ResetUser(ctx context.Context, r *connect.Request[api.ResetUserRequest]) (*connect.Response[api.Invitation], error) {
	i, err := s.Sessions.Users.Reset(r.Msg.Name)
	s.Reconciler.Audit(who(ctx, r), "reset user "+r.Msg.Name, err)
	return s.invitation(i, err)
}

func (s *Server) RemoveUser(ctx context.Context, r *connect.Request[api.RemoveUserRequest]) (*connect.Response[api.RemoveUserResponse], error) {
	err := s.Sessions.Users.Remove(r.Msg.Name)
	s.Reconciler.Audit(who(ctx, r), "remove user "+r.Msg.Name, err)
	if err != nil {
		return nil, userFailed(err)
	}
	return connect.NewResponse(&api.RemoveUserResponse{}), nil
}

func user(u access.User) *api.User {
	return &api.User{Name: u.Name, Role: string(u.Role), Added: stamp(u.Added), Invited: stamp(u.Invited), Shared: u.Shared}
}

func (s *Server) invitation(i access.Invitation, err error) (*connect.Response[api.Invitation], error) {
	if err != nil {
		return nil, userFailed(err)
	}
	out := &api.Invitation{Code: i.Code, Until: stamp(i.Until)}
	if s.Addresses != nil {
		for _, at := range s.Addresses() {
			out.Links = append(out.Links, at+i.Path())
		}
	}
	return connect.NewResponse(out), nil
}

func userFailed(err error) error {
	switch {
	case errors.Is(err, access.ErrUser):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, access.ErrUserRefused):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return fail(err)
}
