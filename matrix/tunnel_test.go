package matrix

import (
	"io"
	"net"
	"strings"
	"testing"

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
