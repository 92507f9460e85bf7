package access

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// unclaimed is a node without an owner, as the daemon makes it when it starts.
type unclaimed struct {
	*Guard
	claim *Claim
	dir   string
}

func fresh(t *testing.T, dir string) unclaimed {
	t.Helper()
	p := NewPasswords(dir)
	g := NewGuard(OpenSessions(dir, "sesame", p, quiet))
	c, err := OpenClaim(dir, 7443, p)
	if err != nil {
		t.Fatal(err)
	}
	return unclaimed{g, c, dir}
}

const good = "correct horse battery"

// try claims from an address; status is 0 where the caller has to answer.
func (u unclaimed) try(code, password, from string) (session *http.Cookie, status int, err error) {
	w, r := httptest.NewRecorder(), request(nil)
	r.RemoteAddr = from
	answered, err := u.Claim(w, r, u.claim, code, password, func(string) error { return nil })
	for _, c := range w.Result().Cookies() {
		session = c
	}
	if answered {
		status = w.Code
	}
	return session, status, err
}

func TestTheCodeClaimsTheNodeOnce(t *testing.T) {
	u := fresh(t, t.TempDir())
	offer, err := ReadOffer(u.dir)
	if err != nil || offer.Port != 7443 || Plain(offer.Code) != u.claim.Code() || len(u.claim.Code()) != codeLength {
		t.Fatalf("%+v, %v; the code is %s", offer, err, u.claim.Code())
	}
	if info, err := os.Stat(filepath.Join(u.dir, "claim.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the code: %v, %v", info, err)
	}
	if s, _, err := u.try("00000000", good, "192.0.2.1:1"); !errors.Is(err, ErrCode) || s != nil || !u.claim.Open() {
		t.Errorf("a wrong code: %v, %v", s, err)
	}
	if s, _, err := u.try("", good, "192.0.2.1:1"); !errors.Is(err, ErrCode) || s != nil {
		t.Errorf("no code: %v, %v", s, err)
	}
	if s, _, err := u.try(offer.Code, "short", "192.0.2.1:1"); !errors.Is(err, ErrLength) || s != nil || !u.claim.Open() {
		t.Errorf("a short password: %v, %v", s, err)
	}
	session, _, err := u.try(" "+strings.ToLower(offer.Code), good, "192.0.2.1:1")
	if err != nil || session == nil {
		t.Fatalf("%v, %v", session, err)
	}
	r := request(session)
	r.RemoteAddr = "192.0.2.1:1"
	if _, ok := u.SignedIn(r); !ok {
		t.Error("whoever claimed is not signed in")
	}
	if ok, err := u.sessions.passwords.Check(t.Context(), good); !ok || err != nil {
		t.Errorf("the password: %v, %v", ok, err)
	}
	if s, _, err := u.try(offer.Code, "another good password", "192.0.2.2:1"); !errors.Is(err, ErrClaimed) || s != nil {
		t.Errorf("a second time: %v, %v", s, err)
	}
	if _, err := ReadOffer(u.dir); !errors.Is(err, ErrClaimed) {
		t.Errorf("the offer: %v", err)
	}
	if _, err := os.Stat(filepath.Join(u.dir, "claim.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of the code: %v", err)
	}
}

