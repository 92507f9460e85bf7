package matrix

import (
	"context"
	"fmt"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

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

// beStopped wants the application stopped, and stops one that is not. After the step that
// stopped it, it only looks: one that runs again has not stayed stopped.
func beStopped(ctx context.Context, env *Environment, rec *Recorder) error {
	s, err := env.look(ctx, rec)
	if err != nil {
		return err
	}
	begin, err := beginsStopped(env.App, s, env.Shard.Steps)
	if err != nil {
		return err
	}
	if !begin {
		rec.before = s
		return nil
	}
	if err := beRunning(ctx, env, rec); err != nil {
		return err
	}
	return env.do(ctx, rec, Stop, false)
}

// beginsStopped judges what is there before a step that begins with the application stopped:
// stop it first, where no step of this process has. steps are those of the process, in which
// nothing comes after a step that did not pass.
func beginsStopped(m *manifest.Manifest, s *Snapshot, steps []string) (stop bool, err error) {
	wrong := Verdict(CheckStopped(m, s))
	if wrong == nil || !slices.Contains(steps, Stop) {
		return wrong != nil, nil
	}
	return false, fmt.Errorf("it did not stay stopped: %w", wrong)
}
