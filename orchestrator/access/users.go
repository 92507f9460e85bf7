package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// Role is what a user may do.
type Role string

const (
	Owner Role = "owner" // everything
	Guest Role = "guest" // open applications, and see the credentials that are shared
)

// Roles are all there are.
var Roles = []Role{Owner, Guest}

const (
	usersFormat = 1
	maxUsers    = 50
	maxName     = 32

	// inviteLife is how long an invitation can be taken up.
	inviteLife = 7 * 24 * time.Hour
)

var (
	// ErrUser is returned for a name that no user has.
	ErrUser = errors.New("no such user")

	// ErrUserRefused is returned for a user that is not taken as asked.
	ErrUserRefused = errors.New("refused")

	// ErrInvitation is returned for what is not the code of somebody's invitation, or not any more.
	ErrInvitation = errors.New("that is not the code of an invitation, or it is used or has ended")
)

// User is somebody who may use My Apps besides the node's first owner, whose password is in a
// file of its own. Nothing in it signs anyone in.
type User struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Added   time.Time `json:"added"`
	Invited time.Time `json:"invited,omitzero"` // until when the invitation holds; zero for who has a password
	Shared  []string  `json:"shared,omitempty"` // applications whose credentials a guest sees
}

// user is one on disk: with a password or with an invitation, and never both.
type user struct {
	User
	Password string `json:"password,omitempty"` // as the first owner's is kept
	Code     string `json:"code,omitempty"`     // SHA-256 of the invitation's, in hex
}

// Invitation is how a user sets a password, once.
type Invitation struct {
	Name, Code string
	Until      time.Time
}

// Path is that of the page that takes the code.
func (i Invitation) Path() string {
	return "/join?" + url.Values{"name": {i.Name}, "code": {i.Code}}.Encode()
}

// Users keeps who may use My Apps besides the node's first owner; there are none where the node
// has no owner. It is asked of the disk, and where that cannot be read, none of them signs in.
type Users struct {
	file      string
	passwords *Passwords // by which theirs are hashed, and the first owner's is looked for
	changed   func()     // called when another user, role or password counts
	now       func() time.Time
	replace   func(name string, data []byte, mode fs.FileMode) error // a file, durably

	mu sync.Mutex // held by whoever changes the file
}

// newUsers keeps them in a directory that is private to the daemon.
func newUsers(dir string, passwords *Passwords, changed func()) *Users {
	return &Users{file: filepath.Join(dir, "users.json"), passwords: passwords, changed: changed, now: time.Now, replace: atomicfile.Write}
}

type usersFile struct {
	Format int    `json:"format"`
	Users  []user `json:"users"`
}

func (u *Users) read() ([]user, error) {
	if owned, err := u.passwords.isSet(); err != nil || !owned {
		return nil, err
	}
	b, err := os.ReadFile(u.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the users: %w", err)
	}
	var f usersFile
	// Not the decoder's words: they may quote a hash.
	if strictly(b, &f) != nil || f.Format != usersFormat || !whole(f.Users) {
		return nil, fmt.Errorf("%s does not hold users as this daemon keeps them, so only the owner can sign in; put it back from a backup, or remove it and invite the users again", u.file)
	}
	return f.Users, nil
}

// whole tells whether users are as this daemon would have written them.
func whole(all []user) bool {
	names := map[string]bool{}
	for _, one := range all {
		if !isName(one.Name) || names[one.Name] || !slices.Contains(Roles, one.Role) || (one.Password == "") == (one.Code == "") || (one.Code == "") != one.Invited.IsZero() {
			return false
		}
		names[one.Name] = true
	}
	return true
}

var userName = regexp.MustCompile(`^[a-z][a-z0-9._-]*$`)

// isName tells whether a user can have this name. That of the first owner is taken.
func isName(name string) bool {
	return userName.MatchString(name) && len(name) <= maxName && name != string(Owner)
}

// AsTyped is the name that somebody has typed to sign in; empty for the node's first owner.
func AsTyped(name string) string {
	if name = strings.ToLower(strings.TrimSpace(name)); name == string(Owner) {
		return ""
	}
	return name
}

// named gives the user with a name; nil where there is none.
func named(all []user, name string) *user {
	if i := slices.IndexFunc(all, func(one user) bool { return one.Name == name }); i >= 0 {
		return &all[i]
	}
	return nil
}

// change has a user become another one, or nobody, and puts that on the disk. The caller holds mu.
func (u *Users) change(name string, to func(*user) error) error {
	all, err := u.read()
	if err != nil {
		return err
	}
	one := named(all, name)
	if one == nil {
		return fmt.Errorf("%w: %q; 'archy users list' lists them", ErrUser, name)
	}
	if err := to(one); err != nil {
		return err
	}
	return u.write(slices.DeleteFunc(all, func(one user) bool { return one.Name == "" }))
}

