package rpc

import (
	"context"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/support"
)

func (s *Server) GetSupportReport(ctx context.Context, r *connect.Request[api.GetSupportReportRequest]) (*connect.Response[api.SupportReport], error) {
	text, err := s.Reconciler.Support(ctx, s.Engine, support.About(s.Node, s.Version, s.Digest, s.StartedAt, s.Subscription.Said()), s.Sessions.Damaged())
	s.Reconciler.Audit(who(ctx, r), "report for support", err)
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.SupportReport{Text: text}), nil
}
