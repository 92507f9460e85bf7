package engine

import (
	"context"
	"fmt"
	"sync"
)

// reloads has systemd read changed unit files again, which costs it a run of Podman's
// generator over all of them. Changes that come while it reloads wait, and share the next
// one: however many workers there are, one reload is under way and one waits. No change is
// made while one is under way, which would read a part of it.
type reloads struct {
	reload func(context.Context) error

	mu      sync.Mutex
	waiting *batch // of changes for the next reload; nil for none

	turn  chan struct{} // of the batch that is carried out
	known bool          // systemd has read all there is; unknown until this process has had it do so
}

func newReloads(reload func(context.Context) error) *reloads {
	return &reloads{reload: reload, turn: make(chan struct{}, 1)}
}

// batch are changes that one reload is for.
type batch struct {
	changes []*unitChange
	done    chan struct{}
}

type unitChange struct {
	do  func() (changed bool, err error)
	err error
}

// after makes a change of unit files, and has systemd read them. A change that changes
// nothing needs no reload, unless an earlier one's failed or is not known of.
func (r *reloads) after(do func() (changed bool, err error)) error {
	c := &unitChange{do: do}
	r.mu.Lock()
	b := r.waiting
	first := b == nil
	if first {
		b = &batch{done: make(chan struct{})}
		r.waiting = b
	}
	b.changes = append(b.changes, c)
	r.mu.Unlock()
	if first {
		r.carryOut(b)
	}
	<-b.done // bounded by the reload's own time
	return c.err
}

// carryOut makes all changes of a batch, in the order in which they came, and reloads.
func (r *reloads) carryOut(b *batch) {
	defer close(b.done)
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	r.mu.Lock()
	r.waiting = nil // who comes from now on waits for the next one
	r.mu.Unlock()
	for _, c := range b.changes {
		changed, err := c.do()
		c.err = err
		r.known = r.known && !changed
	}
	if r.known {
		return
	}
	// Not the context of whoever came first: the others wait, too.
	ctx, cancel := context.WithTimeout(context.Background(), reloadTimeout)
	defer cancel()
	err := r.reload(ctx)
	r.known = err == nil
	for _, c := range b.changes {
		if c.err == nil && err != nil {
			c.err = fmt.Errorf("reloading systemd: %w", err)
		}
	}
}
