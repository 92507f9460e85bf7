package matrix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// The reboot is a power cut in these cycles, where the node can do that: the third, the
// eighth. The dear cycles, the one without images and those with a backup, are others.
const powerEvery, powerFirst = 5, 3

const (
	rebootTimeout  = 5 * time.Minute
	atATime        = 4                // applications that are looked at closely, of all of a node
	turnTimeout    = 15 * time.Minute // for a reboot, and all applications after it
	restartCommand = "systemctl --user restart " + nodes.DaemonUnit
)

// errNotBack is a failure: the gate rebooted the node, and what was on it is served no more.
var errNotBack = errors.New("the node was rebooted and did not come back")

// cutsPower tells whether the shard's reboot is a power cut.
func (s *Shard) cutsPower() bool {
	return s.Cycle%powerEvery == powerFirst && len(s.Node.Power.Cut) > 0
}

// surviveReboot reboots the node once, or cuts its power, and watches all applications
// come back by themselves, each within its budget.
//
// Nodes that share a machine take turns: what starts on one of them would otherwise be judged by
// the load of the others, too. And pages are asked for when everything is back.
func surviveReboot(ctx context.Context, g *Group) {
	if g.Shard.Turns != "" {
		turn, err := takeTurn(ctx, g.Shard.Turns)
		g.Once(ctx, func(context.Context) error { return err })
		if err != nil {
			return
		}
		defer turn.Close()
	}
	bounded, cancel := context.WithTimeoutCause(ctx, rebootTimeout, fmt.Errorf("%w: the node did not come back within %s of a reboot", nodes.ErrLost, rebootTimeout))
	defer cancel()
	var boot nodes.BootID
	var on time.Time
	g.Once(bounded, func(bounded context.Context) (err error) {
		g.Witness.Close()
		asked := time.Now()
		if g.Shard.cutsPower() {
			boot, err = g.SSH.PowerCut(bounded)
		} else {
			boot, err = g.SSH.Reboot(bounded)
		}
		if err != nil {
			return lostForGood(ctx, err)
		}
		if _, err := g.SSH.Run(bounded, mark(Rebooted)); err != nil {
			return err
		}
		age, err := g.SSH.Age(bounded)
		if err != nil {
			return err
		}
		on = poweredOn(asked, time.Now(), age)
		return nil
	})
	g.Each(ctx, func(ctx context.Context, env *Environment, rec *Recorder) error {
		if g.Shard.cutsPower() {
			rec.say("the power was cut")
		}
		if err := awaitReturn(ctx, env, rec, boot, on); err != nil {
			return err
		}
		if rec.before.Boot == boot {
			return fmt.Errorf("boot identity is still %s: the node was not rebooted", boot)
		}
		return nil
	})
	g.few(ctx, atATime, func(ctx context.Context, env *Environment, rec *Recorder) error {
		if err := env.SSH.AwaitDaemon(ctx); err != nil {
			return err
		}
		now, err := complete(ctx, env, rec)
		if err != nil {
			return err
		}
		if err := Verdict(CheckBoot(env.App, now)); err != nil {
			return err
		}
		return wrap("after the reboot", signInAgain(ctx, env, rec))
	})
}

