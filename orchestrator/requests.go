package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// View is one application as people and programs see it.
type View struct {
	Manifest   *manifest.Manifest // the one installed, or the catalog's
	Available  *manifest.Manifest // a different one that may be installed now; nil where there is none
	Notes      string             // of the release that is available, or else of the one offered
	Declined   bool               // the one available did not come up here before
	Source     string             // where the manifest is from, such as "catalog beta 7"
	Goal       state.Goal         // empty where it is not installed
	Generation uint64
	State      State
	Error      string
	Note       string            // what the owner should know: waiting, adopted, rolled back
	Config     map[string]string // every setting, with its value
	Containers []Container       // one per member; State is empty where there is none
}

// State of an application.
type State string

// The states; the RPC's enumeration mirrors them.
const (
	NotInstalled State = "not installed"
	Starting     State = "starting"
	Up           State = "running"
	Unhealthy    State = "unhealthy"
	Waiting      State = "waiting"
	Updating     State = "updating"
	Stopping     State = "stopping"
	Down         State = "stopped"
	Removing     State = "removing"
	Failed       State = "failed"
)

// Apps gives every application of the catalog and every one that is installed,
// sorted by id, when the engine was last heard, and why that is not now (empty
// where it is). It never waits for the engine.
func (r *Reconciler) Apps() (views []View, at time.Time, stale string) {
	byApp := map[string]state.Desired{}
	for _, d := range r.store.All() {
		byApp[d.App] = d
	}
	broken := r.store.Broken()
	offer := r.Offer()
	ids := offer.ids()
	have := make(map[string]bool, len(ids))
	for _, id := range ids {
		have[id] = true
	}
	for _, more := range []map[string]bool{keys(byApp), keys(broken)} {
		for id := range more {
			if !have[id] {
				have[id] = true
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		views = append(views, r.view(id, byApp[id], broken[id]))
	}
	return views, r.obs.At, r.whyStale()
}

func keys[V any](m map[string]V) map[string]bool {
	out := make(map[string]bool, len(m))
	for k := range m {
		out[k] = true
	}
	return out
}

// whyStale tells of an engine that has been asked and is silent, even before the
// question's own deadline.
func (r *Reconciler) whyStale() string {
	if silent := time.Since(r.asked); r.stale == "" && !r.asked.IsZero() && silent > staleAfter {
		return fmt.Sprintf("no answer for %d s", int(silent.Seconds()))
	}
	return r.stale
}

// App gives one application.
func (r *Reconciler) App(id string) (View, error) {
	d, err := r.store.Get(id)
	missing := errors.Is(err, state.ErrNotFound)
	if missing {
		if o := r.Offer(); o.catalog[id] == nil && o.refused[id] == nil {
			return View{}, fmt.Errorf("%w %q", ErrUnknownApp, id)
		}
		err = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view(id, d, err), nil
}

// view is called with the lock held.
func (r *Reconciler) view(id string, d state.Desired, broken error) View {
	offer := r.Offer()
	m, source := d.Manifest, d.Source
	if e := offer.catalog[id]; m == nil && e != nil {
		m, source = e.Manifest, e.Source.String()
	}
	if m == nil {
		m = &manifest.Manifest{ID: id, Name: id}
	}
	v := View{Manifest: m, Goal: d.Goal, Generation: d.Generation, Note: d.Note, Source: source}
	if broken != nil {
		v.State, v.Error = Failed, broken.Error()
		return v
	}
	entry, unavailable := offer.entry(id, time.Now())
	if entry != nil {
		v.Notes = entry.Notes
		if d.Manifest != nil && entry.Manifest != d.Manifest && r.digest(entry.Manifest) != r.digest(d.Manifest) {
			v.Available, v.Declined = entry.Manifest, r.digest(entry.Manifest) == d.Declined
		}
		if entry.Waiver != nil {
			v.remark(entry.Waiver.String())
		}
	}
	if why := offer.revoked(id, m.Version); why != "" && d.Manifest != nil {
		v.remark(why)
	}
	if len(m.Settings) > 0 {
		v.Config = map[string]string{}
		for _, s := range m.Settings {
			v.Config[s.Name] = s.Default
		}
		maps.Copy(v.Config, d.Config)
	}
	up, healthy := 0, true
	for _, mc := range m.Containers {
		name := mc.Name
		if theirs, ok := d.Adopted[name]; ok {
			name = theirs
		}
		c := r.obs.Containers[name]
		c.Name = name
		v.Containers = append(v.Containers, c)
		if c.State == "running" {
			up++
			healthy = healthy && (c.Health == "" || c.Health == "healthy")
		}
	}
	if len(d.Adopted) > 0 {
		v.Note = NotRebootProof
	}
	for _, name := range slices.Sorted(maps.Keys(d.Overrides)) {
		v.remark(name + " runs the image " + d.Overrides[name] + " of your own")
	}
	a := r.state(id)
	v.Error = a.err
	switch {
	case d.Goal == "":
		v.State, v.Error = NotInstalled, ""
		if unavailable != nil {
			v.Error = unavailable.Error()
		}
	case d.Goal == state.Absent:
		v.State = Removing
	case d.Update != nil:
		v.State, v.Error = Updating, ""
	case a.err != "" && a.failed == d.Generation:
		v.State = Failed
	case d.Goal == state.Stopped && up > 0:
		v.State = Stopping
	case d.Goal == state.Stopped:
		v.State = Down
	case a.waiting != "":
		v.State, v.Note = Waiting, a.waiting
	case a.busy || up < len(v.Containers) || a.settled < d.Generation && d.Restart > d.Restarted:
		v.State = Starting
	case !healthy:
		v.State = Unhealthy
	default:
		v.State = Up
		if why := r.waitingFor(d); why != "" {
			v.State, v.Note = Waiting, why
		}
	}
	return v
}

// remark adds to what the owner should know.
func (v *View) remark(s string) { v.Note = strings.TrimPrefix(v.Note+"; "+s, "; ") }

// digest of a manifest, remembered: both the catalog's and those installed stay
// what they are. The lock is held.
func (r *Reconciler) digest(m *manifest.Manifest) string {
	if r.digests == nil || len(r.digests) > maxRenderings {
		r.digests = map[*manifest.Manifest]string{}
	}
	if _, ok := r.digests[m]; !ok {
		r.digests[m] = m.Digest()
	}
	return r.digests[m]
}

// Ask is a request for an operation on an application.
type Ask struct {
	App    string
	Verb   string            // install, start, stop, restart, update, configure, adopt or uninstall
	Purge  bool              // with uninstall: data and secrets too
	Config map[string]string // with install and configure: settings to change
	Who    string            // for the audit log
}

// Request records what is wanted of an application, durably, wakes the reconciler,
// and gives the generation to watch. What is refused leaves everything as it was.
func (r *Reconciler) Request(ask Ask) (uint64, error) {
	gen, err := r.request(ask)
	what := ask.Verb
	if ask.Purge {
		what += " --purge"
	}
	for _, k := range slices.Sorted(maps.Keys(ask.Config)) {
		what += " " + k + "=" + ask.Config[k]
	}
	if logErr := r.store.Audit(ask.Who, ask.App, what, err); logErr != nil {
		r.log.Error("audit", "error", logErr)
	}
	if err != nil {
		return 0, err
	}
	r.log.Info("accepted", "app", ask.App, "op", fmt.Sprintf("%s/%d", ask.App, gen), "verb", ask.Verb, "who", ask.Who)
	fault.Cut("accepted", "request")
	r.Wake()
	return gen, nil
}

func (r *Reconciler) request(ask Ask) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, err := r.store.Get(ask.App)
	installed := err == nil && d.Goal != state.Absent
	offer := r.Offer()
	switch {
	case err != nil && !errors.Is(err, state.ErrNotFound):
		return 0, err
	case offer.catalog[ask.App] == nil && offer.refused[ask.App] == nil && err != nil:
		return 0, fmt.Errorf("%w %q", ErrUnknownApp, ask.App)
	case !installed && ask.Verb != "install" && ask.Verb != "uninstall" && ask.Verb != "adopt":
		return 0, fmt.Errorf("%s: %w: install it first", ask.App, ErrNotInstalled)
	case d.Update != nil && ask.Verb != "stop" && ask.Verb != "start":
		return 0, fmt.Errorf("%w: %s is being updated to %s; wait until that is done", ErrRefused, ask.App, d.Update.To.Version)
	}
	d.App = ask.App
	var also []state.Desired // dependencies that come with it
	switch ask.Verb {
	case "install", "adopt":
		if !installed {
			offered, err := offer.entry(ask.App, time.Now())
			if err != nil {
				return 0, err
			}
			d = state.Desired{App: d.App, Generation: d.Generation, Manifest: offered.Manifest, Source: offered.Source.String()}
			if d.Adopted = adoptable(offered.Manifest, r.obs, ask.Verb == "adopt"); len(d.Adopted) == 0 {
				d.Adopted = nil
				if ask.Verb == "adopt" {
					return 0, fmt.Errorf("%w: no container of someone else's can serve as %s: none of its members' names and none that its manifest adopts exists", ErrRefused, ask.App)
				}
			}
		}
		d.Goal, d.Purge = state.Running, false
		if d.Config, err = r.configure(d, ask.Config); err != nil {
			return 0, err
		}
		if data := r.store.Data(d.App); data.Migration > d.Manifest.Migration {
			return 0, fmt.Errorf("%w: the data of %s has format %d, version %s knows only %d", ErrRefused, d.App, data.Migration, d.Manifest.Version, d.Manifest.Migration)
		}
		if also, err = r.requirements(d.Manifest); err != nil {
			return 0, err
		}
		if err := r.collision(d.Manifest); err != nil {
			return 0, err
		}
	case "start":
		d.Goal = state.Running
	case "stop":
		d.Goal = state.Stopped
	case "restart":
		d.Goal, d.Restart = state.Running, max(d.Generation, r.state(d.App).settled, r.state(d.App).failed)+1
	case "configure":
		if d.Config, err = r.configure(d, ask.Config); err != nil {
			return 0, err
		}
	case "update":
		if also, err = r.stage(&d); err != nil {
			return 0, err
		}
	case "uninstall":
		if by := r.requiredBy(d.App); len(by) > 0 {
			return 0, fmt.Errorf("%w: %s is required by %s; uninstall that first", ErrRefused, d.App, strings.Join(by, ", "))
		}
		if len(d.Adopted) > 0 {
			return 0, fmt.Errorf("%w: %s runs in a container that someone else made; restart it first, so that its data becomes the application's own", ErrRefused, d.App)
		}
		d.Goal, d.Purge, d.Restart, d.Restarted, d.Note = state.Absent, ask.Purge, 0, 0, ""
	default:
		return 0, fmt.Errorf("unknown operation %q", ask.Verb)
	}
	for _, dep := range also {
		if _, err := r.accept(dep); err != nil {
			return 0, err
		}
	}
	return r.accept(d)
}

// accept writes a record under a new generation. The lock is held.
func (r *Reconciler) accept(d state.Desired) (uint64, error) {
	a := r.state(d.App)
	d.Generation = max(d.Generation, a.settled, a.failed) + 1
	d.AcceptedAt = time.Now().UTC()
	if d.Update != nil && d.Update.Generation == 0 {
		d.Update.Generation = d.Generation
	}
	if err := r.store.Put(d); err != nil {
		return 0, err
	}
	if a.cancel != nil {
		a.cancel(errOvertaken)
	}
	a.notBefore, a.failures, a.message, a.paused, a.repairs = time.Time{}, 0, "", false, nil
	a.notify()
	return d.Generation, nil
}

// configure merges settings into those of an application; one that it or those
// that require it cannot have is refused.
func (r *Reconciler) configure(d state.Desired, change map[string]string) (map[string]string, error) {
	if len(change) == 0 {
		return d.Config, nil
	}
	out := maps.Clone(d.Config)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, change)
	if _, err := d.Manifest.With(out); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	for _, other := range r.store.All() {
		if other.Manifest == nil || other.Goal == state.Absent {
			continue
		}
		need, _ := other.Manifest.Requirement(d.App)
		for _, k := range slices.Sorted(maps.Keys(need.Config)) {
			if v, changed := change[k]; changed && v != need.Config[k] {
				return nil, fmt.Errorf("%w: %s requires %s=%q of %s", ErrRefused, other.App, k, need.Config[k], d.App)
			}
		}
	}
	return out, nil
}

// requirements gives the records by which all that a manifest requires is installed
// and configured as it needs. A setting that the owner has made otherwise is not
// changed behind their back.
func (r *Reconciler) requirements(m *manifest.Manifest) (out []state.Desired, err error) {
	for _, need := range m.Requires {
		dep, err := r.store.Get(need.App)
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return nil, err
		}
		installed := err == nil && dep.Goal != state.Absent
		if !installed {
			offered, err := r.Offer().entry(need.App, time.Now())
			if err != nil {
				return nil, fmt.Errorf("%s requires %s: %w", m.ID, need.App, err)
			}
			more, err := r.requirements(offered.Manifest)
			if err != nil {
				return nil, err
			}
			if err := r.collision(offered.Manifest); err != nil {
				return nil, err
			}
			out = append(out, more...)
			dep = state.Desired{App: need.App, Generation: dep.Generation, Goal: state.Running, Manifest: offered.Manifest, Source: offered.Source.String()}
		}
		change := map[string]string{}
		for _, k := range slices.Sorted(maps.Keys(need.Config)) {
			if v, set := dep.Config[k]; set && v != need.Config[k] {
				return nil, fmt.Errorf("%w: %s requires %s=%q of %s, which is set to %q; change it with 'archy configure %s %s=%s'", ErrRefused, m.ID, k, need.Config[k], need.App, v, need.App, k, need.Config[k])
			} else if !set {
				change[k] = need.Config[k]
			}
		}
		if dep.Config, err = r.configure(dep, change); err != nil {
			return nil, err
		}
		if !installed || len(change) > 0 {
			out = append(out, dep)
		}
	}
	return out, nil
}

