// Package notify tells the owner of a node what wants attention, wherever he is: conditions
// that hold (an application that failed, a disk that fills) become notices, and these go to
// targets of his (a push service, mail, a Matrix room). It owns which conditions there are, when one is worth a
// notice, what was said of it already, and the way to each target. It asks nobody how things
// are: what the daemon knows is handed to it, and nothing happens while that stays as it is.
//
// Addresses of targets are secrets: they are in a file of mode 0600, and in no log, error or
// answer.
package notify

import (
	"cmp"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	burst = 500 * time.Millisecond // changes come in bursts
	gap   = 5 * time.Second        // between two looks at what holds
	quiet = 15 * time.Minute       // between two notices that the same condition holds

	sendTime = 20 * time.Second // for one message to one target
)

// Notice is a condition that has lasted as long as it must to be worth one.
type Notice struct {
	Condition
	Since time.Time
}

// Source is what the daemon knows.
type Source interface {
	// Known gives what conditions are made of, as it is now, without waiting for anybody.
	Known(now time.Time) Known
	// Changes gives a channel that is closed when that may have changed.
	Changes() (n uint64, changed <-chan struct{})
	// Changed tells those who look that something did here.
	Changed()
}

// Notifier keeps the notices of a node, and sends them.
type Notifier struct {
	source  Source
	node    string // what the node is called in messages
	log     *slog.Logger
	file    string
	targets store
	line    line

	wake chan struct{}

	mu      sync.Mutex
	book    book
	post    post
	sending map[string]bool // targets that a message is on its way to
}

// Open takes up, in a directory of its own, what the daemon before it knew.
func Open(dir, node string, source Source, log *slog.Logger) *Notifier {
	n := &Notifier{source: source, node: cleaned(node, mostName), log: log, file: filepath.Join(dir, "notices.json"), targets: store{file: filepath.Join(dir, "targets.json")},
		line: newLine(), wake: make(chan struct{}, 1), sending: map[string]bool{}}
	var err error
	if n.book, n.post, err = recall(n.file); err != nil {
		log.Warn("which notices went out before is not known", "error", err)
	}
	return n
}

// Run makes notices of conditions and sends them, until the context ends.
func (n *Notifier) Run(ctx context.Context) {
	var under sync.WaitGroup
	defer under.Wait()
	var changed <-chan struct{}
	var looked, due time.Time // due: when to look again
	for ctx.Err() == nil {
		now := time.Now()
		if !now.Before(due) {
			_, changed = n.source.Changes()
			due, looked = n.look(now), now
		}
		next := n.send(ctx, &under, now)
		if next.IsZero() || due.Before(next) {
			next = due
		}
		timer := time.NewTimer(max(0, next.Sub(now)))
		select {
		case <-changed:
			changed = nil
			if soon := later(time.Now().Add(burst), looked.Add(gap)); soon.Before(due) {
				due = soon
			}
		case <-n.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// look makes notices of what holds now, and gives when to look again even if nothing changes.
func (n *Notifier) look(now time.Time) time.Time {
	found := Look(n.source.Known(now))
	names, err := n.targets.names()
	if err != nil {
		n.log.Error("where notices go", "error", err)
	}
	n.mu.Lock()
	said, again, changed := n.book.update(found, now, err == nil)
	for _, one := range said {
		n.log.Info("notice", "id", one.ID, "over", one.over)
	}
	if len(said) > 0 {
		n.post.queue(names, compose(n.node, said), now)
	}
	if err == nil && n.post.forget(names) || changed {
		n.save()
	}
	n.mu.Unlock()
	if len(said) > 0 {
		n.source.Changed()
	}
	return again
}

// save keeps what was said and what is still to be sent. The caller holds mu.
func (n *Notifier) save() {
	if err := keep(n.file, n.book, n.post); err != nil {
		n.log.Error("keeping the notices", "error", err)
	}
}

// send has the messages that are due be on their way, one at a time to each target, and gives
// when the next one is due; zero for none.
func (n *Notifier) send(ctx context.Context, under *sync.WaitGroup, now time.Time) (next time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.post.first() {
		switch {
		case n.sending[m.Target]:
		case m.Next.After(now) && !ahead(m.Next, now.Add(mostWait)):
			if next.IsZero() || m.Next.Before(next) {
				next = m.Next
			}
		default:
			n.sending[m.Target] = true
			under.Go(func() { n.deliver(ctx, m) })
		}
	}
	return next
}

// deliver sends a message, and notes how that went.
func (n *Notifier) deliver(ctx context.Context, m message) {
	err := n.to(ctx, m.Target, m)
	n.mu.Lock()
	delete(n.sending, m.Target)
	if ctx.Err() == nil {
		n.post.done(m, err, time.Now())
		n.save()
	}
	n.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		n.log.Warn("a notice did not go out", "target", m.Target, "error", err)
	}
	n.source.Changed()
	n.Wake()
}

// to sends a message to a target, within sendTime.
func (n *Notifier) to(ctx context.Context, name string, m message) error {
	t, err := n.targets.get(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	return redacted(t.send(ctx, n.line, m), t)
}

// Wake has what is due be sent now.
func (n *Notifier) Wake() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Notices gives those that hold, the gravest first, and of these the newest.
func (n *Notifier) Notices() (all []Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for _, e := range n.book {
		if e.Holds && passed(now, e.Since) >= e.Wait {
			all = append(all, Notice{e.Condition, e.Since})
		}
	}
	slices.SortFunc(all, func(a, b Notice) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), b.Since.Compare(a.Since), cmp.Compare(a.ID, b.ID))
	})
	return all
}
