package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io"
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

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// fakeHost is an engine in memory, for what a real one cannot be made to do at will:
// to be down, or to fail at one call. The gate checks the real one.
type fakeHost struct {
	mu    sync.Mutex
	obs   host.Observation
	down  error
	fail  map[string]error // by method
	calls []string

	secrets map[string]string // by name
	shared  string            // what the mark of a folder holds
	noShare error             // why none can be shared
	restic  *restictest.Runner

	observed func()                      // called once, when an observation has been made and not been given yet
	hang     chan struct{}               // where it is set, nothing is observed until it is closed
	slow     time.Duration               // that a look takes
	starting func(context.Context) error // where it is set, what a start comes to
	deleting func(dir string) error      // where it is set, called for what is deleted
	begun    func()                      // called once, before a start
	during   map[string]func()           // by method: called once, before it does anything
	paging   func()                      // where it is set, called before a page is asked for

	used    int                         // percent of the disk
	mounts  disk.Mounts                 // what is mounted
	copying func(from, to string) error // where it is set, called for a volume that moves
	spoils  func(unit string) bool      // where it is set, whether what is started spoils its data and ends
	cut     int                         // calls until it is down; 0: it stays up
}

var errCut = errors.New("the power is cut")

func (h *fakeHost) do(method string, change func()) error {
	h.mu.Lock()
	during := h.during[method]
	delete(h.during, method)
	h.mu.Unlock()
	if during != nil {
		during()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, method)
	if h.cut > 0 {
		if h.cut--; h.cut == 0 {
			h.down = errCut
		}
	}
	if h.down != nil {
		return fmt.Errorf("%w: %w", host.ErrUnavailable, h.down)
	}
	if err := h.fail[method]; err != nil {
		return err
	}
	if change != nil {
		change()
	}
	return nil
}

func (h *fakeHost) Observe(ctx context.Context) (o host.Observation, err error) {
	h.mu.Lock()
	hang, slow := h.hang, h.slow
	h.mu.Unlock()
	time.Sleep(slow)
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return o, ctx.Err()
		}
	}
	err = h.do("observe", func() {
		o = host.Observation{At: time.Now(), Containers: maps.Clone(h.obs.Containers), Units: maps.Clone(h.obs.Units), Files: maps.Clone(h.obs.Files)}
	})
	h.mu.Lock()
	meanwhile := h.observed
	h.observed = nil
	h.mu.Unlock()
	if meanwhile != nil {
		meanwhile()
	}
	return o, err
}
func (h *fakeHost) HasImage(_ context.Context, name string) (bool, error) {
	return !strings.HasPrefix(name, "localhost/"), nil // none of the owner's own
}
func (h *fakeHost) EnsureImage(context.Context, string, func(string)) error {
	return h.do("image", nil)
}
func (h *fakeHost) RemoveImage(_ context.Context, pinned string) error {
	return h.do("remove-image "+pinned, nil)
}
func (h *fakeHost) ImageSpace() (int64, error) { return 1 << 40, nil }
func (h *fakeHost) space(string) (disk.Space, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return disk.Space{Free: int64(100-h.used) << 30, Total: 100 << 30}, nil
}
func (h *fakeHost) mounted() (disk.Mounts, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mounts, nil
}
func (h *fakeHost) ShareFolder(context.Context, string, string, bool) (string, int, error) {
	return h.shared, 0, h.noShare
}

func (h *fakeHost) Restic(ctx context.Context, line func([]byte), argv ...string) error {
	if err := h.do("restic", nil); err != nil {
		return err
	}
	return h.restic.Restic(ctx, line, argv...)
}

