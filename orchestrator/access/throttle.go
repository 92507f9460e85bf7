package access

import (
	"container/list"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

const (
	// Wrong attempts of one address, and those with one user's name, from wherever.
	wrongEvery = 2 * time.Second
	wrongBurst = 5

	maxTracked = 10000 // addresses, and names, with a counter of their own
	ipv6Prefix = 64    // bits of what one subscriber is given, RFC 6177; within it an address costs nothing
)

// throttle bounds how often one address, or one name, may be wrong. An attempt takes its place
// before it is looked at and gets it back where it was right, so that attempts made at the same
// time do not pass together.
type throttle[K comparable] struct {
	now func() time.Time

	mu     sync.Mutex
	known  map[K]*list.Element // of counted
	oldest list.List           // the counter that was used longest ago is first
	shared counter             // for all others, where there is no room for a counter of their own
}

// counted is a counter and whose it is.
type counted[K comparable] struct {
	counter
	from K
}

// counter is how many attempts still count.
type counter struct {
	attempts float64 // as of at
	at       time.Time
}

// now gives how many still count: they are forgotten one by one.
func (c *counter) now(now time.Time) float64 {
	return max(c.attempts-float64(now.Sub(c.at))/float64(wrongEvery), 0)
}

func newThrottle[K comparable]() *throttle[K] {
	return &throttle[K]{now: time.Now, known: map[K]*list.Element{}}
}

// take reserves an attempt. Where the address or name has none left, ok is false and wait is
// the time until it has. Otherwise giveBack undoes it, for an attempt that was right or
// has not been looked at.
func (t *throttle[K]) take(from K) (giveBack func(), wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	c := t.counter(from, now)
	c.attempts, c.at = c.now(now), now
	if over := c.attempts + 1 - wrongBurst; over > 0 {
		return nil, time.Duration(over * float64(wrongEvery)), false
	}
	c.attempts++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		c.attempts = max(c.attempts-1, 0)
	}, 0, true
}

// counter finds the counter of an address or a name, or makes one. Room is made only by dropping
// counters against which nothing counts any more: one that throttles is never forgotten,
// however many come. What was used longest ago is the first to be done.
func (t *throttle[K]) counter(from K, now time.Time) *counter {
	if e, ok := t.known[from]; ok {
		t.oldest.MoveToBack(e)
		return &e.Value.(*counted[K]).counter
	}
	for len(t.known) >= maxTracked {
		c := t.oldest.Front().Value.(*counted[K])
		if c.now(now) > 0 {
			return &t.shared
		}
		t.oldest.Remove(t.oldest.Front())
		delete(t.known, c.from)
	}
	c := &counted[K]{from: from}
	t.known[from] = t.oldest.PushBack(c)
	return &c.counter
}

// origin is whom an attempt counts for: an IPv4 address, or the network of an IPv6 one.
// What is no address at all counts together.
func origin(r *http.Request) netip.Prefix {
	ip, err := netip.ParseAddr(From(r))
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = ipv6Prefix
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// From is the caller's address, without the port.
func From(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// refuse answers 429 and says after how long an attempt is worth making.
func refuse(w http.ResponseWriter, wait time.Duration, why string) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	http.Error(w, why, http.StatusTooManyRequests)
}
