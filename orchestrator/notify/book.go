package notify

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

const (
	format    = 1
	most      = 1000 // conditions that are remembered
	lookAgain = 5 * time.Minute
	skew      = 10 * time.Minute // how much clocks may differ
)

// entry is what is remembered of a condition.
type entry struct {
	Condition
	Since  time.Time `json:"since"` // since when it holds
	Holds  bool      `json:"holds"`
	Told   bool      `json:"told"`    // the owner heard that it holds, and not yet that it is over
	ToldAt time.Time `json:"told_at"` // when he last heard that it holds
	ToldAs Severity  `json:"told_as"` // how much it mattered then
}

// book remembers conditions by their ids: what was said of each, so that nothing is said twice,
// whatever flaps and whoever restarts.
type book map[string]*entry

// saying is what the owner is told.
type saying struct {
	entry
	over bool
}

// update takes what a look has found; heard says whether anybody can be told of it now, and where
// nobody can, what begins to hold is said as soon as somebody can. It gives what is to be said, when
// to look again even if nothing changes, and whether there is something to remember.
//
// What the owner heard last is what holds, or will be within quiet: a condition that comes back
// sooner than that waits, and if it goes again meanwhile, he hears nothing. What has become graver
// than he heard he hears at once, and once, however often it changes between the two.
func (b book) update(found Found, now time.Time, heard bool) (said []saying, again time.Time, changed bool) {
	again = now.Add(lookAgain)
	holds := map[string]bool{}
	for _, c := range found.Conditions {
		holds[c.ID] = true
		e := b[c.ID]
		if e == nil {
			if len(b) >= most {
				continue
			}
			e = &entry{}
			b[c.ID] = e
		}
		if !e.Holds {
			e.Holds, e.Since, changed = true, now, true
		}
		worse := e.Told && c.Severity > e.ToldAs
		e.Condition = c
		if e.Told && !worse || !heard {
			continue
		}
		wait := c.Wait - passed(now, e.Since)
		if !worse {
			wait = max(wait, quiet-passed(now, e.ToldAt))
		}
		if wait > 0 {
			if at := now.Add(wait); at.Before(again) {
				again = at
			}
			continue
		}
		e.Told, e.ToldAt, e.ToldAs, changed = true, now, c.Severity, true
		said = append(said, saying{*e, false})
	}
	for id, e := range b {
		switch {
		case holds[id]:
		case e.Holds && found.unsure[id]:
		case e.Holds:
			if e.Told && (e.App == "" || found.running[e.App]) { // whoever stopped or removed it knows
				said = append(said, saying{*e, true})
			}
			e.Holds, e.Told, changed = false, false, true
		case passed(now, e.ToldAt) >= quiet:
			delete(b, id)
			changed = true
		}
	}
	slices.SortFunc(said, func(a, c saying) int {
		if a.over != c.over {
			if c.over {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(c.Severity, a.Severity), cmp.Compare(a.ID, c.ID))
	})
	return said, again, changed
}

// passed is how long ago something was. What is dated ahead, by a clock that was wrong, was long
// ago: waiting until it is past could take years.
func passed(now, at time.Time) time.Duration {
	if ahead(at, now) {
		return math.MaxInt64
	}
	return now.Sub(at)
}

func ahead(at, now time.Time) bool { return at.After(now.Add(skew)) }

// kept is what is on disk.
type kept struct {
	Format int   `json:"format"`
	Book   book  `json:"notices"`
	Post   *post `json:"post"`
}

// keep writes what is to outlive the daemon.
func keep(file string, b book, p post) error {
	js, err := json.Marshal(kept{format, b, &p})
	if err != nil {
		return err
	}
	return write(file, js)
}

// write replaces a file, for the daemon alone to read.
func write(file string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(file, b, 0o600)
}

// recall reads it. What cannot be read is put aside, and nothing is known then: notices go out
// once more.
func recall(file string) (book, post, error) {
	var k kept
	js, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return book{}, newPost(), nil
	}
	if err == nil {
		err = json.Unmarshal(js, &k)
	}
	if err == nil && k.Format != format {
		err = fmt.Errorf("it is of format %d, which this daemon does not know", k.Format)
	}
	if err != nil {
		return book{}, newPost(), errors.Join(fmt.Errorf("%s: %w", file, err), os.Rename(file, file+".damaged"))
	}
	b, p := book{}, newPost()
	for id, e := range k.Book {
		if e != nil && len(b) < most {
			b[id] = e
		}
	}
	if k.Post != nil {
		p = k.Post.whole()
	}
	return b, p, nil
}
