package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
)

const shop = `apiVersion: archipelago/v1
id: shop
name: Shop
version: "1"
containers:
  - name: shop-db
    image: {ref: "localhost:5000/db", digest: "sha256:` + zeros + `"}
    memory: 256M
    volumes: [{name: db, path: /data, uid: 70, gid: 70}]
    health: {exec: [ready]}
    secrets: [{name: password, path: /run/secrets/password}]
  - name: shop
    image: {ref: "localhost:5000/shop", digest: "sha256:` + zeros + `"}
    depends_on: [{container: shop-db, condition: healthy}]
    extra_hosts: {database: shop-db}
    environment: {DB: "shop-db:5432"}
    volumes: [{name: pictures, path: /pictures}]
    files: [{path: /etc/shop.conf, content: "password={{secret:password}}\n", template: true}]
    health: {exec: [ready], http: {port: web, path: /}}
    ports: [{name: web, container: 8080, host: 8090}, {name: feed, container: 9000, host: 8091}]
generated_secrets: [{name: password}]
interfaces:
  web: {port: web, path: /shop, expect: {status: 200, title: Shop, selector: form}}
  feed: {port: feed, protocol: tcp, handshake: {send: hello, expect: there}}
canary: {exec: {container: shop-db, write: [put, "{{canary}}"], read: [get]}}
`

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func parsed(t *testing.T, yaml string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse("m.yaml", []byte(yaml))
	if err == nil {
		m, err = m.With(nil, manifest.Node{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// world is a node in memory, on which the shop runs.
type world struct {
	mu      sync.Mutex
	calls   []string
	cut     int // calls until nothing works any more; 0: all do
	down    error
	dataDir string

	files      map[string]string // units
	secrets    map[string]string
	containers map[string]host.Container
	volumes    []host.VolumeOwner
	texts      map[string]string // what containers find as files

	noImage  bool
	free     int64
	starting func(context.Context) error
	inspect  func(string, *host.Inspection)
	page     func(as string) (host.Page, error)
	asked    []string
	started  map[string]string // the units with which something was started
	had      map[string]string // the secrets that it had
	found    map[string]string // and the files
}

var errCut = errors.New("the power is cut")

func (w *world) do(ctx context.Context, call string, change func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.calls = append(w.calls, call)
	if w.down != nil {
		return w.down
	}
	if change != nil {
		change()
	}
	if w.cut > 0 {
		if w.cut--; w.cut == 0 {
			w.down = fmt.Errorf("%w: %w", host.ErrUnavailable, errCut)
		}
	}
	return nil
}

func (w *world) HasImage(ctx context.Context, _ string) (bool, error) {
	return !w.noImage, w.do(ctx, "image", nil)
}
func (w *world) FreeMemory() (int64, error) { return w.free, nil }
func (w *world) EnsureVolumes(ctx context.Context, volumes []host.VolumeOwner) error {
	return w.do(ctx, "volumes", func() { w.volumes = volumes })
}
func (w *world) PutSecret(ctx context.Context, name, app, value string) error {
	return w.do(ctx, "secret "+name, func() { w.secrets[name] = value })
}
func (w *world) PutFiles(ctx context.Context, dir string, files []host.File) error {
	return w.do(ctx, "files", func() {
		os.MkdirAll(dir, 0o700)
		for _, f := range files {
			w.texts[f.Name] = f.Content
			os.WriteFile(filepath.Join(dir, f.Name), []byte(f.Content), 0o600)
		}
	})
}
func (w *world) WriteUnits(ctx context.Context, files map[string]string, gone []string) error {
	return w.do(ctx, "units", func() {
		maps.Copy(w.files, files)
		for _, f := range gone {
			delete(w.files, f)
		}
	})
}
func (w *world) StopUnit(ctx context.Context, unit string) error {
	return w.do(ctx, "stop "+unit, func() { delete(w.containers, strings.TrimSuffix(unit, ".service")) })
}
func (w *world) Remove(ctx context.Context, app string, containers []string) error {
	return w.do(ctx, "remove "+app, func() {
		for _, c := range containers {
			delete(w.containers, c)
		}
		maps.DeleteFunc(w.secrets, func(name, _ string) bool { return strings.HasPrefix(name, app+".") })
	})
}
func (w *world) Inspect(_ context.Context, container string) (i host.Inspection, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.containers[container]
	if !ok {
		return i, host.ErrGone
	}
	i = host.Inspection{ID: c.ID, State: c.State, Health: "healthy", StartedAt: c.StartedAt}
	if w.inspect != nil {
		w.inspect(container, &i)
	}
	return i, nil
}
func (w *world) Page(_ context.Context, container string, port int, path, as string) (host.Page, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, fmt.Sprintf("%s:%d%s %s", container, port, path, as))
	return w.page(as)
}
func (w *world) start(ctx context.Context, m *manifest.Manifest, units []string) error {
	if w.starting != nil {
		if err := w.starting(ctx); err != nil {
			return err
		}
	}
	return w.do(ctx, "start "+strings.Join(units, " "), func() {
		w.started, w.had, w.found = maps.Clone(w.files), maps.Clone(w.secrets), maps.Clone(w.texts)
		for _, c := range m.Containers {
			w.containers[c.Name] = host.Container{Name: c.Name, App: m.ID, State: "running", StartedAt: time.Now()}
		}
	})
}

// nodeOf is a world on which the shop runs, and drills on it.
func nodeOf(t *testing.T) (*world, *Drills) {
	t.Helper()
	w := &world{dataDir: t.TempDir(), free: 8 << 30, texts: map[string]string{},
		files:      map[string]string{"shop.container": "its own"},
		secrets:    map[string]string{"shop.password": "its own"},
		containers: map[string]host.Container{"shop": {Name: "shop", App: "shop", State: "running"}},
		page:       func(string) (host.Page, error) { return host.Page{Status: 200, Title: "The Shop"}, nil },
	}
	if err := os.MkdirAll(filepath.Join(w.dataDir, manifest.OwnDir), 0o700); err != nil {
		t.Fatal(err)
	}
	return w, w.drills()
}

func (w *world) drills() *Drills {
	return New(w, w.start, w.dataDir, slog.New(slog.NewTextHandler(io.Discard, nil)))
}

// untouched wants nothing to be there but the shop itself, as it was.
func (w *world) untouched(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.files) != 1 || w.files["shop.container"] != "its own" || len(w.secrets) != 1 || w.secrets["shop.password"] != "its own" || len(w.containers) != 1 || w.containers["shop"].State != "running" {
		t.Errorf("left are the units %v, the secrets %v, the containers %v", slices.Sorted(maps.Keys(w.files)), slices.Sorted(maps.Keys(w.secrets)), slices.Sorted(maps.Keys(w.containers)))
	}
	err := filepath.WalkDir(w.dataDir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && (!e.IsDir() || strings.Contains(path, prefix)) {
			t.Errorf("left is %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, call := range w.calls {
		if call == "stop shop.service" || call == "stop shop-db.service" || call == "remove shop" || strings.HasPrefix(call, "secret shop.") {
			t.Errorf("the application was touched: %s", call)
		}
	}
}

func source(t *testing.T) Source {
	return Source{Manifest: parsed(t, shop), Node: "box.local", Values: map[string]string{"password": "of the backup"}, Dir: "/d/shop.trial"}
}

func silent(string) {}

func lines(body, key string) (out []string) {
	for line := range strings.SplitSeq(body, "\n") {
		if v, ok := strings.CutPrefix(line, key+"="); ok {
			out = append(out, v)
		}
	}
	return out
}

// TestADrillIsIsolated: other names, a network that leads nowhere, no port, no volume but what
// was restored, bounded memory.
func TestADrillIsIsolated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := nodeOf(t)
		seen, err := d.Run(t.Context(), source(t), silent)
		if err != nil || seen != `2 of 2 containers run and are healthy; /shop answers with status 200 and the title "The Shop"` {
			t.Errorf("%q, %v", seen, err)
		}
		w.untouched(t)
		// Its unit stays active, and a later one would find no network.
		if !slices.Contains(w.calls, "stop archipelago-drill_shop-network.service") {
			t.Errorf("%v", w.calls)
		}
		delete(w.started, "shop.container")
		if got, want := slices.Sorted(maps.Keys(w.started)), []string{"archipelago-drill_shop.network", "drill_shop-db.container", "drill_shop.container"}; !slices.Equal(got, want) {
			t.Fatalf("it was started with %v, expected %v", got, want)
		}
		network := w.started["archipelago-drill_shop.network"]
		if !strings.Contains(network, "\nInternal=true\n") || !strings.Contains(network, "\nNetworkName=archipelago-drill_shop\n") || !strings.Contains(network, "\nOptions=isolate=strict\n") {
			t.Error(network)
		}
		for name, c := range map[string]struct{ network, volume, memory string }{
			"drill_shop":    {"archipelago-drill_shop.network:alias=shop", "/d/shop.trial/pictures:/pictures", "1G"},
			"drill_shop-db": {"archipelago-drill_shop.network:alias=database,alias=shop-db", "/d/shop.trial/db:/data", "256M"},
		} {
			unit := w.started[name+".container"]
			volumes := slices.DeleteFunc(lines(unit, "Volume"), func(v string) bool { return strings.HasPrefix(v, quadlet.FilesDir(w.dataDir, "drill_shop")+"/") })
			if got := lines(unit, "Network"); !slices.Equal(got, []string{c.network}) || !slices.Equal(volumes, []string{c.volume}) || !slices.Equal(lines(unit, "MemoryMax"), []string{c.memory}) || !slices.Equal(lines(unit, "ContainerName"), []string{name}) {
				t.Errorf("%s:\n%s", name, unit)
			}
			if strings.Contains(unit, "PublishPort") || strings.Contains(unit, "[Install]") || !slices.Contains(lines(unit, "Label"), `"io.archipelago.app=drill_shop"`) {
				t.Errorf("%s:\n%s", name, unit)
			}
		}
		if got := lines(w.started["drill_shop.container"], "Requires"); !slices.Equal(got, []string{"drill_shop-db.service"}) {
			t.Errorf("it requires %v", got)
		}
		if want := []host.VolumeOwner{{Dir: "/d/shop.trial/db", UID: 70, GID: 70}, {Dir: "/d/shop.trial/pictures"}}; !slices.Equal(w.volumes, want) {
			t.Errorf("volumes %v, expected %v", w.volumes, want)
		}
		if want := []string{"drill_shop:8080/shop "}; !slices.Equal(w.asked, want) {
			t.Errorf("asked were %q, expected %q", w.asked, want)
		}
	})
}

// TestSecretsAreThoseOfTheBackup, under the drill's name, and gone with it.
func TestSecretsAreThoseOfTheBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := nodeOf(t)
		if _, err := d.Run(t.Context(), source(t), silent); err != nil {
			t.Fatal(err)
		}
		if want := map[string]string{"shop.password": "its own", "drill_shop.password": "of the backup"}; !maps.Equal(w.had, want) {
			t.Errorf("it had %v, expected %v", w.had, want)
		}
		if got := slices.Collect(maps.Values(w.found)); !slices.Equal(got, []string{"password=of the backup\n"}) {
			t.Errorf("it found %q", got)
		}
		if got := lines(w.started["drill_shop-db.container"], "Secret"); len(got) != 1 || !strings.HasPrefix(got[0], "drill_shop.password,") {
			t.Errorf("its secrets are %q", got)
		}
		w.untouched(t)
	})
}

