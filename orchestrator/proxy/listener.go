package proxy

import (
	"net"
	"net/netip"
)

// RefuseContainers gives a listener that closes connections from the node's own addresses
// at once, its loopback excepted. A container's connection to its host arrives from one of
// them (through pasta), and no application has anything to ask of the daemon or of
// another's web interface. Whoever is on the node itself goes by localhost.
func RefuseContainers(l net.Listener) net.Listener { return &refusing{l, ownAddress} }

type refusing struct {
	net.Listener
	refused func(peer netip.Addr) bool
}

func (l *refusing) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, ok := conn.RemoteAddr().(*net.TCPAddr)
		if ok && !l.refused(peer.AddrPort().Addr().Unmap()) {
			return conn, nil
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
