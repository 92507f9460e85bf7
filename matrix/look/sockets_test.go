package look

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// listen opens sockets of each kind that hold their ports, and others that talk to them and hold
// none. It gives both as they are told.
func listen(t *testing.T) (open, talk []string) {
	t.Helper()
	const one, one6 = "0100007F", "00000000000000000000000001000000"
	for _, at := range []struct{ network, address, told, from string }{
		{"tcp4", "127.0.0.1:0", "tcp " + one, "tcp " + one}, {"tcp4", "127.1.2.3:0", "tcp 0302017F", ""}, {"tcp4", "0.0.0.0:0", "tcp 00000000", ""},
		{"tcp6", "[::1]:0", "tcp6 " + one6, "tcp6 " + one6}, {"tcp", "[::]:0", "tcp6 00000000000000000000000000000000", ""},
		{"udp4", "127.0.0.1:0", "udp " + one, "udp " + one}, {"udp6", "[::1]:0", "udp6 " + one6, "udp6 " + one6},
	} {
		var l interface {
			io.Closer
			Addr() net.Addr
		}
		var err error
		if strings.HasPrefix(at.network, "tcp") {
			l, err = net.Listen(at.network, at.address)
		} else {
			var c net.PacketConn
			c, err = net.ListenPacket(at.network, at.address)
			l = packets{c}
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		open = append(open, at.told+port(l.Addr()))
		if at.from == "" {
			continue
		}
		c, err := net.Dial(at.network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		talk = append(talk, at.from+port(c.LocalAddr()))
	}
	return open, talk
}

// packets are a listener, too.
type packets struct{ net.PacketConn }

func (p packets) Addr() net.Addr { return p.LocalAddr() }

// port is that of an address, as it is told.
func port(a net.Addr) string {
	return fmt.Sprintf(":%04X", netip.MustParseAddrPort(a.String()).Port())
}

// TestWhatListensIsAskedOfTheKernel hides its tables, and leaves the program no privilege over
// the network.
func TestWhatListensIsAskedOfTheKernel(t *testing.T) {
	open, _ := listen(t)
	p := newPlace(t)
	hidden := append([]string{"--user", "--map-root-user", "--mount", "sh", "-ec", `mount -t tmpfs none "/proc/$$/net"; exec "$@"`, "sh", os.Args[0]}, p.look("", "", "")...)
	text := "\n" + strings.Join(p.run("[]", "unshare", hidden...), "\n") + "\n"
	for _, socket := range open {
		if !strings.Contains(text, "\nsocket "+socket+" ") {
			t.Errorf("%s is not told", socket)
		}
	}
}

// BenchmarkListeners asks for what listens, and reads the tables that tell the same.
func BenchmarkListeners(b *testing.B) {
	b.Run("asked", func(b *testing.B) {
		for b.Loop() {
			if _, err := listeners(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
				if _, err := os.ReadFile("/proc/net/" + table); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
