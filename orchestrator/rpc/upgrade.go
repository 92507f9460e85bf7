package rpc

import (
	"cmp"
	"context"
	"io"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/upgrade"
)

const upgradeDelay = 200 * time.Millisecond // for the answer to leave

// Upgrade puts a program of a signed release in the daemon's place. It is not run, nor
// kept, unless its release's signature holds: the token opens the node's applications, not
// the daemon's account.
func (s *Server) Upgrade(ctx context.Context, in *connect.ClientStream[api.UpgradeRequest]) (*connect.Response[api.UpgradeResponse], error) {
	if !in.Receive() {
		return nil, fail(cmp.Or(in.Err(), io.ErrUnexpectedEOF))
	}
	first := in.Msg()
	sum := first.Sha256
	version, err := upgrade.Verify(ctx, first.Release, s.Subscription.Policy, upgrade.Self(s.Version), sum)
	var says string
	if err == nil {
		says, err = upgrade.Stage(ctx, s.Program, program(in), sum, version)
	} else {
		io.Copy(io.Discard, io.LimitReader(program(in), upgrade.MaxSize)) // or the answer is lost with the rest
	}
	s.Reconciler.Audit(who(ctx, in), "upgrade the daemon to "+cmp.Or(version, "a program that is not trusted"), err)
	if err != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	time.AfterFunc(upgradeDelay, s.End)
	return connect.NewResponse(&api.UpgradeResponse{Version: says}), nil
}

// program reads the pieces of a program, of which the first has been received.
func program(in *connect.ClientStream[api.UpgradeRequest]) io.Reader {
	return &pieces{in, in.Msg().Program}
}

type pieces struct {
	in   *connect.ClientStream[api.UpgradeRequest]
	rest []byte
}

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if !p.in.Receive() {
			return 0, cmp.Or(p.in.Err(), io.EOF)
		}
		p.rest = p.in.Msg().Program
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