// TestWhatACutLeavesOfADrillIsRemoved: at every call of the engine, also where the record is
// lost, for all that bears a label.
func TestWhatACutLeavesOfADrillIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole, d := nodeOf(t)
		if _, err := d.Run(t.Context(), source(t), silent); err != nil {
			t.Fatal(err)
		}
		for cut := 1; cut < len(whole.calls); cut++ {
			w, d := nodeOf(t)
			w.cut = cut
			// The daemon is gone: nothing that it defers works, either.
			if _, err := d.Run(t.Context(), source(t), silent); err == nil && cut < len(whole.calls)-5 {
				t.Errorf("cut after %s, and it went well", whole.calls[cut-1])
			}
			w.down = nil
			left, err := w.drills().Left()
			if err != nil || left != "shop" && slices.ContainsFunc(w.calls[:cut], func(call string) bool { return strings.Contains(call, prefix) }) {
				t.Errorf("cut after %s: on record is %q, %v", whole.calls[cut-1], left, err)
			}
			if err := w.drills().Tidy(t.Context()); err != nil {
				t.Errorf("cut after %s: %v", whole.calls[cut-1], err)
			}
			w.untouched(t)
			if t.Failed() {
				t.Fatalf("cut after call %d, %s", cut, whole.calls[cut-1])
			}
		}
	})
}

