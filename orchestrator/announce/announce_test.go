package announce

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/mdns/v2"
	"golang.org/x/net/dns/dnsmessage"
)

// apps is a source whose applications the test changes.
type apps struct {
	mu      sync.Mutex
	webs    map[string][]int
	changed chan struct{}
}

func newApps(ids ...string) *apps {
	a := &apps{changed: make(chan struct{})}
	a.set(ids...)
	return a
}

func (a *apps) Webs() (map[string][]int, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.webs, a.changed
}

func (a *apps) set(ids ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.webs = map[string][]int{}
	for _, id := range ids {
		a.webs[id] = []int{8080}
	}
	close(a.changed)
	a.changed = make(chan struct{})
}

type closer func()

func (c closer) Close() error { c(); return nil }

// responders stands in for the network: it says which names are answered for.
type responders struct {
	begun, ended chan []string
	mu           sync.Mutex
	err          error
}

func (r *responders) start(names []string) (io.Closer, error) {
	r.mu.Lock()
	err := r.err
	r.mu.Unlock()
	r.begun <- names
	if err != nil {
		return nil, err
	}
	return closer(func() { r.ended <- names }), nil
}

func next(t *testing.T, what string, c <-chan []string) []string {
	t.Helper()
	select {
	case names := <-c:
		return names
	case <-time.After(30 * time.Second):
		t.Fatal("waited 30 s for " + what)
		return nil
	}
}

func TestTheNamesFollowWhatIsInstalled(t *testing.T) {
	source, r := newApps("miniflux"), &responders{begun: make(chan []string), ended: make(chan []string)}
	ctx, end := context.WithCancel(t.Context())
	done := make(chan []string)
	go func() {
		serve(ctx, "box.local", source, slog.New(slog.DiscardHandler), r.start, time.Hour)
		close(done)
	}()
	if got := next(t, "the first names", r.begun); !slices.Equal(got, []string{"box.local", "miniflux.box.local"}) {
		t.Errorf("%q", got)
	}
	source.set("miniflux", "feeds")
	next(t, "the first responder to end", r.ended)
	if got := next(t, "the new names", r.begun); !slices.Equal(got, []string{"box.local", "feeds.box.local", "miniflux.box.local"}) {
		t.Errorf("%q", got)
	}
	end()
	next(t, "the last responder to end", r.ended)
	next(t, "the end", done)
}

func TestANetworkWithoutMulticastIsLoggedOnceAndTriedAgain(t *testing.T) {
	source, r := newApps(), &responders{begun: make(chan []string), ended: make(chan []string), err: errors.New("address already in use")}
	var said bytes.Buffer
	ctx, end := context.WithCancel(t.Context())
	done := make(chan []string)
	go func() {
		serve(ctx, "box.local", source, slog.New(slog.NewTextHandler(&said, nil)), r.start, time.Millisecond)
		close(done)
	}()
	for range 3 {
		next(t, "another attempt", r.begun)
	}
	r.mu.Lock()
	r.err = nil
	r.mu.Unlock()
	next(t, "an attempt that fails, or the one that does not", r.begun)
	select {
	case <-r.begun: // the one before had failed
	case <-time.After(100 * time.Millisecond):
	}
	end()
	next(t, "the responder to end", r.ended)
	next(t, "the end", done)
	if strings.Count(said.String(), "\n") != 1 || !strings.Contains(said.String(), "address already in use") {
		t.Errorf("it says %q", said.String())
	}
}

// TestNamesAreAnswered asks the responder itself, over a socket on loopback.
func TestNamesAreAnswered(t *testing.T) {
	l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := respond(l, nil, names("box.local", map[string][]int{"miniflux": {8080}}), mdns.WithIncludeLoopback(true))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	conn, err := net.DialUDP("udp4", nil, l.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(name string) {
		t.Helper()
		q, err := (&dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}).Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(q); err != nil {
			t.Fatal(err)
		}
	}
	answer := func() (string, netip.Addr) {
		t.Helper()
		b := make([]byte, 1500)
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal("waited 10 s for an answer: ", err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(b[:n]); err != nil || len(m.Answers) != 1 {
			t.Fatal(m, err)
		}
		return m.Answers[0].Header.Name.String(), netip.AddrFrom4(m.Answers[0].Body.(*dnsmessage.AResource).A)
	}
	ask("other.local.") // somebody else's: the answers below are the only ones
	for _, name := range []string{"box.local.", "Miniflux.Box.Local."} {
		ask(name)
		if got, ip := answer(); got != name || !ip.IsLoopback() {
			t.Errorf("%s: %s is %s", name, got, ip)
		}
	}
}