// takeTurn waits until no other node of this machine reboots; closing the file ends the turn, and
// so does the end of the process.
func takeTurn(ctx context.Context, file string) (turn *os.File, err error) {
	turn, err = os.OpenFile(file, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	err = await(ctx, turnTimeout, "the reboot of another node of this machine to be over", func() error {
		return syscall.Flock(int(turn.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	})
	if err != nil {
		turn.Close()
		return nil, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return turn, nil
}

// lostForGood makes a failure of a node that is away after a reboot which the gate asked for,
// unless it is the gate that gave up.
func lostForGood(ctx context.Context, err error) error {
	if ctx.Err() != nil || !errors.Is(err, nodes.ErrAway) {
		return err
	}
	return fmt.Errorf("%w within %s: %v", errNotBack, rebootTimeout, err)
}

// awaitReturn waits until the application is back on a boot that began at on. The daemon is
// asked nothing before that, and no command is given.
func awaitReturn(ctx context.Context, env *Environment, rec *Recorder, boot nodes.BootID, on time.Time) error {
	defer rec.charge(&rec.timing.App)()
	budget := env.App.RebootBudget()
	var seen time.Time
	rebooted := func(now *Snapshot) (wrong []string) {
		if now.Boot != boot {
			wrong = append(wrong, fmt.Sprintf("boot identity is %s, expected %s", now.Boot, boot))
		}
		return wrong
	}
	err := env.sight(rec).await(ctx, max(budget-time.Since(on), time.Second), fmt.Sprintf("%s to be back after the reboot, budget %s", env.App.ID, budget),
		func(now *Snapshot) []string { return append(rebooted(now), CheckUp(env.App, now)...) },
		func(now *Snapshot, begun time.Time) error {
			seen = begun
			return Verdict(rebooted(now), CheckRunning(env.App, now))
		})
	if err != nil {
		return err
	}
	return checkReturn(env.App, on, seen)
}

// surviveRestarts ends the daemon three times: by a restart and by SIGKILL, neither
// of which may change a container, and by a restart right after a request was
// accepted, which must be carried out all the same. Meanwhile My Apps must list
// every application whenever it answers.
func surviveRestarts(ctx context.Context, g *Group) {
	stopWatching := g.watchMyApps(ctx)
	for _, way := range []struct{ how, command string }{{"restarted", restartCommand}, {"killed", forced(nodes.DaemonUnit, "systemctl --user kill --signal=SIGKILL "+nodes.DaemonUnit)}} {
		g.Once(ctx, func(ctx context.Context) error { return g.endDaemon(ctx, way.command) })
		untouched := func(after string) {
			g.few(ctx, atATime, func(ctx context.Context, env *Environment, rec *Recorder) error {
				now, err := env.look(ctx, rec)
				if err != nil {
					return err
				}
				return wrap(after, Verdict(CheckUntouched(env.App, rec.before, now), CheckRunning(env.App, now)))
			})
		}
		untouched("after the daemon was " + way.how)
		g.Once(ctx, g.awaitPass)
		untouched("over a reconcile pass after the daemon was " + way.how)
	}
	// The daemon is restarted before it can have carried out what it accepted.
	g.Each(ctx, func(ctx context.Context, env *Environment, _ *Recorder) error {
		if g.follows(env.App) {
			return nil // it must stop because what it requires does
		}
		_, err := env.Daemon.Request(ctx, Stop, env.App.ID, false)
		return err
	})
	g.Once(ctx, func(ctx context.Context) error { return g.endDaemon(ctx, restartCommand) })
	wrong, unmet := stopWatching(), g.unmet()
	g.few(ctx, atATime, func(ctx context.Context, env *Environment, rec *Recorder) error {
		if err := cmp.Or(wrong[env.App.ID], unmet[env.App.ID]); err != nil {
			return err
		}
		if g.follows(env.App) {
			if err := awaitFollow(ctx, env, rec); err != nil {
				return err
			}
			_, err := complete(ctx, env, rec)
			return err
		}
		if err := awaitStop(ctx, env, rec); err != nil {
			return fmt.Errorf("a request was lost: %w", err)
		}
		if err := env.do(ctx, rec, Start, false); err != nil {
			return err
		}
		_, err := complete(ctx, env, rec)
		return err
	})
}

func awaitStop(ctx context.Context, env *Environment, rec *Recorder) error {
	defer rec.charge(&rec.timing.Engine)()
	return env.sight(rec).await(ctx, operationTimeout(env.App, env.Shard.Bare), "the stop that was accepted before the daemon was restarted",
		func(now *Snapshot) []string { return CheckDown(env.App, now) },
		func(now *Snapshot, _ time.Time) error { return Verdict(CheckStopped(env.App, now)) })
}

// watchMyApps keeps asking for the list of applications until the function it gives
// is called, which says, by application, what was wrong with the answers. A call
// without an answer is not wrong here: the daemon is being restarted.
func (g *Group) watchMyApps(ctx context.Context) (stop func() map[string]error) {
	ctx, cancel := context.WithCancel(ctx)
	wrong := map[string]error{}
	answers := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pollEvery / 4)
		defer tick.Stop()
		for {
			r, err := g.Daemon.ListApps(ctx, connect.NewRequest(&api.ListAppsRequest{}))
			if err == nil {
				answers++
				g.checkMyApps(r.Msg.Apps, wrong)
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
			for _, c := range g.cells {
				wrong[c.env.App.ID] = errors.New("no answer came from My Apps while the daemon was restarted")
			}
		}
		return wrong
	}
}

// checkMyApps wants every application of the group to be listed as installed.
func (g *Group) checkMyApps(listed []*api.App, wrong map[string]error) {
	state := map[string]api.State{}
	for _, a := range listed {
		state[a.Id] = a.State
	}
	for _, c := range g.cells {
		switch id := c.env.App.ID; state[id] {
		case api.State_STATE_UNSPECIFIED:
			wrong[id] = errors.New("it was missing from My Apps while the daemon was restarted")
		case api.State_STATE_NOT_INSTALLED, api.State_STATE_REMOVING:
			wrong[id] = errors.New("it was shown as not installed in My Apps while the daemon was restarted")
		}
	}
}
