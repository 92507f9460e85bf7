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

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// ErrFixture is wrapped when what a cell begins on could not be brought about: something
// that its application requires does not run, or something that requires it cannot be
// removed. Such a cell is not run.
var ErrFixture = errors.New("fixture")

// prepare brings the node to where the shard's first cell begins, once for all of them.
func (s *Session) prepare(ctx context.Context) error {
	s.prepared.Do(func() {
		for _, m := range s.Shard.Absent {
			if err := s.clear(ctx, m); err != nil {
				s.fixture = fmt.Errorf("%w: %s, which requires it, is left and cannot be removed: %w", ErrFixture, m.ID, err)
				return
			}
		}
		for _, m := range s.Shard.Fixtures {
			if err := s.run(ctx, m); err != nil {
				s.fixture = fmt.Errorf("%w: %s, which it requires, does not run: %w", ErrFixture, m.ID, err)
				return
			}
		}
	})
	return s.fixture
}

// clear purges what is left of an application.
func (s *Session) clear(ctx context.Context, m *manifest.Manifest) error {
	env, rec := &Environment{Session: s, App: m}, newRecorder(s.Shard, m.ID, "fixture")
	seen, err := env.lookAt(ctx, m, rec.begin)
	if err != nil || len(CheckAbsent(m, seen))+len(CheckPurged(seen)) == 0 {
		return err
	}
	return env.do(ctx, rec, Uninstall, true)
}

// run has an application installed and running.
func (s *Session) run(ctx context.Context, m *manifest.Manifest) error {
	env, rec := &Environment{Session: s, App: m}, newRecorder(s.Shard, m.ID, "fixture")
	seen, err := env.lookAt(ctx, m, rec.begin)
	if err != nil || len(CheckRunning(m, seen)) == 0 {
		return err
	}
	if err := env.do(ctx, rec, Install, false); err != nil {
		return err
	}
	if seen, err = env.lookAt(ctx, m, rec.begin); err != nil {
		return err
	}
	return Verdict(CheckRunning(m, seen))
}

// keepsRequired wants the daemon to refuse to uninstall what the application requires, and
// to name the application: only one that requires another can show that.
func keepsRequired(ctx context.Context, env *Environment) error {
	for _, r := range env.App.Requires {
		if r.Optional {
			continue
		}
		_, err := env.Daemon.Request(ctx, Uninstall, r.App, false)
		if wrong := checkRefusal(err, r.App, env.App.ID); wrong != nil {
			return wrong
		}
	}
	return nil
}

// checkRefusal judges the answer to a request to uninstall an application that another one
// requires.
func checkRefusal(answer error, app, by string) error {
	switch {
	case answer == nil:
		return fmt.Errorf("the daemon took a request to uninstall %s, which %s requires", app, by)
	case connect.CodeOf(answer) != connect.CodeFailedPrecondition || !slices.Contains(strings.FieldsFunc(answer.Error(), func(r rune) bool { return strings.ContainsRune(" ,;:", r) }), by):
		return fmt.Errorf("a request to uninstall %s, which %s requires, was not refused with that reason: %w", app, by, answer)
	}
	return nil
}

// follows tells whether the application requires another one of the group: it stops and
// starts because that one does.
func (g *Group) follows(m *manifest.Manifest) bool {
	return slices.ContainsFunc(g.cells, func(c *cell) bool {
		need, needs := m.Requirement(c.env.App.ID)
		return needs && !need.Optional
	})
}

// unmet says, by application, what of the group it requires, directly or through others, has
// failed so far: it was not stopped, so nothing that requires it can follow.
func (g *Group) unmet() map[string]error {
	out := map[string]error{}
	for range g.cells { // as often as the longest chain is long
		for _, c := range g.cells {
			for _, other := range g.cells {
				id := other.env.App.ID
				if need, needs := c.env.App.Requirement(id); !needs || need.Optional || out[c.env.App.ID] != nil {
					continue
				}
				if err := cmp.Or(other.err, out[id]); err != nil {
					out[c.env.App.ID] = fmt.Errorf("%w: %s, which it requires: %w", ErrFixture, id, err)
				}
			}
		}
	}
	return out
}

// awaitFollow waits until an application is back that was stopped, and is started again,
// because of what it requires: in containers made anew. One that ran on in those of before,
// without what it requires, is never that. Nothing is asked for.
func awaitFollow(ctx context.Context, env *Environment, rec *Recorder) error {
	defer rec.charge(&rec.timing.App)()
	return env.sight(rec).await(ctx, operationTimeout(env.App, env.Shard.Bare), env.App.ID+" to be back with what it requires",
		func(now *Snapshot) []string {
			return append(CheckUp(env.App, now), CheckOther(env.App, rec.before, now)...)
		},
		func(now *Snapshot, _ time.Time) error {
			return Verdict(CheckRunning(env.App, now), CheckRestarted(env.App, rec.before, now))
		})
}
