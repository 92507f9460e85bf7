// Package images has those images go that the daemon has brought and that nothing needs any
// more: a week after the last need, or sooner where space is scarce. It never touches an
// image that a record names, one that a rollback would need, one of the owner's own, or one
// that somebody else has brought.
package images

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// Stay is how long an image stays once nothing needs it: whoever installs the
	// application again meanwhile waits for no pull.
	Stay = 7 * 24 * time.Hour
	// StayScarce is how long it stays where less than Scarce bytes are free.
	StayScarce = time.Hour
	// Scarce is how much is free, in bytes, where images go sooner.
	Scarce = 5 << 30

	every = time.Hour // how often it is looked whether images may go
	file  = "images.json"
)

// Engine is the node's store of images.
type Engine interface {
	// RemoveImage removes an image; one that a container has, or that somebody has given
	// another name, stays, which is an error. There may be none.
	RemoveImage(ctx context.Context, pinned string) error
	// ImageSpace is how many bytes are free where images are.
	ImageSpace() (free int64, err error)
}

// Memory keeps something over a restart of the daemon. What is lost of it is an image that
// stays for ever.
type Memory interface {
	Remember(name string, v any) error
	Recall(name string, v any) error
}

// Keeper knows the images that the daemon has brought. Its methods may be called by anyone
// at any time.
type Keeper struct {
	engine Engine
	memory Memory
	needed func() (pinned []string, sure bool)
	log    *slog.Logger

	mu    sync.Mutex
	known map[string]time.Time     // since when nothing needs it; zero while something does
	going map[string]chan struct{} // closed when its removal has ended
}

// New gives a keeper. needed gives the images that records name; where it is not sure of
// all, nothing goes.
func New(engine Engine, memory Memory, needed func() (pinned []string, sure bool), log *slog.Logger) *Keeper {
	k := &Keeper{engine: engine, memory: memory, needed: needed, log: log, known: map[string]time.Time{}, going: map[string]chan struct{}{}}
	if err := memory.Recall(file, &k.known); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("images that nothing may need any more", "error", err)
	}
	if k.known == nil {
		k.known = map[string]time.Time{}
	}
	return k
}

// Use has an image, which a record names, stay from now on. It waits for a removal of it
// that is under way: whoever looks for the image then does not find one that goes.
func (k *Keeper) Use(ctx context.Context, pinned string) error {
	for {
		k.mu.Lock()
		ended, goes := k.going[pinned]
		if !goes {
			k.known[pinned] = time.Time{}
			k.mu.Unlock()
			return nil
		}
		k.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Run sweeps from time to time, until the context ends.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		k.Sweep(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Sweep has those images go whose time has come, the longest unused first.
func (k *Keeper) Sweep(ctx context.Context) {
	needed, sure := k.needed()
	if !sure {
		return
	}
	k.note(needed, time.Now())
	defer k.save()
	for _, image := range k.due(time.Now(), Stay) {
		k.remove(ctx, image)
	}
	for _, image := range k.due(time.Now(), StayScarce) {
		free, err := k.engine.ImageSpace()
		if err != nil {
			k.log.Error("how much is free for images", "error", err)
		}
		if err != nil || free >= Scarce || ctx.Err() != nil {
			return
		}
		k.remove(ctx, image)
	}
}

// note records what is needed at a time, and since when the rest is not. A time that lies
// ahead is of a clock that went wrong.
func (k *Keeper) note(needed []string, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for image, since := range k.known {
		if since.IsZero() || since.After(now) {
			k.known[image] = now
		}
	}
	for _, image := range needed {
		k.known[image] = time.Time{}
	}
}

// due are the images that nothing has needed for so long, the longest unused first.
func (k *Keeper) due(now time.Time, stay time.Duration) (images []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for image, since := range k.known {
		if !since.IsZero() && now.Sub(since) >= stay {
			images = append(images, image)
		}
	}
	slices.SortFunc(images, func(a, b string) int { return cmp.Or(k.known[a].Compare(k.known[b]), cmp.Compare(a, b)) })
	return images
}

// remove has one image go, unless something has come to need it.
func (k *Keeper) remove(ctx context.Context, image string) {
	if !k.begin(image) {
		return
	}
	err := k.engine.RemoveImage(ctx, image)
	k.mu.Lock()
	close(k.going[image])
	delete(k.going, image)
	if err == nil {
		delete(k.known, image)
	}
	k.mu.Unlock()
	if err != nil {
		k.log.Warn("an image that nothing needs stays", "image", image, "error", err)
		return
	}
	k.log.Info("removed an image that nothing needs", "image", image)
}

// begin says of an image that it goes, unless something needs it, or another sweep has it go. Whoever accepts a record
// that names it after this asks for the image later still, and waits.
func (k *Keeper) begin(image string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	needed, sure := k.needed()
	if slices.Contains(needed, image) {
		k.known[image] = time.Time{}
	}
	if _, goes := k.going[image]; goes || !sure || k.known[image].IsZero() {
		return false
	}
	k.going[image] = make(chan struct{})
	return true
}

func (k *Keeper) save() {
	k.mu.Lock()
	known := maps.Clone(k.known)
	k.mu.Unlock()
	if err := k.memory.Remember(file, known); err != nil {
		k.log.Warn("keeping which images are needed", "error", err)
	}
}