func (h *fakeHost) EnsureVolumes(_ context.Context, owners []host.VolumeOwner) error {
	return h.do("volumes", func() {
		for _, o := range owners {
			os.MkdirAll(o.Dir, 0o700)
		}
	})
}
func (h *fakeHost) PutSecret(_ context.Context, name, _, value string) error {
	return h.do("secret", func() { h.secrets[name] = value })
}
func (h *fakeHost) PutFiles(context.Context, string, []host.File) error { return h.do("files", nil) }
func (h *fakeHost) EnsureProber(context.Context) error {
	return h.do("prober", func() { h.obs.Units[dist.ProberUnit] = host.Unit{Active: "active"} })
}
func (h *fakeHost) RestartStarting(context.Context, string) (bool, error) { return false, nil }
func (h *fakeHost) DeleteTree(_ context.Context, dir string) error {
	err := h.do("delete", nil)
	if h.deleting != nil {
		err = errors.Join(err, h.deleting(dir))
	}
	return err
}
func (h *fakeHost) Inspect(_ context.Context, name string) (host.Inspection, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.obs.Containers[name]
	if c.StartedAt.IsZero() {
		c.StartedAt = time.Now()
	}
	i := host.Inspection{State: c.State, StartedAt: c.StartedAt}
	if c.State == "running" {
		i.Health = "healthy"
	}
	return i, nil
}
func (h *fakeHost) Page(context.Context, string, int, string, string) (host.Page, error) {
	if h.paging != nil {
		h.paging()
	}
	return host.Page{Status: 200, Title: "Pair"}, h.do("page", nil)
}
func (h *fakeHost) Use([]string) map[string]host.Use                         { return nil }
func (h *fakeHost) Traffic(context.Context) (map[string]host.Traffic, error) { return nil, nil }
func (h *fakeHost) Sizes(context.Context, []string) (map[string]int64, error) {
	return nil, nil
}
func (h *fakeHost) FreeMemory() (int64, error)                          { return 8 << 30, nil }
func (h *fakeHost) CopyVolumes(context.Context, []string, string) error { return h.do("copy", nil) }
func (h *fakeHost) InPlace(context.Context, []string, string) (int64, error) {
	return 0, nil
}
func (h *fakeHost) Renew(context.Context, []string, time.Time) (int64, error) {
	return 0, h.do("renew", nil)
}
func (h *fakeHost) PutBack(context.Context, string, string) error { return h.do("put-back", nil) }
func (h *fakeHost) Refill(context.Context, string, string) error  { return h.do("refill", nil) }
func (h *fakeHost) BeginExchange(context.Context, []string, string, string) error {
	return h.do("begin-exchange", nil)
}
func (h *fakeHost) Exchange(context.Context, []string, string, string) error {
	return h.do("exchange", nil)
}
func (h *fakeHost) CopyTo(_ context.Context, from, to string) error {
	err := h.do("copy-to", nil)
	if h.copying != nil && err == nil {
		err = h.copying(from, to)
	}
	return err
}
func (h *fakeHost) DeleteMoved(_ context.Context, dir string) error {
	if err := h.do("delete-moved", nil); err != nil {
		return err
	}
	err := os.RemoveAll(dir)
	os.Remove(filepath.Dir(dir)) // if it is empty
	return err
}
func (h *fakeHost) TakeOver(context.Context, string, host.VolumeOwner) error {
	return h.do("take-over", nil)
}
func (h *fakeHost) Archive(context.Context, string, string) error           { return h.do("archive", nil) }
func (h *fakeHost) Extract(context.Context, string, string) error           { return h.do("extract", nil) }
func (h *fakeHost) Retire(context.Context, string, string) error            { return h.do("retire", nil) }
func (h *fakeHost) Follow([]string) error                                   { return nil }
func (h *fakeHost) HasSocket(context.Context, string, string) (bool, error) { return true, nil }
func (h *fakeHost) PortHolders(context.Context, []manifest.NodePort) (map[manifest.NodePort]string, error) {
	return nil, nil
}
func (h *fakeHost) Exec(context.Context, string, []string) (string, error) {
	return "", h.do("exec", nil)
}
func (h *fakeHost) ActiveSince(context.Context, string) (time.Time, error) { return time.Now(), nil }
func (h *fakeHost) WriteUnits(_ context.Context, files map[string]string, gone []string) error {
	return h.do("units", func() {
		maps.Copy(h.obs.Files, files)
		for _, f := range gone {
			delete(h.obs.Files, f)
		}
	})
}
func (h *fakeHost) StartUnits(ctx context.Context, units []string) error {
	h.mu.Lock()
	starting, begun := h.starting, h.begun
	h.begun = nil
	h.mu.Unlock()
	if begun != nil {
		begun()
	}
	if starting != nil {
		return starting(ctx)
	}
	h.mu.Lock()
	spoiled := h.spoils != nil && h.down == nil && h.spoils(h.obs.Files["pair.container"])
	h.mu.Unlock()
	if spoiled {
		return errors.Join(errors.New("it does not start"), h.do("start", nil))
	}
	return h.do("start", func() {
		for _, u := range units {
			name := strings.TrimSuffix(u, ".service")
			_, spec, _ := strings.Cut(h.obs.Files[name+".container"], manifest.LabelSpec+"=")
			spec, _, _ = strings.Cut(spec, "\"")
			app := slices.Collect(maps.Keys(render.FilesByApp(map[string]string{name: h.obs.Files[name+".container"]})))
			h.obs.Containers[name] = host.Container{ID: fmt.Sprint(len(h.calls)), Name: name, App: strings.Join(app, " "), Spec: spec, State: "running", StartedAt: time.Now()}
			h.obs.Units[u] = host.Unit{Active: "active"}
		}
	})
}
func (h *fakeHost) StopUnit(_ context.Context, unit string) error {
	return h.do("stop", func() {
		delete(h.obs.Containers, strings.TrimSuffix(unit, ".service"))
		h.obs.Units[unit] = host.Unit{Active: "inactive"}
	})
}
func (h *fakeHost) Remove(_ context.Context, app string, containers []string) error {
	return h.do("remove", func() {
		maps.DeleteFunc(h.secrets, func(name, _ string) bool { return strings.HasPrefix(name, app+".") })
		for _, c := range containers {
			delete(h.obs.Containers, c)
		}
	})
}

