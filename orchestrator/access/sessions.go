package access

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

const (
	sessionLife    = 30 * 24 * time.Hour
	maxSessions    = 32  // of one user; one more, and the user's oldest ends
	maxBrowser     = 160 // characters
	sessionsFormat = 1
)

// ErrNoSession is returned for an id that names no session.
var ErrNoSession = errors.New("no such session")

// Session is a browser that is signed in. Nothing in it signs anyone in.
type Session struct {
	ID      string    `json:"id"`
	Begun   time.Time `json:"begun"`
	Ends    time.Time `json:"ends"`
	Address string    `json:"address"`        // from which it was begun
	Browser string    `json:"browser"`        // as it called itself
	User    string    `json:"user,omitempty"` // empty: the node's first owner
	Role    Role      `json:"-"`              // the user's, now
}

// Owner tells whether the session may do everything.
func (s Session) Owner() bool { return s.Role == Owner }

// kept is a session on disk. The secret that the browser holds is not there, only what
// recognises it.
type kept struct {
	Session
	Secret      string `json:"secret"`      // its SHA-256, in hex
	Credentials string `json:"credentials"` // with which it was begun; others end it
}

// credentials are what a session is begun with: whose, and what stands for them and reveals nothing.
type credentials struct{ user, mac string }

// Sessions keeps the browsers that are signed in, across restarts of the daemon. A new
// token ends them all, a new password or role those of its user.
type Sessions struct {
	Factor   *Factor   // beside the first owner's password
	Passkeys *Passkeys // in place of both
	Users    *Users    // besides the first owner
	Tokens   *Tokens   // besides the node's own

	file      string
	token     string
	passwords *Passwords
	log       *slog.Logger
	now       func() time.Time

	replace func(name string, data []byte, mode fs.FileMode) error // a file, durably
	writing sync.Mutex                                             // held, before mu, by whoever changes what is kept

	mu   sync.Mutex // held for moments only: each page waits for it, and must not for the disk
	kept []kept     // the oldest first

	changed bell // rung when who is signed in may have changed
}

// OpenSessions keeps them in a directory that is private to the daemon. A damaged file
// signs nobody in; the next sign-in replaces it.
func OpenSessions(dir, token string, passwords *Passwords, log *slog.Logger) *Sessions {
	s := &Sessions{Factor: newFactor(dir, log), Passkeys: newPasskeys(dir, log), Tokens: newTokens(dir, token, log), file: filepath.Join(dir, "sessions.json"), token: token, passwords: passwords, log: log, now: time.Now, replace: atomicfile.Write}
	passwords.changed = append(passwords.changed, s.tell)
	s.Users = newUsers(dir, passwords, s.prune)
	var err error
	if s.kept, err = readSessions(s.file); err != nil {
		log.Error("no browser is signed in any more; the next sign-in writes the file again", "error", err)
	}
	return s
}

// Damaged says of which password, second factor, passkeys, users and tokens the file cannot be read,
// and what to do; nil: each can.
func (s *Sessions) Damaged() error {
	password := s.passwords.damaged()
	_, factor := s.Factor.Status()
	_, passkeys := s.Passkeys.List()
	_, users := s.Users.List()
	_, tokens := s.Tokens.List()
	return errors.Join(password, factor, passkeys, users, tokens)
}

// Changed gives a channel that is closed when a session has begun or ended, or another
// password has ended them all. That one's time is over is not told of: see Session.Ends.
func (s *Sessions) Changed() <-chan struct{} { return s.changed.next() }

func (s *Sessions) tell() { s.changed.ring() }

// bell tells those who wait of a change.
type bell struct {
	mu   sync.Mutex
	rung chan struct{} // closed at the next change; nil where nobody waits
}

func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

type sessionsFile struct {
	Format   int    `json:"format"`
	Sessions []kept `json:"sessions"`
}

// strictly reads a file of this package's, in which nothing may be that it does not know.
func strictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// put writes a file of this package's, which strictly reads.
func put(replace func(name string, data []byte, mode fs.FileMode) error, file string, v any) error {
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	return replace(file, append(b, '\n'), 0o600)
}

// keyed is the HMAC-SHA-256 of what is said, with a key.
func keyed(key, said []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(said)
	return mac.Sum(nil)
}

func readSessions(file string) ([]kept, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the sessions: %w", err)
	}
	var f sessionsFile
	if err := strictly(b, &f); err != nil {
		return nil, fmt.Errorf("reading the sessions: %s: %w", file, err)
	}
	if f.Format != sessionsFormat {
		return nil, fmt.Errorf("reading the sessions: %s has format %d; this daemon reads %d", file, f.Format, sessionsFormat)
	}
	return f.Sessions, nil
}

// change gives what is kept another content, and puts that on the disk. The caller holds
// writing and mu, which is let go while the disk is written.
func (s *Sessions) change(all []kept) error {
	s.kept = all
	s.tell()
	s.mu.Unlock()
	defer s.mu.Lock()
	if err := put(s.replace, s.file, sessionsFile{sessionsFormat, all}); err != nil {
		return fmt.Errorf("writing the sessions: %w", err)
	}
	return nil
}

// credentials stands for the token and the first owner's password as they are now.
func (s *Sessions) credentials() (credentials, error) {
	password, err := os.ReadFile(s.passwords.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return credentials{}, fmt.Errorf("reading the password: %w", err)
	}
	return s.credentialsWith(password), nil
}

// credentialsWith stands for the token and what is kept of a first owner's password.
func (s *Sessions) credentialsWith(password []byte) credentials {
	return credentials{"", s.mac(password)}
}

