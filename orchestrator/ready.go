package orchestrator

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/waiting"
)

const (
	askNotReady = time.Second      // between questions to what is not ready
	askReady    = 15 * time.Second // and to what is
	askTimeout  = 5 * time.Second
	maxAnswer   = 1 << 20
)

// watchReadiness asks the declared conditions of all that run, until the context
// ends. A change wakes the reconciler.
func (r *Reconciler) watchReadiness(ctx context.Context) {
	tick := time.NewTicker(askNotReady)
	defer tick.Stop()
	next := map[string]time.Time{}
	for {
		for _, d := range r.store.All() {
			if d.Manifest == nil || len(d.Manifest.Ready) == 0 || d.Goal != state.Running {
				continue
			}
			if time.Now().Before(next[d.App]) {
				continue
			}
			now := r.askConditions(ctx, d)
			next[d.App] = time.Now()
			if now.OK {
				next[d.App] = time.Now().Add(askReady)
			}
			r.mu.Lock()
			changed := r.ready[d.App] != now
			r.ready[d.App] = now
			if changed {
				r.state(d.App).notify()
			}
			r.mu.Unlock()
			if changed {
				r.Wake()
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Reconciler) askConditions(ctx context.Context, d state.Desired) Readiness {
	for _, c := range d.Manifest.Ready {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		detail := r.ask(ctx, d, c)
		cancel()
		if detail != "" {
			return Readiness{Detail: detail}
		}
	}
	return Readiness{OK: true}
}

// ask gives what a condition still waits for; empty where it holds.
func (r *Reconciler) ask(ctx context.Context, d state.Desired, c manifest.Condition) string {
	m := d.Manifest
	// What was adopted serves under its old name.
	container := func(member string) string { return cmp.Or(d.Adopted[member], member) }
	switch {
	case c.TCP != "":
		p, _ := m.Port(c.TCP)
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", loopback(p))
		if err != nil {
			return fmt.Sprintf("port %s does not answer", c.TCP)
		}
		conn.Close()
	case c.HTTP != nil:
		return askHTTP(ctx, m, c.HTTP)
	case c.Exec != nil:
		if out, err := r.engine.Exec(ctx, container(c.Exec.Container), c.Exec.Command); err != nil {
			return firstLine(out, "its check in "+c.Exec.Container+" does not succeed yet")
		}
	case c.Socket != nil:
		if ok, err := r.engine.HasSocket(ctx, container(c.Socket.Container), c.Socket.Path); err != nil || !ok {
			return fmt.Sprintf("the socket %s in %s does not exist yet", c.Socket.Path, c.Socket.Container)
		}
	}
	return ""
}

func loopback(p manifest.Port) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Host)) }

func firstLine(s, fallback string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	if line == "" {
		return fallback
	}
	return line[:min(len(line), 200)]
}

func askHTTP(ctx context.Context, m *manifest.Manifest, c *manifest.HTTPCondition) string {
	p, _ := m.Port(c.Port)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+loopback(p)+c.Path, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Sprintf("port %s does not answer", c.Port)
	}
	defer resp.Body.Close()
	want := c.Status
	if want == 0 {
		want = http.StatusOK
	}
	if resp.StatusCode != want {
		return fmt.Sprintf("%s answers with status %d", c.Path, resp.StatusCode)
	}
	if c.JSON == "" {
		return ""
	}
	var doc any
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&doc); err != nil {
		return fmt.Sprintf("%s does not answer with JSON", c.Path)
	}
	got, ok := lookup(doc, c.JSON)
	if ok && got == c.Equals {
		return ""
	}
	detail := fmt.Sprintf("%s is %s", c.JSON, firstLine(got, "missing"))
	if progress, ok := lookup(doc, c.Progress); ok && c.Progress != "" {
		detail += fmt.Sprintf(" (%s: %s)", c.Progress, firstLine(progress, "none"))
	}
	return detail
}

// lookup finds the member of a JSON document at a path of names joined by dots.
func lookup(doc any, path string) (string, bool) {
	for name := range strings.SplitSeq(path, ".") {
		object, ok := doc.(map[string]any)
		if !ok {
			return "", false
		}
		if doc, ok = object[name]; !ok {
			return "", false
		}
	}
	switch v := doc.(type) {
	case string:
		return v, true
	case map[string]any, []any, nil:
		return "", false
	default:
		b, err := json.Marshal(v)
		return string(b), err == nil
	}
}

// Waiting says what an application that its owner wants to run still waits for,
// and its name; empty where it is ready.
func (r *Reconciler) Waiting(app string) (name, reason string) {
	d, err := r.store.Get(app)
	if err != nil || d.Manifest == nil || d.Goal != state.Running {
		return app, ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return d.Manifest.Name, r.waitingFor(d)
}

// Scripts are those that an installed application's manifest has the proxy serve.
func (r *Reconciler) Scripts(app string) []manifest.ProviderScript {
	d, err := r.store.Get(app)
	if err != nil || d.Manifest == nil || d.Goal != state.Running {
		return nil
	}
	return d.Manifest.Scripts
}

// Webs gives the published port of the web interface of each installed application
// that has one, and a channel that is closed when that has changed.
func (r *Reconciler) Webs() (map[string]int, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.webs, r.websChanged
}

// noteWebs looks at what is installed now.
func (r *Reconciler) noteWebs(desired []state.Desired) {
	webs := map[string]int{}
	for _, d := range desired {
		if d.Manifest == nil || d.Goal == state.Absent {
			continue
		}
		if _, port, ok := d.Manifest.Web(); ok {
			webs[d.App] = port.Host
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !maps.Equal(webs, r.webs) {
		r.webs = webs
		close(r.websChanged)
		r.websChanged = make(chan struct{})
	}
}

// waitingFor is called with the lock held.
func (r *Reconciler) waitingFor(d state.Desired) string {
	if a := r.state(d.App); a.waiting != "" {
		return a.waiting
	}
	if ready, asked := r.ready[d.App]; len(d.Manifest.Ready) > 0 && asked && !ready.OK {
		return "waiting for " + d.App + ": " + ready.Detail
	}
	return ""
}

// offerWaitingPage has the page on the application's own port while what it
// requires is not ready, and takes it away again. The lock is held.
func (r *Reconciler) offerWaitingPage(d state.Desired, a *appState) {
	if d.Manifest == nil {
		return
	}
	_, port, ok := d.Manifest.Web()
	if !ok {
		return
	}
	open := r.waiters[port.Host]
	wanted := a.waiting != "" && d.Goal == state.Running && r.obs.Containers[d.App].State != "running"
	if !wanted {
		if open != nil {
			open()
			delete(r.waiters, port.Host)
		}
		return
	}
	if open != nil {
		return
	}
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port.Host))
	if err != nil {
		r.log.Warn("waiting page", "app", d.App, "error", err)
		return
	}
	server := &http.Server{ReadHeaderTimeout: askTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Connection", "close") // the port is about to change hands
		name, reason := r.Waiting(d.App)
		waiting.Write(w, req, name, reason)
	})}
	go server.Serve(l)
	r.waiters[port.Host] = func() { server.Close() }
}

func (r *Reconciler) closeWaiters() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for port, stop := range r.waiters {
		stop()
		delete(r.waiters, port)
	}
}
