package orchestrator

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// looks counts what was observed since the last time.
func (h *fakeHost) looks() int {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(slices.DeleteFunc(slices.Clone(h.calls), func(c string) bool { return c != "observe" }))
	h.calls = nil
	return n
}

// TestWhatAWorkerChangesNeedsNoPass: it is told of as it changes, and the pass comes when
// the worker ends. What others change needs one at once.
func TestWhatAWorkerChangesNeedsNoPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		starts := make(chan struct{})
		h.starting = func(context.Context) error { <-starts; return nil }
		r := node(t, h, t.TempDir())
		if _, err := r.Request(request.Request{App: "pair", Verb: "install"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if h.looks() == 0 {
			t.Fatal("no pass")
		}
		tell := func(unit string) int {
			for range 20 { // systemd and Podman tell of each step of a start
				r.UnitChanged(unit + ".service")
				r.ContainerChanged(unit, "")
				time.Sleep(100 * time.Millisecond)
			}
			return h.looks()
		}
		if n := tell("pair") + tell("pair-db"); n != 0 {
			t.Errorf("%d passes while a worker starts it", n)
		}
		if n := tell("another"); n < 10 {
			t.Errorf("%d passes for what others change", n)
		}
		h.mu.Lock()
		h.starting = nil
		h.mu.Unlock()
		close(starts)
		time.Sleep(time.Second)
		if n := h.looks(); n == 0 {
			t.Error("no pass when the worker has ended")
		}
		if n := tell("pair"); n < 10 {
			t.Errorf("%d passes once no worker is changing it", n)
		}
	})
}

// TestOneWakingIsOnePass: events come in bursts.
func TestOneWakingIsOnePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		r := node(t, h, t.TempDir())
		time.Sleep(time.Second)
		h.looks()
		for range 4 {
			r.Wake()
			time.Sleep(settle / 5)
		}
		time.Sleep(time.Second)
		if n := h.looks(); n != 1 {
			t.Errorf("%d passes for events within %s", n, settle)
		}
	})
}

// TestAKilledContainerIsBackAtOnce: on a node whose passes take long, and after a quiet
// time, nothing but their own time is between what happens and what is done about it.
func TestAKilledContainerIsBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cost = 100 * time.Millisecond
		h := empty()
		r := node(t, h, t.TempDir())
		if err := ask(t, r, "install"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(passInterval)
		down := func(active string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.obs.Containers, "pair")
			h.obs.Units["pair.service"] = host.Unit{Active: active}
		}
		h.mu.Lock()
		h.slow = cost
		h.mu.Unlock()
		begin := time.Now()
		down("deactivating") // somebody stops it: first this pass sees that it ends,
		r.UnitChanged("pair.service")
		time.Sleep(2*cost + settle)
		down("inactive") // and the next one that it has
		r.UnitChanged("pair.service")
		for {
			h.mu.Lock()
			back := h.obs.Containers["pair"].State == "running"
			h.mu.Unlock()
			if back {
				break
			}
			if time.Since(begin) > 2*(2*cost+settle)+cost {
				t.Fatalf("not started after %s", time.Since(begin))
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// TestWhoLooksHearsThatTheEngineIsSilent: an engine that does not answer, and gives no error
// either, is told of as soon as that is said.
func TestWhoLooksHearsThatTheEngineIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		r := node(t, h, t.TempDir())
		time.Sleep(time.Second)
		if r.Heard().Stale != "" {
			t.Fatal(r.Heard().Stale)
		}
		hang := make(chan struct{})
		h.mu.Lock()
		h.hang = hang
		h.mu.Unlock()
		r.Wake()
		time.Sleep(time.Second)
		_, changed := r.Changes()
		begin := time.Now()
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatal("it is not told of")
		}
		if heard := r.Heard(); heard.Stale == "" || heard.Silent.IsZero() || time.Since(begin) > 2*host.Silence {
			t.Errorf("after %s: %+v", time.Since(begin), heard)
		}
		_, changed = r.Changes()
		close(hang)
		<-changed
		time.Sleep(time.Second)
		if r.Heard().Stale != "" {
			t.Error(r.Heard().Stale)
		}
	})
}

