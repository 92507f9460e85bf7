// Package orchestrator keeps a node's applications at their desired state: it
// observes, plans and performs, on events and every 30 s. What it decides with is in
// the packages below it (request, plan, view: pure), and so is what it acts with
// (perform, ready, backup, rollout, waiting); this package is the loop that joins them.
package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/drill"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/images"
	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
	"github.com/archipelago-cloud/archipelago/orchestrator/offer"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/ready"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/rollout"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/storage"
	"github.com/archipelago-cloud/archipelago/orchestrator/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/waiting"
)

const (
	passInterval = 30 * time.Second      // the safety net below events
	engineRetry  = 2 * time.Second       // until an engine that did not answer is asked again
	settle       = 50 * time.Millisecond // events come in bursts

	observedFile = "observed.json"
)

// Engine is the host as the loop and its managers use it.
type Engine interface {
	perform.Engine
	ready.Engine
	backup.Engine
	drill.Engine
	images.Engine
	moveEngine
	repository.Runner
	usage.Engine
	// EnsureProber has the prober's unit be that of this release, and run.
	EnsureProber(ctx context.Context) error
	// Follow has changes of these units become events.
	Follow(units []string) error
	// ShareFolder opens a folder of the owner's to containers, and gives what its mark holds.
	ShareFolder(ctx context.Context, dir, name string, all bool) (id string, left int, err error)
}

// Reconciler owns the applications of one node.
type Reconciler struct {
	engine  Engine
	store   *state.Store
	secrets *secrets.Store
	dataDir string
	log     *slog.Logger

	offering sync.Mutex // held while the offer is replaced
	disk     catalog.Catalog

	offer      atomic.Pointer[offer.Offer]
	known      atomic.Pointer[host.Known]
	members    atomic.Pointer[map[string]string] // application by unit, of what is on record
	renderer   *render.Renderer
	operations *operation.Tracker
	performer  *perform.Performer
	readiness  *ready.Watcher
	backups    *backup.Manager
	drills     *drill.Drills
	rollout    *rollout.Rollout
	images     *images.Keeper
	usage      *usage.Recorder
	notices    *notify.Notifier
	killed     kills
	suspects   suspects
	followed   func() error // why no catalog can be followed; nil where one is, or none is wanted
	pages      *waiting.Pages
	webs       webs
	folders    storage.Watcher
	place      func(name, dir, dataDir string) (string, error) // where a folder may lie
	metrics    *metrics
	space      func(dir string) (disk.Space, error) // how much room there is
	mounted    func() (disk.Mounts, error)          // what is mounted

	wake       chan struct{}
	observed   chan struct{} // closed at the first observation
	workers    sync.WaitGroup
	swept      atomic.Bool   // what was left by a cut is deleted
	moving     sync.Mutex    // held while a volume is moved, and while what a move has left is deleted
	supporting chan struct{} // holds one while a report for support is made

	prober bool // whether its unit is that of this release; passes alone use it
}

// New prepares a reconciler; Run makes it work. onDisk is the catalog on the node's own
// disk, dataDir where applications' folders are.
func New(engine Engine, store *state.Store, sec *secrets.Store, onDisk catalog.Catalog, dataDir string, log *slog.Logger) *Reconciler {
	r := &Reconciler{
		engine: engine, store: store, secrets: sec, dataDir: dataDir, disk: onDisk, log: log,
		renderer:   &render.Renderer{DataDir: dataDir},
		operations: operation.New(),
		place:      storage.Place,
		space:      disk.Of,
		mounted:    disk.Mounted,
		webs:       webs{changed: make(chan struct{})},
		supporting: make(chan struct{}, 1),
		wake:       make(chan struct{}, 1), observed: make(chan struct{}),
	}
	r.offer.Store(offer.New(nil, onDisk, nil, time.Now()))
	known := host.Known{Stale: "the engine has not answered yet"}
	// What was known last is better than nothing, and says its age.
	if err := store.Recall(observedFile, &known.Observation); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("the last known state", "error", err)
	}
	r.known.Store(&known)
	r.members.Store(&map[string]string{})
	r.pages = waiting.NewPages(r.Waiting)
	r.images = images.New(engine, store, r.neededImages, log)
	r.usage = usage.New(engine, store, r.used, log)
	r.performer = perform.New(keeping{engine, r.images}, store, sec, r.operations, r.pages, dataDir, log)
	r.readiness = &ready.Watcher{Engine: engine, Records: store.All, Changed: func(app string) { r.operations.Changed(app); r.Wake() }}
	r.drills = drill.New(engine, r.performer.Start, dataDir, log)
	r.backups = &backup.Manager{Engine: engine, Node: backupNode{r}, Store: store, Secrets: sec, DataDir: dataDir, Snapshots: perform.Snapshots(dataDir), To: repositories(engine, dataDir), Drills: r.drills, Log: log}
	r.rollout = rollout.New(r, log)
	r.notices = notify.Open(filepath.Join(dataDir, manifest.OwnDir, "notify"), nodeName(), noted{r}, log)
	r.metrics = newMetrics(r)
	r.renderer.SetFolders(store.Records().Folders)
	r.renderer.SetMoved(store.Records().Moved())
	r.renderer.SetDisks(store.Disks())
	if err := store.FoldersBroken(); err != nil {
		log.Error("the owner's folders", "error", err)
	}
	if err := store.DisksBroken(); err != nil {
		log.Error("no disk is known", "error", err)
	}
	for app, err := range store.Broken() {
		log.Error("unreadable record", "app", app, "error", err)
	}
	r.setAside()
	return r
}