func (u *Users) write(all []user) error {
	if err := put(u.replace, u.file, usersFile{usersFormat, all}); err != nil {
		return fmt.Errorf("writing the users: %w", err)
	}
	u.changed()
	return nil
}

// List gives the users by name.
func (u *Users) List() ([]User, error) {
	all, err := u.read()
	var list []User
	for _, one := range all {
		list = append(list, one.User)
	}
	slices.SortFunc(list, func(a, b User) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// Get gives the user with a name, or fails with ErrUser.
func (u *Users) Get(name string) (User, error) {
	all, err := u.read()
	if err != nil {
		return User{}, err
	}
	one := named(all, name)
	if one == nil {
		return User{}, fmt.Errorf("%w: %q", ErrUser, name)
	}
	return one.User, nil
}

// Add adds a user, who has no password until the invitation is taken up.
func (u *Users) Add(name string, role Role) (Invitation, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch owned, err := u.passwords.isSet(); {
	case err != nil:
		return Invitation{}, err
	case !owned:
		return Invitation{}, fmt.Errorf("%w: the node has no owner with a password yet; 'archipelago claim', on the node, says how it gets one", ErrUserRefused)
	case !isName(name):
		return Invitation{}, fmt.Errorf("%w: %q is no name for a user; it begins with a lower-case letter, goes on with letters, digits, '.', '-' and '_', has %d characters at most, and is not %q", ErrUserRefused, name, maxName, Owner)
	}
	if err := known(role); err != nil {
		return Invitation{}, err
	}
	all, err := u.read()
	switch {
	case err != nil:
		return Invitation{}, err
	case named(all, name) != nil:
		return Invitation{}, fmt.Errorf("%w: there is a user %q already; 'archy users reset %[2]s' invites them again", ErrUserRefused, name)
	case len(all) >= maxUsers:
		return Invitation{}, fmt.Errorf("%w: a node has %d users at most", ErrUserRefused, maxUsers)
	}
	one := user{User: User{Name: name, Role: role, Added: u.now().UTC().Truncate(time.Second)}}
	invitation := u.invite(&one)
	return invitation, u.write(append(all, one))
}

func known(role Role) error {
	if !slices.Contains(Roles, role) {
		return fmt.Errorf("%w: %q is no role; there are %s and %s", ErrUserRefused, role, Owner, Guest)
	}
	return nil
}

// invite gives a user an invitation in place of the one before, or of the password.
func (u *Users) invite(one *user) Invitation {
	code := randomCode(recoverySize)
	one.Password, one.Code, one.Invited = "", digest(code), u.now().UTC().Truncate(time.Second).Add(inviteLife)
	return Invitation{one.Name, Grouped(code), one.Invited}
}

// Reset takes a user's password away, which ends the user's sessions, and invites anew.
func (u *Users) Reset(name string) (invitation Invitation, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return invitation, u.change(name, func(one *user) error {
		invitation = u.invite(one)
		return nil
	})
}

// Set gives a user a role, and says whose credentials a guest sees. Another role ends the
// user's sessions.
func (u *Users) Set(name string, role Role, shared []string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := known(role); err != nil {
		return err
	}
	return u.change(name, func(one *user) error {
		one.Role, one.Shared = role, slices.Compact(slices.Sorted(slices.Values(shared)))
		return nil
	})
}

// Remove removes a user, whose sessions end.
func (u *Users) Remove(name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.change(name, func(one *user) error {
		*one = user{}
		return nil
	})
}

// clear removes all users; also those that cannot be read.
func (u *Users) clear() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return removeDurably(u.file)
}

// removeDurably removes a file that need not be there.
func removeDurably(file string) error {
	switch err := os.Remove(file); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(file))
}

// Sees tells whether a session may see the credentials of an application.
func (u *Users) Sees(own Session, app string) bool {
	if own.Owner() {
		return true
	}
	one, err := u.Get(own.User)
	return err == nil && slices.Contains(one.Shared, app)
}

// check tells whether a password is a user's, and gives that user as the disk had it. A name
// that nobody has takes as long as any.
func (u *Users) check(ctx context.Context, name, password string) (one user, ok bool, err error) {
	all, err := u.read()
	if err != nil {
		return one, false, err
	}
	if found := named(all, name); found != nil {
		one = *found
	}
	line := one.Password
	if line == "" {
		random := make([]byte, 16+argonKey)
		rand.Read(random)
		line = string(phc(random[:16], random[16:])) // which no password has
	}
	if len(password) > 4*maxPassword {
		return one, false, nil
	}
	ok, err = u.passwords.matches(ctx, line, password)
	return one, ok && one.Password != "", err
}

