package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/internal/passkeytest"
)

const (
	box   = "box.local:7443"
	pages = "https://" + box
)

// at is a request to My Apps by a name.
func at(host string) *http.Request {
	r := request(nil)
	r.Host = host
	return r
}

// withPasskey is a guard with a password and a passkey, the device that has it, and the clock.
func withPasskey(t *testing.T) (g *Guard, d *passkeytest.Device, clock *time.Time) {
	t.Helper()
	g, _, _ = guarded(t)
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	clock = &now
	g.throttle.now = func() time.Time { return *clock }
	g.sessions.Passkeys.now = g.throttle.now
	d = passkeytest.New()
	if _, err := enrol(g, d, box, "phone"); err != nil {
		t.Fatal(err)
	}
	return g, d, clock
}

// enrol has a device make a passkey, as the page does.
func enrol(g *Guard, d *passkeytest.Device, host, name string) (Passkey, error) {
	asked, err := g.sessions.Passkeys.Begin("session", name, "box", at(host))
	if err != nil {
		return Passkey{}, err
	}
	answer, err := d.Make(asked, "https://"+host)
	if err != nil {
		return Passkey{}, err
	}
	return g.sessions.Passkeys.Confirm("session", answer)
}

// asked is what the page of signing in asks the browser, and the cookie that goes with it.
func asked(t *testing.T, g *Guard, host string) (options []byte, c *http.Cookie) {
	t.Helper()
	w := httptest.NewRecorder()
	options, answered, err := g.AskPasskey(w, at(host))
	if answered || err != nil || len(w.Result().Cookies()) != 1 {
		t.Fatal(answered, err, w.Result().Cookies())
	}
	return options, w.Result().Cookies()[0]
}

// answer sends what a browser answers, and gives the session's cookie.
func answer(g *Guard, host, said string, cookies ...*http.Cookie) (*http.Cookie, error) {
	w, r := httptest.NewRecorder(), at(host)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	_, _, err := g.SignInByPasskey(w, r, said)
	for _, c := range w.Result().Cookies() {
		if c.Name == cookie {
			return c, err
		}
	}
	return nil, err
}

// use signs in by a passkey.
func use(t *testing.T, g *Guard, d *passkeytest.Device) (*http.Cookie, error) {
	t.Helper()
	options, c := asked(t, g, box)
	said, err := d.Sign(options, pages)
	if err != nil {
		t.Fatal(err)
	}
	return answer(g, box, said, c)
}

