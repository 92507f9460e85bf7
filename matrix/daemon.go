package matrix

import (
	"context"
	"errors"
	"fmt"
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
	timeout := operationTimeout(e.App)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%s was accepted and not done within %s", verb, timeout))
	defer cancel()
	begin := time.Now()
	p, err := e.Daemon.Do(ctx, verb, e.App.ID, purge, nil)
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
// daemon itself gives up on, it says.
func operationTimeout(m *manifest.Manifest) time.Duration {
	const images = 10 * time.Minute
	return 2*m.StartBudget() + images
}

// awaitPass waits until the daemon has made a pass that began after now. SIGHUP has
// it make one. The time of observation that it reports is used for waiting only,
// never as evidence.
func (e *Environment) awaitPass(ctx context.Context, rec *Recorder) error {
	defer rec.charge(&rec.timing.Engine)()
	last, err := e.observedAt(ctx)
	if err != nil {
		return err
	}
	if _, err := e.SSH.Run(ctx, "systemctl --user kill --signal=HUP "+nodes.DaemonUnit); err != nil {
		return err
	}
	return await(ctx, passTimeout, "a reconcile pass", func() error {
		now, err := e.observedAt(ctx)
		if err != nil {
			return err
		}
		if !now.After(last) {
			return errors.New("the last pass is still the one before")
		}
		return nil
	})
}

func (e *Environment) observedAt(ctx context.Context) (time.Time, error) {
	r, err := e.Daemon.Status(ctx, connect.NewRequest(&api.StatusRequest{}))
	if err != nil {
		return time.Time{}, fmt.Errorf("asking the daemon's status: %w", err)
	}
	return r.Msg.ObservedAt.AsTime(), nil
}

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
