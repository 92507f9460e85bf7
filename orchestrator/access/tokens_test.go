package access

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var reading = Takes(Read)

// bearing is how a call with a token is answered that takes a scope, and by which token it came.
func bearing(g *Guard, authorization string, need Scope) (status int, by, body string) {
	w, r := httptest.NewRecorder(), request(nil)
	r.Header.Set("Authorization", authorization)
	g.Token(Takes(need), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { by = TokenOf(r.Context()) })).ServeHTTP(w, r)
	return w.Code, by, w.Body.String()
}

func TestATokenOpensWhatItsScopeCovers(t *testing.T) {
	dir := t.TempDir()
	g := guard(dir, "sesame")
	all := append(Scopes, NodeToken, "nonsense")
	for i, scope := range Scopes {
		made, secret, err := g.sessions.Tokens.Add("for-"+string(scope), scope, 30)
		if err != nil {
			t.Fatal(err)
		}
		if made.Scope != scope || made.Ends.Sub(made.Made) != 30*24*time.Hour || !strings.HasPrefix(secret, "archipelago_") || len(secret) < 38 {
			t.Errorf("%+v, %q", made, secret)
		}
		for j, need := range all {
			want, name := http.StatusOK, made.Name
			if j > i {
				want, name = http.StatusForbidden, ""
			}
			status, by, body := bearing(g, "Bearer "+secret, need)
			if status != want || by != name {
				t.Errorf("%s where %s is needed: status %d by %q: %s", scope, need, status, by, body)
			}
			if want == http.StatusForbidden && (!strings.Contains(body, `"permission_denied"`) || !strings.Contains(body, made.Name)) {
				t.Errorf("%s where %s is needed: %s", scope, need, body)
			}
		}
		if status, _, _ := bearing(g, secret, Read); status != http.StatusUnauthorized {
			t.Errorf("without the word Bearer: status %d", status)
		}
		b, err := os.ReadFile(filepath.Join(dir, "tokens.json"))
		if err != nil || strings.Contains(string(b), strings.TrimPrefix(secret, "archipelago_")) {
			t.Errorf("the secret is on the disk, or nothing is: %v", err)
		}
	}
	if status, by, _ := bearing(g, "Bearer sesame", NodeToken); status != http.StatusOK || by != "" {
		t.Errorf("the node's own token: status %d by %q", status, by)
	}
	info, err := os.Stat(filepath.Join(dir, "tokens.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestATokenEndsWithItsTimeItsRemovalAndTheNodesOwn(t *testing.T) {
	dir := t.TempDir()
	g := guard(dir, "sesame")
	tokens := g.sessions.Tokens
	opens := func(g *Guard, secret string) bool {
		status, _, _ := bearing(g, "Bearer "+secret, Read)
		return status == http.StatusOK
	}
	made, short, err := tokens.Add("short", Read, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, long, err := tokens.Add("long", Read, 2)
	if err != nil {
		t.Fatal(err)
	}
	tokens.now = func() time.Time { return made.Ends.Add(-time.Second) }
	if !opens(g, short) || !opens(g, long) {
		t.Error("a token does not open the node in its time")
	}
	tokens.now = func() time.Time { return made.Ends }
	if opens(g, short) || !opens(g, long) || !tokens.Ended(made) {
		t.Error("a token opens the node after its time, or ends one that has time left")
	}
	if !opens(guard(dir, "sesame"), long) {
		t.Error("a token does not survive the daemon")
	}
	if opens(guard(dir, "another"), long) {
		t.Error("a token survives the node's own")
	}
	if err := tokens.Remove("long"); err != nil || opens(g, long) {
		t.Errorf("a removed token opens the node: %v", err)
	}
	if err := tokens.Remove("long"); !errors.Is(err, ErrToken) {
		t.Errorf("removed twice: %v", err)
	}
}

// TestACallEndsWithItsToken: one that follows a log lasts as long as whoever asks wants.
func TestACallEndsWithItsToken(t *testing.T) {
	for how, end := range map[string]func(s *Sessions) error{
		"removed":       func(s *Sessions) error { return s.Tokens.Remove("follower") },
		"another owner": func(s *Sessions) error { return s.forget() },
		"its time":      func(*Sessions) error { return nil },
	} {
		g := guard(t.TempDir(), "sesame")
		tokens := g.sessions.Tokens
		made, secret, err := tokens.Add("follower", Operate, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := tokens.Add("other", Read, 1); err != nil {
			t.Fatal(err)
		}
		if how == "its time" {
			tokens.now = func() time.Time { return made.Ends.Add(-time.Second / 5) }
		}
		began := make(chan struct{})
		ended := make(chan error, 1)
		h := g.Token(Takes(Operate), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(began)
			select {
			case <-r.Context().Done():
				ended <- r.Context().Err()
			case <-time.After(10 * time.Second):
				ended <- nil
			}
		}))
		go func() {
			r := request(nil)
			r.Header.Set("Authorization", "Bearer "+secret)
			h.ServeHTTP(httptest.NewRecorder(), r)
		}()
		<-began
		if how != "its time" {
			if err := tokens.Remove("other"); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				t.Errorf("%s: it ended with another token: %v", how, err)
			case <-time.After(50 * time.Millisecond):
			}
		}
		if err := end(g.sessions); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the call went on: %v", how, err)
		}
	}
}

