package main

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// Two passkeys sign in to the node, whatever is removed; and 123456 is its code.
func (node) ListPasskeys(context.Context, *connect.Request[api.ListPasskeysRequest]) (*connect.Response[api.ListPasskeysResponse], error) {
	added := timestamppb.New(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	return connect.NewResponse(&api.ListPasskeysResponse{Passkeys: []*api.Passkey{
		{Id: "kq3v7m2a", Name: "my phone", Host: "box.local", Added: added, Used: added}, {Id: "zz2v7m2a", Name: "key", Host: "box.lan", Added: added},
	}}), nil
}

func (node) RemovePasskeys(_ context.Context, r *connect.Request[api.RemovePasskeysRequest]) (*connect.Response[api.RemovePasskeysResponse], error) {
	switch r.Msg.Id {
	case "":
		return connect.NewResponse(&api.RemovePasskeysResponse{Removed: 2}), nil
	case "kq3v7m2a":
		return connect.NewResponse(&api.RemovePasskeysResponse{Removed: 1}), nil
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("no such passkey"))
}

func (node) RenewRecoveryCodes(_ context.Context, r *connect.Request[api.RenewRecoveryCodesRequest]) (*connect.Response[api.RenewRecoveryCodesResponse], error) {
	if r.Msg.Code != "123456" {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("that is not the code"))
	}
	return connect.NewResponse(&api.RenewRecoveryCodesResponse{Codes: []string{"K7QF-M2XP-0000-0001", "K7QF-M2XP-0000-0002"}}), nil
}
