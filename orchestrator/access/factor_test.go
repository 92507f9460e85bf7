package access

import (
	"encoding/base32"
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

	"github.com/pquerna/otp/totp"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// withFactor is a guard with a password and a second factor that is on, its secret, and its
// recovery codes. The clock is the test's.
func withFactor(t *testing.T) (g *Guard, clock *time.Time, secret string, recovery []string) {
	t.Helper()
	g, _, _ = guarded(t)
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	clock = &now
	g.throttle.now = func() time.Time { return *clock }
	f := g.sessions.Factor
	f.now = func() time.Time { return *clock }
	secret, err := f.Begin("session")
	if err != nil {
		t.Fatal(err)
	}
	if recovery, err = f.Confirm("session", secret, codeAt(t, secret, now)); err != nil {
		t.Fatal(err)
	}
	return g, clock, secret, recovery
}

func codeAt(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// enter signs in, from an address of its own each time.
func enter(g *Guard, typed, code string) (ok bool, err error) {
	ok, _, err = g.SignIn(httptest.NewRecorder(), request(nil), typed, code)
	return ok, err
}

func TestTheSecondFactorIsThatOfRFC6238(t *testing.T) {
	g, clock, secret, _ := withFactor(t)
	for _, c := range []struct {
		what, typed, code string
		want              bool
	}{
		{"the password alone", password, "", false},
		{"a wrong code", password, "000000", false},
		{"the right code beside a wrong password", "incorrect horse", codeAt(t, secret, clock.Add(time.Minute)), false},
		{"the code that confirmed it", password, codeAt(t, secret, *clock), false},
		{"the code of the next half minute", password, codeAt(t, secret, clock.Add(30*time.Second)), true},
		{"the same again", password, codeAt(t, secret, clock.Add(30*time.Second)), false},
		{"one that is too far ahead", password, codeAt(t, secret, clock.Add(90*time.Second)), false},
		{"the access token alone", "sesame", "", true},
	} {
		if ok, err := enter(g, c.typed, c.code); ok != c.want || err != nil && !errors.Is(err, ErrFactor) {
			t.Errorf("%s: %t, %v", c.what, ok, err)
		}
		*clock = clock.Add(wrongEvery)
	}
	*clock = clock.Add(time.Hour)
	code := codeAt(t, secret, *clock)
	if ok, err := enter(g, password, " "+code[:3]+" "+code[3:]+"\n"); !ok || err != nil {
		t.Errorf("a code as it is shown: %t, %v", ok, err)
	}
}

// TestTheCodesAreThoseOfRFC6238 has a row of the table in its appendix B.
func TestTheCodesAreThoseOfRFC6238(t *testing.T) {
	f := newFactor(t.TempDir(), quiet)
	f.now = func() time.Time { return time.Unix(1111111109, 0) }
	secret := base32.StdEncoding.EncodeToString([]byte("12345678901234567890"))
	if step, ok := f.step(secret, "081804", 0); !ok || step != 0x23523EC { // of 07081804
		t.Errorf("%x, %t", step, ok)
	}
}

// TestACodeCountsOnce has many use one code at the same time, and one that was used after a
// restart, also where the disk could not take that it was.
func TestACodeCountsOnce(t *testing.T) {
	g, clock, secret, recovery := withFactor(t)
	*clock = clock.Add(time.Hour)
	code, f := codeAt(t, secret, *clock), g.sessions.Factor
	var all sync.WaitGroup
	var mu sync.Mutex
	right := 0
	for range 20 {
		all.Go(func() {
			if _, err := f.check(code); err == nil {
				mu.Lock()
				defer mu.Unlock()
				right++
			}
		})
	}
	all.Wait()
	if right != 1 {
		t.Errorf("%d were let in by one code", right)
	}
	full := errors.New("no space left on device")
	f.replace = func(string, []byte, fs.FileMode) error { return full }
	*clock = clock.Add(2 * time.Hour)
	for i, want := range []error{nil, ErrFactor} {
		if _, err := f.check(codeAt(t, secret, *clock)); !errors.Is(err, want) {
			t.Errorf("code %d on a full disk: %v", i, err)
		}
		if recovered, err := f.check(recovery[0]); recovered != (want == nil) || !errors.Is(err, want) {
			t.Errorf("recovery code %d on a full disk: %t, %v", i, recovered, err)
		}
	}
	// There is room again: what was used meanwhile is noted with the next code.
	code, f.replace = codeAt(t, secret, clock.Add(stepTime)), atomicfile.Write
	if _, err := f.check(code); err != nil {
		t.Fatal(err)
	}
	again := newFactor(filepath.Dir(f.file), quiet)
	again.now = f.now
	if recovered, _ := again.check(recovery[0]); recovered {
		t.Error("a recovery code that was used on a full disk counts once more after a restart")
	}
	if _, err := again.check(code); !errors.Is(err, ErrFactor) {
		t.Errorf("after a restart: %v", err)
	}
}

func TestARecoveryCodeSignsInOnce(t *testing.T) {
	g, clock, _, recovery := withFactor(t)
	if len(recovery) != recoveryCodes {
		t.Fatalf("%d recovery codes", len(recovery))
	}
	typed := strings.ToLower(strings.ReplaceAll(recovery[3], "-", " "))
	if ok, err := enter(g, "not the password", typed); ok || err != nil {
		t.Errorf("beside a wrong password: %t, %v", ok, err)
	}
	if ok, err := enter(g, password, typed); !ok || !errors.Is(err, ErrRecovered) {
		t.Errorf("%t, %v", ok, err)
	}
	*clock = clock.Add(time.Minute)
	if ok, err := enter(g, password, recovery[3]); ok || !errors.Is(err, ErrFactor) {
		t.Errorf("once more: %t, %v", ok, err)
	}
	if s, err := g.sessions.Factor.Status(); err != nil || !s.On || s.Recovery != recoveryCodes-1 {
		t.Errorf("%+v, %v", s, err)
	}
	b, err := os.ReadFile(g.sessions.Factor.file)
	for _, code := range recovery {
		if err != nil || strings.Contains(string(b), strings.ReplaceAll(code, "-", "")) {
			t.Errorf("a recovery code is on the disk, %v", err)
		}
	}
	if info, err := os.Stat(g.sessions.Factor.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestCodesCannotBeGuessed has somebody who knows the password guess, from ever other addresses.
func TestCodesCannotBeGuessed(t *testing.T) {
	g, clock, secret, recovery := withFactor(t)
	begin := *clock
	f, looked := g.sessions.Factor, 0
	for clock.Sub(begin) < 24*time.Hour {
		*clock = clock.Add(10 * time.Second)
		f.check("") // guesses nothing
		if clock.Sub(begin)%(8*time.Hour) == 0 {
			f.check(codeAt(t, secret, *clock)) // the owner gives nobody another ten
		}
		if _, err := f.check("000000x"); err != nil && err.Error() == ErrFactor.Error() { // and not that too many were wrong
			looked++
		}
	}
	if most := wrongCodes + int(24*time.Hour/wrongCodeEvery) + 1; looked > most {
		t.Errorf("%d codes were looked at in a day, at most %d should be", looked, most)
	}
	if _, err := f.check(codeAt(t, secret, *clock)); !errors.Is(err, ErrFactor) {
		t.Errorf("the right one among too many: %v", err)
	}
	if recovered, err := f.check(recovery[0]); !recovered || err != nil {
		t.Errorf("its owner has recovery codes: %t, %v", recovered, err)
	}
	*clock = clock.Add(wrongCodeEvery)
	if _, err := f.check(codeAt(t, secret, *clock)); err != nil {
		t.Errorf("after a while: %v", err)
	}
}

// TestHalfASecondFactorLocksNobodyOut has one that is not confirmed, and one that cannot be read.
func TestHalfASecondFactorLocksNobodyOut(t *testing.T) {
	g, clock, secret, _ := withFactor(t)
	f := g.sessions.Factor
	if _, err := f.Begin("session"); !errors.Is(err, ErrHasFactor) {
		t.Errorf("another one: %v", err)
	}
	if err := os.WriteFile(f.file, []byte(`{"format":1,"secret":"`+secret), 0o600); err != nil {
		t.Fatal(err)
	}
	if ok, err := enter(g, password, codeAt(t, secret, clock.Add(time.Minute))); ok || err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("a damaged one: %t, %v", ok, err)
	}
	if s, err := f.Status(); !s.On || err == nil {
		t.Errorf("a damaged one is %+v, %v", s, err)
	}
	if _, err := f.Begin("session"); !errors.Is(err, ErrHasFactor) {
		t.Errorf("over a damaged one: %v", err)
	}
	if err := f.Off(); err != nil {
		t.Fatal(err)
	}
	if err := f.Off(); !errors.Is(err, ErrNoFactor) {
		t.Errorf("twice: %v", err)
	}
	secret, err := f.Begin("session")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := enter(g, password, ""); !ok || err != nil {
		t.Errorf("while it is set up: %t, %v", ok, err)
	}
	if _, err := f.Confirm("another session", secret, codeAt(t, secret, *clock)); !errors.Is(err, ErrNoFactor) {
		t.Errorf("another session confirms it: %v", err)
	}
	if _, err := f.Confirm("session", "", codeAt(t, secret, *clock)); !errors.Is(err, ErrNoFactor) {
		t.Errorf("who has not seen the secret confirms it: %v", err)
	}
	if _, err := f.Confirm("session", secret, "123"); !errors.Is(err, ErrFactor) {
		t.Errorf("a wrong code confirms it: %v", err)
	}
	for _, late := range []time.Duration{setUpTime + time.Second, -time.Second} {
		*clock = clock.Add(late)
		if _, err := f.Confirm("session", secret, codeAt(t, secret, *clock)); !errors.Is(err, ErrNoFactor) {
			t.Errorf("%s later it is confirmed: %v", late, err)
		}
		*clock = clock.Add(-late)
	}
	if ok, err := enter(g, password, ""); !ok || err != nil {
		t.Errorf("after a wrong confirmation: %t, %v", ok, err)
	}
}

func TestProofTakesBoth(t *testing.T) {
	g, clock, secret, _ := withFactor(t)
	*clock = clock.Add(time.Hour)
	for _, c := range []struct {
		password, code string
		want           bool
	}{{password, "", false}, {"", codeAt(t, secret, *clock), false}, {"sesame", codeAt(t, secret, *clock), false}, {password, codeAt(t, secret, *clock), true}} {
		if ok, _, err := g.Prove(httptest.NewRecorder(), request(nil), c.password, c.code); ok != c.want || err != nil && !errors.Is(err, ErrFactor) {
			t.Errorf("%q, %q: %t, %v", c.password, c.code, ok, err)
		}
	}
	w := httptest.NewRecorder()
	for range wrongBurst + 1 {
		w = httptest.NewRecorder()
		g.Prove(w, request(nil), "wrong", "")
	}
	if w.Code != http.StatusTooManyRequests {
		t.Errorf("after many wrong ones: status %d", w.Code)
	}
}

// TestAClaimEndsTheFactorOfTheOwnerBefore: root on the node has taken the password away, and
// somebody else makes the node theirs.
func TestAClaimEndsTheFactorOfTheOwnerBefore(t *testing.T) {
	g, _, _, _ := withFactor(t)
	p := g.sessions.passwords
	if err := os.Remove(p.file); err != nil {
		t.Fatal(err)
	}
	c, err := OpenClaim(filepath.Dir(p.file), 7443, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Claim(httptest.NewRecorder(), request(nil), c, c.Code(), "another good password", func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if ok, err := enter(g, "another good password", ""); !ok || err != nil {
		t.Errorf("the new owner: %t, %v", ok, err)
	}
}

// TestADamagedFactorTellsNothingOfThePassword answers the right one and a wrong one alike.
func TestADamagedFactorTellsNothingOfThePassword(t *testing.T) {
	g, _, _, _ := withFactor(t)
	if err := os.WriteFile(g.sessions.Factor.file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	ok1, err1 := enter(g, password, "123456")
	ok2, err2 := enter(g, "incorrect horse", "123456")
	if ok1 || ok2 || err1 == nil || err2 == nil || err1.Error() != err2.Error() {
		t.Errorf("%t, %v and %t, %v", ok1, err1, ok2, err2)
	}
}

// TestRecoveryCodesAnewVoidThoseBefore makes them, also where the disk cannot take them.
func TestRecoveryCodesAnewVoidThoseBefore(t *testing.T) {
	g, clock, secret, before := withFactor(t)
	f := g.sessions.Factor
	*clock = clock.Add(time.Hour)
	if err := f.Judge("000000"); !errors.Is(err, ErrFactor) {
		t.Errorf("a wrong code: %v", err)
	}
	if err := f.Judge(codeAt(t, secret, *clock)); err != nil {
		t.Fatal(err)
	}
	f.replace = func(string, []byte, fs.FileMode) error { return errors.New("no space left on device") }
	if codes, err := f.Renew(); err == nil || codes != nil {
		t.Errorf("on a full disk: %q, %v", codes, err)
	}
	f.replace = atomicfile.Write
	if recovered, err := f.check(before[0]); !recovered || err != nil {
		t.Errorf("one of those before, which the full disk kept: %t, %v", recovered, err)
	}
	after, err := f.Renew()
	if err != nil || len(after) != recoveryCodes {
		t.Fatalf("%q, %v", after, err)
	}
	if s, err := f.Status(); err != nil || s.Recovery != recoveryCodes {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := f.check(codeAt(t, secret, *clock)); !errors.Is(err, ErrFactor) {
		t.Errorf("the code that was shown for them, once more: %v", err)
	}
	for _, code := range before {
		if recovered, err := f.check(code); recovered || !errors.Is(err, ErrFactor) {
			t.Errorf("one of those before: %t, %v", recovered, err)
		}
		*clock = clock.Add(wrongCodeEvery)
	}
	if recovered, err := newFactor(filepath.Dir(f.file), quiet).check(after[9]); !recovered || err != nil {
		t.Errorf("a new one, after a restart: %t, %v", recovered, err)
	}
	if err := f.Off(); err != nil {
		t.Fatal(err)
	}
	if codes, err := f.Renew(); codes != nil || !errors.Is(err, ErrNoFactor) {
		t.Errorf("without a second factor: %q, %v", codes, err)
	}
	if err := f.Judge(after[0]); !errors.Is(err, ErrNoFactor) {
		t.Errorf("a code without a second factor: %v", err)
	}
}