// credentialsOf stands for the token and another user's name, role and password.
func (s *Sessions) credentialsOf(u user) credentials {
	return credentials{u.Name, s.mac(fmt.Appendf(nil, "user %s %s %s", u.Name, u.Role, u.Password))}
}

func (s *Sessions) mac(of []byte) string {
	return hex.EncodeToString(keyed([]byte(s.token), of))
}

// check gives those that have not ended. The caller holds mu.
func (s *Sessions) check() ([]kept, error) {
	first, err := s.credentials()
	if err != nil {
		return nil, err
	}
	var users []user
	if slices.ContainsFunc(s.kept, func(k kept) bool { return k.User != "" }) {
		users, _ = s.Users.read() // where they cannot be read, none of them is signed in
	}
	now := s.now()
	var valid []kept
	for _, k := range s.kept {
		lives := now.Before(k.Ends)
		switch u := named(users, k.User); {
		case k.User == "" && k.Credentials == first.mac && lives:
			k.Role = Owner
			valid = append(valid, k)
		case u != nil && u.Password != "" && k.Credentials == s.credentialsOf(*u).mac && lives:
			k.Role = u.Role
			valid = append(valid, k)
		}
	}
	return valid, nil
}

// valid is check for those that need no error: where it fails, nobody is signed in.
func (s *Sessions) valid() []kept {
	valid, err := s.check()
	if err != nil {
		s.log.Error("nobody is signed in", "error", err)
	}
	return valid
}

// begin begins a session for a browser whose owner knew the credentials, in place of the
// one it may have had, and gives its secret. Where it cannot be written it is kept in
// memory: on a full disk, the owner needs My Apps.
func (s *Sessions) begin(r *http.Request, by credentials) (secret string) {
	secret = rand.Text()
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.find(r)
	all := slices.DeleteFunc(s.valid(), func(k kept) bool { return k.ID == before.ID })
	now := s.now().UTC().Truncate(time.Second)
	all = append(all, kept{
		Session: Session{ID: strings.ToLower(rand.Text()[:8]), Begun: now, Ends: now.Add(sessionLife), Address: From(r), Browser: printable(r.UserAgent()), User: by.user},
		Secret:  digest(secret), Credentials: by.mac,
	})
	over := -maxSessions
	for _, k := range all {
		if k.User == by.user {
			over++
		}
	}
	all = slices.DeleteFunc(all, func(k kept) bool {
		if k.User != by.user || over <= 0 {
			return false
		}
		over--
		return true
	})
	if err := s.change(all); err != nil {
		s.log.Error("a session that ends when the daemon does", "error", err)
	}
	return secret
}

// find gives the valid session whose secret a request carries, or one without an ID. A
// request may carry many cookies of that name: what an application set is not the
// owner's. A session that was begun on the node itself is valid there only: browsers send
// its cookie to http://localhost too, on all ports, where applications answer without the
// proxy. The caller holds mu.
func (s *Sessions) find(r *http.Request) Session {
	if r.TLS == nil {
		return Session{} // the cookie is set over TLS only
	}
	carried := map[string]bool{}
	for _, c := range r.CookiesNamed(cookie) {
		carried[digest(c.Value)] = true
	}
	if len(carried) == 0 {
		return Session{}
	}
	for _, k := range s.valid() {
		// How long the comparison takes says something of the digest, not of the secret.
		if carried[k.Secret] && onLoopback(k.Address) == onLoopback(From(r)) {
			return k.Session
		}
	}
	return Session{}
}

// prune forgets the sessions that have ended with a user, a role or a password, so that none comes
// back with the same role.
func (s *Sessions) prune() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	valid, err := s.check()
	if err == nil {
		err = s.change(valid)
	}
	if err != nil {
		s.tell()
		s.log.Error("sessions that have ended are on the disk still", "error", err)
	}
}

// byID gives what is kept of a session. The caller holds mu.
func (s *Sessions) byID(id string) *kept {
	if i := slices.IndexFunc(s.kept, func(k kept) bool { return k.ID == id }); i >= 0 {
		return &s.kept[i]
	}
	return nil
}

func onLoopback(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.Unmap().IsLoopback()
}

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// printable bounds what a browser says of itself, and leaves out what could change how
// a page or a terminal shows it.
func printable(text string) string {
	var b strings.Builder
	n := 0
	for _, c := range text {
		if n == maxBrowser {
			break
		}
		if c != unicode.ReplacementChar && unicode.IsPrint(c) {
			b.WriteRune(c)
			n++
		}
	}
	return strings.TrimSpace(b.String())
}

// List gives the sessions, the newest first.
func (s *Sessions) List() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Session
	for _, k := range slices.Backward(s.valid()) {
		list = append(list, k.Session)
	}
	return list
}

// End ends the session with this id, or fails with ErrNoSession. Another error says that
// it may be valid again later: when the daemon is started again, or the password can be
// read again.
func (s *Sessions) End(id string) error {
	ended, err := s.end(func(k kept) bool { return k.ID == id })
	if err == nil && ended == 0 {
		return fmt.Errorf("%w: %q; 'archy sessions' lists them", ErrNoSession, id)
	}
	return err
}

// EndAll ends all sessions, and tells how many there were; for an error see End.
func (s *Sessions) EndAll() (int, error) { return s.end(func(kept) bool { return true }) }

func (s *Sessions) end(which func(kept) bool) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	valid, err := s.check()
	if err != nil {
		return 0, err
	}
	rest := slices.DeleteFunc(slices.Clone(valid), which)
	ended := len(valid) - len(rest)
	if ended == 0 {
		return 0, nil
	}
	return ended, s.change(rest)
}