// TestAnUploadEndsWithItsToken: whoever sends little at a time would be listened to for ever.
func TestAnUploadEndsWithItsToken(t *testing.T) {
	g := guard(t.TempDir(), "sesame")
	_, secret, err := g.sessions.Tokens.Add("sender", Admin, 1)
	if err != nil {
		t.Fatal(err)
	}
	began, ended := make(chan struct{}), make(chan error, 1)
	server := httptest.NewUnstartedServer(g.Token(Takes(Admin), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.ReadFull(r.Body, make([]byte, 5))
		close(began)
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	})))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	body, feed := io.Pipe()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
	r.Header.Set("Authorization", "Bearer "+secret)
	go func() {
		if resp, err := server.Client().Do(r); err == nil {
			resp.Body.Close()
		}
	}()
	defer feed.Close()
	feed.Write([]byte("begin"))
	<-began
	if err := g.sessions.Tokens.Remove("sender"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it was taken for whole")
		}
	case <-time.After(5 * time.Second):
		t.Error("it goes on")
	}
}

func TestATokenOpensTheNodeThoughItsAddressHasToWait(t *testing.T) {
	g := guard(t.TempDir(), "sesame")
	_, secret, err := g.sessions.Tokens.Add("monitor", Read, 1)
	if err != nil {
		t.Fatal(err)
	}
	var status int
	for range wrongBurst + 1 {
		status, _, _ = bearing(g, "Bearer archipelago_GUESS", Read)
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("guesses in the form of a token: status %d", status)
	}
	for range 3 * wrongBurst {
		if status, _, _ := bearing(g, "Bearer "+secret, Read); status != http.StatusOK {
			t.Fatalf("the right one: status %d", status)
		}
	}
}

