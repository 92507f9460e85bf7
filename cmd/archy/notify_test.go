package main

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// The node has one notice and two targets, whatever is added and removed.

func (node) ListNotices(context.Context, *connect.Request[api.ListNoticesRequest]) (*connect.Response[api.ListNoticesResponse], error) {
	return connect.NewResponse(&api.ListNoticesResponse{Notices: []*api.Notice{{Id: "failed feeds", Kind: "failed", App: "feeds", Subject: "Feeds", Severity: "urgent", What: "failed", Text: "no such image", Remedy: "look", Since: timestamppb.New(time.Unix(1e9, 0))}}}), nil
}

func (node) AddTarget(_ context.Context, r *connect.Request[api.AddTargetRequest]) (*connect.Response[api.AddTargetResponse], error) {
	if r.Msg.Address != "ntfy://ntfy.example/hunter2" {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("refused: this is no address"))
	}
	return connect.NewResponse(&api.AddTargetResponse{Target: &api.Target{Name: r.Msg.Name, Address: "ntfy://ntfy.example/…"}}), nil
}

func (node) ListTargets(context.Context, *connect.Request[api.ListTargetsRequest]) (*connect.Response[api.ListTargetsResponse], error) {
	return connect.NewResponse(&api.ListTargetsResponse{Targets: []*api.Target{{Name: "phone", Address: "ntfy://ntfy.example/…", Sent: timestamppb.New(time.Unix(1e9, 0))}, {Name: "mail", Address: "mail by mx to ann@example.org", Problem: "no route", Waiting: 3, Lost: 2}}}), nil
}

func (node) TestTarget(_ context.Context, r *connect.Request[api.TestTargetRequest]) (*connect.Response[api.TestTargetResponse], error) {
	if r.Msg.Name != "phone" {
		return nil, connect.NewError(connect.CodeInternal, errors.New("mx answers 403"))
	}
	return connect.NewResponse(&api.TestTargetResponse{}), nil
}

func (node) RemoveTarget(_ context.Context, r *connect.Request[api.RemoveTargetRequest]) (*connect.Response[api.RemoveTargetResponse], error) {
	return connect.NewResponse(&api.RemoveTargetResponse{}), nil
}