func TestADrillWhoseRecordIsLostIsKnownByItsLabels(t *testing.T) {
	w, d := nodeOf(t)
	m := Isolated(parsed(t, shop), "/d/shop.trial")
	maps.Copy(w.files, quadlet.Render(m, w.dataDir, false).Files)
	w.secrets["drill_shop.password"] = "of the backup"
	w.containers["drill_shop-db"] = host.Container{Name: "drill_shop-db", App: "drill_shop", State: "running"}
	observed := host.Observation{Containers: maps.Clone(w.containers), Files: maps.Clone(w.files)}
	observed.Files["shop.container"] = "\nLabel=\"io.archipelago.app=shop\"\n"
	if len(render.FilesByApp(observed.Files)["drill_shop"]) != 3 {
		t.Fatal(render.FilesByApp(observed.Files))
	}
	if err := d.Sweep(t.Context(), observed); err != nil {
		t.Error(err)
	}
	w.untouched(t)
}

func TestADrillIsRed(t *testing.T) {
	sick := func(name, health string, after time.Duration) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) {
			begin := time.Now()
			w.inspect = func(c string, i *host.Inspection) {
				if c == name && time.Since(begin) >= after {
					i.Health = health
				}
			}
		}
	}
	answers := func(p host.Page, err error) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.page = func(string) (host.Page, error) { return p, err } }
	}
	for name, c := range map[string]struct {
		fault func(*testing.T, *world)
		why   string
	}{
		"it does not become healthy": {func(_ *testing.T, w *world) {
			w.starting = func(context.Context) error { return errors.New("starting: not healthy within its budget of 1m0s") }
		}, "not healthy within its budget of 1m0s (in a drill it has no internet)"},
		"a member is not healthy":        {sick("drill_shop-db", "unhealthy", 0), "shop-db is unhealthy"},
		"a member does not stay healthy": {sick("drill_shop", "unhealthy", time.Second), "shop is unhealthy"},
		"a page that is not there":       {answers(host.Page{}, errors.New("connection refused")), "its page /shop of the interface web: connection refused"},
		"a page with another status":     {answers(host.Page{Status: 500}, nil), "it answers with status 500, expected 200"},
		"a page with another title":      {answers(host.Page{Status: 200, Title: "Install"}, nil), `its title is "Install", expected one with "Shop"`},
		"a member that begins once more": {func(_ *testing.T, w *world) {
			w.inspect = func(_ string, i *host.Inspection) { i.StartedAt = time.Now() }
		}, "ended and was started again"},
		"a member that ends after a time": {func(_ *testing.T, w *world) {
			w.page = func(string) (host.Page, error) {
				delete(w.containers, "drill_shop-db")
				return host.Page{Status: 200, Title: "Shop"}, nil
			}
		}, "shop-db has ended"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d := nodeOf(t)
				c.fault(t, w)
				seen, err := d.Run(t.Context(), source(t), silent)
				if err == nil || errors.Is(err, ErrNotStarted) || !strings.Contains(err.Error(), c.why) {
					t.Errorf("%q, %v; expected %q", seen, err, c.why)
				}
				w.untouched(t)
			})
		})
	}
}

