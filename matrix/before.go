package matrix

import "context"

// beRunning wants the application where most steps begin: running, with the canary
// planted. For a step that is run by itself, and for the first one of a resumed
// cycle, it brings it there. After the step before it, in the order of a cycle, it
// only looks: whatever has changed since is a failure.
func beRunning(ctx context.Context, env *Environment, rec *Recorder) error {
	s, err := env.look(ctx, rec)
	if err != nil {
		return err
	}
	planted, err := env.Shard.planted(env.App.ID)
	if err != nil {
		return err
	}
	// What was under way may have been the writing of a canary.
	begin := env.mayMend(env.App.ID) || planted == ""
	if begin && len(CheckRunning(env.App, s)) > 0 {
		if err := env.do(ctx, rec, Install, false); err != nil {
			return err
		}
		if s, err = env.look(ctx, rec); err != nil {
			return err
		}
	}
	if err := Verdict(CheckRunning(env.App, s)); err != nil {
		return err
	}
	if begin {
		if err := env.plantCanary(ctx, rec); err != nil {
			return err
		}
	}
	rec.before = s
	return nil
}

// beStopped wants the application stopped, and stops one that is not.
func beStopped(ctx context.Context, env *Environment, rec *Recorder) error {
	s, err := env.look(ctx, rec)
	if err != nil {
		return err
	}
	if len(CheckStopped(env.App, s)) == 0 {
		rec.before = s
		return nil
	}
	if err := beRunning(ctx, env, rec); err != nil {
		return err
	}
	return env.do(ctx, rec, Stop, false)
}
