package access

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const anna = "blue harbour lantern" // her password

// joined is a guard over a node with an owner and a user, who is signed in. The clock is the test's.
func joined(t *testing.T, role Role) (g *Guard, session *http.Cookie, clock func(time.Duration)) {
	t.Helper()
	g, _, clock = guarded(t)
	g.names.now, g.sessions.Users.now = g.throttle.now, g.throttle.now
	invitation, err := g.sessions.Users.Add("anna", role)
	if err != nil {
		t.Fatal(err)
	}
	session, _, err = join(g, "anna", invitation.Code, anna)
	if err != nil || session == nil {
		t.Fatal(session, err)
	}
	return g, session, clock
}

// join takes an invitation up; status is 0 where the caller has to answer.
func join(g *Guard, name, code, password string) (session *http.Cookie, status int, err error) {
	w := httptest.NewRecorder()
	answered, err := g.Join(w, request(nil), name, code, password, func(string) error { return nil })
	for _, c := range w.Result().Cookies() {
		session = c
	}
	if answered {
		status = w.Code
	}
	return session, status, err
}

func signInUser(g *Guard, from, name, password string) (session *http.Cookie, status int, err error) {
	w, r := httptest.NewRecorder(), request(nil)
	r.RemoteAddr = from
	ok, answered, err := g.SignInUser(w, r, name, password)
	for _, c := range w.Result().Cookies() {
		session = c
	}
	if answered {
		status = w.Code
	}
	if ok != (session != nil) {
		err = errors.Join(err, errors.New("a session without a sign-in, or none with one"))
	}
	return session, status, err
}

func TestAnInvitationSetsAPasswordOnce(t *testing.T) {
	g, _, clock := guarded(t)
	u := g.sessions.Users
	g.names.now, u.now = g.throttle.now, g.throttle.now
	first, err := u.Add("anna", Guest)
	if err != nil {
		t.Fatal(err)
	}
	if s, _, err := signInUser(g, "192.0.2.1:1", "anna", ""); s != nil || err != nil {
		t.Errorf("without a password: %v, %v", s, err)
	}
	second, err := u.Reset("anna")
	if err != nil {
		t.Fatal(err)
	}
	for what, code := range map[string]string{"none": "", "of the invitation before": first.Code, "of nobody": Grouped(strings.Repeat("0", recoverySize)), "its digest": digest(second.Code)} {
		if s, _, err := join(g, "anna", code, anna); s != nil || !errors.Is(err, ErrInvitation) {
			t.Errorf("a code %s: %v, %v", what, s, err)
		}
		clock(time.Minute)
	}
	if s, _, err := join(g, "bert", second.Code, anna); s != nil || !errors.Is(err, ErrInvitation) {
		t.Errorf("another name: %v, %v", s, err)
	}
	if s, _, err := join(g, "anna", second.Code, "short"); s != nil || !errors.Is(err, ErrLength) {
		t.Errorf("a short password: %v, %v", s, err)
	}
	s, _, err := join(g, "anna", " "+strings.ToLower(second.Code), anna+" ")
	if err != nil || !valid(g, s) {
		t.Fatalf("%v, %v", s, err)
	}
	if own, _ := g.SignedIn(request(s)); own.User != "anna" || own.Owner() {
		t.Errorf("%+v", own)
	}
	if s, _, err := join(g, "anna", second.Code, "another good password"); s != nil || !errors.Is(err, ErrInvitation) {
		t.Errorf("a second time: %v, %v", s, err)
	}
	if s, _, err := signInUser(g, "192.0.2.1:1", "anna", anna); err != nil || !valid(g, s) {
		t.Errorf("by the password: %v, %v", s, err)
	}
	third, err := u.Reset("anna")
	if err != nil {
		t.Fatal(err)
	}
	clock(inviteLife)
	if s, _, err := join(g, "anna", third.Code, anna); s != nil || !errors.Is(err, ErrInvitation) {
		t.Errorf("after its end: %v, %v", s, err)
	}
}

