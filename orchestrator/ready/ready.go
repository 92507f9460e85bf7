// Package ready asks the conditions that manifests declare, of all applications that
// are to run, and remembers the answers.
package ready

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

const (
	askNotReady = time.Second      // between questions to what is not ready
	askReady    = 15 * time.Second // and to what is
	askTimeout  = 5 * time.Second

	// Where a command is run for it, what does not become ready is asked less and less
	// often: when as much of the time since the first question has passed, up to askReady.
	askPart = 5
)

// Engine looks into containers.
type Engine interface {
	Exec(ctx context.Context, container string, argv []string) (string, error)
	HasSocket(ctx context.Context, container, path string) (bool, error)
}

// Watcher asks conditions until its Run ends.
type Watcher struct {
	Engine  Engine
	Records func() []state.Desired
	Changed func(app string) // called where an answer differs from the one before

	mu      sync.Mutex
	answers map[string]host.Readiness
}

// Answers gives what was found last, by application; one that has not been asked is
// not in it.
func (w *Watcher) Answers() map[string]host.Readiness {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.answers)
}

// Answer gives what was found last of one application.
func (w *Watcher) Answer(app string) host.Readiness {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answers[app]
}

// Run asks until the context ends.
func (w *Watcher) Run(ctx context.Context) {
	tick := time.NewTicker(askNotReady)
	defer tick.Stop()
	asked := map[string]asking{}
	for {
		for _, d := range w.Records() {
			if d.Manifest == nil || len(d.Manifest.Ready) == 0 || d.Goal != state.Running {
				delete(asked, d.App)
				continue
			}
			a := asked[d.App]
			if a.generation != d.Generation {
				a = asking{generation: d.Generation}
			}
			if time.Now().Before(a.next) {
				continue
			}
			answer, ran := w.conditions(ctx, d)
			asked[d.App] = a.after(time.Now(), answer.OK, ran)
			if w.note(d.App, answer) {
				w.Changed(d.App)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// asking is when an application is asked.
type asking struct {
	generation uint64
	since      time.Time // since when it has not been ready; zero where it has
	next       time.Time
}

// after is what an answer makes of it; ran says that a command was run for it.
func (a asking) after(now time.Time, ok, ran bool) asking {
	if ok {
		a.since, a.next = time.Time{}, now.Add(askReady)
		return a
	}
	if a.since.IsZero() {
		a.since = now
	}
	a.next = now // at the next tick
	if ran {
		a.next = now.Add(min(askReady, now.Sub(a.since)/askPart))
	}
	return a
}

func (w *Watcher) note(app string, answer host.Readiness) (changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answers == nil {
		w.answers = map[string]host.Readiness{}
	}
	changed = w.answers[app] != answer
	w.answers[app] = answer
	return changed
}

// conditions asks them in order, until one does not hold; ran says that a command was run.
func (w *Watcher) conditions(ctx context.Context, d state.Desired) (answer host.Readiness, ran bool) {
	for _, c := range d.Manifest.Ready {
		ran = ran || c.Exec != nil
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		detail := w.ask(ctx, d, c)
		cancel()
		if detail != "" {
			return host.Readiness{Detail: detail}, ran
		}
	}
	return host.Readiness{OK: true}, ran
}

// ask gives what a condition still waits for; empty where it holds.
func (w *Watcher) ask(ctx context.Context, d state.Desired, c manifest.Condition) string {
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
		if out, err := w.Engine.Exec(ctx, container(c.Exec.Container), c.Exec.Command); err != nil {
			return firstLine(out, "its check in "+c.Exec.Container+" does not succeed yet")
		}
	case c.Socket != nil:
		if ok, err := w.Engine.HasSocket(ctx, container(c.Socket.Container), c.Socket.Path); err != nil || !ok {
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
	return strings.ToValidUTF8(line[:min(len(line), 200)], "")
}
