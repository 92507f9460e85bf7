package matrix

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

const (
	rebootTimeout  = 5 * time.Minute
	daemonTimeout  = 30 * time.Second
	restartCommand = "systemctl --user restart " + nodes.DaemonUnit
	killCommand    = "systemctl --user kill --signal=SIGKILL " + nodes.DaemonUnit
)

// together runs work for every cell at the same time and gives each its error.
func together(cells []*cell, work func(*cell) error) map[string]error {
	errs := make([]error, len(cells))
	var wg sync.WaitGroup
	for i, c := range cells {
		wg.Go(func() { errs[i] = work(c) })
	}
	wg.Wait()
	out := map[string]error{}
	for i, c := range cells {
		out[c.app.ID] = errs[i]
	}
	return out
}

// survival makes the cells of one step for all applications of the shard.
func (s *Session) survival(apps []*manifest.Manifest, step string) []*cell {
	cells := make([]*cell, len(apps))
	for i, m := range apps {
		cells[i] = s.cell(m, step)
	}
	return cells
}

// reboot reboots the node once and watches all applications come back by
// themselves, each within its budget. It gives each application's outcome; its
// cell's clock has stopped.
func (s *Session) reboot(ctx context.Context, cells []*cell) map[string]error {
	prepared := together(cells, func(c *cell) error { return c.ready(ctx) })
	bounded, cancel := context.WithTimeoutCause(ctx, rebootTimeout, fmt.Errorf("%w: the node did not come back within %s of a reboot", nodes.ErrLost, rebootTimeout))
	defer cancel()
	begin := time.Now()
	s.witness.Close()
	boot, err := s.ssh.Reboot(bounded)
	back := time.Since(begin).Seconds()
	return together(cells, func(c *cell) error {
		defer c.stopClock()
		if err := prepared[c.app.ID]; err != nil {
			return err
		}
		if err != nil {
			return err
		}
		c.split.Engine += back
		// Nothing is asked of the daemon until all of it is back: no command is given.
		budget := c.app.RebootBudget()
		waiting := time.Now()
		err := await(ctx, max(budget-time.Since(begin), time.Second), fmt.Sprintf("%s to be back after the reboot, budget %s", c.app.ID, budget), func() error {
			now, err := c.witness.Look(ctx, c.app, c.begin)
			if err != nil {
				return err
			}
			if now.Boot != boot {
				return fmt.Errorf("boot identity is %s, expected %s", now.Boot, boot)
			}
			return Verdict(CheckRunning(c.app, now))
		})
		c.split.App += time.Since(waiting).Seconds()
		if err != nil {
			return err
		}
		if c.before.Boot == boot {
			return fmt.Errorf("boot identity is still %s: the node was not rebooted", boot)
		}
		if err := s.ssh.AwaitDaemon(ctx); err != nil {
			return err
		}
		now, err := c.running(ctx)
		if err != nil {
			return err
		}
		if err := Verdict(CheckBoot(c.app, now)); err != nil {
			return err
		}
		return c.invariants()
	})
}

