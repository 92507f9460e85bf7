package matrix

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// TestAHandshakeWantsAnAnswer has programs behind a port that take a connection, and do one
// thing each with it.
func TestAHandshakeWantsAnAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		does func(net.Conn)
		send string
		want string // in the error; empty: it is reached
	}{
		{"answers", func(c net.Conn) {
			if line, _ := bufio.NewReader(c).ReadString('\n'); line == "PING\r\n" {
				io.WriteString(c, "+PO")
				io.WriteString(c, "NG\r\n")
			}
			io.Copy(io.Discard, c)
		}, "PING\r\n", ""},
		{"speaks first", func(c net.Conn) { io.WriteString(c, "220 +PONG"); io.Copy(io.Discard, c) }, "", ""},
		{"says it and goes", func(c net.Conn) { io.WriteString(c, "+PONG") }, "", ""},
		{"says nothing and goes", func(net.Conn) {}, "PING", "the raw interface takes a connection, and ends it without a word"},
		{"says something else and goes", func(c net.Conn) { io.WriteString(c, "-ERR") }, "", `the raw interface says "-ERR", expected "+PONG" in it`},
		{"never stops", func(c net.Conn) {
			for err := error(nil); err == nil; {
				_, err = io.WriteString(c, strings.Repeat("-ERR", 1<<12))
			}
		}, "", `expected "+PONG" in it`},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, m := behind(t, c.does)
			in := m.Interfaces["raw"]
			in.Handshake.Send = c.send
			begin := time.Now()
			note, err := u.handshakes(t.Context(), m)
			switch {
			case time.Since(begin) > clientTimeout/2:
				t.Errorf("it took %s", time.Since(begin))
			case c.want == "" && (err != nil || note != "the raw interface completed a handshake"):
				t.Errorf("%q, %v", note, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, expected %q", err, c.want)
			}
		})
	}
}

// TestSilenceIsNoHandshake has a program that takes a connection and says nothing.
func TestSilenceIsNoHandshake(t *testing.T) {
	u, m := behind(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	const within = 50 * time.Millisecond
	err := u.handshake(t.Context(), m, m.Interfaces["raw"], within)
	if err == nil || !strings.Contains(err.Error(), "takes a connection, and says nothing within 50ms") {
		t.Error(err)
	}
}

func TestNobodyBehindAPortIsNoHandshake(t *testing.T) {
	u, m := behind(t, nil)
	if _, err := u.handshakes(t.Context(), m); err == nil || !strings.Contains(err.Error(), "the raw interface takes no connection") {
		t.Error(err)
	}
}

// behind gives an application of which does stands behind the port of its raw interface, and
// a user of it; nil: nothing stands there.
func behind(t *testing.T, does func(net.Conn)) (*User, *manifest.Manifest) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	if does == nil {
		l.Close()
	}
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			does(c)
			c.Close()
		}
	}()
	m := &manifest.Manifest{ID: "raw", Containers: []manifest.Container{{Name: "raw", Ports: []manifest.Port{{Name: "raw", Host: l.Addr().(*net.TCPAddr).Port}}}}}
	m.Interfaces = map[string]manifest.Interface{"raw": {Port: "raw", Protocol: "tcp", Handshake: &manifest.Handshake{Expect: "+PONG"}}}
	return &User{address: "127.0.0.1"}, m
}

// TestAHandshakeInAContainerWantsAnAnswer runs a command that prints more, less or other.
func TestAHandshakeInAContainerWantsAnAnswer(t *testing.T) {
	for command, want := range map[string]string{
		"echo is PO''NG":         "",
		"echo PI''NG":            `prints "PING\n", expected "PONG" in it`,
		"true":                   `prints "", expected "PONG" in it`,
		"echo PO''NG; exit 1":    "exit status 1",
		"echo PO''NG >/dev/full": "is not reached",
	} {
		m := &manifest.Manifest{Interfaces: map[string]manifest.Interface{"raw": {Protocol: "tcp",
			Handshake: &manifest.Handshake{Exec: &manifest.ExecHandshake{Container: "pair-db", Argv: []string{"sh", "-c", command}, Expect: "PONG"}}}}}
		note, err := (&User{shell: container(t)}).handshakes(t.Context(), m)
		if want == "" && (err != nil || note != "the raw interface completed a handshake in its container") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %q, %v; expected %q", command, note, err, want)
		}
	}
}
