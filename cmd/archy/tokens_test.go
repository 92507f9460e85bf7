package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

func (node) ListTokens(context.Context, *connect.Request[api.ListTokensRequest]) (*connect.Response[api.ListTokensResponse], error) {
	at := func(year int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(year, 3, 1, 12, 0, 0, 0, time.UTC))
	}
	return connect.NewResponse(&api.ListTokensResponse{Tokens: []*api.Token{
		{Name: "old", Scope: "admin", Made: at(2020), Ends: at(2021), Used: at(2020)},
		{Name: "prometheus", Scope: "read", Made: at(2026), Ends: at(2096)},
	}}), nil
}

func (node) AddToken(_ context.Context, r *connect.Request[api.AddTokenRequest]) (*connect.Response[api.AddTokenResponse], error) {
	if r.Msg.Scope == "king" {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New(`refused: "king" is no scope`))
	}
	ends := timestamppb.New(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).AddDate(0, 0, int(r.Msg.Days)))
	return connect.NewResponse(&api.AddTokenResponse{Token: &api.Token{Name: r.Msg.Name, Scope: r.Msg.Scope, Ends: ends}, Secret: fmt.Sprintf("archipelago_%s", r.Msg.Scope)}), nil
}

func (node) RemoveToken(_ context.Context, r *connect.Request[api.RemoveTokenRequest]) (*connect.Response[api.RemoveTokenResponse], error) {
	if r.Msg.Name != "old" {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such token"))
	}
	return connect.NewResponse(&api.RemoveTokenResponse{}), nil
}
