package matrix

import (
	"context"
	"fmt"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
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
	if env.mayMend(env.App.ID) {
		if err := beginClean(ctx, env); err != nil {
			return fmt.Errorf("clearing what an interrupted cycle left: %w", err)
		}
	}
	s, err := env.look(ctx, rec)
	if err != nil {
		return err
	}
	if err := beforeInstall(env.App, s); err != nil {
		return err
	}
	if err := bringAbout(ctx, env, rec); err != nil {
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

// bringAbout has the release under test installed: at once, or through an update from the
// earlier one.
func bringAbout(ctx context.Context, env *Environment, rec *Recorder) (err error) {
	if previous := env.Shard.Previous[env.App.ID]; previous != nil {
		rec.note, err = throughUpdate(ctx, onNode{env, rec}, previous, env.App)
		if err == nil {
			rec.updatedFrom = previous.Version
		}
		return err
	}
	// An earlier cycle's update, and one that was cut short, left a release offered.
	if err := env.offer(ctx, env.App.ID, nil); err != nil {
		return fmt.Errorf("offering the release under test: %w", err)
	}
	return env.do(ctx, rec, Install, false)
}

// beginClean takes back what an interrupted cycle left, before anybody looks: an update that was
// cut short has left the earlier release installed, or offered, and the daemon speaks of that.
func beginClean(ctx context.Context, env *Environment) error {
	if err := env.offer(ctx, env.App.ID, nil); err != nil {
		return err
	}
	return env.clear(ctx, env.App)
}

// beforeInstall judges what is there before a cycle's install. The run began on clean
// nodes, and each cycle ends with a purge, as does the clearing of one that was cut short: what
// is left escaped from that, and is red before the install can wipe it.
func beforeInstall(m *manifest.Manifest, s *Snapshot) error {
	left := Verdict(CheckAbsent(m, s), CheckPurged(s))
	if left == nil {
		return nil
	}
	return fmt.Errorf("before the install, something is left of what was removed earlier ('archy uninstall --purge %s' clears it): %w", m.ID, left)
}

func stop(ctx context.Context, env *Environment, rec *Recorder) error {
	if err := env.timely(ctx, rec, Stop); err != nil {
		return err
	}
	return env.lasting(ctx, rec, "it did not stay stopped over a reconcile pass", func(s *Snapshot) error {
		return Verdict(CheckStopped(env.App, s), CheckSame(rec.before, s))
	})
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
	if err := Verdict(CheckRestarted(env.App, rec.before, s)); err != nil {
		return err
	}
	if err := wrap("after its main processes were killed", crash(ctx, env, rec, s)); err != nil {
		return err
	}
	if err := wrap("after the restart", signInAgain(ctx, env, rec)); err != nil {
		return err
	}
	// From here on, whoever shows an earlier state is found out.
	return env.plantCanary(ctx, rec)
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
	if env.Shard.Cycle%backupEvery == backupFirst {
		if err := backUpAndRestore(ctx, env, rec); err != nil {
			return wrap("from a backup", err)
		}
	}
	return wrap("after the reinstall", signInAgain(ctx, env, rec))
}

// remove uninstalls the application, and wants nothing of it to be left, at once and
// after another pass of the daemon: with purge nothing at all, without it only its data
// and secrets, unchanged.
func remove(ctx context.Context, env *Environment, rec *Recorder, purge bool) error {
	had := slices.Clone(rec.held)
	if err := env.do(ctx, rec, Uninstall, purge); err != nil {
		return err
	}
	return env.lasting(ctx, rec, "it came back over a reconcile pass", func(s *Snapshot) error {
		return checkRemoved(env.App, rec.before, had, s, purge)
	})
}

// checkRemoved judges what is there after an uninstall; had are snapshots from before it.
func checkRemoved(m *manifest.Manifest, before *Snapshot, had []*Snapshot, s *Snapshot, purge bool) error {
	left := slices.Concat(CheckAbsent(m, s), CheckVolumesGone(m, had, s))
	if purge {
		return wrap("with purge", Verdict(left, CheckPurged(s)))
	}
	return wrap("after uninstalling with the data kept", Verdict(left, CheckSame(before, s)))
}