func TestWhatTheDiskHasOfUsersSignsNobodyIn(t *testing.T) {
	g, _, _ := joined(t, Guest)
	invitation, err := g.sessions.Users.Add("bert", Owner)
	if err != nil {
		t.Fatal(err)
	}
	file := g.sessions.Users.file
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read it: %v, %v", info, err)
	}
	b, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(b), anna) || strings.Contains(string(b), invitation.Code) || strings.Contains(string(b), plain(invitation.Code, recoverySize)) {
		t.Errorf("%s, %v", b, err)
	}
	all, err := g.sessions.Users.List()
	if err != nil || len(all) != 2 || all[0].Name != "anna" || !all[0].Invited.IsZero() || all[1].Invited.IsZero() {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestARemovedOrChangedUsersSessionsEndAtOnce(t *testing.T) {
	for what, change := range map[string]func(*Guard, *Users) error{
		"removed":         func(_ *Guard, u *Users) error { return u.Remove("anna") },
		"reset":           func(_ *Guard, u *Users) error { _, err := u.Reset("anna"); return err },
		"of another role": func(_ *Guard, u *Users) error { return u.Set("anna", Owner, nil) },
		"of another role, and back": func(_ *Guard, u *Users) error {
			return errors.Join(u.Set("anna", Owner, nil), u.Set("anna", Guest, nil))
		},
		"damaged":     func(_ *Guard, u *Users) error { return os.WriteFile(u.file, []byte("{"), 0o600) },
		"of no owner": func(_ *Guard, u *Users) error { return os.Remove(u.passwords.file) },
		"removed and added": func(g *Guard, u *Users) error {
			removed := u.Remove("anna")
			invitation, err := u.Add("anna", Guest)
			_, _, joined := join(g, "anna", invitation.Code, anna)
			return errors.Join(removed, err, joined)
		},
	} {
		g, session, _ := joined(t, Guest)
		owner := begin(t, g)
		told := g.sessions.Changed()
		if err := change(g, g.sessions.Users); err != nil {
			t.Fatal(what, err)
		}
		if valid(g, session) {
			t.Errorf("the session of a user who is %s goes on", what)
		}
		if what == "of no owner" {
			continue
		}
		if !valid(g, owner) {
			t.Errorf("the owner's session ends when a user is %s", what)
		}
		select {
		case <-told:
		default:
			if what != "damaged" {
				t.Errorf("nobody who watches hears that a user is %s", what)
			}
		}
	}
	g, session, _ := joined(t, Guest)
	if err := g.sessions.Users.Set("anna", Guest, []string{"wiki", "feeds", "wiki"}); err != nil {
		t.Fatal(err)
	}
	own, ok := g.SignedIn(request(session))
	if !ok || !g.sessions.Users.Sees(own, "wiki") || g.sessions.Users.Sees(own, "files") {
		t.Errorf("what is shared ends the session, or is not seen: %+v", own)
	}
	if err := g.sessions.passwords.Set("another good password"); err != nil || !valid(g, session) {
		t.Errorf("the owner's new password ends it: %v", err)
	}
}

func TestAUserChangesTheOwnPassword(t *testing.T) {
	g, session, clock := joined(t, Guest)
	owner := begin(t, g)
	const next = "seven quiet rivers"
	change := func(before string) (*httptest.ResponseRecorder, error) {
		w := httptest.NewRecorder()
		_, err := g.ChangePassword(w, request(session), before, "", next, func(string) error { return nil })
		return w, err
	}
	for what, before := range map[string]string{"a guess": "a guess", "the owner's": password} {
		if _, err := change(before); !errors.Is(err, ErrPassword) {
			t.Errorf("%s: %v", what, err)
		}
		clock(time.Minute)
	}
	w, err := change(anna)
	if err != nil || valid(g, session) || !valid(g, w.Result().Cookies()[0]) || !valid(g, owner) {
		t.Errorf("%v: the session before goes on, or the new one or the owner's does not", err)
	}
	if s, _, _ := signInUser(g, "192.0.2.1:1", "anna", next); s == nil {
		t.Error("the new password does not sign in")
	}
	if ok, err := g.sessions.passwords.Check(t.Context(), password); !ok || err != nil {
		t.Errorf("the owner's password is another one: %v", err)
	}
}

// TestANameThatNobodyHasTakesAsLongAsAny has each attempt cost one hash, of the same cost.
func TestANameThatNobodyHasTakesAsLongAsAny(t *testing.T) {
	g, _, clock := joined(t, Guest)
	if _, err := g.sessions.Users.Add("invited", Guest); err != nil {
		t.Fatal(err)
	}
	type cost struct{ time, memory, length uint32 }
	var costs []cost
	hash := g.sessions.passwords.hash
	g.sessions.passwords.hash = func(password, salt []byte, time, memory uint32, threads uint8, length uint32) []byte {
		costs = append(costs, cost{time, memory, length})
		return hash(password, salt, time, memory, threads, length)
	}
	for _, name := range []string{"anna", "invited", "nobody", "No Name", strings.Repeat("x", 1000)} {
		costs = nil
		s, status, err := signInUser(g, "192.0.2.1:1", name, "a good guess")
		if s != nil || status != 0 || err != nil || len(costs) != 1 || costs[0] != (cost{argonTime, argonMemory, argonKey}) {
			t.Errorf("%.20q: %v, %d, %v, hashes %v", name, s, status, err, costs)
		}
		clock(time.Minute)
	}
}

func TestWrongAttemptsCountForTheNameFromWherever(t *testing.T) {
	for _, name := range []string{"anna", "nobody"} {
		g, _, clock := joined(t, Guest)
		for i := range wrongBurst {
			if _, status, err := signInUser(g, "192.0.2."+string(rune('1'+i))+":1", name, "a guess"); status != 0 || err != nil {
				t.Fatalf("%s: status %d, %v", name, status, err)
			}
		}
		if _, status, _ := signInUser(g, "192.0.2.99:1", name, "a guess"); status != http.StatusTooManyRequests {
			t.Errorf("%s, one guess too many: status %d", name, status)
		}
		if s, _, err := signInUser(g, "192.0.2.99:1", "bert", "a guess"); s != nil || err != nil {
			t.Errorf("another name: %v", err)
		}
		if ok, _ := signIn(t, g, "192.0.2.99:1", password); !ok {
			t.Error("the owner is kept out by guesses of a user's password")
		}
		clock(wrongEvery)
		if s, status, err := signInUser(g, "192.0.2.99:1", name, anna); (s != nil) != (name == "anna") || status != 0 || err != nil {
			t.Errorf("%s, in time: %v, status %d, %v", name, s, status, err)
		}
	}
}

func TestOneAddressGuessesNoMoreWithManyNames(t *testing.T) {
	g, _, _ := joined(t, Guest)
	for i := range wrongBurst + 1 {
		_, status, err := signInUser(g, "192.0.2.1:1", "user"+string(rune('a'+i)), "a guess")
		if (status == http.StatusTooManyRequests) != (i == wrongBurst) || err != nil {
			t.Errorf("attempt %d: status %d, %v", i+1, status, err)
		}
	}
}

func TestAUserSignsNoOtherUserOut(t *testing.T) {
	g, _, _ := joined(t, Guest)
	owner := begin(t, g)
	for range maxSessions + 1 {
		if s, _, err := signInUser(g, "192.0.2.1:1", "anna", anna); s == nil {
			t.Fatal(err)
		}
	}
	if n := len(g.sessions.List()); n != maxSessions+1 || !valid(g, owner) {
		t.Errorf("%d sessions; the owner's goes on: %v", n, valid(g, owner))
	}
}

// TestUsersThatCannotBeReadAreRefusedAndTheOwnerSignsIn has a file for each thing that this daemon
// would not have written.
func TestUsersThatCannotBeReadAreRefusedAndTheOwnerSignsIn(t *testing.T) {
	g, session, clock := joined(t, Guest)
	b, err := os.ReadFile(g.sessions.Users.file)
	if err != nil {
		t.Fatal(err)
	}
	whole := string(b)
	one := whole[strings.Index(whole, "{\n\t\t\t") : strings.LastIndex(whole, "}\n\t]")+1]
	for what, damaged := range map[string]string{
		"cut off":            whole[:len(whole)/2],
		"empty":              "",
		"another format":     strings.Replace(whole, `"format": 1`, `"format": 2`, 1),
		"an unknown role":    strings.Replace(whole, `"guest"`, `"king"`, 1),
		"no role":            strings.Replace(whole, `"guest"`, `""`, 1),
		"no name":            strings.Replace(whole, `"anna"`, `""`, 1),
		"the owner's name":   strings.Replace(whole, `"anna"`, `"owner"`, 1),
		"an unknown field":   strings.Replace(whole, `"role"`, `"admin": true, "role"`, 1),
		"neither":            strings.Replace(whole, `"password"`, `"shared": [], "code"`, 1),
		"the same one twice": strings.Replace(whole, one, one+","+one, 1),
	} {
		if damaged == whole {
			t.Fatalf("%s: nothing is damaged", what)
		}
		if err := os.WriteFile(g.sessions.Users.file, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if valid(g, session) {
			t.Errorf("%s: the user is signed in", what)
		}
		if _, err := g.sessions.Users.List(); err == nil || !strings.Contains(err.Error(), g.sessions.Users.file) || strings.Contains(err.Error(), "argon2id") {
			t.Errorf("%s: listed with %v", what, err)
		}
		if _, err := g.sessions.Users.Add("bert", Guest); err == nil {
			t.Errorf("%s: written over", what)
		}
		if s, _, err := signInUser(g, "192.0.2.1:1", "anna", anna); s != nil || err == nil {
			t.Errorf("%s: signs in: %v", what, err)
		}
		if ok, _ := signIn(t, g, "192.0.2.2:1", password); !ok {
			t.Errorf("%s: the owner does not sign in", what)
		}
		clock(time.Minute)
	}
	if err := os.WriteFile(g.sessions.Users.file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, _, err := signInUser(g, "192.0.2.1:1", "anna", anna); s == nil || err != nil {
		t.Errorf("put back: %v", err)
	}
}

func TestUsersThatAreNotTakenAreRefusedWithTheReason(t *testing.T) {
	g, _, _ := joined(t, Guest)
	u := g.sessions.Users
	for what, add := range map[string]struct {
		name string
		role Role
		why  string
	}{
		"a name twice":    {"anna", Guest, "already"},
		"the owner's":     {"owner", Guest, "is no name"},
		"no name":         {"", Guest, "is no name"},
		"capitals":        {"Anna", Guest, "is no name"},
		"a path":          {"../password", Guest, "is no name"},
		"a name too long": {strings.Repeat("a", maxName+1), Guest, "is no name"},
		"an unknown role": {"bert", "king", "is no role"},
		"no role":         {"bert", "", "is no role"},
	} {
		if _, err := u.Add(add.name, add.role); !errors.Is(err, ErrUserRefused) || !strings.Contains(err.Error(), add.why) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{"set": u.Set("bert", Guest, nil), "removed": u.Remove("bert")} {
		if !errors.Is(err, ErrUser) || !strings.Contains(err.Error(), "archy users list") {
			t.Errorf("nobody is %s: %v", what, err)
		}
	}
	if err := u.Set("anna", "", nil); !errors.Is(err, ErrUserRefused) {
		t.Errorf("no role: %v", err)
	}
	for i := range maxUsers {
		if _, err := u.Add("user"+string(rune('a'+i/26))+string(rune('a'+i%26)), Guest); (err != nil) != (i == maxUsers-1) {
			t.Errorf("user %d: %v", i+2, err)
		}
	}
	if _, err := guard(t.TempDir(), "sesame").sessions.Users.Add("anna", Guest); !errors.Is(err, ErrUserRefused) || !strings.Contains(err.Error(), "no owner") {
		t.Errorf("a node without an owner: %v", err)
	}
}

func TestAUserThatTheDiskDoesNotTakeIsNotAdded(t *testing.T) {
	g, session, _ := joined(t, Guest)
	g.sessions.Users.replace = func(string, []byte, fs.FileMode) error { return errors.New("no space left on device") }
	if _, err := g.sessions.Users.Add("bert", Owner); err == nil {
		t.Error("added")
	}
	if err := g.sessions.Users.Remove("anna"); err == nil || !valid(g, session) {
		t.Errorf("removed in part: %v", err)
	}
}

// TestAClaimEndsTheUsersOfTheOwnerBefore has them not come back either.
func TestAClaimEndsTheUsersOfTheOwnerBefore(t *testing.T) {
	dir := t.TempDir()
	u := fresh(t, dir)
	if _, _, err := u.try(u.claim.Code(), good, "192.0.2.1:1"); err != nil {
		t.Fatal(err)
	}
	invitation, err := u.sessions.Users.Add("anna", Owner)
	if err != nil {
		t.Fatal(err)
	}
	session, _, err := join(u.Guard, "anna", invitation.Code, anna)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	u = fresh(t, dir)
	if s, _, err := signInUser(u.Guard, "192.0.2.1:1", "anna", anna); s != nil || err != nil || valid(u.Guard, session) {
		t.Errorf("on a node without an owner: %v, %v", s, err)
	}
	if _, _, err := u.try(u.claim.Code(), good, "192.0.2.1:1"); err != nil {
		t.Fatal(err)
	}
	if s, _, err := signInUser(u.Guard, "192.0.2.1:1", "anna", anna); s != nil || err != nil || valid(u.Guard, session) {
		t.Errorf("after the claim: %v, %v", s, err)
	}
}

func TestASessionOfAGuestIsForbiddenWhatTakesTheToken(t *testing.T) {
	for role, want := range map[Role]int{Guest: http.StatusForbidden, Owner: http.StatusUnauthorized} {
		g, session, _ := joined(t, role)
		w := httptest.NewRecorder()
		g.Token(reading, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("let through") })).ServeHTTP(w, request(session))
		if w.Code != want {
			t.Errorf("%s: status %d", role, w.Code)
		}
	}
}

func TestTheAuditLogNamesTheUser(t *testing.T) {
	g, session, _ := joined(t, Guest)
	own, _ := g.SignedIn(request(session))
	if who := Who(As(request(nil), own)); who != "anna on My Apps from 192.0.2.1" {
		t.Error(who)
	}
	if who := Who(As(request(nil), Session{})); who != "My Apps from 192.0.2.1" {
		t.Error(who)
	}
}

// TestAPasswordThatComesTooLateIsNotTaken has the owner invite anew while one is being hashed.
func TestAPasswordThatComesTooLateIsNotTaken(t *testing.T) {
	g, session, _ := joined(t, Guest)
	u := g.sessions.Users
	invitation, err := u.Reset("anna")
	if err != nil {
		t.Fatal(err)
	}
	hash := u.passwords.hash
	u.passwords.hash = func(password, salt []byte, time, memory uint32, threads uint8, length uint32) []byte {
		if _, err := u.Reset("anna"); err != nil {
			t.Error(err)
		}
		return hash(password, salt, time, memory, threads, length)
	}
	if s, _, err := join(g, "anna", invitation.Code, anna); s != nil || !errors.Is(err, ErrInvitation) || valid(g, session) {
		t.Errorf("%v, %v", s, err)
	}
	u.passwords.hash = hash
	if s, _, err := signInUser(g, "192.0.2.1:1", "anna", anna); s != nil || err != nil {
		t.Errorf("it signs in: %v", err)
	}
}