// chained are "chain", with a setting, and "lightning", which requires it.
func chained(version string) catalog.Catalog {
	chain := &manifest.Manifest{ID: "chain", Name: "Chain", Version: version, Settings: []manifest.Setting{{Name: "index", Default: "0", Values: []string{"0", "1"}}},
		Containers: []manifest.Container{{Name: "chain", Environment: map[string]string{"INDEX": "{{setting:index}}"}}}}
	lightning := &manifest.Manifest{ID: "lightning", Name: "Lightning", Version: "1", Requires: []manifest.Requirement{{App: "chain"}}, Containers: []manifest.Container{{Name: "lightning"}},
		Hooks: manifest.Hooks{PostInstall: []manifest.Hook{{Container: "lightning", Command: []string{"greet", "chain"}}}}}
	disk := catalog.Source{From: catalog.FromDisk}
	return catalog.Catalog{"chain": {Manifest: chain, Source: disk}, "lightning": {Manifest: lightning, Source: disk}}
}

// asks makes a request; done waits until it has been carried out.
func asks(t *testing.T, r *Reconciler, req request.Request) (done func()) {
	t.Helper()
	req.Who = "test"
	gen, err := r.Request(req)
	if err != nil {
		t.Error(err)
		return func() {}
	}
	return func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var last view.Progress
		if err := r.Watch(ctx, req.App, gen, func(p view.Progress) error { last = p; return nil }); err != nil || last.Err != "" {
			t.Errorf("%s %s: %v, %s", req.Verb, req.App, err, last.Err)
		}
	}
}

// container is an application's only one.
func (h *fakeHost) container(app string) host.Container {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.obs.Containers[app]
}

// within has something done during the next call of a method.
func (h *fakeHost) within(method string, do func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.during == nil {
		h.during = map[string]func(){}
	}
	h.during[method] = do
}

// TestNothingStopsUnderAStartThatNeedsIt changes a setting of an application while another
// starts that requires it, as an installation does: it starts again afterwards.
func TestNothingStopsUnderAStartThatNeedsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		r := nodeWith(t, h, t.TempDir(), chained("1"))
		asks(t, r, request.Request{App: "chain", Verb: request.Install})()
		before := h.container("chain")
		changed := func() {}
		h.within("start", func() {
			changed = asks(t, r, request.Request{App: "chain", Verb: request.Configure, Config: map[string]string{"index": "1"}})
			time.Sleep(time.Second)
			if now := h.container("chain"); now.ID != before.ID {
				t.Errorf("chain was stopped under the start of what requires it: %+v", now)
			}
			if _, why := r.Waiting("chain"); why != "" {
				t.Errorf("chain runs, and its page is that of waiting: %s", why)
			}
			if s := r.operations.Status("chain"); s.Waiting != "waiting for lightning to start, which requires it" {
				t.Errorf("chain says that it is %q", s.Waiting)
			}
		})
		asks(t, r, request.Request{App: "lightning", Verb: request.Install})()
		changed()
		if now := h.container("chain"); now.Spec == before.Spec || now.State != "running" {
			t.Errorf("chain does not run with its new setting: %+v", now)
		}
	})
}

// TestNothingStopsUnderTheHooksThatFollowAStart, which may need what the start does.
func TestNothingStopsUnderTheHooksThatFollowAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		r := nodeWith(t, h, t.TempDir(), chained("1"))
		asks(t, r, request.Request{App: "chain", Verb: request.Install})()
		before := h.container("chain")
		changed := func() {}
		h.within("exec", func() {
			changed = asks(t, r, request.Request{App: "chain", Verb: request.Configure, Config: map[string]string{"index": "1"}})
			time.Sleep(time.Second)
			if now := h.container("chain"); now.ID != before.ID {
				t.Errorf("chain was stopped under a hook of what requires it: %+v", now)
			}
		})
		asks(t, r, request.Request{App: "lightning", Verb: request.Install})()
		changed()
		if now := h.container("chain"); now.Spec == before.Spec || now.State != "running" {
			t.Errorf("chain does not run with its new setting: %+v", now)
		}
	})
}

