package matrix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// older is the release before stack's.
func older() *manifest.Manifest {
	m := stack()
	m.Version = "0.9"
	return m
}

// shop is an updater over an application that is a few words, and does as it is told.
type shop struct {
	t        *testing.T
	previous *manifest.Manifest
	m        *manifest.Manifest
	offered  *manifest.Manifest
	runs     *manifest.Manifest
	updates  int
	canary   bool
	told     []string

	snapshot func(s *Snapshot, updates int) // what is wrong after so many updates
	fail     string                         // the call that fails
	forgets  int                            // the update that loses the canary
}

func (s *shop) say(what string, m *manifest.Manifest) error {
	version := s.m.Version
	if m != nil {
		version = m.Version
	}
	call := what + " " + version
	s.told = append(s.told, call)
	if call == s.fail {
		return errRed
	}
	return nil
}

// offer is of a channel, whose releases the disk's never take the place of.
func (s *shop) offer(_ context.Context, m *manifest.Manifest) error {
	if s.offered != nil && m == nil {
		s.t.Error("what is installed from the channel is to be updated from the disk, which is refused")
		m = s.m
	}
	s.offered = m
	return s.say("offer", m)
}

func (s *shop) install(_ context.Context, m *manifest.Manifest) error {
	s.runs = s.offered
	return s.say("install", m)
}

func (s *shop) update(_ context.Context, from, to *manifest.Manifest) error {
	if s.offered.Version != to.Version || s.runs.Version != from.Version {
		s.t.Errorf("an update from %s to %s, and %s runs, and %s is offered", from.Version, to.Version, s.runs.Version, s.offered.Version)
	}
	s.runs = s.offered
	s.updates++
	s.canary = s.canary && s.updates != s.forgets
	return s.say("update", to)
}

func (s *shop) see(_ context.Context, m *manifest.Manifest) (*Snapshot, error) {
	snapshot := healthy()
	for i := range snapshot.Containers {
		snapshot.Containers[i].ID += fmt.Sprint("/", s.updates)
	}
	if s.snapshot != nil {
		s.snapshot(snapshot, s.updates)
	}
	return snapshot, s.say("see", m)
}

func (s *shop) plant(_ context.Context, m *manifest.Manifest) error {
	s.canary = true
	return s.say("plant", m)
}

func (s *shop) read(_ context.Context, m *manifest.Manifest) error {
	if !s.canary {
		return errors.New("reading the canary back: it is gone")
	}
	return s.say("read", m)
}

