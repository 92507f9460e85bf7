package web

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	burst  = 150 * time.Millisecond // changes come in bursts
	minute = time.Minute            // what changes with the hour alone is that old at most
)

// live are the parts of pages that somebody looks at, each rendered once for a change,
// however many tabs show it.
type live struct {
	mu    sync.Mutex
	parts map[string]*part // by audience and page
}

// part is one of them.
type part struct {
	watchers int // of live.mu

	mu       sync.Mutex
	at       stamp
	html     []byte
	rendered int // how often
}

// stamp is of what a part was rendered from.
type stamp struct {
	changes, notes uint64
	minute         int64
}

func (l *live) watch(key string) (p *part, leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parts == nil {
		l.parts = map[string]*part{}
	}
	p = l.parts[key]
	if p == nil {
		p = &part{}
		l.parts[key] = p
	}
	p.watchers++
	return p, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if p.watchers--; p.watchers == 0 {
			delete(l.parts, key)
		}
	}
}

// as gives the part as it is at a stamp; whoever asks first renders it.
func (p *part) as(at stamp, render func() ([]byte, error)) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.html != nil && p.at == at {
		return p.html, nil
	}
	html, err := render()
	if err != nil {
		return nil, err
	}
	p.html, p.at = html, at
	p.rendered++
	return html, nil
}

// notes tell that something changed which the reconciler does not know of.
type notes struct {
	mu      sync.Mutex
	n       uint64
	changed chan struct{}
}

func (n *notes) note() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.n++
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

func (n *notes) watch() (uint64, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	return n.n, n.changed
}

// now is the time by which pages are rendered anew; tests have it stand.
func (s *Server) now() time.Time {
	if s.clock != nil {
		return s.clock()
	}
	return time.Now()
}

// send writes what a template rendered as a server-sent event.
func send(w io.Writer, event string, html []byte) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\n", event)
	for line := range bytes.SplitSeq(html, []byte("\n")) {
		fmt.Fprintf(&b, "data: %s\n", line)
	}
	b.WriteByte('\n')
	w.Write(b.Bytes()) // whether it came, the flush says
}

// stream sends a part of a page as an event whenever it has become another, until the
// session ends. Nothing happens while nothing changes, but for a look every minute.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, event, key string, render func() ([]byte, error)) {
	p, leave := s.live.watch(event + " " + key)
	defer leave()
	flush := http.NewResponseController(w)
	varies(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	var last []byte
	for {
		ended := s.Sessions.Changed()
		own, ok := s.Guard.SignedIn(r)
		if !ok {
			return
		}
		var at stamp
		var changed, noted <-chan struct{}
		at.changes, changed = s.Reconciler.Changes()
		at.notes, noted = s.notes.watch()
		now := s.now()
		at.minute = now.Unix() / 60
		html, err := p.as(at, render)
		if err != nil {
			s.Log.Error("rendering", "event", event, "error", err)
			return
		}
		if !bytes.Equal(html, last) {
			last = html
			send(w, event, html)
		} else {
			fmt.Fprint(w, ":\n\n") // who is gone does not take it
		}
		if flush.Flush() != nil {
			return
		}
		next := time.NewTimer(min(minute-now.Sub(now.Truncate(minute)), max(own.Ends.Sub(now), 0)+time.Second))
		select {
		case <-changed:
			next.Reset(burst)
			select {
			case <-next.C:
			case <-r.Context().Done():
			}
		case <-noted:
		case <-ended:
		case <-next.C:
		case <-r.Context().Done():
		}
		next.Stop()
		if r.Context().Err() != nil {
			return
		}
	}
}
