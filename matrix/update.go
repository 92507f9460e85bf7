package matrix

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// An install goes through an update in these cycles only: the fourth, the fourteenth. None of
// them is one of a backup, of a power cut, or without images.
const (
	updateEvery = 10
	// UpdateFirst is the first of them.
	UpdateFirst = 4
)

// Updates tells whether installs of a cycle go through an update, where there is an earlier
// release.
func Updates(cycle int) bool { return cycle%updateEvery == UpdateFirst }

// updater is what an update is done with: the daemon as its owner uses it, and the witnesses.
type updater interface {
	offer(ctx context.Context, m *manifest.Manifest) error            // that release, and no other
	install(ctx context.Context, m *manifest.Manifest) error          // as it is offered
	update(ctx context.Context, from, to *manifest.Manifest) error    // within its budget
	see(ctx context.Context, m *manifest.Manifest) (*Snapshot, error) // judged in full as that one
	plant(ctx context.Context, m *manifest.Manifest) error
	read(ctx context.Context, m *manifest.Manifest) error
}

// throughUpdate installs the earlier release, has the owner's data come to it, and updates to
// the one under test; back and forth again where the data's format allows it. The one under
// test is what is left. note says what was done.
func throughUpdate(ctx context.Context, u updater, previous, m *manifest.Manifest) (note string, err error) {
	if err := u.offer(ctx, previous); err != nil {
		return "", fmt.Errorf("offering the earlier release %s: %w", previous.Version, err)
	}
	installed := func() (*Snapshot, error) {
		if err := u.install(ctx, previous); err != nil {
			return nil, err
		}
		s, err := u.see(ctx, previous)
		if err != nil {
			return nil, err
		}
		return s, u.plant(ctx, previous)
	}
	before, err := installed()
	if err != nil {
		return "", fmt.Errorf("the earlier release %s: %w", previous.Version, err)
	}
	note = "updated from " + previous.Version
	way := []*manifest.Manifest{m}
	if goesBack(previous, m) {
		way = append(way, previous, m)
		note += ", back, and again"
	}
	same := reflect.DeepEqual(previous.Canary, m.Canary)
	if !same {
		note += "; it has another canary, which was not read over the update"
	}
	from := previous
	for _, to := range way {
		after, err := updated(ctx, u, before, from, to, same || to == previous)
		if err != nil {
			return "", fmt.Errorf("the update from %s to %s: %w", from.Version, to.Version, err)
		}
		before, from = after, to
	}
	return note, nil
}

// updated updates once, and wants the new containers, the data and the canary.
func updated(ctx context.Context, u updater, before *Snapshot, from, to *manifest.Manifest, canary bool) (*Snapshot, error) {
	if err := u.offer(ctx, to); err != nil {
		return nil, fmt.Errorf("offering it: %w", err)
	}
	if err := u.update(ctx, from, to); err != nil {
		return nil, err
	}
	after, err := u.see(ctx, to)
	if err != nil {
		return nil, err
	}
	if err := Verdict(checkUpdated(from, to, before, after)); err != nil {
		return nil, err
	}
	if !canary {
		return after, nil
	}
	return after, u.read(ctx, to)
}

// goesBack tells whether an application may be updated to its earlier release again: the data
// must be of a format that it knows, which the daemon refuses otherwise.
func goesBack(previous, m *manifest.Manifest) bool { return previous.Migration >= m.Migration }

// checkUpdated wants every container of an application to be another one than before its
// update, and the data and secrets that both releases have to be the same.
func checkUpdated(from, to *manifest.Manifest, before, after *Snapshot) (wrong []string) {
	for _, c := range to.Containers {
		b, a := before.member(c.Name), after.member(c.Name)
		if len(b) > 0 && len(a) > 0 && a[0].ID == b[0].ID {
			wrong = append(wrong, fmt.Sprintf("container %s is still the one of before the update", c.Name))
		}
	}
	kept := &Snapshot{Volumes: map[string]VolSeen{}, Secrets: map[string]FileSeen{}}
	for name, v := range before.Volumes {
		if slices.Contains(from.Volumes(), name) && slices.Contains(to.Volumes(), name) {
			kept.Volumes[name] = v
		}
	}
	for name, s := range before.Secrets {
		if slices.ContainsFunc(to.Secrets, func(g manifest.GeneratedSecret) bool { return g.Name == name }) {
			kept.Secrets[name] = s
		}
	}
	return append(wrong, CheckSame(kept, after)...)
}