// Run makes passes until the context ends, then waits for the work under way.
func (r *Reconciler) Run(ctx context.Context) {
	defer r.workers.Wait()
	defer r.pages.CloseAll()
	r.workers.Go(func() { r.readiness.Run(ctx) })
	r.workers.Go(func() {
		r.backups.Settle(ctx, perform.Who)
		r.endDrills(ctx)
		r.sweep(ctx)
		r.settleMoves(ctx)
		r.forgetDisks()
		r.keepPrevious(ctx)
	})
	r.workers.Go(func() { r.images.Run(ctx) })
	r.workers.Go(func() { r.usage.Run(ctx) })
	var pace pace
	for ctx.Err() == nil {
		begin := time.Now()
		timer := time.NewTimer(r.pass(ctx))
		end := time.Now()
		pace.passed(end, end.Sub(begin))
		select {
		case <-r.wake:
			timer.Reset(max(settle, pace.wait(time.Now())))
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		select { // what it was for, this pass sees
		case <-r.wake:
		default:
		}
	}
}

// Wake has a pass run soon.
func (r *Reconciler) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// ContainerChanged tells of an event of the engine. A health check that found what
// is known already needs no pass.
func (r *Reconciler) ContainerChanged(name, health string) {
	if health != "" && r.known.Load().Containers[name].Health == health {
		return
	}
	r.changed(quadlet.Service(name))
}

// UnitChanged tells of an event of systemd.
func (r *Reconciler) UnitChanged(unit string) { r.changed(unit) }

// changed has a pass run soon, unless a worker is changing the unit's application: it has
// one run when it ends.
func (r *Reconciler) changed(unit string) {
	if app, ok := (*r.members.Load())[unit]; ok && r.operations.Status(app).Busy {
		return
	}
	r.Wake()
}

// AwaitObserved waits until the engine has answered this daemon once.
func (r *Reconciler) AwaitObserved(ctx context.Context) error {
	select {
	case <-r.observed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Offer is what can be installed now.
func (r *Reconciler) Offer() *offer.Offer { return r.offer.Load() }

// SetNode says what the texts of manifests may know of the node, before Run.
func (r *Reconciler) SetNode(n manifest.Node) { r.renderer.Node = n }

// SetCatalog replaces the signed catalog, nil for none. What is installed is not
// touched.
func (r *Reconciler) SetCatalog(signed *document.Document) {
	r.offering.Lock()
	defer r.offering.Unlock()
	o := offer.New(signed, r.disk, r.Offer(), time.Now())
	for id, why := range o.Refused() {
		r.log.Error("catalog entry refused", "app", id, "error", why)
	}
	r.offer.Store(o)
	r.rollout.Due()
	r.operations.Changed("")
}

// SetDisk replaces the manifests on the node's own disk. What is installed is not touched.
func (r *Reconciler) SetDisk(disk catalog.Catalog) {
	r.offering.Lock()
	defer r.offering.Unlock()
	r.disk = disk
	r.offer.Store(r.Offer().WithDisk(disk))
	r.operations.Changed("")
}

// Rollout has updates begin by themselves while they are allowed, until the context
// ends.
func (r *Reconciler) Rollout(ctx context.Context, allowed func(time.Time) bool) {
	r.rollout.Run(ctx, allowed)
}

// Backups makes and restores backups of the node's applications.
func (r *Reconciler) Backups() *backup.Manager { return r.backups }
