// Package operation owns what is under way: for each application the operation that
// is being carried out, how the last one ended, and when the next attempt may begin.
// It remembers nothing over a restart of the daemon, and never touches the node.
package operation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

var (
	// ErrBusy is wrapped where an application is in the middle of something else.
	ErrBusy = errors.New("busy")
	// ErrOvertaken is the cause with which a start is cancelled that a later request
	// has overtaken.
	ErrOvertaken = errors.New("a later request has overtaken it")
)

// Status is how an application's operations are at one time.
type Status struct {
	Busy      bool
	Doing     string // what Do last noted of what is under way; empty where nothing is
	Observed  uint64 // observedGeneration: the generation that has been carried out
	Failed    uint64 // generation whose carrying out failed last
	Error     string // why
	Undone    uint64 // generation that failed and left the application as it was
	UndoneWhy string
	Waiting   string // what the application waits for
	Held      string // why nothing may begin for now; empty where it may
	Message   string // what is being done
	Engine    time.Duration
	App       time.Duration // of the operation under way: spent in the engine, and by the application
	Turns     uint64        // operations begun and ended so far
	InBackoff bool          // crash-loop back-off: stopped until its owner starts it
}

// record is a status with what the outside need not see.
type record struct {
	Status
	backoff
	released   bool   // whoever held it may have stopped it, and nobody has looked since
	generation uint64 // under way
	blocked    bool   // the failure was found by planning, which is free to look again
	accepted   uint64
	cancel     context.CancelCauseFunc // ends the start under way
}

// Tracker tracks the operations of a node's applications. Its methods may be called
// by anyone at any time and wait for nothing but each other.
type Tracker struct {
	mu      sync.Mutex
	apps    map[string]*record
	watched map[string]chan struct{} // closed at the next change
	any     chan struct{}            // closed at the next change of whichever; nil where nobody watches
	changes uint64                   // so far, of all
}

// New gives a tracker that knows of no operation.
func New() *Tracker {
	return &Tracker{apps: map[string]*record{}, watched: map[string]chan struct{}{}}
}

// record gives an application's, which it makes where there is none. The lock is held.
func (t *Tracker) record(app string) *record {
	o, ok := t.apps[app]
	if !ok {
		o = &record{}
		t.apps[app] = o
	}
	return o
}

// change changes an application's record and tells those who watch it.
func (t *Tracker) change(app string, by func(*record)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	by(t.record(app))
	t.notify(app)
}

func (t *Tracker) notify(app string) {
	t.notifyAny()
	if c, ok := t.watched[app]; ok {
		close(c)
		delete(t.watched, app)
	}
}

func (t *Tracker) notifyAny() {
	t.changes++
	if t.any != nil {
		close(t.any)
		t.any = nil
	}
}

// WatchAny gives a number that grows with every change of any application, and a channel
// that is closed at the next.
func (t *Tracker) WatchAny() (changes uint64, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.any == nil {
		t.any = make(chan struct{})
	}
	return t.changes, t.any
}

// Status gives an application's status; the zero value where nothing is known.
func (t *Tracker) Status(app string) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o, ok := t.apps[app]; ok {
		return o.Status
	}
	return Status{}
}

// All gives the status of every application of which something is known.
func (t *Tracker) All() map[string]Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]Status, len(t.apps))
	for app, o := range t.apps {
		out[app] = o.Status
	}
	return out
}

// Watch gives an application's status and a channel that is closed when it may have
// changed.
func (t *Tracker) Watch(app string) (Status, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.watched[app]
	if !ok {
		c = make(chan struct{})
		t.watched[app] = c
	}
	if o, ok := t.apps[app]; ok {
		return o.Status, c
	}
	return Status{}, c
}

// Changed tells those who watch that what they look at besides has changed, for one
// application or, with an empty name, for all.
func (t *Tracker) Changed(app string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if app != "" {
		t.notify(app)
		return
	}
	t.notifyAny()
	for app := range maps.Clone(t.watched) {
		t.notify(app)
	}
}

// Accepted tells of a request that is on disk. What failed before is forgiven, and a
// start under way for an earlier generation is cancelled.
func (t *Tracker) Accepted(app string, generation uint64) {
	t.change(app, func(o *record) {
		o.accepted = max(o.accepted, generation)
		if o.cancel != nil && o.generation < generation {
			o.cancel(ErrOvertaken)
		}
		o.backoff, o.Message, o.InBackoff, o.blocked = backoff{}, "", false, false
	})
}

// Forgive has the next attempt begin at once.
func (t *Tracker) Forgive(app string) {
	t.change(app, func(o *record) { o.notBefore = time.Time{} })
}

// Cancelable has the next request cancel the operation under way; it is cancelled at
// once where that request has come already.
func (t *Tracker) Cancelable(app string, cancel context.CancelCauseFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.record(app)
	if o.accepted > o.generation {
		cancel(ErrOvertaken)
	}
	o.cancel = cancel
}

// Say tells what is being done for an application.
func (t *Tracker) Say(app, message string) {
	t.change(app, func(o *record) { o.Message = message })
}

// Spent adds to the time of the operation under way.
func (t *Tracker) Spent(app string, engine, waiting time.Duration) {
	t.change(app, func(o *record) { o.Engine += engine; o.App += waiting })
}

// Undo records a generation as failed while the application itself goes on.
func (t *Tracker) Undo(app string, generation uint64, why string) {
	t.change(app, func(o *record) { o.Undone, o.UndoneWhy = generation, why })
}

// Hold keeps anything from beginning for an application until release. It waits for
// the operation under way; ErrBusy where another holds it, or where the context ends.
func (t *Tracker) Hold(ctx context.Context, app, why string) (release func(), err error) {
	for {
		held, changed := t.tryHold(app, why)
		switch {
		case held == "":
			return func() { t.change(app, func(o *record) { o.Held, o.released = "", true; o.Turns++ }) }, nil
		case changed == nil:
			return nil, fmt.Errorf("%w: %s: %s", ErrBusy, app, held)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %s has work under way", ErrBusy, app)
		}
	}
}

// tryHold holds an application, or says why it cannot; changed is nil where waiting
// does not help.
func (t *Tracker) tryHold(app, why string) (busy string, changed <-chan struct{}) {
	_, changed = t.Watch(app)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch o := t.record(app); {
	case o.Held != "":
		return o.Held, nil
	case o.Busy:
		return "work is under way", changed
	default:
		o.Held = why
		t.notify(app)
		return "", nil
	}
}