func (h *fakeHost) RenewNetworks(context.Context, string, []quadlet.Bridge) error { return nil }
func (h *fakeHost) Join(_ context.Context, container, _ string, n quadlet.Bridge) error {
	return h.do("join", func() {
		c := h.obs.Containers[container]
		c.Networks = append(slices.Clone(c.Networks), n.Name)
		h.obs.Containers[container] = c
	})
}
func (h *fakeHost) Leave(_ context.Context, container, network string) error {
	return h.do("leave", func() {
		c := h.obs.Containers[container]
		c.Networks = slices.DeleteFunc(slices.Clone(c.Networks), func(n string) bool { return n == network })
		h.obs.Containers[container] = c
	})
}

func (h *fakeHost) set(down error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = down
}

// node is a running reconciler over a host, with the pair on its disk; its state is in dir.
func node(t *testing.T, h *fakeHost, dir string) *Reconciler {
	t.Helper()
	return nodeWith(t, h, dir, catalog.Catalog{"pair": {Manifest: pair()}})
}

func nodeWith(t *testing.T, h *fakeHost, dir string, disk catalog.Catalog) *Reconciler {
	t.Helper()
	r := loopless(t, h, dir, disk)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// loopless is nodeWith, whose loop does not run.
func loopless(t *testing.T, h *fakeHost, dir string, disk catalog.Catalog) *Reconciler {
	t.Helper()
	store, err := state.Open(dir + "/state")
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(dir + "/secrets")
	if err != nil {
		t.Fatal(err)
	}
	r := New(h, store, sec, disk, dir+"/data", slog.New(slog.NewTextHandler(io.Discard, nil)))
	r.space, r.mounted = h.space, h.mounted
	return r
}

func empty() *fakeHost {
	return &fakeHost{obs: host.Observation{Containers: map[string]host.Container{}, Units: map[string]host.Unit{}, Files: map[string]string{}}, secrets: map[string]string{}, fail: map[string]error{}}
}

// ask requests and waits; the error is the operation's.
func ask(t *testing.T, r *Reconciler, verb string) error {
	t.Helper()
	gen, err := r.Request(request.Request{App: "pair", Verb: verb})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var last view.Progress
	if err := r.Watch(ctx, "pair", gen, func(p view.Progress) error { last = p; return nil }); err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	if last.Err != "" {
		return errors.New(last.Err)
	}
	return nil
}

func stateOf(t *testing.T, r *Reconciler) view.State {
	t.Helper()
	v, err := r.App("pair")
	if err != nil {
		t.Fatal(err)
	}
	return v.State
}

func TestLifeOfAnApplication(t *testing.T) { synctest.Test(t, lifeOfAnApplication) }

func lifeOfAnApplication(t *testing.T) {
	r := node(t, empty(), t.TempDir())
	if err := ask(t, r, "stop"); !errors.Is(err, request.ErrNotInstalled) {
		t.Errorf("stop before install: %v", err)
	}
	if _, err := r.Request(request.Request{App: "nope", Verb: "install"}); !errors.Is(err, request.ErrUnknownApp) {
		t.Errorf("unknown app: %v", err)
	}
	for _, s := range []struct {
		verb string
		want view.State
	}{{"install", view.Up}, {"install", view.Up}, {"stop", view.Down}, {"start", view.Up}, {"restart", view.Up}, {"uninstall", view.NotInstalled}, {"uninstall", view.NotInstalled}, {"install", view.Up}} {
		if err := ask(t, r, s.verb); err != nil {
			t.Fatalf("%s: %v", s.verb, err)
		}
		if got := stateOf(t, r); got != s.want {
			t.Fatalf("after %s it is %s, expected %s", s.verb, got, s.want)
		}
	}
}

// TestStartDoesNotRestOnAnOlderLook: an unmanaged container comes to the data, and a start is asked
// for, while an observation that has neither is under way.
func TestStartDoesNotRestOnAnOlderLook(t *testing.T) { synctest.Test(t, startDoesNotRestOnAnOlderLook) }

func startDoesNotRestOnAnOlderLook(t *testing.T) {
	h := empty()
	r := node(t, h, t.TempDir())
	for _, verb := range []string{"install", "stop"} {
		if err := ask(t, r, verb); err != nil {
			t.Fatal(err)
		}
	}
	asked := make(chan uint64, 1)
	h.mu.Lock()
	h.calls = nil
	h.observed = func() {
		h.mu.Lock()
		h.obs.Containers["intruder"] = host.Container{ID: "i", Name: "intruder", State: "running", Mounts: []string{r.dataDir + "/pair/db"}}
		h.mu.Unlock()
		gen, err := r.Request(request.Request{App: "pair", Verb: "start"})
		if err != nil {
			t.Error(err)
		}
		asked <- gen
	}
	h.mu.Unlock()
	r.Wake()
	gen := <-asked
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var last view.Progress
	if err := r.Watch(ctx, "pair", gen, func(p view.Progress) error { last = p; return nil }); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(last.Err, "intruder") {
		t.Errorf("%+v", last)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Contains(h.calls, "start") {
		t.Errorf("it was started beside an unmanaged container on its data: %q", h.calls)
	}
}

// TestOperationThatEndsDuringALookIsNotRepeated: an observation that still shows the
// application down is given after the start has ended.
func TestOperationThatEndsDuringALookIsNotRepeated(t *testing.T) {
	synctest.Test(t, operationThatEndsDuringALookIsNotRepeated)
}

func operationThatEndsDuringALookIsNotRepeated(t *testing.T) {
	h := empty()
	r := node(t, h, t.TempDir())
	begun, seen := make(chan struct{}), make(chan struct{})
	h.mu.Lock()
	h.begun = func() { close(begun); <-seen } // the start ends once the look below has been taken
	h.mu.Unlock()
	gen, err := r.Request(request.Request{App: "pair", Verb: "install"})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	looked := make(chan struct{})
	h.mu.Lock()
	h.observed = func() {
		close(seen)
		for { // until the start has ended
			op, changed := r.operations.Watch("pair")
			if !op.Busy {
				break
			}
			<-changed
		}
		close(looked)
	}
	h.mu.Unlock()
	r.Wake()
	<-looked
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.Watch(ctx, "pair", gen, func(view.Progress) error { return nil }); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	starts := slices.DeleteFunc(slices.Clone(h.calls), func(c string) bool { return c != "start" })
	if len(starts) != 1 {
		t.Errorf("it was started %d times: %q", len(starts), h.calls)
	}
}

func TestAcceptedRequestIsCarriedOutByTheNextDaemon(t *testing.T) {
	synctest.Test(t, acceptedRequestIsCarriedOutByTheNextDaemon)
}

func acceptedRequestIsCarriedOutByTheNextDaemon(t *testing.T) {
	h, dir := empty(), t.TempDir()
	store, err := state.Open(dir + "/state")
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(dir + "/secrets")
	if err != nil {
		t.Fatal(err)
	}
	// This daemon answers, and ends before it has done anything.
	first := New(h, store, sec, catalog.Catalog{"pair": {Manifest: pair()}}, dir+"/data", slog.New(slog.NewTextHandler(io.Discard, nil)))
	gen, err := first.Request(request.Request{App: "pair", Verb: "install"})
	if err != nil {
		t.Fatal(err)
	}
	second := node(t, h, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := second.Watch(ctx, "pair", gen, func(view.Progress) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got := stateOf(t, second); got != view.Up {
		t.Errorf("it is %s", got)
	}
}

func TestEngineDownKeepsTheLastKnownStateAndQueuesRequests(t *testing.T) {
	synctest.Test(t, engineDownKeepsTheLastKnownStateAndQueuesRequests)
}

func engineDownKeepsTheLastKnownStateAndQueuesRequests(t *testing.T) {
	h := empty()
	r := node(t, h, t.TempDir())
	if err := ask(t, r, "install"); err != nil {
		t.Fatal(err)
	}
	h.set(errors.New("no socket"))
	gen, err := r.Request(request.Request{App: "pair", Verb: "stop"})
	if err != nil {
		t.Fatalf("a request while the engine is down: %v", err)
	}
	for range 3 {
		time.Sleep(time.Second)
		synctest.Wait()
		views, at, stale := r.Apps()
		if len(views) != 1 || len(views[0].Containers) != 2 || views[0].Containers[0].State != "running" {
			t.Fatalf("the last known state is gone: %+v", views)
		}
		if !strings.Contains(stale, "no socket") || at.IsZero() {
			t.Fatalf("stale is %q, of %s", stale, at)
		}
	}
	h.set(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var last view.Progress
	if err := r.Watch(ctx, "pair", gen, func(p view.Progress) error { last = p; return nil }); err != nil || last.Err != "" {
		t.Fatalf("%v, %+v", err, last)
	}
	if got := stateOf(t, r); got != view.Down {
		t.Errorf("it is %s", got)
	}
}

func TestFailureIsReportedAndNothingIsHalfInstalled(t *testing.T) {
	synctest.Test(t, failureIsReportedAndNothingIsHalfInstalled)
}

func failureIsReportedAndNothingIsHalfInstalled(t *testing.T) {
	h := empty()
	h.fail["image"] = errors.New("no such image")
	r := node(t, h, t.TempDir())
	if err := ask(t, r, "install"); err == nil || !strings.Contains(err.Error(), "no such image") {
		t.Fatalf("%v", err)
	}
	if got := stateOf(t, r); got != view.Failed {
		t.Errorf("it is %s", got)
	}
	h.mu.Lock()
	if len(h.obs.Files) > 0 || len(h.obs.Containers) > 0 {
		t.Errorf("left %v and %v", h.obs.Files, h.obs.Containers)
	}
	delete(h.fail, "image")
	h.mu.Unlock()
	if err := ask(t, r, "install"); err != nil || stateOf(t, r) != view.Up {
		t.Errorf("asked again: %v, %s", err, stateOf(t, r))
	}
}
