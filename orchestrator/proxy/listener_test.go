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
		return &refusing{l, func(peer netip.Addr) bool { return peer == loopback }}
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