// invited gives the user whose invitation a code is, or fails with ErrInvitation.
func (u *Users) invited(name, code string) (user, error) {
	all, err := u.read()
	if err != nil {
		return user{}, err
	}
	one := named(all, name)
	if one == nil {
		one = &user{Code: digest(rand.Text())}
	}
	// What cannot be a code is compared, too, and is nobody's.
	given := digest(plain(code, recoverySize))
	if subtle.ConstantTimeCompare([]byte(given), []byte(one.Code)) != 1 || !u.now().Before(one.Invited) {
		return user{}, ErrInvitation
	}
	return *one, nil
}

// take gives a user a password in place of what the user had; where that is another now, it
// fails with gone.
func (u *Users) take(had user, password string, gone error) (user, error) {
	line := strings.TrimSpace(string(u.passwords.keep(password)))
	u.mu.Lock()
	defer u.mu.Unlock()
	var is user
	err := u.change(had.Name, func(one *user) error {
		if one.Password != had.Password || one.Code != had.Code {
			return gone
		}
		one.Password, one.Code, one.Invited = line, "", time.Time{}
		is = *one
		return nil
	})
	if errors.Is(err, ErrUser) {
		err = gone
	}
	return is, err
}

// SignInUser is SignIn for a user other than the first owner: by name and password, and without
// a second factor. Wrong attempts count for the address, and for the name from wherever.
func (g *Guard) SignInUser(w http.ResponseWriter, r *http.Request, name, password string) (ok, answered bool, err error) {
	if r.TLS == nil {
		refusePlain(w, r)
		return false, true, nil
	}
	one, ok, answered, err := g.knowsUser(w, r, name, password)
	if ok {
		setCookie(w, g.sessions.begin(r, g.sessions.credentialsOf(one)), sessionLife)
	}
	return ok, answered, err
}

// knowsUser tells whether a password is a user's. The rest is as for SignIn.
func (g *Guard) knowsUser(w http.ResponseWriter, r *http.Request, name, password string) (one user, ok, answered bool, err error) {
	giveBack, ok := g.takeNamed(w, r, name, tooManyWrong)
	if !ok {
		return one, false, true, nil
	}
	one, ok, err = g.sessions.Users.check(r.Context(), name, strings.TrimSpace(password))
	if errors.Is(err, errBusy) {
		giveBack()
		g.refuse(w, r, wrongEvery, tooManyAtOnce)
		return one, false, true, nil
	}
	if ok {
		giveBack()
	}
	return one, ok, false, err
}

// takeNamed reserves an attempt of an address with a name; where it has none left, it has answered.
func (g *Guard) takeNamed(w http.ResponseWriter, r *http.Request, name, tooMany string) (giveBack func(), ok bool) {
	address, wait, ok := g.throttle.take(origin(r))
	if !ok {
		g.refuse(w, r, wait, tooMany)
		return nil, false
	}
	// However long what is typed for a name, it takes no more room than one.
	if !isName(name) {
		name = ""
	}
	of, wait, ok := g.names.take(name)
	if !ok {
		address()
		g.refuse(w, r, wait, tooManyOfName)
		return nil, false
	}
	return func() { address(); of() }, true
}

// Join gives whoever has the code of a user's invitation a password, and begins a session. It
// fails with ErrInvitation, or with what judge says of the password (without spaces around it),
// which is asked only where the code is right; the code lives on then. answered is as for SignIn.
func (g *Guard) Join(w http.ResponseWriter, r *http.Request, name, code, password string, judge func(password string) error) (answered bool, err error) {
	if r.TLS == nil {
		refusePlain(w, r)
		return true, nil
	}
	giveBack, ok := g.takeNamed(w, r, name, tooManyCodes)
	if !ok {
		return true, nil
	}
	one, err := g.sessions.Users.invited(name, code)
	if err != nil {
		return false, err
	}
	giveBack()
	password = strings.TrimSpace(password)
	if err := judge(password); err != nil {
		return false, err
	}
	if !long(password) {
		return false, ErrLength
	}
	return false, g.settle(w, r, one, password, ErrInvitation)
}

// settle gives a user another password, and begins a session with it.
func (g *Guard) settle(w http.ResponseWriter, r *http.Request, had user, password string, gone error) error {
	is, err := g.sessions.Users.take(had, password, gone)
	if err != nil {
		return err
	}
	setCookie(w, g.sessions.begin(r, g.sessions.credentialsOf(is)), sessionLife)
	return nil
}

// changeUser is ChangePassword for a user other than the first owner, with a password that is
// good enough.
func (g *Guard) changeUser(w http.ResponseWriter, r *http.Request, name, before, password string) (answered bool, err error) {
	one, ok, answered, err := g.knowsUser(w, r, name, before)
	switch {
	case answered || err != nil:
		return answered, err
	case !ok:
		return false, ErrPassword
	}
	return false, g.settle(w, r, one, password, ErrPassword)
}

// Setting is what Set is asked for, as the audit log has it.
func Setting(name string, role Role, shared []string) string {
	what := "set user " + name + " as " + string(role)
	if len(shared) > 0 {
		what += ", who sees the credentials of " + strings.Join(shared, ", ")
	}
	return what
}
