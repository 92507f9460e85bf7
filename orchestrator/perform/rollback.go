package perform

import (
	"context"
	"errors"
	"fmt"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

type exchangeEngine interface {
	BeginExchange(ctx context.Context, dirs []string, from, to string) error
	Exchange(ctx context.Context, dirs []string, from, to string) error
}

// exchanged are the directories of all volumes that an update back and what it leaves have.
func (p *Performer) exchanged(d state.Desired) (dirs []string) {
	data := p.store.Data(d.App)
	volumes := data.Volumes
	for _, more := range [][]string{d.Update.Had, d.Previous.Volumes, d.Manifest.Volumes(), d.Update.To.Volumes()} {
		volumes = plan.Union(volumes, more)
	}
	for _, v := range volumes {
		dirs = append(dirs, data.Dir(p.dataDir, d.App, v))
	}
	return dirs
}

// beginExchange has what cannot be moved be copied, while the version that is left still has
// its data.
func (p *Performer) beginExchange(ctx context.Context, d state.Desired) error {
	from := p.copyOf(d.App, d.Previous.Copy)
	if !exists(from) {
		return fmt.Errorf("the copy of the data of version %s, %s, is gone", d.Update.To.Version, from)
	}
	return p.engine.BeginExchange(ctx, p.exchanged(d), from, p.copyOf(d.App, d.Update.Copy))
}

// exchange has the data and the copy that is kept change places, or, where the version that
// was gone back to does not come up, change places again.
func (p *Performer) exchange(ctx context.Context, d state.Desired) error {
	from, to := p.copyOf(d.App, d.Previous.Copy), p.copyOf(d.App, d.Update.Copy)
	m, volumes := d.Update.To, d.Previous.Volumes
	if d.Update.Phase == state.RollingBack {
		from, to = to, from
		m, volumes = d.Manifest, d.Update.Had
	}
	if err := p.engine.Exchange(ctx, p.exchanged(d), from, to); err != nil {
		return err
	}
	data := p.store.Data(d.App)
	data.App, data.Version, data.Migration, data.Volumes = d.App, m.Version, m.Migration, volumes
	return p.store.PutData(data)
}

// copyOver makes the copy of an update. Where there is no room for two, the one that is kept
// of the update before goes first.
func (p *Performer) copyOver(ctx context.Context, d state.Desired) error {
	to := p.copyOf(d.App, d.Update.Copy)
	err := p.engine.CopyVolumes(ctx, p.volumeDirs(d.App), to)
	if !errors.Is(err, host.ErrNoRoom) || d.Previous == nil {
		return err
	}
	kept := d.Previous
	if err := p.record(d.App, func(now *state.Desired) { now.Previous = nil }); err != nil {
		return err
	}
	p.say(d.App, "deleting the copy of version %s, to make room", kept.Manifest.Version)
	if err := p.store.Audit(Who, d.App, WayBackEnded(kept, "there was no room for the copy of the next update"), nil); err != nil {
		p.log.Error("audit", "error", err)
	}
	if err := p.engine.DeleteTree(ctx, p.copyOf(d.App, kept.Copy)); err != nil {
		return err
	}
	return p.engine.CopyVolumes(ctx, p.volumeDirs(d.App), to)
}

// Who stands in the audit log for what the daemon does by itself.
const Who = "the daemon"

// WayBackEnded says that there is no way back any more.
func WayBackEnded(kept *state.Previous, why string) string {
	return fmt.Sprintf("the way back to %s has ended: %s", kept.Manifest.Version, why)
}
