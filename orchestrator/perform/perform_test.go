package perform_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// engine records what it is called for and answers as it is told.
type engine struct {
	mu    sync.Mutex
	calls []string
	fail  map[string]error // by method, or by a whole call

	images    []string // the owner's own
	holders   map[manifest.NodePort]string
	observed  host.Observation
	inspected map[string]host.Inspection
	active    map[string]time.Time
	starting  func(context.Context) error
	pulling   func(context.Context) error
	healthy   bool
	values    map[string]string // of secrets, by name
	files     []host.File
	takes     time.Duration // that copying, putting back and deleting take
	said      []string
}

func (e *engine) do(method string, args ...any) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	call := strings.TrimSpace(method + " " + fmt.Sprint(args...))
	e.calls = append(e.calls, call)
	return errors.Join(e.fail[method], e.fail[call])
}

func (e *engine) took() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	calls := e.calls
	e.calls = nil
	return strings.Join(calls, ", ")
}

func (e *engine) HasImage(_ context.Context, name string) (bool, error) {
	return slices.Contains(e.images, name), e.fail["has-image"]
}
func (e *engine) EnsureImage(ctx context.Context, pinned string, _ func(string)) error {
	name, _, _ := strings.Cut(pinned, "@")
	if e.pulling != nil {
		if err := e.pulling(ctx); err != nil {
			return err
		}
	}
	return e.do("image", filepath.Base(name))
}
func (e *engine) EnsureVolumes(_ context.Context, owners []host.VolumeOwner) error {
	var names []string
	for _, o := range owners {
		names = append(names, filepath.Base(o.Dir))
	}
	return e.do("volumes", names)
}
func (e *engine) PutSecret(_ context.Context, name, _, value string) error {
	e.mu.Lock()
	e.values = map[string]string{name: value}
	e.mu.Unlock()
	return e.do("secret", name)
}
func (e *engine) PutFiles(_ context.Context, dir string, files []host.File) error {
	e.mu.Lock()
	e.files = files
	e.mu.Unlock()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(f.Content), f.Mode); err != nil {
			return err
		}
	}
	return e.do("files", filepath.Base(dir), " ", len(files))
}
func (e *engine) WriteUnits(_ context.Context, files map[string]string, gone []string) error {
	return e.do("units", slices.Sorted(maps.Keys(files)), gone)
}
func (e *engine) StopUnit(_ context.Context, unit string) error { return e.do("stop", unit) }
func (e *engine) StartUnits(ctx context.Context, units []string) error {
	err := e.do("start", units)
	if err == nil && e.starting != nil {
		err = e.starting(ctx)
	}
	return err
}
func (e *engine) PortHolders(_ context.Context, ports []manifest.NodePort) (map[manifest.NodePort]string, error) {
	return e.holders, e.do("ports", ports)
}
func (e *engine) RestartStarting(_ context.Context, unit string) (bool, error) {
	return true, e.do("restart", unit)
}
func (e *engine) Inspect(_ context.Context, container string) (host.Inspection, error) {
	i, ok := e.inspected[container]
	if e.healthy {
		return host.Inspection{Health: "healthy"}, nil
	}
	if !ok {
		return i, fmt.Errorf("no container %s", container)
	}
	return i, nil
}
func (e *engine) ActiveSince(_ context.Context, unit string) (time.Time, error) {
	return e.active[unit], nil
}
func (e *engine) Exec(ctx context.Context, container string, argv []string) (string, error) {
	if argv[0] == "hang" {
		<-ctx.Done()
		return "", context.Cause(ctx)
	}
	return "", e.do("exec", container, " ", argv)
}
func (e *engine) Retire(_ context.Context, container, name string) error {
	return e.do("retire", container+" as "+name)
}
func (e *engine) TakeOver(_ context.Context, from string, to host.VolumeOwner) error {
	return e.do("take-over", from+" to "+filepath.Base(to.Dir))
}
func names(dirs []string) []string {
	out := make([]string, len(dirs))
	for i, d := range dirs {
		out[i] = filepath.Base(d)
	}
	return out
}
func (e *engine) CopyVolumes(_ context.Context, dirs []string, dir string) error {
	time.Sleep(e.takes)
	return e.do("copy", names(dirs), " to ", filepath.Base(dir))
}
func (e *engine) Refill(_ context.Context, copy, dir string) error {
	return e.do("refill", filepath.Base(copy), " ", filepath.Base(filepath.Dir(filepath.Dir(dir))))
}
func (e *engine) DeleteMoved(_ context.Context, dir string) error {
	return e.do("delete-moved", filepath.Base(dir))
}
func (e *engine) PutBack(_ context.Context, dir, home string) error {
	time.Sleep(e.takes)
	return e.do("put-back", filepath.Base(dir)+" to "+filepath.Base(home))
}
func (e *engine) BeginExchange(_ context.Context, dirs []string, _, to string) error {
	return e.do("begin-exchange", names(dirs), " to ", filepath.Base(to))
}
func (e *engine) Exchange(_ context.Context, dirs []string, from, to string) error {
	return e.do("exchange", names(dirs), " from "+filepath.Base(from)+" to "+filepath.Base(to))
}
func (e *engine) Observe(context.Context) (host.Observation, error) {
	return e.observed, e.fail["observe"]
}
func (e *engine) RenewNetworks(_ context.Context, app string, networks []quadlet.Bridge) error {
	return e.do("renew", app, " ", len(networks))
}
func (e *engine) Join(_ context.Context, container, alias string, network quadlet.Bridge) error {
	return e.do("join", container+" as "+alias+" to "+network.Name+" of "+network.App)
}
func (e *engine) Leave(_ context.Context, container, network string) error {
	return e.do("leave", container+" from "+network)
}
func (e *engine) Remove(_ context.Context, app string, containers []string) error {
	return e.do("remove", app, " ", containers)
}
func (e *engine) DeleteTree(_ context.Context, dir string) error {
	time.Sleep(e.takes)
	return e.do("delete", filepath.Base(filepath.Dir(dir))+"/"+filepath.Base(dir))
}

