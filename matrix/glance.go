package matrix

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// glanceEvery is the least time from the beginning of a glance at a node to the next one's.
const glanceEvery = time.Second

// Glance looks at all containers and services of a node at once, and at each from outside
// only: whether it runs, is healthy, and since which boot. It is for those who wait, and
// costs the node the same for one application as for all.
func (w *Witness) Glance(ctx context.Context) (*Snapshot, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, witnessTimeout, fmt.Errorf("%w: the witnesses had no answer from the node within %s", nodes.ErrLost, witnessTimeout))
	defer cancel()
	var list []listed
	if _, err := w.get(ctx, "/containers/json", url.Values{"all": {"true"}}, &list); err != nil {
		return nil, err
	}
	facts, err := w.ask(ctx, nil, "glance")
	if err != nil {
		return nil, err
	}
	s, err := glanced(list, facts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.ssh.Node, err)
	}
	return s, nil
}

// glanced takes in Podman's list and the program's facts.
func glanced(list []listed, facts string) (*Snapshot, error) {
	s := newSnapshot()
	for _, l := range list {
		s.Containers = append(s.Containers, Seen{ID: l.ID, Name: strings.Join(l.Names, ","), App: l.Labels[manifest.LabelApp], State: l.State, Health: l.Status, pid: process(l.Pid)})
	}
	r := &reading{Snapshot: s}
	if err := r.facts(facts); err != nil {
		return nil, err
	}
	if !r.done || r.Boot == "" {
		return nil, fmt.Errorf("%w: the node said nothing of its boot, or of the end", ErrIncomplete)
	}
	return s, nil
}

// of is what a glance shows of an application's own units. One that systemd does not tell of
// is not loaded.
func (s *Snapshot) of(m *manifest.Manifest) *Snapshot {
	out := *s
	out.Units = map[string]UnitSeen{}
	for _, c := range m.Containers {
		name := c.Name + ".service"
		u, told := s.Units[name]
		if !told {
			u = UnitSeen{Load: "not-found", Active: "inactive", Sub: "dead"}
		}
		out.Units[name] = u
	}
	return &out
}

// sight is how an application is seen by whoever waits for it.
type sight struct {
	glance func(context.Context) (*Snapshot, error) // together with others
	look   func(context.Context) (*Snapshot, error) // at the application alone, for the last word
}

// sight gives the witnesses' of the application.
func (e *Environment) sight(rec *Recorder) sight {
	return sight{
		glance: func(ctx context.Context) (*Snapshot, error) {
			s, err := e.glances.ask(ctx)
			if err != nil {
				return nil, err
			}
			return s.of(e.App), nil
		},
		look: func(ctx context.Context) (*Snapshot, error) { return e.lookAt(ctx, e.App, rec.begin) },
	}
}

// await waits until judge finds nothing wrong with a look at the application, of which it is
// told when it began. As long as a glance shows that something is in the way, no look is
// taken: what hinders must only find what judge finds, too.
func (s sight) await(ctx context.Context, timeout time.Duration, what string, hinders func(*Snapshot) []string, judge func(*Snapshot, time.Time) error) error {
	return await(ctx, timeout, what, func() error {
		now, err := s.glance(ctx)
		if err != nil {
			return err
		}
		if err := Verdict(hinders(now)); err != nil {
			return err
		}
		begun := time.Now()
		if now, err = s.look(ctx); err != nil {
			return err
		}
		return judge(now, begun)
	})
}

var errOver = errors.New("the session is over")

// shared is a look that all who wait at the same time take together. Whoever asks is given
// one that begins after that. One is under way at a time, and from the beginning of one to
// the next's it takes every, at least.
type shared[T any] struct {
	look  func(context.Context) (T, error)
	every time.Duration

	ctx  context.Context
	end  context.CancelCauseFunc
	turn chan struct{} // whoever holds it looks
	wg   sync.WaitGroup

	mu   sync.Mutex
	next *outlook[T] // that has not begun
}

// outlook is one look.
type outlook[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func newShared[T any](every time.Duration, look func(context.Context) (T, error)) *shared[T] {
	s := &shared[T]{look: look, every: every, turn: make(chan struct{}, 1)}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	return s
}

// close ends a look that is under way; who waits for it is told.
func (s *shared[T]) close() {
	s.mu.Lock()
	s.end(errOver)
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *shared[T]) ask(ctx context.Context) (value T, err error) {
	s.mu.Lock()
	if s.ctx.Err() != nil {
		s.mu.Unlock()
		return value, context.Cause(s.ctx)
	}
	o := s.next
	if o == nil {
		o = &outlook[T]{done: make(chan struct{})}
		s.next = o
		s.wg.Go(func() { s.take(o) })
	}
	s.mu.Unlock()
	select {
	case <-o.done:
		return o.value, o.err
	case <-ctx.Done():
		return value, context.Cause(ctx)
	}
}

// take looks once it may. The turn is handed on only when the next look may begin; who
// waited for this one does not wait for that.
func (s *shared[T]) take(o *outlook[T]) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	may := time.NewTimer(s.every)
	defer may.Stop()
	o.value, o.err = s.look(s.ctx)
	close(o.done)
	select {
	case <-may.C:
	case <-s.ctx.Done():
	}
}
