package rpc

import (
	"context"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func (s *Server) ListSessions(context.Context, *connect.Request[api.ListSessionsRequest]) (*connect.Response[api.ListSessionsResponse], error) {
	out := &api.ListSessionsResponse{}
	for _, b := range s.Sessions.List() {
		out.Sessions = append(out.Sessions, &api.Session{Id: b.ID, Begun: stamp(b.Begun), Ends: stamp(b.Ends), Address: b.Address, Browser: b.Browser, User: b.User})
	}
	return connect.NewResponse(out), nil
}

func (s *Server) EndSessions(ctx context.Context, r *connect.Request[api.EndSessionsRequest]) (*connect.Response[api.EndSessionsResponse], error) {
	what, ended := "end all sessions", 1
	var err error
	if r.Msg.Id == "" {
		ended, err = s.Sessions.EndAll()
	} else {
		what = "end session " + r.Msg.Id
		err = s.Sessions.End(r.Msg.Id)
	}
	s.Reconciler.Audit(who(ctx, r), what, err)
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.EndSessionsResponse{Ended: uint32(ended)}), nil
}
