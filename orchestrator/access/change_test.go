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
		answered, err := g.ChangePassword(w, r, before, "", password, func(string) error { judged++; return judgement })
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
	// Wrong ones count as at the sign-in.
	for range wrongBurst {
		if _, answered, err := change("a guess", next, nil); answered || !errors.Is(err, ErrPassword) {
			t.Fatalf("a guess: %v, %v", answered, err)
		}
	}
	if w, answered, _ := change(password, next, nil); !answered || w.Code != http.StatusTooManyRequests || !in(other) {
		t.Errorf("one attempt too many: %v, status %d", answered, w.Code)
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

// TestAnotherPasswordTakesTheCodeToo has whoever finds a signed-in browser know the password.
func TestAnotherPasswordTakesTheCodeToo(t *testing.T) {
	g, clock, secret, recovery := withFactor(t)
	*clock = clock.Add(time.Hour)
	change := func(code, next string, judgement error) error {
		_, err := g.ChangePassword(httptest.NewRecorder(), request(nil), password, code, next, func(string) error { return judgement })
		return err
	}
	weak, code := errors.New("weak"), codeAt(t, secret, *clock)
	if err := change("", "blue harbour lantern", nil); !errors.Is(err, ErrFactor) {
		t.Errorf("without a code: %v", err)
	}
	if err := change(code, "x", weak); !errors.Is(err, weak) {
		t.Errorf("a weak one: %v", err)
	}
	if err := change(code, password, nil); err != nil {
		t.Errorf("with the code, which the weak one has not used up: %v", err)
	}
	if err := change(recovery[0], password, nil); !errors.Is(err, ErrRecovered) {
		t.Errorf("with a recovery code: %v", err)
	}
}
