package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

const (
	passInterval = 30 * time.Second       // the safety net below events
	settle       = 50 * time.Millisecond  // events come in bursts
	probeEvery   = 300 * time.Millisecond // health of what is starting
	unheard      = 3 * time.Second        // healthy so long, and systemd still waits: its notification is lost
	staleAfter   = 2 * time.Second        // of silence of the engine, asked
	firstBackoff = 2 * time.Second
	maxBackoff   = 5 * time.Minute
	stopTimeout  = 3 * time.Minute

	// An application that was brought back so often within the window, or whose
	// start failed so often in a row, is left alone until its owner starts it.
	crashLimit  = 6
	crashWindow = 10 * time.Minute

	observedFile = "observed.json"
)

var (
	// ErrUnknownApp is returned for an id that the catalog does not have.
	ErrUnknownApp = catalog.ErrUnknownApp
	// ErrNotInstalled is returned where an operation needs an installed application.
	ErrNotInstalled = errors.New("not installed")
	// ErrRefused is wrapped where a request cannot be granted as things are.
	ErrRefused = errors.New("refused")

	errOvertaken = errors.New("a later request has overtaken it")
	errReplan    = errors.New("its record has changed: to be planned anew")
	errStart     = errors.New("starting")
)

// Engine is what the reconciler needs of the host.
type Engine interface {
	Observe(context.Context) (Observed, error)
	HasImage(ctx context.Context, name string) (bool, error)
	EnsureImage(ctx context.Context, pinned string, progress func(string)) error
	EnsureVolumes(context.Context, []VolumeOwner) error
	PutSecret(ctx context.Context, name, app, value string) error
	WriteUnits(ctx context.Context, files map[string]string, gone []string) error
	StartUnits(ctx context.Context, units []string) error
	StopUnit(ctx context.Context, unit string) error
	Follow(units []string) error
	Probe(ctx context.Context, container string) (healthy bool, err error)
	RestartStarting(ctx context.Context, unit string) (restarted bool, err error)
	Inspect(ctx context.Context, container string) (Inspection, error)
	ActiveSince(ctx context.Context, unit string) (time.Time, error)
	Remove(ctx context.Context, app string, containers []string) error
	DeleteTree(ctx context.Context, dir string) error
	CopyVolumes(ctx context.Context, dirs []string, dir string) error
	PutBack(ctx context.Context, dir, home string) error
	TakeOver(ctx context.Context, from string, to VolumeOwner) error
	Archive(ctx context.Context, dir, file string) error
	Extract(ctx context.Context, file, dir string) error
	Retire(ctx context.Context, container, name string) error
	Exec(ctx context.Context, container string, argv []string) (string, error)
	HasSocket(ctx context.Context, container, path string) (bool, error)
	PortHolders(ports []int) (map[int]string, error)
}

// Reconciler owns the applications of one node.
type Reconciler struct {
	engine     Engine
	store      *state.Store
	secrets    *secrets.Store
	offer      atomic.Pointer[Offer]
	updatesDue chan struct{} // Rollout is to look
	renderer   *Renderer
	snapshots  string // directory of copies made before updates and for backups
	log        *slog.Logger
	wake       chan struct{}
	observed   chan struct{} // closed at the first observation
	starts     chan struct{} // as many as may start at a time
	metrics    *metrics

	mu          sync.Mutex
	obs         Observed
	asked       time.Time // when the engine was asked what it has not answered yet
	stale       string    // why obs is not of now
	ready       map[string]Readiness
	digests     map[*manifest.Manifest]string
	webs        map[string]int
	websChanged chan struct{}  // closed at every change of webs, and replaced
	waiters     map[int]func() // pages that tell of an application that does not serve yet, by port
	apps        map[string]*appState
	workers     sync.WaitGroup
}

// appState is what the daemon remembers of an application between passes.
type appState struct {
	busy      bool
	held      string // why the reconciler leaves it alone for now
	settled   uint64 // generation that has been carried out
	failed    uint64 // generation whose carrying out failed last
	err       string
	undone    uint64 // generation that failed and left the application as it was
	undoneWhy string
	failures  int
	notBefore time.Time
	paused    bool        // stopped trying
	repairs   []time.Time // starts that nobody asked for
	waiting   string      // for what it waits
	message   string
	cancel    context.CancelCauseFunc // ends the start under way
	engine    time.Duration           // of the operation under way
	app       time.Duration
	changed   chan struct{} // closed at every change, and replaced
}

// New prepares a reconciler; Run makes it work.
func New(engine Engine, store *state.Store, sec *secrets.Store, cat catalog.Catalog, dataDir string, log *slog.Logger) *Reconciler {
	r := &Reconciler{
		engine: engine, store: store, secrets: sec, log: log,
		renderer:  &Renderer{DataDir: dataDir},
		snapshots: filepath.Join(dataDir, manifest.OwnDir, "snapshots"),
		wake:      make(chan struct{}, 1), observed: make(chan struct{}), starts: make(chan struct{}, max(2, runtime.NumCPU())),
		apps: map[string]*appState{}, ready: map[string]Readiness{}, waiters: map[int]func(){}, websChanged: make(chan struct{}),
		stale: "the engine has not answered yet",
	}
	r.updatesDue = make(chan struct{}, 1)
	r.offer.Store(NewOffer(nil, cat, nil, time.Now()))
	r.metrics = newMetrics(r)
	// What was known last is better than nothing, and says its age.
	if err := store.Recall(observedFile, &r.obs); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("the last known state", "error", err)
	}
	for app, err := range store.Broken() {
		log.Error("unreadable record", "app", app, "error", err)
	}
	return r
}