func TestAPasskeySignsIn(t *testing.T) {
	g, d, clock := withPasskey(t)
	p := g.sessions.Passkeys
	session, err := use(t, g, d)
	if err != nil || session == nil || !valid(g, session) {
		t.Fatal(session, err)
	}
	*clock = clock.Add(time.Hour)
	if _, err := use(t, g, d); err != nil {
		t.Errorf("once more: %v", err)
	}
	all, err := p.List()
	if err != nil || len(all) != 1 || all[0].Name != "phone" || all[0].Host() != "box.local" || !all[0].Used.Equal(*clock) || !p.Of("box.local") || p.Of("other.local") || p.Of("") {
		t.Errorf("%+v, %v", all, err)
	}
	if info, err := os.Stat(p.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	copied := &passkeytest.Device{Copied: true}
	if _, err := enrol(g, copied, box, "in the cloud"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := use(t, g, copied); err != nil {
			t.Errorf("one that counts nothing: %v", err)
		}
	}
	if _, err := use(t, g, d); err != nil {
		t.Errorf("the first of two: %v", err)
	}

	// A new password ends what they began, and leaves them.
	if err := g.sessions.passwords.Set("another good password"); err != nil {
		t.Fatal(err)
	}
	if valid(g, session) {
		t.Error("the session outlived the password")
	}
	p.replace = func(string, []byte, fs.FileMode) error { return errors.New("no space left on device") }
	if _, err := use(t, g, d); err != nil {
		t.Errorf("on a full disk: %v", err)
	}
	d.Counter--
	if _, err := use(t, g, d); !errors.Is(err, ErrPasskey) {
		t.Errorf("a copy, on a full disk: %v", err)
	}
	p.replace = atomicfile.Write
	again := newPasskeys(filepath.Dir(p.file), quiet)
	again.now = p.now
	g.sessions.Passkeys = again
	if _, err := use(t, g, d); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if err := again.Remove("nope"); !errors.Is(err, ErrNoPasskey) {
		t.Errorf("removing none: %v", err)
	}
	if err := again.Remove(all[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := use(t, g, d); !errors.Is(err, ErrPasskey) {
		t.Errorf("removed: %v", err)
	}
	if _, err := use(t, g, copied); err != nil {
		t.Errorf("the one that is left: %v", err)
	}
}

// TestAPasskeyIsJudged has everything be right but one thing.
func TestAPasskeyIsJudged(t *testing.T) {
	for what, c := range map[string]struct {
		host, origin string // of the request, and of the page that asks the device
		device       func(d *passkeytest.Device)
		options      func(o map[string]any)
		later        time.Duration
		cookie       func(c *http.Cookie)
		said         func(s string) string
		want         bool
	}{
		"nothing else":                              {want: true},
		"the name in capitals":                      {host: "BOX.local:7443", want: true},
		"a page of an application on another port":  {origin: "https://box.local:8082"},
		"the same, and the request says that port":  {host: "box.local:8082", origin: "https://box.local:8082"},
		"an application of a name below":            {host: "wiki.box.local:8443", origin: "https://wiki.box.local:8443"},
		"a page without TLS":                        {origin: "http://" + box},
		"a page in another one's frame":             {device: func(d *passkeytest.Device) { d.Framed = true }},
		"another name of the node":                  {options: func(o map[string]any) { o["rpId"] = "local" }},
		"a device that has not found out who it is": {device: func(d *passkeytest.Device) { d.Blind = true }},
		"a copy of the device":                      {device: func(d *passkeytest.Device) { d.Counter-- }},
		"one that was not copied, and now is":       {device: func(d *passkeytest.Device) { d.Copied = true }},
		"another key":                               {device: func(d *passkeytest.Device) { d.Key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
		"a passkey that nobody knows":               {device: func(d *passkeytest.Device) { d.ID = []byte("0123456789abcdef") }},
		"another challenge":                         {options: func(o map[string]any) { o["challenge"] = strings.Repeat("A", 43) }},
		"no cookie":                                 {cookie: func(c *http.Cookie) { c.Name = "other" }},
		"a cookie that was made up":                 {cookie: func(c *http.Cookie) { c.Value = c.Value[:len(c.Value)-1] + "?" }},
		"a cookie that was made to last":            {cookie: func(c *http.Cookie) { c.Value = "9" + c.Value }},
		"too late":                                  {later: ticketTime},
		"in time":                                   {later: ticketTime - time.Second, want: true},
		"a clock that was set back":                 {later: -time.Second},
		"no JSON":                                   {said: func(string) string { return "passkey" }},
		"half of it":                                {said: func(s string) string { return s[:len(s)-2] }},
		"an empty answer":                           {said: func(string) string { return "{}" }},
	} {
		t.Run(what, func(t *testing.T) {
			g, d, clock := withPasskey(t)
			use(t, g, d)
			if c.host == "" {
				c.host = box
			}
			if c.origin == "" {
				c.origin = pages
			}
			options, ticket := asked(t, g, box)
			if c.device != nil {
				c.device(d)
			}
			if c.options != nil {
				var o map[string]any
				if err := json.Unmarshal(options, &o); err != nil {
					t.Fatal(err)
				}
				c.options(o)
				options, _ = json.Marshal(o)
			}
			said, err := d.Sign(options, c.origin)
			if err != nil {
				t.Fatal(err)
			}
			if c.cookie != nil {
				c.cookie(ticket)
			}
			if c.said != nil {
				said = c.said(said)
			}
			*clock = clock.Add(c.later)
			before := len(g.sessions.List())
			session, err := answer(g, c.host, said, &http.Cookie{Name: passkeyCookie, Value: "of.another"}, ticket)
			if (session != nil) != c.want || (err == nil) != c.want || !c.want && !errors.Is(err, ErrPasskey) {
				t.Errorf("%v, %v", session, err)
			}
			if begun := len(g.sessions.List()) > before; begun != c.want {
				t.Errorf("a session: %t", begun)
			}
		})
	}
}

func TestAChallengeSignsInOnce(t *testing.T) {
	g, d, clock := withPasskey(t)
	options, c := asked(t, g, box)
	said, err := d.Sign(options, pages)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	right := 0
	for range 10 {
		all.Go(func() {
			if _, err := g.sessions.Passkeys.judge([]string{c.Value}, said); err == nil {
				mu.Lock()
				defer mu.Unlock()
				right++
			}
		})
	}
	all.Wait()
	if right != 1 {
		t.Errorf("%d were let in by one answer", right)
	}
	// Not the counter alone: one that counts nothing, and another answer to the same.
	copied := &passkeytest.Device{Copied: true}
	if _, err := enrol(g, copied, box, "in the cloud"); err != nil {
		t.Fatal(err)
	}
	options, c = asked(t, g, box)
	for i, want := range []error{nil, ErrPasskey} {
		said, err := copied.Sign(options, pages)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := answer(g, box, said, c); !errors.Is(err, want) {
			t.Errorf("answer %d: %v", i, err)
		}
	}
	*clock = clock.Add(2 * ticketTime)
	if _, err := use(t, g, copied); err != nil {
		t.Fatal(err)
	}
	if n := len(g.sessions.Passkeys.spent); n != 1 {
		t.Errorf("%d challenges are remembered", n)
	}
}

func TestWrongPasskeysAreBounded(t *testing.T) {
	g, d, clock := withPasskey(t)
	for range wrongBurst + 2 {
		if _, err := use(t, g, d); err != nil {
			t.Fatalf("a right one: %v", err)
		}
	}
	options, c := asked(t, g, box)
	for range wrongBurst {
		answer(g, box, "{}", c)
	}
	said, err := d.Sign(options, pages)
	if err != nil {
		t.Fatal(err)
	}
	w, r := httptest.NewRecorder(), at(box)
	r.AddCookie(c)
	if _, answered, err := g.SignInByPasskey(w, r, said); !answered || err != nil || w.Code != http.StatusTooManyRequests {
		t.Errorf("after many wrong ones: %t, %v, status %d", answered, err, w.Code)
	}
	*clock = clock.Add(wrongEvery)
	if _, err := answer(g, box, said, c); err != nil {
		t.Errorf("a little later: %v", err)
	}
}

func TestAPasskeyIsMadeByWhoBeganIt(t *testing.T) {
	g, _, clock := withPasskey(t)
	p := g.sessions.Passkeys
	for what, c := range map[string]struct {
		host, name string
		plain      bool
		want       error
	}{
		"an address":         {host: "192.0.2.7:7443", name: "key", want: ErrPasskeyHost},
		"one of IPv6":        {host: "[2001:db8::7]:7443", name: "key", want: ErrPasskeyHost},
		"no name at all":     {host: ":7443", name: "key", want: ErrPasskeyHost},
		"no TLS":             {host: box, name: "key", plain: true, want: ErrPasskeyHost},
		"no name for it":     {host: box, name: "  ", want: ErrPasskeyName},
		"a long one":         {host: box, name: strings.Repeat("ö", maxPasskeyName+1), want: ErrPasskeyName},
		"one to be obeyed":   {host: box, name: "key\x1b[2J", want: ErrPasskeyName},
		"a name of one word": {host: "box:7443", name: "key", want: ErrPasskeyHost},
		"the longest":        {host: box, name: strings.Repeat("ö", maxPasskeyName)},
	} {
		r := at(c.host)
		if c.plain {
			r.TLS = nil
		}
		if _, err := p.Begin("session", c.name, "box", r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, c := range map[string]struct {
		session, origin string
		blind           bool
		later           time.Duration
		said            func(string) string
	}{
		"another session":                           {session: "other"},
		"a page of an application":                  {origin: "https://box.local:8082"},
		"a device that has not found out who it is": {blind: true},
		"too late":                  {later: setUpTime + time.Second},
		"a clock that was set back": {later: -time.Second},
		"no answer":                 {said: func(string) string { return "" }},
	} {
		if c.session == "" {
			c.session = "session"
		}
		if c.origin == "" {
			c.origin = pages
		}
		asked, err := p.Begin("session", "key", "box", at(box))
		if err != nil {
			t.Fatal(err)
		}
		said, err := (&passkeytest.Device{Blind: c.blind}).Make(asked, c.origin)
		if err != nil {
			t.Fatal(err)
		}
		if c.said != nil {
			said = c.said(said)
		}
		*clock = clock.Add(c.later)
		if _, err := p.Confirm(c.session, said); !errors.Is(err, ErrPasskey) {
			t.Errorf("%s: %v", what, err)
		}
		*clock = clock.Add(-c.later)
		right, err := passkeytest.New().Make(asked, pages)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Confirm("session", right); c.session == "session" && !errors.Is(err, ErrPasskey) {
			t.Errorf("%s, and then right: %v", what, err)
		}
	}
	all, err := p.List()
	if len(all) != 2 || err != nil { // and the one that another session did not spoil
		t.Errorf("%+v, %v", all, err)
	}
	for range maxPasskeys - len(all) {
		if _, err := enrol(g, passkeytest.New(), box, "key"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := enrol(g, passkeytest.New(), box, "key"); !errors.Is(err, ErrPasskeys) {
		t.Errorf("one too many: %v", err)
	}
}

// TestAPasskeyIsOfOneOwner has root take the password away, and somebody else make the node theirs.
func TestAPasskeyIsOfOneOwner(t *testing.T) {
	g, d, _ := withPasskey(t)
	p := g.sessions.passwords
	if err := os.Remove(p.file); err != nil {
		t.Fatal(err)
	}
	if _, err := use(t, g, d); !errors.Is(err, ErrPasskey) {
		t.Errorf("where nobody is the owner: %v", err)
	}
	c, err := OpenClaim(filepath.Dir(p.file), 7443, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Claim(httptest.NewRecorder(), at(box), c, c.Code(), "another good password", func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if all, err := g.sessions.Passkeys.List(); len(all) > 0 || err != nil {
		t.Errorf("the next owner has %+v, %v", all, err)
	}
	if _, err := use(t, g, d); !errors.Is(err, ErrPasskey) {
		t.Errorf("the owner before: %v", err)
	}
}

func TestDamagedPasskeysSignNobodyIn(t *testing.T) {
	for _, damage := range []string{"{", `{"format":2}`, `{"format":1,"passkeys":[]}`, `{"format":1,"more":1}`} {
		g, d, _ := withPasskey(t)
		p := g.sessions.Passkeys
		if err := os.WriteFile(p.file, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := use(t, g, d); c != nil || err == nil || errors.Is(err, ErrPasskey) {
			t.Errorf("%s: %v, %v", damage, c, err)
		}
		if _, err := p.List(); err == nil || !strings.Contains(err.Error(), "archy passkeys remove --all") || p.Of("box.local") {
			t.Errorf("%s: %v", damage, err)
		}
		if _, err := enrol(g, passkeytest.New(), box, "key"); err == nil {
			t.Errorf("%s: one was added", damage)
		}
		if _, err := p.RemoveAll(); err != nil {
			t.Fatal(err)
		}
		if _, err := enrol(g, d, box, "key"); err != nil {
			t.Errorf("%s, removed: %v", damage, err)
		}
		if n, err := p.RemoveAll(); n != 1 || err != nil {
			t.Errorf("%d were removed, %v", n, err)
		}
		if n, err := p.RemoveAll(); n != 0 || err != nil {
			t.Errorf("of none, %d were removed, %v", n, err)
		}
	}
}
