package matrix

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/proxy"
)

// A tunnel leads where it was told to, by address and by name, whatever the spelling; and
// nowhere else.
func TestATunnelLeadsWhereItWasTold(t *testing.T) {
	there, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	go func() {
		for {
			c, err := there.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(there.Addr().String())
	for _, c := range []struct {
		told, asked string
		want        bool
	}{
		{"127.0.0.1:" + port, "127.0.0.1:" + port, true},
		{"LocalHost:" + port, "localhost:" + port, true},
		{"127.0.0.1:" + port, "localhost:" + port, false}, // a name leads where whoever answers for it wants
		{"127.0.0.1:" + port, "127.0.0.2:" + port, false},
		{"127.0.0.1:1", "127.0.0.1:" + port, false},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tunnel := newTunnel([]string{c.told})
		done := make(chan struct{})
		go func() { tunnel.serve(l); close(done) }()
		dialer, err := proxy.SOCKS5("tcp", l.Addr().String(), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := dialer.Dial("tcp", c.asked)
		said := ""
		if err == nil {
			b, _ := io.ReadAll(conn)
			said = string(b)
			conn.Close()
		}
		if got := said == "hello"; got != c.want || !c.want && !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("told %s, asked for %s: %q, %v", c.told, c.asked, said, err)
		}
		tunnel.close()
		<-done
	}
}

func TestATunnelTellsNoNodeByItsSpelling(t *testing.T) {
	if got := newTunnel([]string{"[2001:DB8:0::1]:80"}).reach[0]; got != "[2001:db8::1]:80" {
		t.Errorf("%s", got)
	}
}

// A page that opens connections without end has its own wait, and takes no more of the gate.
func TestATunnelCarriesSoManyConnectionsAndTheNextOneWaits(t *testing.T) {
	there, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	arrived := make(chan net.Conn)
	go func() {
		defer close(arrived)
		for {
			c, err := there.Accept()
			if err != nil {
				return
			}
			arrived <- c
		}
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tunnel := newTunnel([]string{there.Addr().String()})
	if tunnel.most != 256 {
		t.Errorf("%d connections at once", tunnel.most)
	}
	tunnel.most = 3
	done := make(chan struct{})
	go func() { tunnel.serve(l); close(done) }()
	defer func() { tunnel.close(); <-done }()
	dialer, err := proxy.SOCKS5("tcp", l.Addr().String(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan net.Conn)
	ask := func() {
		c, err := dialer.Dial("tcp", there.Addr().String())
		if err != nil {
			t.Error(err)
		}
		asked <- c
	}
	var held []net.Conn // both ends of each
	for range tunnel.most {
		go ask()
		held = append(held, <-arrived, <-asked)
	}
	go ask()
	select {
	case <-arrived:
		t.Fatal("one more was carried")
	case <-time.After(300 * time.Millisecond):
	}
	held[0].Close()
	held[1].Close()
	for _, c := range append(held[2:], <-arrived, <-asked) { // once another has ended
		c.Close()
	}
}