// TestAnInstallGoesThroughAnUpdate takes the step through the harness, with what an update can
// do to an application and its data.
func TestAnInstallGoesThroughAnUpdate(t *testing.T) {
	after := func(n int, change func(*Snapshot)) func(*Snapshot, int) {
		return func(s *Snapshot, updates int) {
			if updates >= n {
				change(s)
			}
		}
	}
	there := []string{"offer 0.9", "install 0.9", "see 0.9", "plant 0.9", "offer 1", "update 1", "see 1", "read 1"}
	back := []string{"offer 0.9", "update 0.9", "see 0.9", "read 0.9", "offer 1", "update 1", "see 1", "read 1"}
	for _, c := range []struct {
		name string
		shop shop
		edit func(previous, m *manifest.Manifest)
		told []string // nil: not looked at
		note string
		want string // in the error; empty: it passes
	}{
		{name: "healthy", told: slices.Concat(there, back), note: "updated from 0.9, back, and again"},
		{name: "another format", edit: func(_, m *manifest.Manifest) { m.Migration = 1 }, told: there, note: "updated from 0.9"},
		{name: "another canary", edit: func(_, m *manifest.Manifest) { m.Canary = &manifest.Canary{} }, note: "updated from 0.9, back, and again; it has another canary, which was not read over the update",
			told: slices.Concat(there[:7], back[:7])},
		{name: "a volume that is new", edit: func(previous, _ *manifest.Manifest) { previous.Containers[0].Volumes = nil }, shop: shop{snapshot: func(s *Snapshot, updates int) {
			s.Volumes["db"] = VolSeen{Inode: fmt.Sprint(updates)}
		}}, note: "updated from 0.9, back, and again"},
		{name: "the earlier release does not install", shop: shop{fail: "install 0.9"}, want: "the earlier release 0.9: the data is gone"},
		{name: "the earlier release is not as meant", shop: shop{fail: "see 0.9"}, want: "the earlier release 0.9: the data is gone"},
		{name: "the update fails", shop: shop{fail: "update 1"}, want: "the update from 0.9 to 1: the data is gone"},
		{name: "what runs is not the new one", shop: shop{fail: "see 1"}, want: "the update from 0.9 to 1: the data is gone"},
		{name: "the data is another directory", shop: shop{snapshot: after(1, func(s *Snapshot) { s.Volumes["db"] = VolSeen{Inode: "78"} })}, want: "the update from 0.9 to 1: the data is gone: volume db is another directory than before"},
		{name: "the volume is gone", shop: shop{snapshot: after(1, func(s *Snapshot) { delete(s.Volumes, "db") })}, want: "volume db was deleted"},
		{name: "a secret is made anew", shop: shop{snapshot: after(1, func(s *Snapshot) { s.Secrets["password"] = FileSeen{"other", "600"} })}, want: "secret password has another value than before"},
		{name: "the old container runs on", shop: shop{snapshot: after(1, func(s *Snapshot) { s.Containers[0].ID = "1/0" })}, want: "the update from 0.9 to 1: container pair-db is still the one of before the update"},
		{name: "the canary is gone", shop: shop{forgets: 1}, want: "the update from 0.9 to 1: reading the canary back: it is gone"},
		{name: "the way back loses the canary", shop: shop{forgets: 2}, want: "the update from 1 to 0.9: reading the canary back"},
		{name: "the second update loses the canary", shop: shop{forgets: 3}, want: "the update from 0.9 to 1: reading the canary back"},
		{name: "the way back is not done", shop: shop{snapshot: after(2, func(s *Snapshot) { s.Containers[1].ID = "2/1" })}, want: "the update from 1 to 0.9: container pair is still the one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			previous, m := older(), stack()
			if c.edit != nil {
				c.edit(previous, m)
			}
			s := c.shop
			s.t, s.previous, s.m = t, previous, m
			g := harness(t, boot, nil).group(Step{Name: Install, Run: func(ctx context.Context, _ *Environment, rec *Recorder) (err error) {
				rec.note, err = throughUpdate(ctx, &s, previous, m)
				return err
			}}, m)
			g.perform(t.Context())
			o, err := g.conclude(t.Context(), 0)
			switch {
			case (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want):
				t.Fatalf("%v, expected %q", err, c.want)
			case err != nil && len(o.Evidence) == 0:
				t.Error("it is red without evidence")
			case err == nil && (o.Note != c.note || s.runs.Version != m.Version || s.offered != m):
				t.Errorf("note %q; %s runs, %s is offered", o.Note, s.runs.Version, s.offered.Version)
			case c.told != nil && !slices.Equal(s.told, c.told):
				t.Errorf("%q,\nexpected %q", s.told, c.told)
			}
		})
	}
}

func TestUpdatesAreApartFromWhatElseCyclesHave(t *testing.T) {
	var cycles []int
	for k := range 25 {
		if Updates(k) {
			cycles = append(cycles, k)
		}
	}
	if !slices.Equal(cycles, []int{4, 14, 24}) {
		t.Error(cycles)
	}
	for _, k := range cycles {
		if k%backupEvery == backupFirst || (&Shard{Cycle: k, Node: nodes.Node{Power: nodes.Power{Cut: []string{"cut"}}}}).cutsPower() {
			t.Errorf("cycle %d has a backup, or a power cut", k)
		}
	}
}

func TestAnUpdateHasTheTimeOfAStopAStartAndItsHooks(t *testing.T) {
	previous, m := older(), stack()
	plain := updateBudget(previous, m)
	if want := ownBudget(previous, Stop) + m.StartBudget() + machineShare; plain != want {
		t.Errorf("%s, expected %s", plain, want)
	}
	previous.Hooks.PreUpdate, previous.Hooks.PostUpdate = []manifest.Hook{{Timeout: seconds(5)}}, []manifest.Hook{{Timeout: seconds(1000)}}
	m.Hooks.PostUpdate, m.Hooks.PreUpdate = []manifest.Hook{{}}, []manifest.Hook{{Timeout: seconds(1000)}}
	if got := updateBudget(previous, m) - plain; got != 65*time.Second {
		t.Errorf("hooks add %s", got)
	}
}

// keeper is a daemon that takes catalogs and updates.
type keeper struct {
	apiconnect.UnimplementedOrchestratorHandler
	mu      sync.Mutex
	loaded  [][]byte
	consent []string
}

