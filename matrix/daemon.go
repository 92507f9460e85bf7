package matrix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

const (
	passTimeout   = 45 * time.Second // longer than the reconciler's interval
	daemonTimeout = 30 * time.Second
	pollEvery     = 200 * time.Millisecond
)

// do asks the daemon for an operation and waits for its end.
func (e *Environment) do(ctx context.Context, rec *Recorder, verb string, purge bool) error {
	return e.operate(ctx, rec, verb, operationTimeout(e.App, e.Shard.Bare), func(ctx context.Context) (*api.Progress, error) {
		if verb == Install && len(e.App.Grants()) > 0 {
			return e.installed(ctx)
		}
		return e.Daemon.Do(ctx, verb, e.App.ID, purge, nil)
	})
}

// installed installs what needs its owner's consent, as an owner does who reads in My Apps
// what it is to have, and goes on. Before, the daemon must refuse it, and ask for all that
// the manifest says.
func (e *Environment) installed(ctx context.Context) (*api.Progress, error) {
	m, err := e.owned(ctx)
	if err != nil {
		return nil, err
	}
	asked, err := e.Daemon.GetApp(ctx, connect.NewRequest(&api.GetAppRequest{Id: e.App.ID}))
	if err != nil {
		return nil, fmt.Errorf("asking what it is to have: %w", err)
	}
	if asked.Msg.State == api.State_STATE_NOT_INSTALLED {
		for _, g := range m.Grants() {
			if !slices.Contains(asked.Msg.NewPrivileges, g) {
				return nil, fmt.Errorf("its owner is not told that it %s", g)
			}
		}
		if _, err := e.Daemon.Install(ctx, connect.NewRequest(&api.InstallRequest{Id: e.App.ID})); connect.CodeOf(err) != connect.CodeFailedPrecondition {
			return nil, fmt.Errorf("it is installed without its owner's consent to what it has: it %s (%w)", strings.Join(m.Grants(), "; it "), cmp.Or(err, errAccepted))
		}
	}
	op, err := e.Daemon.Install(ctx, connect.NewRequest(&api.InstallRequest{Id: e.App.ID, Consent: asked.Msg.NewPrivileges}))
	if err != nil {
		return nil, err
	}
	return e.Daemon.Await(ctx, op.Msg, nil)
}

var errAccepted = errors.New("accepted")

