package waiting

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const headerTimeout = 5 * time.Second

// Reason says what an application still waits for, and its name.
type Reason func(app string) (name, reason string)

// Pages serves the page on applications' own ports, which are the node's loopback's, while
// what they require is not ready.
type Pages struct {
	reason Reason

	mu   sync.Mutex
	open map[int]func() // that closes the page, by port
}

// NewPages gives a manager of pages that tell a reason, as it is when they are asked.
func NewPages(reason Reason) *Pages { return &Pages{reason: reason, open: map[int]func(){}} }

// Want has the page on an application's port, or takes it away. A port that cannot be
// had is an error; the next call tries again.
func (p *Pages) Want(app string, port int, wanted bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !wanted {
		p.close(port)
		return nil
	}
	if p.open[port] != nil {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("waiting page of %s: %w", app, err)
	}
	server := &http.Server{ReadHeaderTimeout: headerTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Connection", "close") // the port is about to change hands
		name, reason := p.reason(app)
		Write(w, req, name, reason)
	})}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l) }()
	p.open[port] = func() { server.Close(); <-done }
	return nil
}

// Close takes the page off a port: the application is about to serve there.
func (p *Pages) Close(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close(port)
}

// CloseAll takes all pages away.
func (p *Pages) CloseAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for port := range p.open {
		p.close(port)
	}
}

func (p *Pages) close(port int) {
	if end := p.open[port]; end != nil {
		end()
		delete(p.open, port)
	}
}