// restartDaemon ends the daemon three times: by a restart and by SIGKILL, over
// which no container may change, and by a restart right after a request was
// accepted, which must be carried out all the same. Meanwhile My Apps must know every application at any
// time that it answers.
func (s *Session) restartDaemon(ctx context.Context, cells []*cell) map[string]error {
	prepared := together(cells, func(c *cell) error { return c.ready(ctx) })
	watch := s.watchMyApps(ctx, cells)
	var ended error
	after := prepared
	for _, way := range []struct{ how, command string }{{"restarted", restartCommand}, {"killed", killCommand}} {
		begin := time.Now()
		if ended = s.bounce(ctx, way.command); ended != nil {
			break
		}
		spent := time.Since(begin).Seconds()
		earlier := after
		after = together(cells, func(c *cell) error {
			if err := earlier[c.app.ID]; err != nil {
				return err
			}
			c.split.Engine += spent
			now, err := c.look(ctx)
			if err != nil {
				return err
			}
			if err := Verdict(CheckUntouched(c.app, c.before, now), CheckRunning(c.app, now)); err != nil {
				return fmt.Errorf("after the daemon was %s: %w", way.how, err)
			}
			return nil
		})
	}
	// Requests are accepted, and the daemon is restarted before it can have
	// carried them out.
	var pending map[string]error
	var restarted error
	if ended == nil {
		pending = together(cells, func(c *cell) error {
			if after[c.app.ID] != nil {
				return nil
			}
			_, err := s.rpc.Request(ctx, Stop, c.app.ID, false)
			return err
		})
		restarted = s.bounce(ctx, restartCommand)
	}
	seen := watch()
	return together(cells, func(c *cell) error {
		defer c.stopClock()
		id := c.app.ID
		for _, err := range []error{after[id], ended, pending[id], restarted, seen[id]} {
			if err != nil {
				return err
			}
		}
		waiting := time.Now()
		err := await(ctx, operationTimeout(c.app), "the stop that was accepted before the daemon was restarted", func() error {
			now, err := c.witness.Look(ctx, c.app, c.begin)
			if err != nil {
				return err
			}
			return Verdict(CheckStopped(c.app, now))
		})
		c.split.Engine += time.Since(waiting).Seconds()
		if err != nil {
			return fmt.Errorf("a request was lost: %w", err)
		}
		if err := c.do(ctx, Start, false); err != nil {
			return err
		}
		if _, err := c.running(ctx); err != nil {
			return err
		}
		return c.invariants()
	})
}

// bounce runs a command that ends the daemon, and waits until a new one answers.
func (s *Session) bounce(ctx context.Context, command string) error {
	const pid = "systemctl --user show -p MainPID --value " + nodes.DaemonUnit
	before, err := s.ssh.Run(ctx, pid)
	if err != nil {
		return err
	}
	if _, err := s.ssh.Run(ctx, command); err != nil {
		return fmt.Errorf("ending the daemon: %w", err)
	}
	return await(ctx, daemonTimeout, "a new daemon to answer", func() error {
		now, err := s.ssh.Run(ctx, pid)
		if err != nil {
			return err
		}
		if now == before || now == "0\n" {
			return errors.New("no new process yet")
		}
		return s.ssh.AwaitDaemon(ctx)
	})
}

// watchMyApps asks for the list of applications all the time until the function it
// gives is called, which says what was wrong with the answers, by application. No
// answer at all is not wrong here: the daemon is being restarted.
func (s *Session) watchMyApps(ctx context.Context, cells []*cell) func() map[string]error {
	ctx, cancel := context.WithCancel(ctx)
	wrong := map[string]error{}
	answers := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pollEvery / 4)
		defer tick.Stop()
		for {
			r, err := s.rpc.ListApps(ctx, connect.NewRequest(&api.ListAppsRequest{}))
			if err == nil {
				answers++
				state := map[string]api.State{}
				for _, a := range r.Msg.Apps {
					state[a.Id] = a.State
				}
				for _, c := range cells {
					switch state[c.app.ID] {
					case api.State_STATE_UNSPECIFIED:
						wrong[c.app.ID] = errors.New("it was missing from My Apps while the daemon was restarted")
					case api.State_STATE_NOT_INSTALLED, api.State_STATE_REMOVING:
						wrong[c.app.ID] = errors.New("it was shown as not installed in My Apps while the daemon was restarted")
					}
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() map[string]error {
		cancel()
		<-done
		if answers == 0 {
			for _, c := range cells {
				wrong[c.app.ID] = errors.New("no answer came from My Apps while the daemon was restarted")
			}
		}
		return wrong
	}
}

// stopClock fixes the cell's time now, for a cell that is reported later.
func (c *cell) stopClock() { c.seconds, c.split = c.finish() }