// TestNothingStartsWhileWhatItNeedsIsUpdated, though the start was planned when that ran: it took
// as long as a download before it came to it.
func TestNothingStartsWhileWhatItNeedsIsUpdated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := empty()
		r := nodeWith(t, h, t.TempDir(), chained("1"))
		asks(t, r, request.Request{App: "lightning", Verb: request.Install})()
		asks(t, r, request.Request{App: "lightning", Verb: request.Stop})()
		r.SetDisk(chained("2"))
		updated, copying := func() {}, make(chan struct{})
		h.within("copy", func() {
			close(copying)
			time.Sleep(time.Second)
			if now := h.container("lightning"); now.State != "" {
				t.Errorf("lightning was started while chain is down: %+v", now)
			}
			if s := r.operations.Status("lightning"); s.Waiting != "waiting for chain, which is being stopped" {
				t.Errorf("lightning says that it is %q", s.Waiting)
			}
			if v, err := r.App("chain"); err != nil || v.State != view.Updating {
				t.Errorf("chain is %s, %v", v.State, err)
			}
		})
		h.within("image", func() {
			updated = asks(t, r, request.Request{App: "chain", Verb: request.Update})
			<-copying
		})
		asks(t, r, request.Request{App: "lightning", Verb: request.Start})()
		updated()
		if d, err := r.store.Get("chain"); err != nil || d.Update != nil || d.Manifest.Version != "2" {
			t.Errorf("chain is not updated: %+v, %v", d, err)
		}
		if now := h.container("lightning"); now.State != "running" {
			t.Errorf("lightning does not run: %+v", now)
		}
	})
}

// TestTheWaitingPageKeepsNobodyFromStarting: at a boot systemd has queued a start of what waits
// for another application, or tries again soon; whoever has its port then makes it fail.
func TestTheWaitingPageKeepsNobodyFromStarting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	chain := &manifest.Manifest{ID: "chain", Name: "Chain", Version: "1", Containers: []manifest.Container{{Name: "chain"}}}
	lightning := &manifest.Manifest{ID: "lightning", Name: "Lightning", Version: "1", Requires: []manifest.Requirement{{App: "chain"}},
		Containers: []manifest.Container{{Name: "lightning", Ports: []manifest.Port{{Name: "web", Container: 80, Host: port}}}},
		Interfaces: map[string]manifest.Interface{"web": {Port: "web", Protocol: "http"}}}
	h := empty()
	h.fail["start"] = errors.New("chain does not start")
	r := nodeWith(t, h, t.TempDir(), catalog.Catalog{"chain": {Manifest: chain}, "lightning": {Manifest: lightning}})
	for _, app := range []string{"chain", "lightning"} {
		if _, err := r.Request(request.Request{App: app, Verb: request.Install, Who: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	held := func() bool {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	for _, c := range []struct {
		unit host.Unit
		want bool
	}{
		{host.Unit{Active: "inactive", Sub: "dead"}, true},
		{host.Unit{Active: "inactive", Sub: "dead", Job: "start"}, false},
		{host.Unit{Active: "failed", Sub: "failed"}, true},
		{host.Unit{Active: "activating", Sub: "auto-restart"}, false},
		{host.Unit{Active: "activating", Sub: "start"}, false},
	} {
		h.mu.Lock()
		h.obs.Units["lightning.service"] = c.unit
		h.mu.Unlock()
		r.Wake()
		for until := time.Now().Add(10 * time.Second); held() != c.want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("while its unit is %+v: the page has the port: %t", c.unit, !c.want)
			}
		}
	}
}
