package access

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"
)

const password = "correct horse battery"

// guarded is a guard with a password and a clock that stands until the test moves it.
func guarded(t *testing.T) (g *Guard, hashes *atomic.Int32, clock func(time.Duration)) {
	t.Helper()
	p := NewPasswords(t.TempDir())
	p.wait = time.Minute // however slow the machine
	hashes = &atomic.Int32{}
	p.hash = func(password, salt []byte, _, _ uint32, threads uint8, length uint32) []byte {
		hashes.Add(1)
		return argon2.IDKey(password, salt, 1, 4<<10, threads, length) // cheaper than the real one
	}
	if err := p.Set(password); err != nil {
		t.Fatal(err)
	}
	hashes.Store(0)
	g = NewGuard(OpenSessions(t.TempDir(), "sesame", p, quiet))
	now := time.Now()
	g.throttle.now = func() time.Time { return now }
	return g, hashes, func(d time.Duration) { now = now.Add(d) }
}

// signIn types something on the page, and gives the answer: 0 where SignIn left it to
// its caller.
func signIn(t *testing.T, g *Guard, from, typed string) (bool, *httptest.ResponseRecorder) {
	t.Helper()
	w, r := httptest.NewRecorder(), request(nil)
	r.RemoteAddr = from
	ok, _, err := g.SignIn(w, r, typed, "")
	if err != nil {
		t.Error(err)
	}
	return ok, w
}

func TestFortyAttemptsAtTheSameTimeHashNoMoreThanAreAllowed(t *testing.T) {
	g, hashes, clock := guarded(t)
	ok, w := signIn(t, g, "192.0.2.1:1", password)
	if !ok {
		t.Fatal("the owner does not get in")
	}
	session := w.Result().Cookies()[0]
	hashes.Store(0)
	var wg sync.WaitGroup
	var refused atomic.Int32
	all := make(chan struct{})
	for i := range 40 {
		wg.Go(func() {
			<-all
			ok, w := signIn(t, g, fmt.Sprint("192.0.2.1:", i), "guess "+strconv.Itoa(i))
			if ok {
				t.Error("a guess signs in")
			}
			if w.Code == http.StatusTooManyRequests {
				refused.Add(1)
				if w.Header().Get("Retry-After") == "" {
					t.Error("refused without saying for how long")
				}
			}
		})
	}
	close(all)
	wg.Wait()
	if n := hashes.Load(); n > wrongBurst || n+refused.Load() != 40 {
		t.Errorf("%d of 40 were hashed, %d refused; %d are allowed", n, refused.Load(), wrongBurst)
	}
	if _, ok := g.SignedIn(request(session)); !ok {
		t.Error("the owner's session has ended")
	}
	if ok, _ := signIn(t, g, "192.0.2.2:1", password); !ok {
		t.Error("the right password does not get in from another address")
	}
	if ok, _ := signIn(t, g, "192.0.2.1:1", "sesame"); !ok {
		t.Error("the token does not get in from the same address")
	}
	clock(wrongEvery)
	if ok, w := signIn(t, g, "192.0.2.1:1", password); !ok {
		t.Errorf("the right password does not get in from the same address after %s: status %d", wrongEvery, w.Code)
	}
}

func TestTheRightPasswordCostsNoAttempt(t *testing.T) {
	g, _, _ := guarded(t)
	for i := range wrongBurst + 2 {
		if ok, w := signIn(t, g, "192.0.2.1:1", password); !ok {
			t.Fatalf("sign-in %d: status %d", i+1, w.Code)
		}
	}
}