// stage prepares an update to what the catalog holds.
func (r *Reconciler) stage(d *state.Desired) ([]state.Desired, error) {
	entry, err := r.Offer().entry(d.App, time.Now())
	if err != nil {
		return nil, err
	}
	offered := entry.Manifest
	switch {
	case len(d.Adopted) > 0:
		return nil, fmt.Errorf("%w: %s runs in a container that someone else made; restart it first", ErrRefused, d.App)
	case offered.Migration < d.Manifest.Migration:
		return nil, fmt.Errorf("%w: the data of %s has format %d, version %s knows only %d", ErrRefused, d.App, d.Manifest.Migration, offered.Version, offered.Migration)
	case r.digest(offered) == r.digest(d.Manifest):
		return nil, nil // it is what is installed
	}
	if _, err := offered.With(d.Config); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	also, err := r.requirements(offered)
	if err != nil {
		return nil, err
	}
	if err := r.collision(offered); err != nil {
		return nil, err
	}
	d.Update, d.Note = &state.Update{To: offered, Source: entry.Source.String(), Phase: state.Staged}, ""
	return also, nil
}

// requiredBy gives the installed applications that require this one.
func (r *Reconciler) requiredBy(app string) (out []string) {
	for _, other := range r.store.All() {
		if other.Manifest == nil || other.Goal == state.Absent {
			continue
		}
		if _, needs := other.Manifest.Requirement(app); needs {
			out = append(out, other.App)
		}
	}
	return out
}

