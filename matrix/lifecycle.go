package matrix

import (
	"context"
	"fmt"
)

// complete looks, and wants the application running, with the same data and secrets
// as before the step and the canary where it was.
func complete(ctx context.Context, env *Environment, rec *Recorder) (*Snapshot, error) {
	s, err := env.look(ctx, rec)
	if err != nil {
		return nil, err
	}
	if rec.before == nil {
		return s, Verdict(CheckRunning(env.App, s))
	}
	if err := Verdict(CheckRunning(env.App, s), CheckSame(rec.before, s)); err != nil {
		return nil, err
	}
	return s, env.readCanary(ctx, rec)
}

func install(ctx context.Context, env *Environment, rec *Recorder) error {
	s, err := env.look(ctx, rec)
	if err != nil {
		return err
	}
	// A cycle begins on a clean node, and the gate has refused nodes with anyone
	// else's data; so what is left here is from a run that was cut off.
	if len(CheckAbsent(env.App, s))+len(CheckPurged(s)) > 0 {
		if err := env.do(ctx, rec, Uninstall, true); err != nil {
			return fmt.Errorf("clearing what an earlier run left: %w", err)
		}
		rec.held = nil
	}
	if err := env.do(ctx, rec, Install, false); err != nil {
		return err
	}
	if _, err := complete(ctx, env, rec); err != nil {
		return err
	}
	if err := keepsRequired(ctx, env); err != nil {
		return err
	}
	return env.plantCanary(ctx, rec)
}

func stop(ctx context.Context, env *Environment, rec *Recorder) error {
	if err := env.timely(ctx, rec, Stop); err != nil {
		return err
	}
	s, err := env.look(ctx, rec)
	if err != nil {
		return err
	}
	if err := Verdict(CheckStopped(env.App, s), CheckSame(rec.before, s)); err != nil {
		return err
	}
	if err := env.awaitPass(ctx, rec); err != nil {
		return err
	}
	if s, err = env.look(ctx, rec); err != nil {
		return err
	}
	return wrap("it did not stay stopped over a reconcile pass", Verdict(CheckStopped(env.App, s)))
}

func start(ctx context.Context, env *Environment, rec *Recorder) error {
	if err := env.timely(ctx, rec, Start); err != nil {
		return err
	}
	_, err := complete(ctx, env, rec)
	return err
}

func restart(ctx context.Context, env *Environment, rec *Recorder) error {
	if err := env.timely(ctx, rec, Restart); err != nil {
		return err
	}
	s, err := complete(ctx, env, rec)
	if err != nil {
		return err
	}
	return Verdict(CheckRestarted(env.App, rec.before, s))
}

func uninstall(ctx context.Context, env *Environment, rec *Recorder) error {
	if err := remove(ctx, env, rec, false); err != nil {
		return err
	}
	return remove(ctx, env, rec, true)
}

// A backup is taken and restored in these cycles only: the second, the twelfth. It
// takes as long as three steps.
const backupEvery, backupFirst = 10, 2

func reinstall(ctx context.Context, env *Environment, rec *Recorder) error {
	if err := remove(ctx, env, rec, false); err != nil {
		return err
	}
	if err := env.do(ctx, rec, Install, false); err != nil {
		return err
	}
	if _, err := complete(ctx, env, rec); err != nil {
		return err
	}
	if env.Shard.Cycle%backupEvery != backupFirst {
		return nil
	}
	return wrap("from a backup", backUpAndRestore(ctx, env, rec))
}

// remove uninstalls the application, and wants nothing of it to be left: with purge
// nothing at all, without it only its data and secrets, unchanged.
func remove(ctx context.Context, env *Environment, rec *Recorder, purge bool) error {
	if err := env.do(ctx, rec, Uninstall, purge); err != nil {
		return err
	}
	s, err := env.look(ctx, rec)
	if err != nil {
		return err
	}
	if purge {
		return wrap("with purge", Verdict(CheckAbsent(env.App, s), CheckPurged(s)))
	}
	return wrap("after uninstalling with the data kept", Verdict(CheckAbsent(env.App, s), CheckSame(rec.before, s)))
}
