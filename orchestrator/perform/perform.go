// Package perform carries out actions. Each family of verbs has a file of its own,
// which declares the few calls of the engine that it makes. What it needs besides
// an action is the application's record: it reads nothing of the loop's.
package perform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

var (
	// ErrReplan is returned where an action has changed the application's record: the
	// rest of the plan rests on the old one.
	ErrReplan = errors.New("its record has changed: to be planned anew")
	// ErrStart is wrapped where a start failed.
	ErrStart = errors.New("starting")
)

// Observer is told of progress.
type Observer interface {
	Say(app, message string)
}

// Pages stand on applications' ports until these serve there themselves.
type Pages interface {
	Close(port int)
}

// Engine is what all families of verbs need of the host.
type Engine interface {
	imageEngine
	prepareEngine
	unitEngine
	startEngine
	unheardEngine
	timingEngine
	hookEngine
	adoptEngine
	copyEngine
	exchangeEngine
	observeEngine
	removeEngine
	linkEngine
}

// Performer carries out actions, for several applications at a time.
type Performer struct {
	engine   Engine
	store    *state.Store
	secrets  *secrets.Store
	observer Observer
	pages    Pages
	dataDir  string
	starts   chan struct{} // as many as may start at a time
	log      *slog.Logger
}

// New prepares a performer for applications whose data is in dataDir.
func New(engine Engine, store *state.Store, sec *secrets.Store, observer Observer, pages Pages, dataDir string, log *slog.Logger) *Performer {
	return &Performer{
		engine: engine, store: store, secrets: sec, observer: observer, pages: pages, dataDir: dataDir, log: log,
		starts: make(chan struct{}, max(2, runtime.NumCPU())),
	}
}

// Outcome is what came of an action.
type Outcome struct {
	Err         error
	Engine, App time.Duration // spent in the engine, and by the application itself
	RolledBack  string        // why an update was rolled back, now that it is; empty where none was
}

// Do carries out one action of an application, whose record is d.
func (p *Performer) Do(ctx context.Context, d state.Desired, a plan.Action) (out Outcome) {
	begin := time.Now()
	if a.Verb == plan.Start {
		if out.Err = p.healFiles(ctx, d, a.Manifest); out.Err == nil {
			out = p.start(ctx, a)
		}
		return out
	}
	switch a.Verb {
	case plan.Prepare:
		out.Err = p.prepare(ctx, d, a.Manifest)
	case plan.WriteUnits:
		p.say(d.App, "writing units")
		if out.Err = p.engine.WriteUnits(ctx, a.Files, a.Gone); out.Err == nil && d.Goal == state.Running && d.Update == nil {
			out.Err = p.sweepFiles(a.Manifest)
		}
	case plan.Link:
		out.Err = p.link(ctx, d.App, a)
	case plan.StopUnits:
		out.Err = p.stop(ctx, d.App, a.Units)
	case plan.Restarted:
		out.Err = p.record(d.App, func(now *state.Desired) { now.Restarted = d.Restart })
	case plan.Convert:
		out.Err = p.convert(ctx, d, a.Manifest)
	case plan.PostInst:
		if out.Err = p.hooks(ctx, a.Manifest, "post_install", a.Manifest.Hooks.PostInstall); out.Err == nil {
			out.Err = p.record(d.App, func(now *state.Desired) { now.Installed = true })
		}
	case plan.PreUpdate:
		out.Err = p.hooks(ctx, a.Manifest, "pre_update", a.Manifest.Hooks.PreUpdate)
	case plan.PostUpdate:
		out.Err = p.hooks(ctx, a.Manifest, "post_update", a.Manifest.Hooks.PostUpdate)
	case plan.Copy:
		out.Err = p.copy(ctx, d)
	case plan.Switch:
		out.Err = p.switched(d)
	case plan.Commit:
		out.Err = p.commit(ctx, d, a.Manifest, a.Specs)
	case plan.PutBack:
		out.Err = p.putBack(ctx, d)
	case plan.RolledBack:
		out.RolledBack, out.Err = p.rolledBack(d)
	case plan.RemoveAll:
		out.Err = p.remove(ctx, d, a)
	case plan.Purge:
		out.Err = p.purge(ctx, d)
	case plan.Forget:
		if fault.Planted(fault.ComesBack) && d.Manifest != nil {
			out.Err = p.record(d.App, func(now *state.Desired) { now.Goal, now.Purge = state.Running, false })
			break
		}
		// A request may have come in meanwhile, to install it again: then its record stays.
		_, out.Err = p.store.DeleteIf(d.App, d.Generation)
	default:
		out.Err = fmt.Errorf("unknown action %q", a.Verb)
	}
	out.Engine = time.Since(begin)
	return out
}

func (p *Performer) say(app, format string, args ...any) {
	p.observer.Say(app, fmt.Sprintf(format, args...))
}

// record changes an application's record.
func (p *Performer) record(app string, change func(*state.Desired)) error {
	_, err := p.store.Update(app, change)
	return err
}

// home is an application's directory.
func (p *Performer) home(app string) string { return filepath.Join(p.dataDir, app) }

// Snapshots is the directory of the copies that are made of volumes.
func Snapshots(dataDir string) string { return filepath.Join(dataDir, manifest.OwnDir, "snapshots") }

// copyOf is where an update has a copy of an application's volumes, which is of one of
// state.CopyKinds.
func (p *Performer) copyOf(app, kind string) string {
	return filepath.Join(Snapshots(p.dataDir), app+kind)
}

// volumeDirs are the directories of an application's volumes that were initialised.
func (p *Performer) volumeDirs(app string) (dirs []string) {
	data := p.store.Data(app)
	for _, v := range data.Volumes {
		dirs = append(dirs, data.Dir(p.dataDir, app, v))
	}
	return dirs
}