// operate has an operation done, within a time, and charges what it took.
func (e *Environment) operate(ctx context.Context, rec *Recorder, verb string, timeout time.Duration, operation func(context.Context) (*api.Progress, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%s was accepted and not done within %s", verb, timeout))
	defer cancel()
	begin := time.Now()
	p, err := operation(ctx)
	spent := time.Since(begin).Seconds()
	if p != nil {
		// The daemon says how the time is split; how much it was, the gate measured.
		app := min(max(0, p.AppSeconds), spent)
		rec.timing.App += app
		rec.timing.Engine += spent - app
	} else {
		rec.timing.Engine += spent
	}
	if err != nil {
		if cause := context.Cause(ctx); ctx.Err() != nil && cause != nil {
			err = cause
		}
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

// operationTimeout is longer than any operation that keeps to the budget: what the
// daemon itself gives up on, it says. On a bare node, images must come first.
func operationTimeout(m *manifest.Manifest, bare bool) time.Duration {
	const images = 10 * time.Minute
	timeout := 2*m.StartBudget() + machineShare
	if bare {
		timeout += images
	}
	return timeout
}

// lasting looks, and looks again after a pass of the daemon: what it undoes by itself was
// not done.
func (e *Environment) lasting(ctx context.Context, rec *Recorder, otherwise string, judge func(*Snapshot) error) error {
	return lasting(otherwise, func() error {
		s, err := e.look(ctx, rec)
		if err != nil {
			return err
		}
		return judge(s)
	}, func() error { return e.awaitPass(ctx, rec) })
}

func lasting(otherwise string, holds, pass func() error) error {
	if err := holds(); err != nil {
		return err
	}
	if err := pass(); err != nil {
		return err
	}
	return wrap(otherwise, holds())
}

// awaitPass waits until the daemon has made a pass, charged to the cell.
func (e *Environment) awaitPass(ctx context.Context, rec *Recorder) error {
	defer rec.charge(&rec.timing.Engine)()
	return e.Session.awaitPass(ctx)
}

// awaitPass waits until the daemon has made a pass that began after now, and begun to
// carry out what it planned: two of its observations must end, since the first may have
// been under way. SIGHUP has it look. The time of observation that it reports is used
// for waiting only, never as evidence.
func (s *Session) awaitPass(ctx context.Context) error {
	return passes(ctx, s.observedAt, func(ctx context.Context) error {
		_, err := s.SSH.Run(ctx, "systemctl --user kill --signal=HUP "+nodes.DaemonUnit)
		return err
	})
}

// passes has the daemon look, and waits for the end of two observations. A daemon that
// has not answered yet may not know the signal either, and would be ended by it.
func passes(ctx context.Context, observedAt func(context.Context) (time.Time, error), look func(context.Context) error) error {
	var last time.Time
	if err := await(ctx, daemonTimeout, "the daemon's status", func() (err error) {
		last, err = observedAt(ctx)
		return err
	}); err != nil {
		return err
	}
	for range 2 {
		if err := look(ctx); err != nil {
			return err
		}
		if err := await(ctx, passTimeout, "a reconcile pass", func() error {
			now, err := observedAt(ctx)
			if err != nil {
				return err
			}
			if !now.After(last) {
				return errors.New("the last pass is still the one before")
			}
			last = now
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) observedAt(ctx context.Context) (time.Time, error) {
	r, err := s.Daemon.Status(ctx, connect.NewRequest(&api.StatusRequest{}))
	if err != nil {
		return time.Time{}, fmt.Errorf("asking the daemon's status: %w", err)
	}
	return r.Msg.ObservedAt.AsTime(), nil
}

// Mark is who says in a node's journal that the gate is about to end a unit's process by
// force, so that whoever reads it later knows the failure that follows for asked for.
const Mark = "archipelago-gate"

// Rebooted is what the gate says in place of a unit once a node is back from a reboot that it
// asked for.
const Rebooted = "reboot"

// mark is a command that says in the journal that the gate asked for the end of a unit, or
// for what Rebooted stands for.
func mark(what string) string {
	return "systemd-cat --identifier=" + Mark + " echo " + nodes.Quote("asked "+what)
}

// forced is a command that says so, and then runs another one.
func forced(unit, command string) string { return mark(unit) + " && " + command }

// endDaemon runs a command that ends the daemon, and waits until a new one answers.
func (s *Session) endDaemon(ctx context.Context, command string) error {
	const pid = "systemctl --user show -p MainPID --value " + nodes.DaemonUnit
	before, err := s.SSH.Run(ctx, pid)
	if err != nil {
		return err
	}
	if _, err := s.SSH.Run(ctx, command); err != nil {
		return fmt.Errorf("ending the daemon: %w", err)
	}
	return await(ctx, daemonTimeout, "a new daemon to answer", func() error {
		now, err := s.SSH.Run(ctx, pid)
		if err != nil {
			return err
		}
		if now == before || now == "0\n" {
			return errors.New("no new process yet")
		}
		return s.SSH.AwaitDaemon(ctx)
	})
}

// await polls a condition until it holds; at the deadline the error says what was
// waited for, and what stood in the way last.
func await(ctx context.Context, timeout time.Duration, what string, condition func() error) error {
	var failure error
	g := gomega.NewGomega(func(string, ...int) { failure = errors.New("deadline") })
	var last error
	g.Eventually(func() error { last = condition(); return last }).WithContext(ctx).WithTimeout(timeout).WithPolling(pollEvery).Should(gomega.Succeed())
	switch {
	case failure == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("waiting for %s: %w: %w", what, context.Cause(ctx), last)
	}
	return fmt.Errorf("waited %s for %s: %w", timeout, what, last)
}
