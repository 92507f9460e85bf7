package access

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/mountstest"
)

// begin signs a browser in with the token and gives its cookie.
func begin(t *testing.T, g *Guard, header ...string) *http.Cookie {
	t.Helper()
	w, r := httptest.NewRecorder(), request(nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if ok, _, err := g.SignIn(w, r, g.sessions.token, ""); !ok || err != nil {
		t.Fatal(ok, err, w.Body)
	}
	return w.Result().Cookies()[0]
}

func valid(g *Guard, cookies ...*http.Cookie) bool {
	r := request(nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	_, ok := g.SignedIn(r)
	return ok
}

func TestANewTokenOrPasswordEndsAllSessions(t *testing.T) {
	dir := t.TempDir()
	g := guard(dir, "a")
	c, d := begin(t, g), begin(t, g)
	if valid(guard(dir, "b"), c) {
		t.Error("a session outlived a new token")
	}
	if !valid(g, c) || !valid(g, d) {
		t.Fatal("the sessions are not valid")
	}
	if err := g.sessions.passwords.Set(password); err != nil {
		t.Fatal(err)
	}
	if valid(g, c) || valid(g, d) || valid(guard(dir, "a"), c) || len(g.sessions.List()) > 0 {
		t.Error("a session outlived a new password")
	}
}

func TestAPasswordThatIsReplacedWhileItIsCheckedBeginsNoSession(t *testing.T) {
	g, _, _ := guarded(t)
	p := g.sessions.passwords
	hash := p.hash
	p.hash = func(password, salt []byte, passes, memory uint32, threads uint8, length uint32) []byte {
		defer os.WriteFile(p.file, []byte("another"), 0o600)
		return hash(password, salt, passes, memory, threads, length)
	}
	ok, w := signIn(t, g, "192.0.2.1:1", password)
	if !ok {
		t.Fatal("the password was not right")
	}
	if valid(g, w.Result().Cookies()[0]) {
		t.Error("the old password signs in after the new one is set")
	}
}

func TestSessionsSurviveARestartAndNothingOnDiskSignsIn(t *testing.T) {
	dir := t.TempDir()
	c := begin(t, guard(dir, "sesame"), "User-Agent", "Firefox")
	if !valid(guard(dir, "sesame"), c) {
		t.Error("a restart ends the session")
	}
	file := filepath.Join(dir, "sessions.json")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	b, err := os.ReadFile(file)
	if err != nil || strings.Contains(strings.ToLower(string(b)), strings.ToLower(c.Value)) || !strings.Contains(string(b), digest(c.Value)) {
		t.Errorf("%s, %v", b, err)
	}
	list := guard(dir, "sesame").sessions.List()
	if len(list) != 1 || list[0].Browser != "Firefox" || list[0].Address != "192.0.2.1" || list[0].Ends.Sub(list[0].Begun) != sessionLife {
		t.Fatalf("%+v", list)
	}
	for _, shown := range []string{list[0].ID, digest(c.Value)} {
		if valid(guard(dir, "sesame"), &http.Cookie{Name: cookie, Value: shown}) {
			t.Errorf("%s, which is listed or on disk, signs in", shown)
		}
	}
}

func TestSessionsEndInTimeAndAreBounded(t *testing.T) {
	g := guard(t.TempDir(), "sesame")
	now := time.Now()
	g.sessions.now = func() time.Time { return now }
	var all []*http.Cookie
	for range maxSessions + 1 {
		all = append(all, begin(t, g))
	}
	if n := len(g.sessions.List()); n != maxSessions || valid(g, all[0]) || !valid(g, all[1]) || !valid(g, all[maxSessions]) {
		t.Errorf("%d sessions are kept; the oldest is to go", n)
	}
	now = now.Add(sessionLife)
	if valid(g, all[maxSessions]) || len(g.sessions.List()) > 0 {
		t.Error("a session does not end")
	}
	begin(t, g)
	if n := len(g.sessions.kept); n != 1 {
		t.Errorf("%d are kept, with those that have ended", n)
	}
}

func TestSignOutEndsTheSessionOnTheServer(t *testing.T) {
	dir := t.TempDir()
	g := guard(dir, "sesame")
	c, other := begin(t, g), begin(t, g)
	w := httptest.NewRecorder()
	if err := g.SignOut(w, request(c)); err != nil {
		t.Fatal(err)
	}
	if valid(g, c) || valid(guard(dir, "sesame"), c) {
		t.Error("who kept the cookie is still signed in")
	}
	if !valid(g, other) {
		t.Error("another browser is signed out, too")
	}
	if cleared := w.Result().Cookies(); len(cleared) != 1 || cleared[0].Name != cookie || cleared[0].MaxAge >= 0 {
		t.Errorf("%v", cleared)
	}
}

func TestSessionsAreEndedOneByOneOrAllAtOnce(t *testing.T) {
	dir := t.TempDir()
	g := guard(dir, "sesame")
	first, second, third := begin(t, g), begin(t, g), begin(t, g)
	list := g.sessions.List()
	if err := g.sessions.End(list[0].ID); err != nil || valid(g, third) || !valid(g, first) || !valid(g, second) {
		t.Errorf("ending the newest: %v", err)
	}
	if err := g.sessions.End(list[0].ID); !errors.Is(err, ErrNoSession) {
		t.Errorf("ending it again: %v", err)
	}
	if n, err := g.sessions.EndAll(); n != 2 || err != nil || valid(g, first) || valid(guard(dir, "sesame"), second) {
		t.Errorf("ending all: %d, %v", n, err)
	}
}

func TestSigningInAgainReplacesTheBrowsersSession(t *testing.T) {
	g := guard(t.TempDir(), "sesame")
	c := begin(t, g)
	begin(t, g, "Cookie", c.String())
	if list := g.sessions.List(); len(list) != 1 || valid(g, c) {
		t.Errorf("%+v", list)
	}
}

func TestADamagedFileSignsNobodyInAndTheNextSignInMendsIt(t *testing.T) {
	for _, damage := range []string{"", "{", "null", "[]", "\x00\x01", `{"format": 2, "sessions": []}`, `{"format": 1, "session": []}`, `{"format": 1, "sessions": [{"id": 7}]}`} {
		dir := t.TempDir()
		c := begin(t, guard(dir, "sesame"))
		file := filepath.Join(dir, "sessions.json")
		if err := os.WriteFile(file, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		g := NewGuard(OpenSessions(dir, "sesame", NewPasswords(dir), slog.New(slog.NewTextHandler(&said, nil))))
		if valid(g, c) || len(g.sessions.List()) > 0 {
			t.Errorf("%q: somebody is signed in", damage)
		}
		if !strings.Contains(said.String(), file) {
			t.Errorf("%q: the log says %q", damage, &said)
		}
		if fresh := begin(t, g); !valid(g, fresh) || !valid(guard(dir, "sesame"), fresh) {
			t.Errorf("%q: a new sign-in does not mend it", damage)
		}
	}
}

func TestASessionThatCannotBeWrittenSignsInUntilTheDaemonEnds(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sessions.json", "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	g := NewGuard(OpenSessions(dir, "sesame", NewPasswords(dir), slog.New(slog.NewTextHandler(&said, nil))))
	said.Reset()
	c := begin(t, g)
	if !valid(g, c) || !strings.Contains(said.String(), "writing the sessions") {
		t.Errorf("the log says %q", &said)
	}
	if strings.Contains(said.String(), c.Value) {
		t.Error("the secret is in the log")
	}
	if _, err := g.sessions.EndAll(); err == nil || valid(g, c) {
		t.Errorf("ending it: %v", err)
	}
}

func TestAPasswordThatCannotBeReadSignsNobodyIn(t *testing.T) {
	dir := t.TempDir()
	g := guard(dir, "sesame")
	c := begin(t, g)
	if err := os.Mkdir(filepath.Join(dir, "password"), 0o700); err != nil {
		t.Fatal(err)
	}
	if valid(g, c) {
		t.Error("a session is valid though nobody knows for which password")
	}
	if _, err := g.sessions.EndAll(); err == nil {
		t.Error("sessions were ended that return once the password can be read")
	}
}

func TestHostileCookiesNeitherSignInNorKeepTheOwnerOut(t *testing.T) {
	g := guard(t.TempDir(), "sesame")
	own := begin(t, g)
	var hostile []*http.Cookie
	for i := range 500 {
		hostile = append(hostile, &http.Cookie{Name: cookie, Value: fmt.Sprint(i)})
	}
	hostile = append(hostile, &http.Cookie{Name: cookie}, &http.Cookie{Name: cookie, Value: strings.Repeat("A", 1<<20)},
		&http.Cookie{Name: cookie, Value: "99999999999.x.00"}, &http.Cookie{Name: "archipelago-session", Value: own.Value})
	if valid(g, hostile...) {
		t.Error("they sign in")
	}
	if !valid(g, append(hostile, own)...) {
		t.Error("among them, the owner's is not found")
	}
	r := request(nil)
	r.Header.Set("Cookie", strings.Repeat(hostile[0].String()+"; ", 100000)+own.String())
	g.SignedIn(r) // whatever comes of it, it is answered
}

func TestWhatABrowserSaysOfItselfIsBoundedAndPrintable(t *testing.T) {
	for said, want := range map[string]string{
		"Firefox/140 (Linux)":         "Firefox/140 (Linux)",
		"a\x1b[31mb\r\n\tc\x7f\u0085": "a[31mbc",
		"right\u202eleft":             "rightleft",
		"not \xff UTF-8":              "not  UTF-8",
		strings.Repeat("é", 1<<16):    strings.Repeat("é", maxBrowser),
		"\n ":                         "",
	} {
		if got := printable(said); got != want {
			t.Errorf("%.40q is shown as %q, expected %q", said, got, want)
		}
	}
}

// Browsers send the cookie of https://localhost to http://localhost as well, on all
// ports, and so to an application that answers there without the proxy.
func TestASessionBegunOnTheNodeIsValidThereOnly(t *testing.T) {
	g := guard(t.TempDir(), "a")
	from := func(address string, cookie *http.Cookie) *http.Request {
		r := request(cookie)
		r.RemoteAddr = address
		return r
	}
	const v4, v6, lan, other = "127.0.0.1:4000", "[::1]:4000", "192.0.2.7:4000", "[2001:db8::7]:4000"
	for _, c := range []struct {
		begun, used string
		valid       bool
	}{{v4, v4, true}, {v4, v6, true}, {v4, lan, false}, {v6, other, false}, {lan, lan, true}, {lan, other, true}, {lan, v4, false}} {
		w := httptest.NewRecorder()
		if ok, _, err := g.SignIn(w, from(c.begun, nil), "a", ""); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if _, ok := g.SignedIn(from(c.used, w.Result().Cookies()[0])); ok != c.valid {
			t.Errorf("begun from %s, used from %s: %t", c.begun, c.used, ok)
		}
	}
}

// TestWithNoByteLeftTheOwnerSignsIn: on a full disk, the owner needs My Apps.
func TestWithNoByteLeftTheOwnerSignsIn(t *testing.T) {
	if !mountstest.Inside(t) {
		return
	}
	dir := mountstest.Tmpfs(t, "1m")
	g := guard(dir, "a")
	if err := g.sessions.passwords.Set(password); err != nil {
		t.Fatal(err)
	}
	mountstest.Fill(t, dir)
	w := httptest.NewRecorder()
	if ok, _, err := g.SignIn(w, request(nil), password, ""); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if !valid(g, w.Result().Cookies()[0]) {
		t.Error("the session is not valid")
	}
}

// TestPagesDoNotWaitForTheDisk: while a sign-in is being written, others are served.
func TestPagesDoNotWaitForTheDisk(t *testing.T) {
	s := OpenSessions(t.TempDir(), "token", NewPasswords(t.TempDir()), slog.New(slog.DiscardHandler))
	written := 0
	s.replace = func(string, []byte, fs.FileMode) error {
		written++
		asked := make(chan struct{})
		go func() { defer close(asked); s.List() }()
		select {
		case <-asked:
		case <-time.After(5 * time.Second):
			t.Error("each page waits for the disk")
		}
		return nil
	}
	credentials, err := s.credentials()
	if err != nil {
		t.Fatal(err)
	}
	s.begin(httptest.NewRequest(http.MethodGet, "/", nil), credentials)
	if n, err := s.EndAll(); n != 1 || err != nil || written != 2 {
		t.Errorf("%d ended, %v, %d written", n, err, written)
	}
}

// TestWhatIsDamagedOfWhoMaySignInIsNamed has each file be named, all at once.
func TestWhatIsDamagedOfWhoMaySignInIsNamed(t *testing.T) {
	dir := t.TempDir()
	g := guard(dir, "sesame")
	if err := g.sessions.SetPassword(good); err != nil {
		t.Fatal(err)
	}
	if err := g.sessions.Damaged(); err != nil {
		t.Errorf("of a new node: %v", err)
	}
	files := []string{"users.json", "passkeys.json", "tokens.json", "factor.json", "password"}
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := g.sessions.Damaged()
	for _, name := range files {
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, name)) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
}
