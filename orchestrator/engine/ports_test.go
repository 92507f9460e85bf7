package engine

import (
	"net"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// What listens by TCP is no holder of the same number by UDP, nor the other way round;
// who only talks to somebody holds nothing.
func TestListenersTellTCPFromUDP(t *testing.T) {
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	talks, err := net.Dial("udp4", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer talks.Close()
	listens := manifest.NodePort{Number: tcp.Addr().(*net.TCPAddr).Port}
	bound := manifest.NodePort{Number: udp.LocalAddr().(*net.UDPAddr).Port, UDP: true}
	from := manifest.NodePort{Number: talks.LocalAddr().(*net.UDPAddr).Port, UDP: true}
	other := func(p manifest.NodePort) manifest.NodePort { p.UDP = !p.UDP; return p }
	inodes, err := listeners([]manifest.NodePort{listens, bound, from, other(listens), other(bound)})
	if err != nil {
		t.Fatal(err)
	}
	got := map[manifest.NodePort]bool{}
	for _, p := range inodes {
		got[p] = true
	}
	if len(got) != 2 || !got[listens] || !got[bound] {
		t.Errorf("got %v, want %s and %s", got, listens, bound)
	}
}
