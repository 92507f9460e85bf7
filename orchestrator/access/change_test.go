package access

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestAnotherPasswordTakesTheOneBeforeAndEndsTheOtherSessions(t *testing.T) {
	g, _, clock := guarded(t)
	const next = "blue harbour lantern"
	var own, other *http.Cookie
	for _, c := range []**http.Cookie{&own, &other} {
		_, w := signIn(t, g, "192.0.2.1:1", password)
		*c = w.Result().Cookies()[0]
	}
	judged := 0
	change := func(before, password string, judgement error) (*httptest.ResponseRecorder, bool, error) {
		w, r := httptest.NewRecorder(), request(own)
		r.RemoteAddr = "192.0.2.1:1"
		answered, err := g.ChangePassword(w, r, before, password, func(string) error { judged++; return judgement })
		return w, answered, err
	}
	in := func(c *http.Cookie) bool {
		_, ok := g.SignedIn(request(c))
		return ok
	}
	weak := errors.New("weak")
	if _, answered, err := change(password, next, weak); answered || !errors.Is(err, weak) || judged != 1 || !in(own) || !in(other) {
		t.Errorf("a weak one: %v, %v, judged %d times", answered, err, judged)
	}
	if _, _, err := change(password, "short", nil); !errors.Is(err, ErrLength) || !in(other) {
		t.Errorf("a short one: %v", err)
	}
	// Wrong ones count as at the sign-in, and say nothing of the new one.
	judged = 0
	for range wrongBurst {
		if _, answered, err := change("a guess", next, weak); answered || !errors.Is(err, ErrPassword) {
			t.Fatalf("a guess: %v, %v", answered, err)
		}
	}
	if w, answered, _ := change(password, next, nil); !answered || w.Code != http.StatusTooManyRequests || judged != 0 || !in(other) {
		t.Errorf("one attempt too many: %v, status %d, judged %d times", answered, w.Code, judged)
	}
	if _, w := signIn(t, g, "192.0.2.1:1", password); w.Code != http.StatusTooManyRequests {
		t.Errorf("signing in after it: status %d", w.Code)
	}
	clock(time.Minute)
	w, answered, err := change(password, next, nil)
	if answered || err != nil {
		t.Fatal(answered, err)
	}
	if in(own) || in(other) || !in(w.Result().Cookies()[0]) {
		t.Error("other sessions go on, or the own one does not")
	}
	if ok, _ := signIn(t, g, "192.0.2.1:1", password); ok {
		t.Error("the password before still signs in")
	}
	if ok, _ := signIn(t, g, "192.0.2.1:1", next); !ok {
		t.Error("the new password does not sign in")
	}
	// The token opens the node anyway, and helps whoever forgot the password.
	own = w.Result().Cookies()[0]
	if _, answered, err := change("sesame", password, nil); answered || err != nil {
		t.Errorf("by the token: %v, %v", answered, err)
	}
}