func TestATokensUseIsPutDownOnceADay(t *testing.T) {
	g := guard(t.TempDir(), "sesame")
	tokens := g.sessions.Tokens
	_, secret, err := tokens.Add("monitor", Read, 30)
	if err != nil {
		t.Fatal(err)
	}
	writes, real := 0, tokens.replace
	tokens.replace = func(name string, data []byte, mode fs.FileMode) error {
		if writes++; writes == 3 {
			return errors.New("no space left on device")
		}
		return real(name, data, mode)
	}
	day := time.Now().UTC().Truncate(24 * time.Hour)
	for i, want := range []int{1, 1, 2, 3, 4} { // the third write fails, which turns nobody away, and is made up for
		at := day.Add([]time.Duration{time.Hour, 23 * time.Hour, 24 * time.Hour, 48 * time.Hour, 49 * time.Hour}[i])
		tokens.now = func() time.Time { return at }
		if status, _, _ := bearing(g, "Bearer "+secret, Read); status != http.StatusOK || writes != want {
			t.Errorf("use %d: status %d, %d writes", i, status, writes)
		}
	}
	list, err := tokens.List()
	if err != nil || len(list) != 1 || !list[0].Used.Equal(day.Add(49*time.Hour)) {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestATokenIsRefusedForAllThatIsWrongWithIt(t *testing.T) {
	tokens := guard(t.TempDir(), "sesame").sessions.Tokens
	for name, c := range map[string]struct {
		scope Scope
		days  int
		says  []string
	}{
		"Monitor ": {"king", 0, []string{`"Monitor "`, `"king"`, "3650 days"}},
		"monitor":  {NodeToken, MaxTokenDays + 1, []string{"own token", "3651"}},
		"":         {Read, 1, []string{`""`}},
		"owner":    {Read, 1, []string{`"owner"`}},
	} {
		_, secret, err := tokens.Add(name, c.scope, c.days)
		if !errors.Is(err, ErrTokenRefused) || secret != "" {
			t.Errorf("%q: %v", name, err)
			continue
		}
		for _, say := range c.says {
			if !strings.Contains(err.Error(), say) {
				t.Errorf("%q: %v does not say %s", name, err, say)
			}
		}
	}
	if _, _, err := tokens.Add("monitor", Read, 1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tokens.Add("monitor", Admin, 1); !errors.Is(err, ErrTokenRefused) {
		t.Errorf("the same name again: %v", err)
	}
}

func TestDamagedTokensOpenNothingAndAreKept(t *testing.T) {
	for what, content := range map[string]string{
		"no JSON":            "{",
		"another format":     `{"format": 2, "tokens": []}`,
		"an unknown field":   `{"format": 1, "tokens": [], "more": 1}`,
		"an unknown scope":   `{"format": 1, "tokens": [{"name": "a", "scope": "king", "made": "2026-01-01T00:00:00Z", "ends": "2099-01-01T00:00:00Z", "secret": "SECRET"}]}`,
		"the node's own":     `{"format": 1, "tokens": [{"name": "a", "scope": "the node's own token", "made": "2026-01-01T00:00:00Z", "ends": "2099-01-01T00:00:00Z", "secret": "SECRET"}]}`,
		"one without an end": `{"format": 1, "tokens": [{"name": "a", "scope": "read", "made": "2026-01-01T00:00:00Z", "ends": "0001-01-01T00:00:00Z", "secret": "SECRET"}]}`,
	} {
		dir := t.TempDir()
		g := guard(dir, "sesame")
		file := filepath.Join(dir, "tokens.json")
		content = strings.ReplaceAll(content, "SECRET", g.sessions.Tokens.mac("archipelago_A"))
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, _, _ := bearing(g, "Bearer archipelago_A", Read); status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", what, status)
		}
		if status, _, _ := bearing(g, "Bearer sesame", NodeToken); status != http.StatusOK {
			t.Errorf("%s, the node's own token: status %d", what, status)
		}
		if _, err := g.sessions.Tokens.List(); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: listed: %v", what, err)
		}
		_, _, added := g.sessions.Tokens.Add("b", Read, 1)
		if b, err := os.ReadFile(file); added == nil || err != nil || string(b) != content {
			t.Errorf("%s: replaced: %v, %v", what, added, err)
		}
	}
}

// TestDamagedTokensFillNoLog: whoever asks for anything, by whatever token.
func TestDamagedTokensFillNoLog(t *testing.T) {
	dir := t.TempDir()
	var said bytes.Buffer
	g := NewGuard(OpenSessions(dir, "sesame", NewPasswords(dir), slog.New(slog.NewTextHandler(&said, nil))))
	file := filepath.Join(dir, "tokens.json")
	for i, content := range []string{"{", "{", `{"format": 1}`, "{"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			bearing(g, "Bearer archipelago_GUESS", Read)
		}
		if lines, want := strings.Count(said.String(), "no access token"), []int{1, 1, 1, 2}[i]; lines != want {
			t.Errorf("look %d: %d lines, expected %d:\n%s", i, lines, want, said.String())
		}
	}
}

// TestAClaimEndsTheTokensOfTheOwnerBefore has them not come back either.
func TestAClaimEndsTheTokensOfTheOwnerBefore(t *testing.T) {
	for what, content := range map[string]string{"whole": "", "damaged": "{"} {
		dir := t.TempDir()
		u := fresh(t, dir)
		_, secret, err := u.sessions.Tokens.Add("monitor", Admin, 30)
		if err != nil {
			t.Fatal(err)
		}
		if content != "" {
			if err := os.WriteFile(filepath.Join(dir, "tokens.json"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := u.try(u.claim.Code(), good, "192.0.2.1:1"); err != nil {
			t.Fatal(err)
		}
		if status, _, _ := bearing(u.Guard, "Bearer "+secret, Read); status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", what, status)
		}
		if list, err := u.sessions.Tokens.List(); len(list) != 0 || err != nil {
			t.Errorf("%s: %v, %v", what, list, err)
		}
	}
}

func TestATokenWhoseRemovalTheDiskDoesNotTakeOpensNothing(t *testing.T) {
	g := guard(t.TempDir(), "sesame")
	tokens := g.sessions.Tokens
	_, secret, err := tokens.Add("monitor", Read, 30)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, _ := bearing(g, "Bearer "+secret, Read); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	real := tokens.replace
	tokens.replace = func(string, []byte, fs.FileMode) error { return errors.New("no space left on device") }
	if err := tokens.Remove("monitor"); err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "monitor opens nothing") {
		t.Errorf("removed: %v", err)
	}
	if status, _, _ := bearing(g, "Bearer "+secret, Read); status != http.StatusUnauthorized {
		t.Errorf("it opens the node: status %d", status)
	}
	tokens.replace = real
	if err := tokens.Remove("monitor"); err != nil {
		t.Errorf("once more: %v", err)
	}
}