// updateBudget is how long an update may take: to stop the one, to start the other, and what
// the hooks of both are given. Images are there already.
func updateBudget(from, to *manifest.Manifest) time.Duration {
	d := ownBudget(from, Stop) + ownBudget(to, Start) + machineShare
	for _, h := range slices.Concat(from.Hooks.PreUpdate, to.Hooks.PostUpdate) {
		d += h.Timeout.Or(hookTimeout)
	}
	return d
}

// hookTimeout is what a hook is given that its manifest gives nothing.
const hookTimeout = time.Minute

// onNode does an update on the node of a cell.
type onNode struct {
	env *Environment // of the release under test
	rec *Recorder
}

func (o onNode) of(m *manifest.Manifest) *Environment {
	return &Environment{Session: o.env.Session, App: m}
}

func (o onNode) offer(ctx context.Context, m *manifest.Manifest) error {
	return o.env.offer(ctx, o.env.App.ID, m)
}

func (o onNode) install(ctx context.Context, m *manifest.Manifest) error {
	return o.of(m).do(ctx, o.rec, Install, false)
}

func (o onNode) plant(ctx context.Context, m *manifest.Manifest) error {
	return o.of(m).plantCanary(ctx, o.rec)
}

func (o onNode) read(ctx context.Context, m *manifest.Manifest) error {
	return o.of(m).readCanary(ctx, o.rec)
}

// update agrees to what the release may do more than the one before, as an owner does who
// reads it in My Apps and goes on.
func (o onNode) update(ctx context.Context, from, to *manifest.Manifest) error {
	if _, err := (&Environment{Session: o.env.Session, App: to}).owned(ctx); err != nil {
		return err
	}
	asked, err := o.env.Daemon.GetApp(ctx, connect.NewRequest(&api.GetAppRequest{Id: to.ID}))
	if err != nil {
		return fmt.Errorf("asking what it may do more: %w", err)
	}
	budget := updateBudget(from, to)
	begin := time.Now()
	// One that fails is rolled back, which takes as long again; the daemon says why.
	err = o.env.operate(ctx, o.rec, "update", 2*budget, func(ctx context.Context) (*api.Progress, error) {
		op, err := o.env.Daemon.Update(ctx, connect.NewRequest(&api.UpdateRequest{Id: to.ID, Consent: asked.Msg.NewPrivileges}))
		if err != nil {
			return nil, err
		}
		return o.env.Daemon.Await(ctx, op.Msg, nil)
	})
	if took := time.Since(begin); err == nil && took > budget {
		err = fmt.Errorf("update took %s by the gate's clock: its budget is %s, the hooks' and the machine's share included", took.Round(time.Second), budget)
	}
	return err
}

// see looks, and judges at once as the release that it is of: the invariants of the cell are
// those of the one under test.
func (o onNode) see(ctx context.Context, m *manifest.Manifest) (*Snapshot, error) {
	env, held := o.of(m), o.rec.held
	s, err := env.look(ctx, o.rec)
	o.rec.held = held
	if err != nil {
		return nil, err
	}
	if len(held) > 0 && s.Boot != held[0].Boot {
		return nil, fmt.Errorf("%w: boot identity %s, before %s", errRebooted, s.Boot, held[0].Boot)
	}
	meant, err := env.expectation(s.Host)
	if err != nil {
		return nil, err
	}
	return s, judgeRelease(m, meant, s)
}

// judgeRelease judges a snapshot of one of the releases: that it runs, and what must always hold,
// which is of that kind in an update, too.
func judgeRelease(m *manifest.Manifest, meant *Expectation, s *Snapshot) error {
	running := Verdict(CheckRunning(m, s))
	always, _ := checkAlways(m, meant, s)
	switch {
	case running == nil:
		return always
	case always == nil:
		return running
	}
	return fmt.Errorf("%w; %w", running, always)
}
