package rpc

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/usage"
)

func (s *Server) Usage(_ context.Context, r *connect.Request[api.UsageRequest]) (*connect.Response[api.UsageResponse], error) {
	points, err := s.Reconciler.Usage(r.Msg.Id)
	if err != nil {
		return nil, fail(err)
	}
	out := &api.UsageResponse{SpanSeconds: uint32(usage.Span.Seconds())}
	for _, p := range points {
		to := &api.UsagePoint{At: timestamppb.New(p.At()), Memory: read(p.Memory), Received: read(p.Received), Sent: read(p.Sent), Disk: read(p.Disk)}
		if p.Milli != usage.Unknown {
			processors := float64(p.Milli) / 1000
			to.Processors = &processors
		}
		out.Points = append(out.Points, to)
	}
	return connect.NewResponse(out), nil
}

// read is a number, or nothing where it could not be read.
func read(n int64) *int64 {
	if n == usage.Unknown {
		return nil
	}
	return &n
}