// ContainerChanged tells of an event of the engine. A health check that found what
// is known already needs no pass.
func (r *Reconciler) ContainerChanged(name, health string) {
	if health != "" {
		r.mu.Lock()
		known := r.obs.Containers[name].Health == health
		r.mu.Unlock()
		if known {
			return
		}
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

// Wake has a pass run soon.
func (r *Reconciler) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run makes passes until the context ends, then waits for the work under way.
func (r *Reconciler) Run(ctx context.Context) {
	defer r.workers.Wait()
	r.workers.Go(func() { r.watchReadiness(ctx) })
	for ctx.Err() == nil {
		next := r.pass(ctx)
		timer := time.NewTimer(next)
		select {
		case <-r.wake:
			timer.Reset(settle)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	r.closeWaiters()
}

func (r *Reconciler) state(app string) *appState {
	a, ok := r.apps[app]
	if !ok {
		a = &appState{changed: make(chan struct{})}
		r.apps[app] = a
	}
	return a
}

func (a *appState) notify() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// observe asks the engine, and the disk for volumes that should be there.
func (r *Reconciler) observe(ctx context.Context) (Observed, error) {
	r.mu.Lock()
	r.asked = time.Now()
	r.mu.Unlock()
	var units []string
	for _, d := range r.store.All() {
		if d.Manifest != nil {
			for _, c := range d.Manifest.Containers {
				units = append(units, quadlet.Service(c.Name))
			}
		}
	}
	if err := r.engine.Follow(units); err != nil {
		r.log.Warn("following units", "error", err) // passes go on at their interval
	}
	obs, err := r.engine.Observe(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = time.Time{}
	if err != nil {
		// FM6: the last known state stays, with its age; nothing is torn down.
		r.stale = err.Error()
		r.log.Warn("observing", "error", err)
		return obs, err
	}
	obs.Missing = map[string][]string{}
	for _, d := range r.store.All() {
		for _, v := range r.store.Data(d.App).Volumes {
			if !exists(filepath.Join(r.renderer.DataDir, d.App, v)) {
				obs.Missing[d.App] = append(obs.Missing[d.App], v)
			}
		}
	}
	if !r.obs.SameContainers(obs) {
		kept := obs
		kept.Files, kept.Units = nil, nil // what the page shows needs neither
		if err := r.store.Remember(observedFile, kept); err != nil {
			r.log.Warn("keeping the last known state", "error", err)
		}
	}
	r.obs, r.stale = obs, ""
	select {
	case <-r.observed:
	default:
		close(r.observed)
	}
	return obs, nil
}

// pass observes, plans and hands each application's actions to a worker of its
// own. It gives the time until the next pass that is due without an event.
func (r *Reconciler) pass(ctx context.Context) time.Duration {
	begin := time.Now()
	known := map[string]uint64{}
	before := r.store.All()
	for _, d := range before {
		known[d.App] = d.Generation
	}
	r.noteWebs(before)
	obs, err := r.observe(ctx)
	if err != nil {
		return firstBackoff
	}
	desired := r.store.All()
	data := make(map[string]state.Data, len(desired))
	for _, d := range desired {
		data[d.App] = r.store.Data(d.App)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	actions := map[string][]Action{}
	for _, a := range Plan(Input{desired, data, obs, r.ready, r.renderer}) {
		actions[a.App] = append(actions[a.App], a)
	}
	next := passInterval
	now := time.Now()
	r.metrics.pass.Observe(now.Sub(begin).Seconds())
	for _, d := range desired {
		a := r.state(d.App)
		if a.busy || a.held != "" {
			continue
		}
		// What was asked for since the look began may rest on what has changed since:
		// a start must not overlook who came to the data in between.
		if known[d.App] != d.Generation {
			r.Wake()
			continue
		}
		todo := actions[d.App]
		waiting := ""
		if i := len(todo) - 1; i >= 0 && todo[i].Verb == Wait {
			waiting, todo = todo[i].Reason, todo[:i]
		}
		if a.waiting != waiting {
			a.waiting, a.message = waiting, waiting
			a.notify()
		}
		r.offerWaitingPage(d, a)
		if len(todo) == 0 {
			if waiting == "" && (a.settled < d.Generation || a.err != "" && !a.paused) {
				a.settled, a.err, a.failures, a.message = d.Generation, "", 0, ""
				a.notify()
			}
			continue
		}
		if a.paused && a.failed == d.Generation {
			continue
		}
		if wait := a.notBefore.Sub(now); wait > 0 && a.failed == d.Generation {
			next = min(next, wait)
			continue
		}
		if r.crashLoop(a, d, todo, now) {
			continue
		}
		a.busy = true
		if a.settled < d.Generation && a.failed < d.Generation {
			a.err = ""
		}
		a.engine, a.app = 0, 0
		r.workers.Add(1)
		go r.work(ctx, d, todo)
	}
	for _, a := range r.apps {
		a.notify()
	}
	return next
}

// crashLoop counts the starts that nobody asked for. Beyond the limit the
// application is stopped and left alone.
func (r *Reconciler) crashLoop(a *appState, d state.Desired, todo []Action, now time.Time) bool {
	if a.settled < d.Generation || !slices.ContainsFunc(todo, func(t Action) bool { return t.Verb == Start }) {
		return false
	}
	a.repairs = slices.DeleteFunc(a.repairs, func(t time.Time) bool { return now.Sub(t) > crashWindow })
	a.repairs = append(a.repairs, now)
	r.metrics.repairs.WithLabelValues(d.App).Inc()
	if len(a.repairs) <= crashLimit {
		return false
	}
	r.pause(a, d, fmt.Sprintf("it ended %d times within %s and is left alone now; see its log, and start it to try again", len(a.repairs), crashWindow))
	return true
}

// pause has the daemon stop trying, and systemd too.
func (r *Reconciler) pause(a *appState, d state.Desired, why string) {
	a.paused, a.failed, a.err, a.message = true, d.Generation, why, ""
	a.busy = true
	a.notify()
	r.log.Error("left alone", "app", d.App, "generation", d.Generation, "reason", why)
	r.workers.Go(func() {
		defer r.Wake()
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if out, err := r.renderer.render(d.Manifest, &d, false); err == nil {
			for _, u := range slices.Backward(out.services) {
				if err := r.engine.StopUnit(ctx, u); err != nil {
					r.log.Error("stopping", "app", d.App, "unit", u, "error", err)
				}
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		a.busy = false
		a.notify()
	})
}

// work carries out one application's actions, in order, until one fails.
func (r *Reconciler) work(ctx context.Context, d state.Desired, todo []Action) {
	defer r.workers.Done()
	defer r.Wake()
	log := r.log.With("app", d.App, "op", fmt.Sprintf("%s/%d", d.App, d.Generation))
	var err error
	for _, act := range todo {
		log.Info("action", "verb", act.Verb, "reason", act.Reason, "units", act.Units)
		fault.Cut("before", string(act.Verb))
		begin := time.Now()
		err = r.carryOut(ctx, d, act)
		if errors.Is(err, errReplan) {
			break
		}
		fault.Cut("after", string(act.Verb))
		r.metrics.actions.WithLabelValues(string(act.Verb), outcome(err)).Observe(time.Since(begin).Seconds())
		if err != nil {
			log.Error("action failed", "verb", act.Verb, "error", err)
			break
		}
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrEngine) && !errors.Is(err, errReplan) && d.Update != nil {
		err = r.giveUpUpdate(d, err)
	}
	if d.Update != nil {
		defer r.lookForUpdates()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.state(d.App)
	a.busy, a.cancel = false, nil
	switch {
	case err == nil:
		a.failures = 0
		if d.Goal == state.Absent {
			a.settled, a.err = d.Generation, ""
		}
	case errors.Is(err, ErrEngine):
		// FM6: the operation is not over, it waits for the engine.
		a.message = err.Error()
		r.stale = err.Error()
	case errors.Is(err, errOvertaken) || errors.Is(err, errReplan) || ctx.Err() != nil:
	default:
		a.failed, a.err = d.Generation, err.Error()
		backoff := min(firstBackoff<<min(a.failures, 16), maxBackoff)
		// Spread by a fifth either way: what failed together is not tried together.
		a.notBefore = time.Now().Add(time.Duration(float64(backoff) * (0.8 + 0.4*rand.Float64())))
		if a.failures++; errors.Is(err, errStart) && a.failures >= crashLimit {
			r.pause(a, d, fmt.Sprintf("%s; tried %d times, it is left alone now; start it to try again", err, a.failures))
		}
	}
	a.notify()
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "done"
}

func (r *Reconciler) say(app, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.state(app)
	a.message = fmt.Sprintf(format, args...)
	a.notify()
}

func (r *Reconciler) spent(app string, engine, waiting time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.state(app)
	a.engine += engine
	a.app += waiting
}

// update changes an application's record, under the lock: a request may be writing
// the same one.
func (r *Reconciler) update(app string, change func(*state.Desired)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, err := r.store.Get(app)
	if err != nil {
		return err
	}
	change(&d)
	return r.store.Put(d)
}

// unitFiles are the names of an application's unit files, as last observed.
func (r *Reconciler) unitFiles(app string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return byOwner(r.obs.Files)[app]
}

func (r *Reconciler) volumeOwners(m *manifest.Manifest) (owners []VolumeOwner) {
	for _, c := range m.Containers {
		for _, v := range c.Volumes {
			owners = append(owners, VolumeOwner{Dir: filepath.Join(r.renderer.DataDir, m.ID, v.Name), UID: v.UID, GID: v.GID})
		}
	}
	return owners
}