// collision refuses a manifest that publishes, or names a container, as another
// installed application does.
func (r *Reconciler) collision(m *manifest.Manifest) error {
	for _, other := range r.store.All() {
		if other.App == m.ID || other.Manifest == nil || other.Goal == state.Absent {
			continue
		}
		for _, p := range m.NodePorts() {
			if slices.Contains(other.Manifest.NodePorts(), p) {
				return fmt.Errorf("%w: %s and %s both use port %d of the node", ErrRefused, m.ID, other.App, p)
			}
		}
		for _, c := range m.Containers {
			if _, taken := other.Manifest.Container(c.Name); taken {
				return fmt.Errorf("%w: %s and %s both name a container %q", ErrRefused, m.ID, other.App, c.Name)
			}
		}
	}
	return nil
}

// ImportSecret brings in the value of a generated secret, for data that was
// initialised with it elsewhere. A value in use is never replaced.
func (r *Reconciler) ImportSecret(app, name, value, who string) error {
	m := r.manifest(app)
	err := fmt.Errorf("%w %q", ErrUnknownApp, app)
	if m != nil {
		err = r.secrets.Import(m, name, value, len(r.store.Data(app).Volumes) == 0)
	}
	if logErr := r.store.Audit(who, app, "secret import "+name, err); logErr != nil {
		r.log.Error("audit", "error", logErr)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.state(app).notBefore = time.Time{}
	r.mu.Unlock()
	r.Wake()
	return nil
}

// manifest is the one installed, or the catalog's; nil where there is neither.
func (r *Reconciler) manifest(app string) *manifest.Manifest {
	if d, err := r.store.Get(app); err == nil && d.Manifest != nil {
		return d.Manifest
	}
	return r.offered(app)
}

// Progress of an operation.
type Progress struct {
	Message     string
	Done        bool
	Err         string
	Engine, App time.Duration
}

// Watch calls emit at every change until the generation has been carried out, has
// failed, or has been overtaken by a later request.
func (r *Reconciler) Watch(ctx context.Context, app string, generation uint64, emit func(Progress) error) error {
	if r.manifest(app) == nil {
		return fmt.Errorf("%w %q", ErrUnknownApp, app)
	}
	last := Progress{Message: "-"}
	for {
		r.mu.Lock()
		a := r.state(app)
		p := Progress{Message: a.message}
		switch {
		case a.undone == generation:
			p = Progress{Done: true, Err: a.undoneWhy, Engine: a.engine, App: a.app}
		case a.settled >= generation:
			p = Progress{Done: true, Engine: a.engine, App: a.app}
		case a.failed >= generation && a.err != "" && !a.busy:
			p = Progress{Done: true, Err: a.err, Engine: a.engine, App: a.app}
		default:
			if d, err := r.store.Get(app); errors.Is(err, state.ErrNotFound) && !a.busy {
				p = Progress{Done: true} // removed before this daemon started
			} else if err == nil && d.Generation < generation {
				r.mu.Unlock()
				return fmt.Errorf("%s has no operation %d", app, generation)
			}
		}
		changed := a.changed
		r.mu.Unlock()
		if p != last {
			if err := emit(p); err != nil {
				return err
			}
			last = p
		}
		if p.Done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Credentials gives the secrets that the manifest declares as shown.
func (r *Reconciler) Credentials(app string) (map[string]string, error) {
	m := r.manifest(app)
	if m == nil {
		return nil, fmt.Errorf("%w %q", ErrUnknownApp, app)
	}
	return r.secrets.Shown(m)
}

// Audit records what is not an operation on an application, such as a sign-in.
func (r *Reconciler) Audit(who, what string, refused error) {
	if err := r.store.Audit(who, "", what, refused); err != nil {
		r.log.Error("audit", "error", err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