// Say and Close have the engine be who is told, and whose pages make room.
func (e *engine) Say(_, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.said = append(e.said, message)
}
func (e *engine) Close(port int) { e.do("page off", port) }

// world is a performer over an engine in memory.
type world struct {
	*engine
	*perform.Performer
	store   *state.Store
	secrets *secrets.Store
	data    string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	store, err := state.Open(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(filepath.Join(dir, "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{engine: &engine{fail: map[string]error{}, inspected: map[string]host.Inspection{}}, store: store, secrets: sec, data: filepath.Join(dir, "data")}
	w.Performer = perform.New(w.engine, store, sec, w.engine, w.engine, w.data, slog.New(slog.DiscardHandler))
	return w
}

// record accepts a record of the pair and gives it as written.
func (w *world) record(t *testing.T, changes ...func(*state.Desired)) state.Desired {
	t.Helper()
	d := state.Desired{App: "pair", Goal: state.Running, Manifest: pair("1")}
	for _, change := range changes {
		change(&d)
	}
	out, err := w.store.Accept([]state.Desired{d})
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func (w *world) now(t *testing.T) state.Desired {
	t.Helper()
	d, err := w.store.Get("pair")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *world) putData(t *testing.T, volumes ...string) {
	t.Helper()
	if err := w.store.PutData(state.Data{App: "pair", Version: "1", Migration: 2, Volumes: volumes}); err != nil {
		t.Fatal(err)
	}
}

// pair is an application of two members, of which one has data and a secret.
func pair(version string) *manifest.Manifest {
	return &manifest.Manifest{ID: "pair", Name: "Pair", Version: version, Migration: 2, Secrets: []manifest.GeneratedSecret{{Name: "password"}}, Containers: []manifest.Container{
		{Name: "pair", Image: manifest.Image{Ref: "pair", Digest: "sha256:0"}, Ports: []manifest.Port{{Name: "web", Container: 80, Host: 8080}}},
		{Name: "pair-db", Image: manifest.Image{Ref: "pair-db", Digest: "sha256:0"}, Health: &manifest.Health{Exec: []string{"ready"}}, Volumes: []manifest.Volume{{Name: "db", Path: "/data"}}},
	}}
}

var errPlanted = errors.New("planted")

func TestPrepare(t *testing.T) {
	w := newWorld(t)
	d := w.record(t)
	prepare := plan.Action{App: "pair", Verb: plan.Prepare, Manifest: pair("1")}
	if out := w.Do(t.Context(), d, prepare); out.Err != nil {
		t.Fatal(out.Err)
	}
	first := w.values
	if got, want := w.took(), "image pair, image pair-db, secret "+quadlet.SecretName("pair", "password")+", volumes [db]"; got != want {
		t.Errorf("%s, expected %s", got, want)
	}
	if data := w.store.Data("pair"); data.Version != "1" || data.Migration != 2 || !slices.Equal(data.Volumes, []string{"db"}) {
		t.Errorf("%+v", data)
	}
	if out := w.Do(t.Context(), d, prepare); out.Err != nil || !maps.Equal(w.values, first) {
		t.Errorf("prepared again: %v, another secret %v", out.Err, !maps.Equal(w.values, first))
	}
}

// What starts on data that an uninstallation kept brings it to its own format. An update
// does that too, but not before it has a copy.
func TestPrepareRecordsTheFormatThatDataIsAboutToGet(t *testing.T) {
	for name, c := range map[string]struct {
		before, after int
		changes       []func(*state.Desired)
		manifest      *manifest.Manifest
	}{
		"older data":         {1, 2, nil, pair("1")},
		"data of its format": {2, 2, nil, pair("1")},
		"an update":          {2, 2, []func(*state.Desired){updating(state.Staged)}, next()},
	} {
		w := newWorld(t)
		d := w.record(t, c.changes...)
		if _, err := w.secrets.Ensure(pair("1"), false); err != nil {
			t.Fatal(err)
		}
		if err := w.store.PutData(state.Data{App: "pair", Version: "0", Migration: c.before, Volumes: []string{"db"}}); err != nil {
			t.Fatal(err)
		}
		out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Prepare, Manifest: c.manifest})
		if data := w.store.Data("pair"); out.Err != nil || data.Migration != c.after {
			t.Errorf("%s: %v: %+v, expected format %d", name, out.Err, data, c.after)
		}
	}
}

func TestPrepareStopsAtWhatFails(t *testing.T) {
	for method, last := range map[string]string{"has-image": "", "image": "image pair", "secret": "secret ", "volumes": "volumes [db]"} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t)
			d := w.record(t)
			w.fail[method] = errPlanted
			out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Prepare, Manifest: pair("1")})
			calls := strings.Split(w.took(), ", ")
			if !errors.Is(out.Err, errPlanted) || !strings.HasPrefix(calls[len(calls)-1], last) || last == "" && calls[0] != "" {
				t.Errorf("%v after %q", out.Err, calls)
			}
			if data := w.store.Data("pair"); len(data.Volumes) > 0 {
				t.Errorf("it is recorded as initialised: %+v", data)
			}
		})
	}
}

