package rpc

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
)

func (s *Server) ListNotices(context.Context, *connect.Request[api.ListNoticesRequest]) (*connect.Response[api.ListNoticesResponse], error) {
	out := &api.ListNoticesResponse{}
	for _, n := range s.Reconciler.Notices().Notices() {
		out.Notices = append(out.Notices, &api.Notice{Id: n.ID, Kind: n.Kind, App: n.App, Subject: n.Subject, Severity: n.Severity.String(), What: n.What, Text: n.Text, Remedy: n.Remedy, Since: stamp(n.Since)})
	}
	return connect.NewResponse(out), nil
}

func (s *Server) AddTarget(ctx context.Context, r *connect.Request[api.AddTargetRequest]) (*connect.Response[api.AddTargetResponse], error) {
	t, err := s.Reconciler.AddTarget(r.Msg.Name, r.Msg.Address, who(ctx, r))
	if err != nil {
		return nil, targetFailed(err)
	}
	return connect.NewResponse(&api.AddTargetResponse{Target: target(t)}), nil
}

func (s *Server) ListTargets(context.Context, *connect.Request[api.ListTargetsRequest]) (*connect.Response[api.ListTargetsResponse], error) {
	all, err := s.Reconciler.Notices().Targets()
	if err != nil {
		return nil, targetFailed(err)
	}
	out := &api.ListTargetsResponse{}
	for _, t := range all {
		out.Targets = append(out.Targets, target(t))
	}
	return connect.NewResponse(out), nil
}

func (s *Server) TestTarget(ctx context.Context, r *connect.Request[api.TestTargetRequest]) (*connect.Response[api.TestTargetResponse], error) {
	if err := s.Reconciler.Notices().Test(ctx, r.Msg.Name); err != nil {
		return nil, targetFailed(err)
	}
	return connect.NewResponse(&api.TestTargetResponse{}), nil
}

func (s *Server) RemoveTarget(ctx context.Context, r *connect.Request[api.RemoveTargetRequest]) (*connect.Response[api.RemoveTargetResponse], error) {
	if err := s.Reconciler.RemoveTarget(r.Msg.Name, who(ctx, r)); err != nil {
		return nil, targetFailed(err)
	}
	return connect.NewResponse(&api.RemoveTargetResponse{}), nil
}

func target(t notify.Target) *api.Target {
	return &api.Target{Name: t.Name, Address: t.Address, Sent: stamp(t.Sent), Problem: t.Problem, Failed: stamp(t.Failed), Waiting: uint32(t.Waiting), Lost: uint32(t.Lost)}
}

func targetFailed(err error) error {
	switch {
	case errors.Is(err, notify.ErrUnknown):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, notify.ErrRefused):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return fail(err)
}
