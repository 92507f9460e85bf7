package rpc

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func (s *Server) ListTokens(context.Context, *connect.Request[api.ListTokensRequest]) (*connect.Response[api.ListTokensResponse], error) {
	all, err := s.Sessions.Tokens.List()
	if err != nil {
		return nil, tokenFailed(err)
	}
	out := &api.ListTokensResponse{}
	for _, t := range all {
		out.Tokens = append(out.Tokens, token(t))
	}
	return connect.NewResponse(out), nil
}

func (s *Server) AddToken(ctx context.Context, r *connect.Request[api.AddTokenRequest]) (*connect.Response[api.AddTokenResponse], error) {
	made, secret, err := s.Sessions.Tokens.Add(r.Msg.Name, access.Scope(r.Msg.Scope), int(r.Msg.Days))
	s.Reconciler.Audit(who(ctx, r), access.Making(r.Msg.Name, access.Scope(r.Msg.Scope)), err)
	if err != nil {
		return nil, tokenFailed(err)
	}
	return connect.NewResponse(&api.AddTokenResponse{Token: token(made), Secret: secret}), nil
}

func (s *Server) RemoveToken(ctx context.Context, r *connect.Request[api.RemoveTokenRequest]) (*connect.Response[api.RemoveTokenResponse], error) {
	err := s.Sessions.Tokens.Remove(r.Msg.Name)
	s.Reconciler.Audit(who(ctx, r), "remove token "+r.Msg.Name, err)
	if err != nil {
		return nil, tokenFailed(err)
	}
	return connect.NewResponse(&api.RemoveTokenResponse{}), nil
}

func token(t access.Token) *api.Token {
	return &api.Token{Name: t.Name, Scope: string(t.Scope), Made: stamp(t.Made), Ends: stamp(t.Ends), Used: stamp(t.Used)}
}

func tokenFailed(err error) error {
	switch {
	case errors.Is(err, access.ErrToken):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, access.ErrTokenRefused):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return fail(err)
}