func TestPrepareReplansForAnImageOfTheOwnersOwn(t *testing.T) {
	w := newWorld(t)
	d := w.record(t)
	prepare := plan.Action{App: "pair", Verb: plan.Prepare, Manifest: pair("1")}
	own := manifest.Override("pair", "pair")
	w.images = []string{own}
	out := w.Do(t.Context(), d, prepare)
	if !errors.Is(out.Err, perform.ErrReplan) || w.now(t).Overrides["pair"] != own {
		t.Fatalf("%v, %+v", out.Err, w.now(t).Overrides)
	}
	if got := w.took(); got != "" {
		t.Errorf("the plan rests on the old record, and yet %s", got)
	}
	out = w.Do(t.Context(), w.now(t), prepare)
	if got := w.took(); out.Err != nil || !strings.HasPrefix(got, "image pair-db, ") {
		t.Errorf("%v: %s; the owner's own is never pulled", out.Err, got)
	}
	w.images = nil
	out = w.Do(t.Context(), w.now(t), prepare)
	if !errors.Is(out.Err, perform.ErrReplan) || len(w.now(t).Overrides) > 0 {
		t.Errorf("once it is gone: %v, %+v", out.Err, w.now(t).Overrides)
	}
}

// secretly gives the pair a secret setting.
func secretly(m *manifest.Manifest) *manifest.Manifest {
	m.Settings = []manifest.Setting{{Name: "api-key", Secret: true}}
	m.Containers[0].Secrets = []manifest.SecretMount{{Name: "api-key", Path: "/run/api-key"}}
	return m
}

