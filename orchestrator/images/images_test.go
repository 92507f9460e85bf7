package images_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/images"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// node is a store of images in memory, and what its records name.
type node struct {
	mu       sync.Mutex
	gone     []string
	free     int64
	frees    int64 // by each removal
	refuses  error
	removing func(image string)
	needed   []string
	unsure   bool
}

func (n *node) RemoveImage(_ context.Context, image string) error {
	if n.removing != nil {
		n.removing(image)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuses != nil {
		return n.refuses
	}
	n.gone = append(n.gone, image)
	n.free += n.frees
	return nil
}

func (n *node) ImageSpace() (int64, error) { return n.free, nil }

func (n *node) need(names ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.needed = names
}

func (n *node) names() ([]string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.needed), !n.unsure
}

func (n *node) seen() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.gone, " ")
}

// over runs a test on a node with plenty of space, under a clock of its own.
func over(t *testing.T, test func(t *testing.T, n *node, keeper func() *images.Keeper)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, err := state.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		n := &node{free: images.Scarce}
		test(t, n, func() *images.Keeper { return images.New(n, store, n.names, slog.New(slog.DiscardHandler)) })
	})
}

func TestAnImageGoesAWeekAfterItsLastNeed(t *testing.T) {
	over(t, func(t *testing.T, n *node, keeper func() *images.Keeper) {
		n.need("old", "other")
		keeper().Sweep(t.Context())
		n.need("new", "other")
		keeper().Sweep(t.Context()) // each time a daemon that was started again
		time.Sleep(images.Stay - time.Second)
		keeper().Sweep(t.Context())
		if got := n.seen(); got != "" {
			t.Errorf("%s went too soon", got)
		}
		time.Sleep(time.Second)
		keeper().Sweep(t.Context())
		keeper().Sweep(t.Context())
		if got := n.seen(); got != "old" {
			t.Errorf("%q went, expected the old one", got)
		}
	})
}

func TestAnImageThatIsNeededAgainBeginsItsWeekAnew(t *testing.T) {
	over(t, func(t *testing.T, n *node, keeper func() *images.Keeper) {
		k := keeper()
		n.need("a")
		k.Sweep(t.Context())
		for range 3 {
			n.need()
			k.Sweep(t.Context())
			time.Sleep(images.Stay - time.Second)
			n.need("a")
			k.Sweep(t.Context())
		}
		if got := n.seen(); got != "" {
			t.Errorf("%s went", got)
		}
	})
}

func TestImagesGoSoonerWhereSpaceIsScarce(t *testing.T) {
	over(t, func(t *testing.T, n *node, keeper func() *images.Keeper) {
		k := keeper()
		n.need("first", "second", "third", "fourth")
		k.Sweep(t.Context())
		for _, needed := range [][]string{{"second", "third", "fourth"}, {"third", "fourth"}, {"fourth"}} {
			n.need(needed...)
			k.Sweep(t.Context())
			time.Sleep(time.Minute)
		}
		time.Sleep(images.StayScarce - time.Minute)
		n.free, n.frees = images.Scarce-2, 1
		k.Sweep(t.Context())
		if got := n.seen(); got != "first second" {
			t.Errorf("%q went, expected the longest unused, until there is space", got)
		}
		n.free = 0
		k.Sweep(t.Context())
		k.Sweep(t.Context())
		if got := n.seen(); got != "first second third" {
			t.Errorf("%q went; what is needed stays, however scarce space is", got)
		}
	})
}

func TestNothingGoesWhileARecordCannotBeRead(t *testing.T) {
	over(t, func(t *testing.T, n *node, keeper func() *images.Keeper) {
		k := keeper()
		n.need("a")
		k.Sweep(t.Context())
		n.need()
		k.Sweep(t.Context())
		n.unsure = true
		time.Sleep(2 * images.Stay)
		k.Sweep(t.Context())
		if got := n.seen(); got != "" {
			t.Errorf("%s went", got)
		}
	})
}

// TestWhoeverAsksForAnImageDoesNotMeetItsRemoval: an application that is installed while its
// image goes would find the image, and start without.
func TestWhoeverAsksForAnImageDoesNotMeetItsRemoval(t *testing.T) {
	over(t, func(t *testing.T, n *node, keeper func() *images.Keeper) {
		k := keeper()
		n.need("a", "b")
		k.Sweep(t.Context())
		n.need()
		k.Sweep(t.Context())
		time.Sleep(images.Stay)
		used, asked := make(chan error), false
		n.removing = func(image string) {
			if image == "b" {
				return
			}
			n.need("a", "b")
			if err := k.Use(t.Context(), "other"); err != nil {
				t.Error(err)
			}
			asked = true
			go func() { used <- k.Use(t.Context(), "a") }()
			synctest.Wait()
			select {
			case <-used:
				t.Error("it is used while it goes")
			default:
			}
			cancelled, cancel := context.WithCancel(t.Context())
			cancel()
			if err := k.Use(cancelled, "a"); !errors.Is(err, context.Canceled) {
				t.Errorf("a request that was overtaken waits: %v", err)
			}
		}
		k.Sweep(t.Context())
		if err := <-used; err != nil || !asked {
			t.Errorf("%v, %v", err, asked)
		}
		if got := n.seen(); got != "a" {
			t.Errorf("%q went, of which b was needed again before its turn", got)
		}
		n.removing = nil
		n.need()
		k.Sweep(t.Context())
		if got := n.seen(); got != "a" {
			t.Errorf("%q went: what was used again begins its week anew", got)
		}
	})
}

func TestAnImageThatAContainerHasStaysAndIsTriedAgain(t *testing.T) {
	over(t, func(t *testing.T, n *node, keeper func() *images.Keeper) {
		k := keeper()
		n.need("a")
		k.Sweep(t.Context())
		n.need()
		k.Sweep(t.Context())
		n.refuses = errors.New("image used by a container")
		time.Sleep(images.Stay)
		k.Sweep(t.Context())
		n.refuses = nil
		keeper().Sweep(t.Context())
		if got := n.seen(); got != "a" {
			t.Errorf("%q went", got)
		}
	})
}

func TestImagesAreSweptFromTimeToTime(t *testing.T) {
	over(t, func(t *testing.T, n *node, keeper func() *images.Keeper) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		n.need("a")
		k := keeper()
		go func() { k.Run(ctx); close(done) }()
		synctest.Wait()
		n.need()
		time.Sleep(images.Stay + 3*time.Hour)
		synctest.Wait()
		if got := n.seen(); got != "a" {
			t.Errorf("%q went", got)
		}
		cancel()
		<-done
	})
}

// TestTwoSweepsRemoveAnImageOnce has a second sweep come while the first has an image go.
func TestTwoSweepsRemoveAnImageOnce(t *testing.T) {
	over(t, func(t *testing.T, n *node, keeper func() *images.Keeper) {
		n.need("old")
		k := keeper()
		k.Sweep(t.Context())
		n.need()
		k.Sweep(t.Context())
		time.Sleep(images.Stay)
		n.removing = func(string) { n.removing = nil; k.Sweep(t.Context()) }
		k.Sweep(t.Context())
		if got := n.seen(); got != "old" {
			t.Errorf("removed %q", got)
		}
	})
}
