package proxy

import (
	"net"
	"net/netip"
	"sync"
)

// maxConnections is how many connections one address, or one network of IPv6 that a
// subscriber is given (RFC 6177), may hold open at a port: many browsers behind one router,
// and no neighbour who would take all the daemon's files.
const (
	maxConnections = 256
	ipv6Network    = 64
)

// RefuseContainers gives a listener that closes connections from the node's own addresses
// at once, its loopback excepted. A container's connection to its host arrives from one of
// them (through pasta), and no application has anything to ask of the daemon or of
// another's web interface. Whoever is on the node itself goes by localhost. Of one peer
// no more than maxConnections are open at a time.
func RefuseContainers(l net.Listener) net.Listener {
	return &refusing{Listener: l, refused: ownAddress, open: map[netip.Prefix]int{}}
}

type refusing struct {
	net.Listener
	refused func(peer netip.Addr) bool

	mu   sync.Mutex
	open map[netip.Prefix]int // connections
}

// counted is a connection that counts for its peer until it is closed.
type counted struct {
	net.Conn
	done func()
}

func (c counted) Close() error { c.done(); return c.Conn.Close() }

// take counts a connection of a peer, where it may have one more.
func (l *refusing) take(peer netip.Addr) (done func(), ok bool) {
	bits := peer.BitLen()
	if peer.Is6() {
		bits = ipv6Network
	}
	from, err := peer.WithZone("").Prefix(bits)
	if err != nil {
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] >= maxConnections && !peer.IsLoopback() {
		return nil, false
	}
	l.open[from]++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.open[from]--; l.open[from] == 0 {
			delete(l.open, from)
		}
	}), true
}

func (l *refusing) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			if peer := tcp.AddrPort().Addr().Unmap(); !l.refused(peer) {
				if done, ok := l.take(peer); ok {
					return counted{conn, done}, nil
				}
			}
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0) // a reset: nothing is sent, and nothing is left waiting
		}
		conn.Close()
	}
}

// ownAddress tells whether an address that is no loopback is one of the node's own, as they
// are now. The kernel is asked from where it would reach it, which sends nothing: from
// that address itself exactly if it is its own.
func ownAddress(a netip.Addr) bool {
	if a.IsLoopback() {
		return false
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 9)))
	if err != nil {
		return false // there is no way to it
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("") == a.WithZone("")
}