// TestPrepareHandsOverASecretSetting: its value now, or that there is none; and no
// value of before is left.
func TestPrepareHandsOverASecretSetting(t *testing.T) {
	w := newWorld(t)
	m := secretly(pair("1"))
	m.Secrets = nil
	name := quadlet.SecretName("pair", "api-key")
	prepare := func(config map[string]string) error {
		d := w.record(t, func(d *state.Desired) { d.Manifest, d.Config = m, config })
		filled, err := m.With(config, manifest.Node{})
		if err != nil {
			t.Fatal(err)
		}
		return w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Prepare, Manifest: filled}).Err
	}
	if err := prepare(nil); err != nil || !maps.Equal(w.values, map[string]string{name: ""}) {
		t.Errorf("not set: %v, %v", w.values, err)
	}
	first, err := w.secrets.Keep("pair", "api-key", "hunter1")
	if err != nil {
		t.Fatal(err)
	}
	if err := prepare(map[string]string{"api-key": first}); err != nil || w.values[name] != "hunter1" {
		t.Errorf("set: %v, %v", w.values, err)
	}
	second, err := w.secrets.Keep("pair", "api-key", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	if err := prepare(map[string]string{"api-key": second}); err != nil || w.values[name] != "hunter2" {
		t.Errorf("replaced: %v, %v", w.values, err)
	}
	w.values = nil
	if err := prepare(map[string]string{"api-key": first}); !errors.Is(err, secrets.ErrLost) || w.values != nil {
		t.Errorf("a value that was replaced: %v, %v", w.values, err)
	}
	if err := prepare(map[string]string{"api-key": ""}); err != nil || w.values[name] != "" {
		t.Errorf("cleared: %v, %v", w.values, err)
	}
	if _, err := w.secrets.Settings(m, map[string]string{"api-key": second}); !errors.Is(err, secrets.ErrLost) {
		t.Errorf("cleared, and yet its value is on disk: %v", err)
	}
}

func TestPrepareNeverMakesASecretAgainOverData(t *testing.T) {
	for name, plant := range map[string]func(*testing.T, *world){
		"on the disk": func(t *testing.T, w *world) {
			if err := os.MkdirAll(filepath.Join(w.data, "pair", "db"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"on record": func(t *testing.T, w *world) { w.putData(t, "db") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.record(t)
			plant(t, w)
			out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Prepare, Manifest: pair("1")})
			if !errors.Is(out.Err, secrets.ErrLost) || strings.Contains(w.took(), "secret ") {
				t.Errorf("%v", out.Err)
			}
		})
	}
}

func TestUnits(t *testing.T) {
	w := newWorld(t)
	d := w.record(t)
	out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.WriteUnits, Manifest: pair("1"), Files: map[string]string{"pair.container": "x"}, Gone: []string{"old.container"}})
	if got, want := w.took(), "units [pair.container] [old.container]"; out.Err != nil || got != want {
		t.Errorf("%v: %s, expected %s", out.Err, got, want)
	}
	stop := plan.Action{App: "pair", Verb: plan.StopUnits, Units: []string{"pair.service", "pair-db.service"}}
	if out = w.Do(t.Context(), d, stop); out.Err != nil || w.took() != "stop pair.service, stop pair-db.service" {
		t.Error(out.Err)
	}
	w.fail["stop pair.service"] = errPlanted
	if out = w.Do(t.Context(), d, stop); !errors.Is(out.Err, errPlanted) || w.took() != "stop pair.service" {
		t.Errorf("a unit that does not stop: %v", out.Err)
	}
	d.Restart = 5
	if out = w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Restarted}); out.Err != nil || w.now(t).Restarted != 5 {
		t.Errorf("%v, %+v", out.Err, w.now(t))
	}
	if out = w.Do(t.Context(), d, plan.Action{App: "pair", Verb: "explode"}); out.Err == nil || !strings.Contains(out.Err.Error(), "explode") {
		t.Errorf("%v", out.Err)
	}
}

func TestLinkJoinsAndLeavesNetworks(t *testing.T) {
	w := newWorld(t)
	d := w.record(t)
	link := plan.Action{App: "pair", Verb: plan.Link, Units: []string{"old-pair"}, Alias: "pair", Join: []quadlet.Bridge{quadlet.Link("wallet", "pair")}, Leave: []string{"archipelago-gone.pair"}}
	if out := w.Do(t.Context(), d, link); out.Err != nil {
		t.Error(out.Err)
	}
	if got, want := w.took(), "join old-pair as pair to archipelago-wallet.pair of wallet, leave old-pair from archipelago-gone.pair"; got != want {
		t.Errorf("%s, expected %s", got, want)
	}
	w.fail["join"] = errPlanted
	if out := w.Do(t.Context(), d, link); !errors.Is(out.Err, errPlanted) || strings.Contains(w.took(), "leave") {
		t.Errorf("%v", out.Err)
	}
}

