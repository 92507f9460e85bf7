package proxy

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// own are the addresses of this machine that are no loopback.
func own(t *testing.T) (out []netip.Addr) {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p.Addr())
		}
	}
	return out
}

func TestTheNodesOwnAddressesAreKnownFromOthers(t *testing.T) {
	for _, a := range own(t) {
		if !ownAddress(a) {
			t.Errorf("%s is this machine's, and is not known to be", a)
		}
	}
	for _, a := range []string{"127.0.0.1", "127.0.0.228", "::1", "192.0.2.1", "198.51.100.7", "2001:db8::1"} {
		if ownAddress(netip.MustParseAddr(a)) {
			t.Errorf("%s is taken for one of this machine's own", a)
		}
	}
}

// greeted tells whether a connection from an address to itself is answered by a listener
// that greets whoever comes in. It listens as the daemon does, on all addresses of both
// families: then IPv4 addresses arrive as IPv6 ones (RFC 4291, section 2.5.5.2).
func greeted(t *testing.T, address netip.Addr, wrap func(net.Listener) net.Listener) bool {
	t.Helper()
	plain, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	l := wrap(plain)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "hello")
			conn.Close()
		}
	}()
	defer func() { l.Close(); <-done }()
	at := netip.AddrPortFrom(address, uint16(l.Addr().(*net.TCPAddr).Port))
	conn, err := net.DialTimeout("tcp", at.String(), 10*time.Second)
	if err != nil {
		return false // reset before it could be used
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	b, _ := io.ReadAll(conn)
	return string(b) == "hello"
}

func TestConnectionsFromTheNodesOwnAddressesAreClosedAndThoseOfItsLoopbackAreNot(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	if !greeted(t, loopback, RefuseContainers) {
		t.Error("a connection from the loopback is not answered")
	}
	refuseLoopback := func(l net.Listener) net.Listener {
		return &refusing{Listener: l, refused: func(peer netip.Addr) bool { return peer == loopback }}
	}
	if greeted(t, loopback, refuseLoopback) {
		t.Error("a connection from an address to be refused is answered")
	}
	addresses := own(t)
	if len(addresses) == 0 {
		t.Skip("this machine has no address but its loopback")
	}
	for _, a := range addresses {
		if greeted(t, a, RefuseContainers) {
			t.Errorf("a connection from %s, this machine's own address, is answered", a)
		}
	}
}

func TestOnePeerHoldsNoMoreConnectionsThanItsShare(t *testing.T) {
	for _, c := range []struct {
		peer, same, other string
	}{
		{"192.0.2.1", "192.0.2.1", "192.0.2.2"},
		{"2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"},
		{"fe80::1%eth0", "fe80::2%eth1", "2001:db8::1"},
	} {
		l := RefuseContainers(nil).(*refusing)
		var all []func()
		for range maxConnections {
			done, ok := l.take(netip.MustParseAddr(c.peer))
			if !ok {
				t.Fatalf("%s: refused after %d", c.peer, len(all))
			}
			all = append(all, done)
		}
		if _, ok := l.take(netip.MustParseAddr(c.same)); ok {
			t.Errorf("%s has one more than %d", c.same, maxConnections)
		}
		if done, ok := l.take(netip.MustParseAddr(c.other)); !ok {
			t.Errorf("%s pays for %s", c.other, c.peer)
		} else {
			done()
		}
		all[0]()
		all[0]() // closing twice frees one place
		if _, ok := l.take(netip.MustParseAddr(c.same)); !ok {
			t.Errorf("%s: what was closed still counts", c.same)
		}
		if _, ok := l.take(netip.MustParseAddr(c.same)); ok {
			t.Errorf("%s: closing twice freed two places", c.same)
		}
	}
	l := RefuseContainers(nil).(*refusing)
	for range maxConnections + 1 {
		if _, ok := l.take(netip.MustParseAddr("127.0.0.1")); !ok {
			t.Fatal("the node itself is refused")
		}
	}
	if done, ok := l.take(netip.MustParseAddr("192.0.2.9")); ok {
		done()
		if len(l.open) != 1 {
			t.Errorf("a peer that has gone is remembered: %v", l.open)
		}
	}
}
