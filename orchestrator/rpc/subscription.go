package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/subscription"
)

// failCatalog says whose fault it is: what was sent, or what the node cannot reach.
func failCatalog(err error) error {
	for _, input := range []error{subscription.ErrConfig, root.ErrRoot, sign.ErrMalformed} {
		if errors.Is(err, input) {
			return connect.NewError(connect.CodeInvalidArgument, err)
		}
	}
	for _, refused := range []error{subscription.ErrNone, subscription.ErrDamaged, document.ErrRefused, document.ErrExpired, sign.ErrUntrusted} {
		if errors.Is(err, refused) {
			return connect.NewError(connect.CodeFailedPrecondition, err)
		}
	}
	return connect.NewError(connect.CodeUnavailable, err)
}

func (s *Server) Subscribe(ctx context.Context, r *connect.Request[api.SubscribeRequest]) (*connect.Response[api.Subscription], error) {
	m := r.Msg
	window, err := subscription.ParseWindow(m.Window)
	if err == nil {
		first := m.Root
		if len(first) == 0 {
			first = nil
		}
		err = s.Subscription.Follow(subscription.Config{Channel: m.Channel, Mirrors: m.Mirrors, Automatic: m.Automatic, Window: window}, first)
	}
	s.Reconciler.Audit(who(ctx, r), fmt.Sprintf("subscribe to %s from %q", m.Channel, m.Mirrors), err)
	if err != nil {
		return nil, failCatalog(err)
	}
	return s.subscription()
}

func (s *Server) GetSubscription(context.Context, *connect.Request[api.GetSubscriptionRequest]) (*connect.Response[api.Subscription], error) {
	return s.subscription()
}

func (s *Server) Refresh(ctx context.Context, _ *connect.Request[api.RefreshRequest]) (*connect.Response[api.Subscription], error) {
	if _, err := s.Subscription.Refresh(ctx); err != nil {
		return nil, failCatalog(err)
	}
	return s.subscription()
}

func (s *Server) LoadCatalog(ctx context.Context, in *connect.ClientStream[api.Chunk]) (*connect.Response[api.Subscription], error) {
	var envelope bytes.Buffer
	for in.Receive() {
		if envelope.Len()+len(in.Msg().Data) > document.MaxSize {
			return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("a catalog of more than %d bytes", document.MaxSize))
		}
		envelope.Write(in.Msg().Data)
	}
	err := in.Err()
	if err == nil {
		_, err = s.Subscription.Load(ctx, envelope.Bytes())
	}
	s.Reconciler.Audit(who(ctx, in), "load a catalog", err)
	if err != nil {
		return nil, failCatalog(err)
	}
	return s.subscription()
}

func (s *Server) subscription() (*connect.Response[api.Subscription], error) {
	st, err := s.Subscription.Status()
	if err != nil {
		return nil, failCatalog(err)
	}
	out := &api.Subscription{
		Channel: st.Channel, Mirrors: st.Mirrors, Automatic: st.Automatic, Window: st.Window.String(), Serial: st.Serial,
		Created: stamp(st.Created), Expires: stamp(st.Expires), Checked: stamp(st.Checked), Error: st.Error, RootVersion: st.RootVersion,
		Refused: s.Reconciler.Offer().Refused(),
	}
	return connect.NewResponse(out), nil
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
