package main

import (
	"context"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

var spoken = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Usage is that of two spans; of the first, the network is not known.
func (node) Usage(context.Context, *connect.Request[api.UsageRequest]) (*connect.Response[api.UsageResponse], error) {
	return connect.NewResponse(&api.UsageResponse{SpanSeconds: 600, Points: []*api.UsagePoint{
		{At: timestamppb.New(spoken), Processors: proto.Float64(0.25), Memory: proto.Int64(300 << 20)},
		{At: timestamppb.New(spoken.Add(10 * time.Minute)), Processors: proto.Float64(0), Memory: proto.Int64(5 << 30), Received: proto.Int64(1500), Sent: proto.Int64(0), Disk: proto.Int64(1 << 20)},
	}}), nil
}

// Logs has two containers say something, and filters it as the daemon does.
func (node) Logs(_ context.Context, r *connect.Request[api.LogsRequest], out *connect.ServerStream[api.LogLine]) error {
	for _, l := range []*api.LogLine{{Container: "wiki", Text: "Error \x1b[31mof wiki", Time: timestamppb.New(spoken)}, {Container: "wiki-db", Text: "error of db"}, {Container: "wiki-db", Text: "well"}} {
		if r.Msg.Container != "" && l.Container != r.Msg.Container || !strings.Contains(strings.ToLower(l.Text), r.Msg.Contains) {
			continue
		}
		if err := out.Send(l); err != nil {
			return err
		}
	}
	return nil
}