// TestAPageIsAskedAsTheProxyDoesToo: some pages are there for one of the two alone; and what a
// script makes of a title, the page as it is served does not tell.
func TestAPageIsAskedAsTheProxyDoesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := nodeOf(t)
		w.page = func(as string) (host.Page, error) {
			if as != "box.local:18090" {
				return host.Page{Status: 400}, nil
			}
			return host.Page{Status: 200, Title: "Loading", Scripted: true}, nil
		}
		if seen, err := d.Run(t.Context(), source(t), silent); err != nil || !strings.HasSuffix(seen, "/shop answers with status 200; its title is left to its scripts") {
			t.Errorf("%q, %v", seen, err)
		}
	})
}

// TestWhatCannotBeStartedBesideSaysWhy, and nothing is made for it.
func TestWhatCannotBeStartedBesideSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		yaml  func(string) string
		world func(*world)
		why   string
	}{
		"others": {func(y string) string { return y + "requires: [{app: chain}, {any_of: [lnd, cln], uses: [rpc]}]\n" }, nil, "it requires chain, lnd or cln"},
		"devices": {func(y string) string {
			return strings.Replace(y, "    memory: 256M\n", "    user: \"0\"\n    capabilities: [NET_ADMIN]\n    devices: [{class: tun}]\n", 1)
		}, nil, "it uses devices of the node"},
		"folders": {func(y string) string {
			return strings.Replace(y, "    memory: 256M\n", "    storage: [{name: photos, path: /photos, access: read_only}]\n", 1)
		}, nil, "it uses your folders photos"},
		"memory": {nil, func(w *world) { w.free = 1 << 30 }, "it may use 1280 MiB of memory, and 1024 MiB are free"},
		"image":  {nil, func(w *world) { w.noImage = true }, "the image localhost:5000/db@sha256:" + zeros + " is not on this node"},
	} {
		t.Run(name, func(t *testing.T) {
			w, d := nodeOf(t)
			s := source(t)
			if c.yaml != nil {
				m, err := manifest.Parse("m.yaml", []byte(c.yaml(shop)))
				if err != nil {
					t.Fatal(err)
				}
				s.Manifest = m
			}
			if c.world != nil {
				c.world(w)
			}
			_, err := d.Run(t.Context(), s, silent)
			if !errors.Is(err, ErrNotStarted) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%v, expected %q", err, c.why)
			}
			if calls := slices.DeleteFunc(w.calls, func(call string) bool { return call == "image" }); len(calls) > 0 {
				t.Errorf("it did %v", calls)
			}
			w.untouched(t)
		})
	}
}

