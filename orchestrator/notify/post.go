package notify

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	mostQueued = 50             // messages that wait for one target; then the oldest go
	mostLines  = 20             // notices that one message spells out
	mostBody   = 2500           // bytes after which it spells out no more: push services take 4096
	mostAge    = 24 * time.Hour // after which a message is given up
	mostWait   = time.Hour      // between two tries
	mostOffers = 3              // of a message that the server has seen; then it makes way for the next ones
)

// waits are how long after its tries a message is tried again.
var waits = []time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, mostWait}

// message is what goes to one target.
type message struct {
	ID     string    `json:"id"`
	Target string    `json:"target"`
	Title  string    `json:"title"` // one line
	Body   string    `json:"body"`  // lines
	Urgent bool      `json:"urgent,omitempty"`
	Made   time.Time `json:"made"`
	Tries  int       `json:"tries,omitempty"`
	Seen   int       `json:"seen,omitempty"` // tries that the server has seen all of
	Next   time.Time `json:"next,omitzero"`  // when it is to be tried again
}

// Standing is how it goes with a target.
type Standing struct {
	Sent    time.Time `json:"sent,omitzero"`     // when a message last went there
	Problem string    `json:"problem,omitempty"` // why the last try failed; empty where it did not
	Failed  time.Time `json:"failed,omitzero"`   // when that was
	Lost    int       `json:"lost,omitempty"`    // messages that were given up since one last went there
	Waiting int       `json:"-"`                 // messages that are still to go there
}

// post is what is on its way, and how it goes with each target.
type post struct {
	Queue     []message           `json:"queue"` // the oldest first
	Standings map[string]Standing `json:"standings"`
}

func newPost() post { return post{Standings: map[string]Standing{}} }

// whole is a post as the disk has it, with what it must have.
func (p post) whole() post {
	if p.Standings == nil {
		p.Standings = map[string]Standing{}
	}
	return p
}

// compose makes one message of all that is to be said at one time.
func compose(node string, said []saying) message {
	m := message{Title: fmt.Sprintf("%s: %d notices", node, len(said))}
	if len(said) == 1 {
		m.Title = node + ": " + said[0].title()
	}
	var body strings.Builder
	spelled := 0
	for _, s := range said {
		m.Urgent = m.Urgent || s.Severity == Urgent && !s.over
		if spelled == mostLines || body.Len() > mostBody {
			continue
		}
		spelled++
		switch {
		case s.over:
			fmt.Fprintf(&body, "%s. It was said on %s that it %s.\n", s.title(), s.ToldAt.Local().Format("2006-01-02 at 15:04"), s.What)
		default:
			fmt.Fprintf(&body, "%s", s.title())
			if s.Text != "" {
				fmt.Fprintf(&body, ": %s", s.Text)
			}
			fmt.Fprintf(&body, "\nWhat to do: %s\n", s.Remedy)
		}
	}
	if more := len(said) - spelled; more > 0 {
		fmt.Fprintf(&body, "and %d more, which are on the pages of the node\n", more)
	}
	m.Body = strings.TrimRight(body.String(), "\n")
	return m
}

func (s saying) title() string {
	if s.over {
		return s.Subject + " " + s.Over
	}
	return s.Subject + " " + s.What
}

// queue has a message go to each of these targets.
func (p *post) queue(targets []string, m message, now time.Time) {
	m.Made = now
	for _, t := range targets {
		m.ID, m.Target = rand.Text(), t
		p.Queue = append(p.Queue, m)
		of := 0
		for _, q := range slices.Backward(p.Queue) {
			if q.Target == t {
				if of++; of > mostQueued {
					p.drop(q)
				}
			}
		}
	}
}

// drop gives a message up.
func (p *post) drop(m message) {
	p.remove(m.ID)
	s := p.Standings[m.Target]
	s.Lost++
	p.Standings[m.Target] = s
}

func (p *post) remove(id string) {
	p.Queue = slices.DeleteFunc(slices.Clone(p.Queue), func(m message) bool { return m.ID == id })
}

// first gives the oldest message to each target.
func (p *post) first() (all []message) {
	for _, m := range p.Queue {
		if !slices.ContainsFunc(all, func(a message) bool { return a.Target == m.Target }) {
			all = append(all, m)
		}
	}
	return all
}

// done notes how a try went: what failed is tried again, later each time, until it is too old, or
// the server has seen it often enough: an application's text that a filter of mail does not like must
// not hold up all that comes after it, and what was taken without a word must not come all day.
func (p *post) done(m message, err error, now time.Time) {
	p.noted(m.Target, err, now)
	i := slices.IndexFunc(p.Queue, func(q message) bool { return q.ID == m.ID })
	if errors.As(err, new(seen)) {
		m.Seen++
	}
	switch {
	case i < 0: // its target was removed, or the queue was full
	case err == nil:
		p.remove(m.ID)
	case errors.Is(err, ErrUnknown):
		p.remove(m.ID)
	case passed(now, m.Made) >= mostAge, m.Seen >= mostOffers:
		p.drop(m)
	default:
		p.Queue[i].Tries++
		p.Queue[i].Seen = m.Seen
		p.Queue[i].Next = now.Add(waits[min(m.Tries, len(waits)-1)])
	}
}

// noted keeps how the last message to a target went.
func (p *post) noted(target string, err error, now time.Time) {
	s := p.Standings[target]
	switch {
	case errors.Is(err, ErrUnknown):
		return
	case err == nil:
		s = Standing{Sent: now}
	default:
		s.Problem, s.Failed = cleaned(err.Error(), mostText), now
	}
	p.Standings[target] = s
}

// forget drops what is kept of targets that are not there any more, and tells whether there was
// anything.
func (p *post) forget(targets []string) bool {
	gone := func(t string) bool { return !slices.Contains(targets, t) }
	before := len(p.Queue) + len(p.Standings)
	p.Queue = slices.DeleteFunc(slices.Clone(p.Queue), func(m message) bool { return gone(m.Target) })
	maps.DeleteFunc(p.Standings, func(t string, _ Standing) bool { return gone(t) })
	return len(p.Queue)+len(p.Standings) != before
}

// standing is how it goes with a target.
func (p *post) standing(target string) Standing {
	s := p.Standings[target]
	for _, m := range p.Queue {
		if m.Target == target {
			s.Waiting++
		}
	}
	return s
}