func (k *keeper) LoadCatalog(_ context.Context, in *connect.ClientStream[api.Chunk]) (*connect.Response[api.Subscription], error) {
	var b []byte
	for in.Receive() {
		b = append(b, in.Msg().Data...)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.loaded = append(k.loaded, b)
	return connect.NewResponse(&api.Subscription{}), in.Err()
}

func (k *keeper) GetApp(context.Context, *connect.Request[api.GetAppRequest]) (*connect.Response[api.App], error) {
	return connect.NewResponse(&api.App{NewPrivileges: []string{"publishes port 1"}}), nil
}

func (k *keeper) Update(_ context.Context, r *connect.Request[api.UpdateRequest]) (*connect.Response[api.Operation], error) {
	k.consent = r.Msg.Consent
	return connect.NewResponse(&api.Operation{App: r.Msg.Id, Generation: 7}), nil
}

func (k *keeper) Watch(_ context.Context, _ *connect.Request[api.WatchRequest], out *connect.ServerStream[api.Progress]) error {
	return out.Send(&api.Progress{Done: true})
}

// kept is a session with a keeper for its daemon.
func kept(t *testing.T) (*Session, *keeper) {
	t.Helper()
	k := &keeper{}
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewOrchestratorHandler(k))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s := harness(t, boot, nil)
	s.Daemon = client.New(server.URL, "token", "")
	return s, k
}

func TestAnUpdateAgreesToWhatIsAsked(t *testing.T) {
	s, k := kept(t)
	env := &Environment{Session: s, App: stack()}
	if err := (onNode{env, newRecorder(s.Shard, "pair", Install)}).update(t.Context(), older(), stack()); err != nil || !slices.Equal(k.consent, []string{"publishes port 1"}) {
		t.Errorf("%v, %q", err, k.consent)
	}
}

// TestReleasesAreOfferedByASignedCatalog has two applications change what a node is
// offered, side by side, as the processes of two cells do.
func TestReleasesAreOfferedByASignedCatalog(t *testing.T) {
	s, k := kept(t)
	if err := s.offer(t.Context(), "pair", nil); err != nil || len(k.loaded) > 0 {
		t.Fatalf("%v: nothing was offered, and %d catalogs were loaded", err, len(k.loaded))
	}
	file := filepath.Join(s.Shard.Dir, OffersDir, "n.json")
	o, err := readOffered(file)
	if err != nil {
		t.Fatal(err)
	}
	o.Follows = true // there is nothing to leave the mark on
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := o.write(file); err != nil {
		t.Fatal(err)
	}
	policy, err := root.Verify(time.Now(), o.Root)
	if err != nil {
		t.Fatal(err)
	}
	var last int64
	check := func(apps ...string) {
		t.Helper()
		d, err := document.Verify(t.Context(), k.loaded[len(k.loaded)-1], policy, document.Expectation{Channel: offeredChannel, Serial: last + 1, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		last = d.Serial
		var have []string
		for _, e := range d.Entries {
			have = append(have, e.ID+" "+e.Version)
		}
		if !slices.Equal(have, apps) {
			t.Errorf("it offers %q, expected %q", have, apps)
		}
	}
	release := func(id, version string) *manifest.Manifest {
		m, err := manifest.ParseFile("../catalog/apps/mosquitto/manifest.yaml")
		if err != nil {
			t.Fatal(err)
		}
		m.ID, m.Version, m.Containers[0].Name = id, version, id
		m.Containers[0].Image = manifest.Image{Ref: "registry.example/" + id, Digest: digestOf("d")}
		return m
	}
	for range 5 {
		var both sync.WaitGroup
		for _, id := range []string{"one", "two"} {
			both.Go(func() {
				if err := s.offer(t.Context(), id, release(id, "0.9")); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		check("one 0.9", "two 0.9")
		if err := s.offer(t.Context(), "one", nil); err != nil {
			t.Fatal(err)
		}
		check("two 0.9")
		if err := s.offer(t.Context(), "two", nil); err != nil {
			t.Fatal(err)
		}
		check()
	}
	if n := len(k.loaded); s.offer(t.Context(), "one", nil) != nil || len(k.loaded) != n {
		t.Error("a catalog was loaded for no change")
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v: the key's file has mode %v", err, info.Mode())
	}
	var onDisk offered
	if b, err := os.ReadFile(file); err != nil || json.Unmarshal(b, &onDisk) != nil || onDisk.Serial != last {
		t.Errorf("%v, serial %d, expected %d", err, onDisk.Serial, last)
	}
}