// TestADrillThatIsCancelledLeavesNothing, and only then the next one begins.
func TestADrillThatIsCancelledLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := nodeOf(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		planted := errors.New("planted")
		w.starting = func(ctx context.Context) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		one, two := make(chan error), make(chan error)
		alone, end := context.WithTimeoutCause(t.Context(), time.Minute, planted)
		defer end()
		if _, err := d.Run(alone, source(t), silent); !errors.Is(err, planted) {
			t.Error(err)
		}
		w.untouched(t)

		go func() { _, err := d.Run(ctx, source(t), silent); one <- err }()
		synctest.Wait()
		if !d.Under() {
			t.Error("nothing says that it is under way")
		}
		before := len(w.calls)
		go func() { _, err := d.Run(t.Context(), source(t), silent); two <- err }()
		synctest.Wait()
		if len(w.calls) != before {
			t.Errorf("two at a time: %v", w.calls[before:])
		}
		w.starting = nil
		cancel(planted)
		if err := <-one; !errors.Is(err, planted) {
			t.Error(err)
		}
		if err := <-two; err != nil || d.Under() {
			t.Error(err)
		}
		w.untouched(t)
	})
}

// TestADrillThatIsNotRemovedStaysOnRecord until it is, and no other one begins before.
func TestADrillThatIsNotRemovedStaysOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := nodeOf(t)
		w.page = func(string) (host.Page, error) { w.down = errCut; return host.Page{Status: 200, Title: "Shop"}, nil }
		if _, err := d.Run(t.Context(), source(t), silent); err != nil {
			t.Error("what is not removed says nothing of the backup:", err)
		}
		if left, err := d.Left(); err != nil || left != "shop" {
			t.Errorf("%q, %v", left, err)
		}
		if _, err := d.Run(t.Context(), source(t), silent); !errors.Is(err, ErrNotStarted) || !errors.Is(err, errCut) {
			t.Error(err)
		}
		w.down = nil
		if err := d.Tidy(t.Context()); err != nil {
			t.Error(err)
		}
		w.untouched(t)
	})
}
