//go:build lab

package faults

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const (
	captureBuffer = 64 << 20               // bytes, of packets that are yet to be read
	longestPacket = 1 << 17                // bytes, with what the kernel joins
	captureWait   = 100 * time.Millisecond // after which the reader looks whether it is to end
)

// capture keeps what goes over this machine's interfaces to and from some addresses:
// each packet from its IP header on, as often as an interface sees it.
type capture struct {
	fd     int
	stop   context.CancelFunc
	reader sync.WaitGroup

	mu      sync.Mutex
	packets [][]byte
	err     error // why there may be some that were not read
}

// startCapture begins a capture, which close ends. It needs root.
func startCapture(addresses []netip.Addr) (*capture, error) {
	filter, err := between(addresses)
	if err != nil {
		return nil, err
	}
	// Without the header of the link, which is not the same on all of them. It receives
	// nothing until it is bound: by then it has its filter.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket, which takes root: %w", err)
	}
	wait := unix.NsecToTimeval(int64(captureWait))
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		// Of all protocols, since for a single one the kernel shows only what comes in.
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))}),
	)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("preparing a capture: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &capture{fd: fd, stop: stop}
	c.reader.Go(func() { c.read(ctx) })
	return c, nil
}

// between is the kernel's filter for IPv4 packets from or to the addresses.
func between(addresses []netip.Addr) ([]unix.SockFilter, error) {
	const source, destination = 12, 16 // offsets in the header (RFC 791, 3.1)
	var program []bpf.Instruction
	for _, offset := range []uint32{source, destination} {
		program = append(program, bpf.LoadAbsolute{Off: offset, Size: 4})
		for _, a := range addresses {
			b := a.As4()
			program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(b[:]), SkipTrue: 1}, bpf.RetConstant{Val: longestPacket})
		}
	}
	raw, err := bpf.Assemble(append(program, bpf.RetConstant{Val: 0}))
	var filter []unix.SockFilter
	for _, i := range raw {
		filter = append(filter, unix.SockFilter{Code: i.Op, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	return filter, err
}

// read keeps packets until ctx ends, or one could not be read.
func (c *capture) read(ctx context.Context) {
	b := make([]byte, longestPacket)
	for ctx.Err() == nil {
		n, _, err := unix.Recvfrom(c.fd, b, unix.MSG_TRUNC)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		c.mu.Lock()
		switch {
		case err != nil:
			c.err = fmt.Errorf("reading packets: %w", err)
		case n >= len(b):
			c.err = fmt.Errorf("a packet of %d bytes was cut", n)
		default:
			c.packets = append(c.packets, bytes.Clone(b[:n]))
		}
		err = c.err
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// holds tells whether a value went over an interface, as it is.
func (c *capture) holds(value string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.packets {
		if bytes.Contains(p, []byte(value)) {
			return true
		}
	}
	return false
}

// to counts the packets to a TCP port.
func (c *capture) to(port int) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.packets {
		if len(p) < 20 || p[0]>>4 != 4 || p[9] != unix.IPPROTO_TCP {
			continue
		}
		if header := int(p[0]&15) * 4; len(p) >= header+4 && int(binary.BigEndian.Uint16(p[header+2:])) == port {
			n++
		}
	}
	return n
}

// complete is an error if packets are missing.
func (c *capture) complete() error {
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return fmt.Errorf("asking for dropped packets: %w", err)
	}
	if stats.Drops > 0 {
		return fmt.Errorf("the kernel dropped %d of %d packets", stats.Drops, stats.Packets)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *capture) close() {
	c.stop()
	c.reader.Wait()
	unix.Close(c.fd)
}

// forms are how a secret may stand in a request that is not encrypted.
func forms(secret string) []string {
	return []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))}
}

var _ = Describe("whoever listens on the network", func() {
	It("sees no credential in the clear", func(ctx SpecContext) {
		fresh(ctx)
		do(ctx, "install", "page")
		settled(ctx, app("page"), nil, bound)

		// The node's address on this machine, and those that it is forwarded to.
		addresses := []netip.Addr{netip.MustParseAddr(node.Address)}
		for _, address := range strings.Fields(onNode(ctx, "hostname -I")) {
			if a := netip.MustParseAddr(address); a.Is4() {
				addresses = append(addresses, a)
			}
		}
		c, err := startCapture(addresses)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(c.close)
		user, password, theirs := "owner", rand.Text(), rand.Text()
		proxied := 8900 + manifest.ProxyOffset
		open := fmt.Sprintf("https://%s:%d/", node.Address, proxied)

		By("signing in to My Apps, and opening the application in the same browser")
		tab := signedIn(ctx, proxied)
		secret := session(tab)
		browse(tab, chromedp.Navigate(open), chromedp.WaitVisible(chromedp.CSS("#page")))

		By("using archy")
		home := loggedIn(ctx)
		out, err := archy(ctx, home, nil, "apps")
		Expect(err).NotTo(HaveOccurred(), out)
		Expect(out).To(ContainSubstring("page"))

		By("opening the application with its own credentials and a cookie")
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, open, nil)
		Expect(err).NotTo(HaveOccurred())
		r.SetBasicAuth(user, password)
		r.Header.Set("Cookie", "theirs="+theirs)
		outside := http.Client{Transport: &http.Transport{TLSClientConfig: node.Authority.TLS(), DisableKeepAlives: true}}
		resp, err := outside.Do(r)
		Expect(err).NotTo(HaveOccurred())
		resp.Body.Close()
		Expect(resp.StatusCode).To(Equal(http.StatusOK))
		ports := []int{manifest.DaemonTLSPort, proxied}
		for _, port := range ports {
			Eventually(func() int { return c.to(port) }).WithContext(ctx).WithTimeout(bound).WithPolling(poll).
				Should(BeNumerically(">", 0), "nothing of what went to port %d was captured", port)
		}

		// A control, on the same ports. The answer does not matter: what is asked is in the
		// clear, and everything before it has been read once it is seen.
		By("asking in the clear")
		marks := []string{rand.Text(), rand.Text()}
		for i, port := range ports {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(node.Address, fmt.Sprint(port)))
			Expect(err).NotTo(HaveOccurred())
			_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\n\r\n", base64.StdEncoding.EncodeToString([]byte(marks[i])))
			Expect(errors.Join(err, conn.Close())).To(Succeed())
			Eventually(func() bool { return c.holds(forms(marks[i])[2]) }).WithContext(ctx).WithTimeout(bound).WithPolling(poll).
				Should(BeTrue(), "what went to port %d in the clear was not captured", port)
		}
		Expect(c.complete()).To(Succeed())

		for name, value := range map[string]string{
			"the token": node.Token, "the session": secret, "the password": password, "the application's cookie": theirs, "Basic credentials": user + ":" + password,
		} {
			Expect(len(value)).To(BeNumerically(">=", 16), name)
			for _, form := range forms(value) {
				Expect(c.holds(form)).To(BeFalse(), "%s went over the network in the clear", name) // not printed
			}
		}
	}, SpecTimeout(4*time.Minute))
})
