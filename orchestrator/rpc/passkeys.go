package rpc

import (
	"context"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func (s *Server) ListPasskeys(context.Context, *connect.Request[api.ListPasskeysRequest]) (*connect.Response[api.ListPasskeysResponse], error) {
	all, err := s.Sessions.Passkeys.List()
	if err != nil {
		return nil, fail(err)
	}
	out := &api.ListPasskeysResponse{}
	for _, p := range all {
		out.Passkeys = append(out.Passkeys, &api.Passkey{Id: p.ID, Name: p.Name, Host: p.Host(), Added: stamp(p.Added), Used: stamp(p.Used)})
	}
	return connect.NewResponse(out), nil
}

func (s *Server) RemovePasskeys(ctx context.Context, r *connect.Request[api.RemovePasskeysRequest]) (*connect.Response[api.RemovePasskeysResponse], error) {
	what, removed := "passkeys remove all", 1
	var err error
	if r.Msg.Id == "" {
		removed, err = s.Sessions.Passkeys.RemoveAll()
	} else {
		what = "passkey remove " + r.Msg.Id
		err = s.Sessions.Passkeys.Remove(r.Msg.Id)
	}
	s.Reconciler.Audit(who(ctx, r), what, err)
	if err != nil {
		return nil, fail(err)
	}
	return connect.NewResponse(&api.RemovePasskeysResponse{Removed: uint32(removed)}), nil
}