func TestHashesInProgressAreBoundedForAllAddressesTogether(t *testing.T) {
	g, _, _ := guarded(t)
	const addresses = 4
	var now, most atomic.Int32
	begun, release := make(chan struct{}, addresses), make(chan struct{})
	g.sessions.passwords.wait = 10 * time.Millisecond
	g.sessions.passwords.hash = func([]byte, []byte, uint32, uint32, uint8, uint32) []byte {
		most.Store(max(most.Load(), now.Add(1)))
		begun <- struct{}{}
		<-release
		now.Add(-1)
		return nil
	}
	answers := make(chan *httptest.ResponseRecorder, addresses)
	var wg sync.WaitGroup
	for i := range addresses {
		wg.Go(func() {
			_, w := signIn(t, g, fmt.Sprintf("192.0.2.%d:1", i+1), "guess")
			answers <- w
		})
	}
	<-begun
	for range addresses - maxHashing { // those that did not get a place
		select {
		case w := <-answers:
			if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
				t.Errorf("status %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
		case <-time.After(5 * time.Second):
			t.Fatal("those that have no place among the hashes wait without end")
		}
	}
	close(release)
	wg.Wait()
	if most.Load() > maxHashing {
		t.Errorf("%d hashes at the same time", most.Load())
	}
}

func TestAnAttemptThatWasNotLookedAtDoesNotCount(t *testing.T) {
	g, hashes, _ := guarded(t)
	p := g.sessions.passwords
	p.wait = time.Millisecond
	p.hashing <- struct{}{} // another's
	for range 2 * wrongBurst {
		if ok, w := signIn(t, g, "192.0.2.1:1", password); ok || w.Code != http.StatusTooManyRequests {
			t.Fatalf("signed in %t, status %d", ok, w.Code)
		}
	}
	<-p.hashing
	p.wait = time.Minute
	if ok, w := signIn(t, g, "192.0.2.1:1", password); !ok || hashes.Load() != 1 {
		t.Errorf("the owner is kept out by others: status %d after %d hashes", w.Code, hashes.Load())
	}
}

func TestSettingAPasswordWaitsForAPlaceAmongTheHashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, hashes, _ := guarded(t)
		p := g.sessions.passwords
		p.hashing <- struct{}{} // another's
		set := make(chan error)
		go func() { set <- p.Set("another correct horse") }()
		synctest.Wait()
		if n := hashes.Load(); n != 0 {
			t.Error("it takes its memory beside another hash")
		}
		<-p.hashing
		if err := <-set; err != nil || hashes.Load() != 1 {
			t.Errorf("%d hashes, %v", hashes.Load(), err)
		}
	})
}

func TestManyAddressesClearNoCounter(t *testing.T) {
	g, _, clock := guarded(t)
	attempt := func(i int) bool {
		ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		_, _, ok := g.throttle.take(netip.PrefixFrom(ip, 32))
		return ok
	}
	for range wrongBurst {
		attempt(0)
	}
	for i := 1; i < maxTracked; i++ {
		attempt(i)
	}
	beyond := 0
	for i := range 100 {
		if attempt(maxTracked + i) {
			beyond++
		}
	}
	if attempt(0) {
		t.Error("other addresses cleared the counter of one that is under throttle")
	}
	if beyond != wrongBurst {
		t.Errorf("beyond the bound %d attempts passed; %d share one counter", beyond, wrongBurst)
	}
	if n := len(g.throttle.known); n > maxTracked || n != g.throttle.oldest.Len() {
		t.Errorf("%d counters, %d in their order", n, g.throttle.oldest.Len())
	}
	clock(wrongBurst * wrongEvery)
	if !attempt(maxTracked+1) || !attempt(0) {
		t.Error("counters that have expired make no room")
	}
	if n := len(g.throttle.known); n > maxTracked {
		t.Errorf("%d counters", n)
	}
	clock(wrongBurst * wrongEvery)
	attempt(2) // of an address that came before all others that are left, and the only one that counts
	for i := range wrongBurst + 1 {
		if !attempt(2*maxTracked + i) {
			t.Error("one address that goes on and on has all new ones share a counter")
		}
	}
}

func TestIPv6AddressesOfOneNetworkCountTogether(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff::2]:2", true},
		{"[2001:db8:0:1::1]:1", "[2001:db8:0:2::1]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::2%eth1]:1", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:2", true},
		{"[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:1", false},
		{"@", "", true}, // a Unix socket's
	} {
		a, b := request(nil), request(nil)
		a.RemoteAddr, b.RemoteAddr = c.a, c.b
		if (origin(a) == origin(b)) != c.same {
			t.Errorf("%s is %s, %s is %s", c.a, origin(a), c.b, origin(b))
		}
	}
	g, hashes, _ := guarded(t)
	for i := range 2 * wrongBurst {
		signIn(t, g, fmt.Sprintf("[2001:db8::%x]:1", i+1), "guess")
	}
	if n := hashes.Load(); n != wrongBurst {
		t.Errorf("%d addresses of one network had %d guesses hashed", 2*wrongBurst, n)
	}
}

func TestRequestsWithoutACredentialAreNoAttempts(t *testing.T) {
	g, _, _ := guarded(t)
	h := g.Token(reading, http.NotFoundHandler())
	for range 2 * wrongBurst {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, request(nil)); w.Code != http.StatusUnauthorized {
			t.Fatalf("status %d", w.Code)
		}
	}
	if ok, w := signIn(t, g, request(nil).RemoteAddr, password); !ok {
		t.Errorf("they keep the owner out: status %d", w.Code)
	}
}