func TestRemove(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, func(d *state.Desired) { d.Goal = state.Absent })
	w.putData(t, "db")
	if _, err := w.secrets.Ensure(pair("1"), false); err != nil {
		t.Fatal(err)
	}
	out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.RemoveAll, Units: []string{"pair"}, Gone: []string{"archipelago-pair.chain.network", "pair.container"}})
	if got, want := w.took(), "stop archipelago-pair-network.service, stop archipelago-pair.chain-network.service, units [] [archipelago-pair.chain.network pair.container], remove pair [pair]"; out.Err != nil || got != want {
		t.Errorf("%v: %s, expected %s", out.Err, got, want)
	}
	d.Purge = true
	for _, name := range []string{"pair.backup", "pair.restore.tar", "pair-2", "pairs.backup"} {
		if err := os.MkdirAll(filepath.Join(perform.Snapshots(w.data), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	out = w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Purge})
	if got := w.took(); out.Err != nil || got != "delete data/pair, delete snapshots/pair, delete snapshots/pair.backup, delete snapshots/pair.restore.tar" {
		t.Errorf("%v: %s", out.Err, got)
	}
	if values, err := w.secrets.All(pair("1")); err != nil || len(values) > 0 || len(w.store.Data("pair").Volumes) > 0 {
		t.Errorf("purged, and it left %v, %+v", values, w.store.Data("pair"))
	}
}

func TestUninstallationKeepsSecretSettingsWithTheData(t *testing.T) {
	w := newWorld(t)
	ref, err := w.secrets.Keep("pair", "api-key", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]string{"api-key": ref}
	d := w.record(t, func(d *state.Desired) { d.Goal, d.Manifest, d.Config = state.Absent, secretly(pair("1")), config })
	w.putData(t, "db")
	if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.RemoveAll}); out.Err != nil || !maps.Equal(w.store.Data("pair").Settings, config) {
		t.Errorf("%v, %+v", out.Err, w.store.Data("pair"))
	}
	if values, err := w.secrets.Settings(d.Manifest, config); err != nil || values["api-key"] != "hunter2" {
		t.Errorf("%v, %v", values, err)
	}
	d.Purge = true
	if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Purge}); out.Err != nil || len(w.store.Data("pair").Settings) > 0 {
		t.Errorf("purged: %v, %+v", out.Err, w.store.Data("pair"))
	}
	if _, err := w.secrets.Settings(d.Manifest, config); !errors.Is(err, secrets.ErrLost) {
		t.Errorf("purged, and yet %v", err)
	}
}

func TestForgetLeavesARecordThatWasAcceptedSince(t *testing.T) {
	w := newWorld(t)
	gone := w.record(t, func(d *state.Desired) { d.Goal = state.Absent })
	again := w.record(t)
	forget := plan.Action{App: "pair", Verb: plan.Forget}
	if out := w.Do(t.Context(), gone, forget); out.Err != nil || w.now(t).Generation != again.Generation {
		t.Errorf("%v", out.Err)
	}
	if out := w.Do(t.Context(), again, forget); out.Err != nil {
		t.Error(out.Err)
	}
	if _, err := w.store.Get("pair"); !errors.Is(err, state.ErrNotFound) {
		t.Error(err)
	}
}

func TestRemoveStopsAtWhatFails(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, func(d *state.Desired) { d.Goal, d.Purge = state.Absent, true })
	w.putData(t, "db")
	if _, err := w.secrets.Ensure(pair("1"), false); err != nil {
		t.Fatal(err)
	}
	w.fail["stop"], w.fail["delete data/pair"] = errPlanted, errPlanted
	if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.RemoveAll}); !errors.Is(out.Err, errPlanted) || strings.Contains(w.took(), "units") {
		t.Error(out.Err)
	}
	if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: plan.Purge}); !errors.Is(out.Err, errPlanted) || len(w.store.Data("pair").Volumes) == 0 {
		t.Errorf("%v: data that could not be deleted is forgotten", out.Err)
	}
	if values, err := w.secrets.All(pair("1")); err != nil || values["password"] == "" {
		t.Errorf("the secret is gone of data that could not be deleted: %v, %v", values, err)
	}
}

func TestHooks(t *testing.T) {
	w := newWorld(t)
	m := pair("1")
	m.Hooks.PostInstall = []manifest.Hook{{Container: "pair", Command: []string{"one"}}, {Container: "pair-db", Command: []string{"two"}}}
	d := w.record(t)
	post := plan.Action{App: "pair", Verb: plan.PostInst, Manifest: m}
	w.fail["exec pair [one]"] = errPlanted
	if out := w.Do(t.Context(), d, post); !errors.Is(out.Err, errPlanted) || !strings.Contains(out.Err.Error(), "post_install hook") || w.took() != "exec pair [one]" || w.now(t).Installed {
		t.Errorf("%v, %+v", out.Err, w.now(t))
	}
	delete(w.fail, "exec pair [one]")
	if out := w.Do(t.Context(), d, post); out.Err != nil || w.took() != "exec pair [one], exec pair-db [two]" || !w.now(t).Installed {
		t.Errorf("%v, %+v", out.Err, w.now(t))
	}
}
