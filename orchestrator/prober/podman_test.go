package prober

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// container is one of the fake Podman's. Its health is kept as Podman keeps it.
type container struct {
	id, label, health string
	pid               int
	startedAt         time.Time
	retries, streak   int
	serves            bool
	checkFails        bool // though it serves
	refused           error
	asked, checked    []time.Time
}

// podman is one in memory, in which time is the test's.
type podman struct {
	mu         sync.Mutex
	containers map[string]*container
	changed    chan string
	broken     error // of everything but checks
}

func newPodman() *podman {
	return &podman{containers: map[string]*container{}, changed: make(chan string, 100)}
}

// start has a container begin; it serves from then on.
func (p *podman) start(name, label string) *container {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.containers) + 1
	c := &container{id: fmt.Sprint("id", n), pid: n, label: label, health: "starting", startedAt: time.Now(), retries: 3, serves: true}
	p.containers[name] = c
	return c
}

func (p *podman) set(change func()) { p.mu.Lock(); defer p.mu.Unlock(); change() }

func (p *podman) Probed(context.Context) (names []string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.containers {
		names = append(names, name)
	}
	return names, p.broken
}

func (p *podman) Inspect(_ context.Context, name string) (host.Inspection, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.containers[name]
	if p.broken != nil {
		return host.Inspection{}, p.broken
	}
	if c == nil {
		return host.Inspection{}, host.ErrGone
	}
	return host.Inspection{ID: c.id, State: "running", Health: c.health, PID: c.pid, StartedAt: c.startedAt, Labels: map[string]string{manifest.LabelHealth: c.label}}, nil
}

func (p *podman) Check(_ context.Context, name string, _ time.Duration) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.containers[name]
	if c == nil {
		return false, host.ErrGone
	}
	c.checked = append(c.checked, time.Now())
	if c.serves && !c.checkFails {
		c.health, c.streak = healthy, 0
		return true, nil
	}
	if c.streak++; c.streak >= c.retries && c.health != "starting" {
		c.health = unhealthy
	}
	return false, nil
}

func (p *podman) Events(ctx context.Context, changed func(container, health string)) error {
	for {
		select {
		case name := <-p.changed:
			if name == "" {
				return errors.New("the stream breaks")
			}
			changed(name, "")
		case <-ctx.Done():
			return nil
		}
	}
}

// inside is the network of a fake container: an HTTP server on every port.
type inside struct {
	*podman
	*container
}

func (p *podman) enter(pid int, id string) (Inside, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.containers {
		if c.id == id && c.pid == pid {
			return inside{p, c}, nil
		}
	}
	return nil, errors.New("no such process")
}

func (inside) Close() error { return nil }

func (i inside) Dial(context.Context, int) (net.Conn, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, time.Now())
	if i.refused != nil {
		return nil, i.refused
	}
	if !i.serves {
		return nil, unix.ECONNREFUSED
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
			io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}()
	return ours, nil
}

// run probes for as long as it takes, and then ends.
func (p *podman) run(t *testing.T, during func(ctx context.Context)) error {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	result := make(chan error, 1)
	go func() {
		result <- (&Prober{Engine: p, Enter: p.enter, Log: slog.New(slog.DiscardHandler)}).Run(ctx)
	}()
	during(ctx)
	end()
	return <-result
}