func TestAPasswordSetAnotherWayEndsTheClaim(t *testing.T) {
	u := fresh(t, t.TempDir())
	code := u.claim.Code()
	if err := u.sessions.passwords.Set(good); err != nil {
		t.Fatal(err)
	}
	if u.claim.Open() || u.claim.Code() != "" {
		t.Error("it can still be claimed")
	}
	if s, _, err := u.try(code, "another good password", "192.0.2.1:1"); !errors.Is(err, ErrClaimed) || s != nil {
		t.Errorf("%v, %v", s, err)
	}

	// Even between the code and the password of somebody who claims it.
	u = fresh(t, t.TempDir())
	w, r := httptest.NewRecorder(), request(nil)
	_, err := u.Claim(w, r, u.claim, u.claim.Code(), "another good password", func(string) error { return u.sessions.passwords.Set(good) })
	if !errors.Is(err, ErrClaimed) || len(w.Result().Cookies()) > 0 {
		t.Errorf("meanwhile: %v, %v", err, w.Result().Cookies())
	}
	if ok, err := u.sessions.passwords.Check(t.Context(), good); !ok || err != nil {
		t.Errorf("the password that was first: %v, %v", ok, err)
	}

	// And where somebody puts the file there.
	u = fresh(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(u.dir, "password"), []byte("anything"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, _, err := u.try(u.claim.Code(), good, "192.0.2.1:1"); !errors.Is(err, ErrClaimed) || s != nil || u.claim.Open() {
		t.Errorf("beside a file: %v, %v", s, err)
	}
	if _, err := u.sessions.passwords.set(good, true); !errors.Is(err, ErrClaimed) {
		t.Errorf("as the first one: %v", err)
	}
}

func TestOfManyClaimersOneIsTheOwner(t *testing.T) {
	u := fresh(t, t.TempDir())
	code := u.claim.Code()
	var won atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			switch s, _, err := u.try(code, good, "192.0.2.1:1"); {
			case err == nil && s != nil:
				won.Add(1)
			case !errors.Is(err, ErrClaimed):
				t.Errorf("%v, %v", s, err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have claimed it", won.Load())
	}
}

func TestCodesCannotBeTriedOneAfterTheOther(t *testing.T) {
	u := fresh(t, t.TempDir())
	for range wrongBurst {
		if _, status, err := u.try("00000000", good, "192.0.2.1:1"); status != 0 || !errors.Is(err, ErrCode) {
			t.Fatalf("status %d, %v", status, err)
		}
	}
	if s, status, _ := u.try(u.claim.Code(), good, "192.0.2.1:9"); status != http.StatusTooManyRequests || s != nil {
		t.Errorf("one more: status %d", status)
	}
	// Right codes with bad passwords cost nothing.
	for range 2 * wrongBurst {
		if _, status, err := u.try(u.claim.Code(), "short", "192.0.2.2:1"); status != 0 || !errors.Is(err, ErrLength) {
			t.Fatalf("the right code: status %d, %v", status, err)
		}
	}
}

// Each refusal is a line of the audit log, which is bounded: without end, they would push out what
// the owner did.
func TestClaimsOfANodeWithAnOwnerAreFew(t *testing.T) {
	u := fresh(t, t.TempDir())
	now := time.Now()
	u.throttle.now = func() time.Time { return now }
	code := u.claim.Code()
	if err := u.sessions.passwords.Set(good); err != nil {
		t.Fatal(err)
	}
	for range wrongBurst {
		if _, status, err := u.try(code, good, "192.0.2.1:1"); status != 0 || !errors.Is(err, ErrClaimed) {
			t.Fatalf("status %d, %v", status, err)
		}
	}
	if _, status, _ := u.try(code, good, "192.0.2.1:1"); status != http.StatusTooManyRequests {
		t.Errorf("one more: status %d", status)
	}
}

// TestARestartLeavesNoOldCode plays the daemon's end before, during and after a claim; a
// power cut differs from it only in what is lost, which is neither the password nor its absence.
func TestARestartLeavesNoOldCode(t *testing.T) {
	dir := t.TempDir()
	before := fresh(t, dir).claim.Code()
	u := fresh(t, dir)
	if s, _, err := u.try(before, good, "192.0.2.1:1"); !errors.Is(err, ErrCode) || s != nil {
		t.Errorf("the code of the daemon before: %v, %v", s, err)
	}
	code, file := u.claim.Code(), filepath.Join(dir, "claim.json")
	offered, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	session, _, err := u.try(code, good, "192.0.2.1:1")
	if err != nil {
		t.Fatal(err)
	}
	// As if the power had been cut before the file was removed.
	if err := os.WriteFile(file, offered, 0o600); err != nil {
		t.Fatal(err)
	}
	u = fresh(t, dir)
	if u.claim.Open() {
		t.Error("it can be claimed again")
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of the code: %v", err)
	}
	if s, _, err := u.try(code, good, "192.0.2.1:1"); !errors.Is(err, ErrClaimed) || s != nil {
		t.Errorf("%v, %v", s, err)
	}
	r := request(session)
	r.RemoteAddr = "192.0.2.1:1"
	if _, ok := u.SignedIn(r); !ok {
		t.Error("the owner is signed in no more")
	}
}

func TestSpacesAroundAPasswordShutNobodyOut(t *testing.T) {
	u := fresh(t, t.TempDir())
	if _, _, err := u.try(u.claim.Code(), " "+good+"\t ", "192.0.2.1:1"); err != nil {
		t.Fatal(err)
	}
	for _, typed := range []string{good, good + " "} {
		w, r := httptest.NewRecorder(), request(nil)
		if ok, _, err := u.SignIn(w, r, typed, ""); !ok || err != nil {
			t.Errorf("%q: %v", typed, err)
		}
	}
	if err := u.sessions.passwords.Set("  short    "); !errors.Is(err, ErrLength) {
		t.Errorf("spaces make it long: %v", err)
	}
}

func TestAClaimIsEncrypted(t *testing.T) {
	u := fresh(t, t.TempDir())
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/claim", nil)
	if answered, _ := u.Claim(w, r, u.claim, u.claim.Code(), good, func(string) error { return nil }); !answered || w.Code != http.StatusForbidden || !u.claim.Open() {
		t.Errorf("status %d", w.Code)
	}
}

func TestCodesAreReadHoweverTheyAreTyped(t *testing.T) {
	for typed, want := range map[string]string{
		"k7qf-m2xp": "K7QFM2XP", " K7QF M2XP ": "K7QFM2XP", "oil0-OIL0": "01100110", "K7QF-M2X": "", "K7QF-M2XPP": "", "K7QF-M2XU": "", "": "", strings.Repeat("-", 1000): "", "é7QFM2X": "",
	} {
		if got := Plain(typed); got != want {
			t.Errorf("%q is read as %q", typed, got)
		}
	}
}

// TestAPasswordByTheTokenIsOfANewOwnerWhereThereIsNone has root take the password away, and somebody
// set another with the token in place of a claim.
func TestAPasswordByTheTokenIsOfANewOwnerWhereThereIsNone(t *testing.T) {
	g, d, _ := withPasskey(t)
	s := g.sessions
	if _, err := s.Users.Add("anna", Owner); err != nil {
		t.Fatal(err)
	}
	if err := s.Factor.write(factorFile{Format: factorFormat, Secret: "MFRGG"}); err != nil {
		t.Fatal(err)
	}
	left := func() (n int) {
		passkeys, err1 := s.Passkeys.List()
		users, err2 := s.Users.List()
		factor, err3 := s.Factor.Status()
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Error(err)
		}
		if n = len(passkeys) + len(users); factor.On {
			n++
		}
		return n
	}
	if err := s.SetPassword(good); err != nil || left() != 3 {
		t.Fatalf("the owner, who forgot the password, has %d of what is the owner's: %v", left(), err)
	}
	if err := os.Remove(s.passwords.file); err != nil {
		t.Fatal(err)
	}
	if err := s.SetPassword("short"); !errors.Is(err, ErrLength) {
		t.Errorf("a short one: %v", err)
	}
	if all, err := s.Passkeys.List(); err != nil || len(all) != 1 {
		t.Errorf("a password that is not taken leaves %+v, %v", all, err)
	}
	if err := s.SetPassword(good); err != nil || left() != 0 {
		t.Errorf("the next owner has %d of what was the one's before: %v", left(), err)
	}
	if _, err := use(t, g, d); !errors.Is(err, ErrPasskey) {
		t.Errorf("the owner before: %v", err)
	}
}
