package matrix

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tunnelAddress is where a browser finds its proxy, in its own network.
const tunnelAddress = "127.0.0.1:1080"

// maxCarried is how many connections a browser has through its proxy at the same time: far more
// than the 32 that a Chromium opens through one.
const maxCarried = 256

// Replies of a SOCKS server (RFC 1928, section 6).
const (
	socksDone       = 0
	socksNotAllowed = 2
	socksNoWay      = 4
)

// tunnel is a SOCKS proxy (RFC 1928, CONNECT alone, without authentication). It connects to
// the addresses it was told, and refuses all others; it looks no name up that is not among
// them, and changes no byte.
type tunnel struct {
	reach  []string // host:port
	most   int      // connections at once
	ctx    context.Context
	cancel context.CancelFunc
	under  sync.WaitGroup
}

func newTunnel(reach []string) *tunnel {
	t := &tunnel{most: maxCarried}
	for _, a := range reach {
		if ap, err := netip.ParseAddrPort(a); err == nil {
			a = ap.String() // one form of each
		}
		t.reach = append(t.reach, strings.ToLower(a))
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// serve takes connections until close, so many at once; one more waits until another has ended.
func (t *tunnel) serve(l net.Listener) {
	defer l.Close()
	defer context.AfterFunc(t.ctx, func() { l.Close() })()
	places := make(chan struct{}, t.most)
	for {
		select {
		case places <- struct{}{}:
		case <-t.ctx.Done():
			return
		}
		c, err := l.Accept()
		if err != nil {
			return
		}
		t.under.Go(func() {
			defer func() { <-places }()
			t.carry(c)
		})
	}
}

// close ends all connections.
func (t *tunnel) close() {
	t.cancel()
	t.under.Wait()
}

// carry answers one request and, where it is allowed, carries what both sides say.
func (t *tunnel) carry(c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(t.ctx, func() { c.Close() })()
	c.SetDeadline(time.Now().Add(browserTimeout))
	address, err := socksRequest(c)
	if err != nil {
		return
	}
	reply := func(code byte) { c.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0}) }
	if !slices.Contains(t.reach, strings.ToLower(address)) {
		reply(socksNotAllowed)
		return
	}
	there, err := (&net.Dialer{Timeout: clientTimeout}).DialContext(t.ctx, "tcp", address)
	if err != nil {
		reply(socksNoWay)
		return
	}
	defer there.Close()
	defer context.AfterFunc(t.ctx, func() { there.Close() })()
	c.SetDeadline(time.Time{})
	reply(socksDone)
	var both sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{c: there, there: c} {
		both.Go(func() {
			io.Copy(to, from)
			to.(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}

// socksRequest reads where a client wants to go, as host:port.
func socksRequest(c io.ReadWriter) (string, error) {
	var head [4]byte
	if _, err := io.ReadFull(c, head[:2]); err != nil {
		return "", err
	}
	if _, err := io.CopyN(io.Discard, c, int64(head[1])); err != nil { // the methods it knows
		return "", err
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return "", err
	}
	if head[0] != 5 || head[1] != 1 {
		return "", errors.New("no CONNECT of SOCKS 5")
	}
	length := map[byte]int{1: 4, 4: 16}[head[3]]
	if head[3] == 3 {
		var n [1]byte
		if _, err := io.ReadFull(c, n[:]); err != nil {
			return "", err
		}
		length = int(n[0])
	}
	b := make([]byte, length+2)
	if _, err := io.ReadFull(c, b); err != nil {
		return "", err
	}
	host := string(b[:length])
	if a, ok := netip.AddrFromSlice(b[:length]); ok && head[3] != 3 {
		host = a.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(b[length:])))), nil
}
