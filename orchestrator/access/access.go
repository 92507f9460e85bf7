// Package access decides who may use a daemon: by its token or one that was made for a
// program, by the owner's password or that of another user, or by a session that one of
// them began. What is wrong too often from one address, or with one name, has to wait.
package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

const (
	cookie = "__Host-archipelago-session" // the prefix binds it to this host and TLS (RFC 6265bis)

	minPassword = 10 // characters
	maxPassword = 200

	// Argon2id with the memory and passes that RFC 9106 recommends where memory is
	// short (section 4, the second choice).
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
	argonKey     = 32

	// Hashes in progress. Each takes 64 MiB; the daemon is to do with 180 (GOMEMLIMIT in its unit).
	maxHashing = 1
	hashWait   = 5 * time.Second // for a place among them
)

// errBusy is returned where too many passwords are being checked already.
var errBusy = errors.New("too many passwords are being checked at the same time")

// ErrLength is returned for a password that is too short or too long.
var ErrLength = fmt.Errorf("a password has %d to %d characters", minPassword, maxPassword)

// ErrWeak stands in logs for why a password was not taken: what it is like would help to guess
// the one that is.
var ErrWeak = errors.New("a password that was not taken")

// Passwords keeps the owner's password, as Argon2id in the PHC string format.
type Passwords struct {
	file    string
	hashing chan struct{} // holds one for each hash in progress
	wait    time.Duration // how long a check waits for its place
	changed []func()      // called when there is another password
	hash    func(password, salt []byte, time, memory uint32, threads uint8, length uint32) []byte
}

// NewPasswords keeps it in a directory that is private to the daemon.
func NewPasswords(dir string) *Passwords {
	return &Passwords{file: filepath.Join(dir, "password"), hashing: make(chan struct{}, maxHashing), wait: hashWait, hash: argon2.IDKey}
}

// Set makes a password the one that opens My Apps.
func (p *Passwords) Set(password string) error {
	_, err := p.set(password, false)
	return err
}

// set does, and gives what is kept of it; as the first one, only where there is none. Spaces
// around it are not of it, as SignIn has it: whoever pasted them once would never get in.
func (p *Passwords) set(password string, first bool) (line []byte, err error) {
	password = strings.TrimSpace(password)
	if !long(password) {
		return nil, ErrLength
	}
	p.hashing <- struct{}{} // held until it is written: of two that are the first, one is
	defer func() { <-p.hashing }()
	if first {
		switch set, err := p.isSet(); {
		case err != nil:
			return nil, err
		case set:
			return nil, ErrClaimed
		}
	}
	line = p.hashed(password)
	if err := atomicfile.Write(p.file, line, 0o600); err != nil {
		return nil, err
	}
	for _, tell := range p.changed {
		tell()
	}
	return line, nil
}

// hashed is what is kept of a password, for whoever has a place among the hashes.
func (p *Passwords) hashed(password string) []byte {
	salt := make([]byte, 16)
	rand.Read(salt)
	return phc(salt, p.hash([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey))
}

// keep is what is kept of a password that is not the first owner's.
func (p *Passwords) keep(password string) []byte {
	p.hashing <- struct{}{}
	defer func() { <-p.hashing }()
	return p.hashed(password)
}

// phc is what is kept of a password.
func phc(salt, key []byte) []byte {
	b64 := base64.RawStdEncoding
	return fmt.Appendf(nil, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s\n", argon2.Version, argonMemory, argonTime, argonThreads, b64.EncodeToString(salt), b64.EncodeToString(key))
}

// long tells whether a password is neither too short nor too long.
func long(password string) bool {
	n := utf8.RuneCountInString(password)
	return n >= minPassword && n <= maxPassword
}

// isSet tells whether there is a password, right or damaged.
func (p *Passwords) isSet() (bool, error) {
	_, err := os.Lstat(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for the password: %w", err)
	}
	return true, nil
}

// Check tells whether a password is the owner's; never where none has been set. Where
// others are being checked and it does not come to this one soon, the error is errBusy.
func (p *Passwords) Check(ctx context.Context, password string) (bool, error) {
	if len(password) > 4*maxPassword {
		return false, nil
	}
	b, err := os.ReadFile(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the password: %w", err)
	}
	ok, err := p.matches(ctx, string(b), password)
	if errors.Is(err, errNoHash) {
		err = fmt.Errorf("%s: %w", p.file, err)
	}
	return ok, err
}

// errNoHash is returned for what is kept of a password, and cannot be.
var errNoHash = errors.New("not an Argon2id password")

// phcLine is what is kept of a password, taken apart.
type phcLine struct {
	memory, passes uint32
	threads        uint8
	salt, key      []byte
}

func parsePHC(line string) (h phcLine, err error) {
	var version int
	parts := strings.Split(strings.TrimSpace(line), "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return h, errNoHash
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &h.memory, &h.passes, &h.threads); err != nil || version != argon2.Version || h.passes == 0 || h.threads == 0 {
		return h, errNoHash
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.DecodeString(parts[4])
	h.key, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if errors.Join(err1, err2) != nil || len(h.key) == 0 {
		return h, errNoHash
	}
	return h, nil
}

// damaged says why the first owner's password cannot be read, and what to do; nil: it can, or there
// is none.
func (p *Passwords) damaged() error {
	b, err := os.ReadFile(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the password: %w", err)
	}
	if _, err := parsePHC(string(b)); err != nil {
		return fmt.Errorf("%s does not hold a password as this daemon keeps it, so it signs nobody in; put it back from a backup, or set another one with 'archy password'", p.file)
	}
	return nil
}

// matches tells whether a password is the one of which line is kept.
func (p *Passwords) matches(ctx context.Context, line, password string) (bool, error) {
	h, err := parsePHC(line)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.wait, errBusy)
	defer cancel()
	select {
	case p.hashing <- struct{}{}:
		defer func() { <-p.hashing }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	got := p.hash([]byte(password), h.salt, h.passes, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(got, h.key) == 1, nil
}

// Guard lets requests through that carry the token or a session.
type Guard struct {
	sessions *Sessions // and with them the token and the passwords that begin them
	throttle *throttle[netip.Prefix]
	names    *throttle[string]

	// Said gives an answer of the guard's in the language of whoever asks; nil: in English.
	Said func(r *http.Request, answer string) string
}

// NewGuard guards with the token and the owner's password, which begin sessions.
func NewGuard(sessions *Sessions) *Guard {
	return &Guard{sessions: sessions, throttle: newThrottle[netip.Prefix](), names: newThrottle[string]()}
}

// What the guard answers by itself.
const (
	tooManyWrong  = "Too many wrong attempts from your address; wait a little, or use the node's access token."
	tooManyOfName = "Too many wrong attempts with this name; wait a little, or ask the owner of the node."
	tooManyCodes  = "Too many wrong codes from your address; wait a little."
	tooManyAtOnce = "Too many sign-ins at the same time; try again in a moment."
	notThisPage   = "Refused: the request does not come from this page. Open My Apps in a browser and try again there."
)

// Answers are all that people are answered by itself.
var Answers = []string{tooManyWrong, tooManyOfName, tooManyCodes, tooManyAtOnce, notThisPage}

// refuse answers 429 in the language of whoever asks.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, wait time.Duration, why string) {
	refuse(w, wait, g.said(r, why))
}

func (g *Guard) said(r *http.Request, answer string) string {
	if g.Said == nil {
		return answer
	}
	return g.Said(r, answer)
}

// Token lets requests through with "Authorization: Bearer TOKEN", where that is the node's own
// token or another whose scope is enough; TokenOf says which it was, and the call ends with it. It
// answers 403 where the scope is not enough, and 401 to all others. One that carries no credential
// at all guesses nothing, and does not count as an attempt: a page of somebody else's could make
// the owner's browser send many.
func (g *Guard) Token(need func(r *http.Request) Scope, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Get("Authorization")
		secret, bearer := strings.CutPrefix(given, "Bearer ")
		if bearer && subtle.ConstantTimeCompare([]byte(secret), []byte(g.sessions.token)) == 1 {
			next.ServeHTTP(w, r)
			return
		}
		changed := g.sessions.Tokens.removed.next()
		if by, ok := g.sessions.Tokens.find(secret); bearer && ok { // nor can this be guessed
			g.sessions.Tokens.used(by)
			if scope := need(r); !by.Scope.covers(scope) {
				answerError(w, http.StatusForbidden, "permission_denied", fmt.Sprintf("the token %q has the scope %q; this takes %s", by.Name, by.Scope, scope.named()))
				return
			}
			ctx, end := g.sessions.Tokens.until(r.Context(), secret, by, changed)
			defer end()
			// What is still being sent is not waited for. It fails only where the connection has no deadlines, as in tests.
			over := context.AfterFunc(ctx, func() { http.NewResponseController(w).SetReadDeadline(time.Now()) })
			defer over()
			next.ServeHTTP(w, r.WithContext(ctx))
			return
		}
		if given != "" {
			if _, wait, ok := g.throttle.take(origin(r)); !ok {
				refuse(w, wait, tooManyWrong)
				return
			}
		}
		if own, ok := g.SignedIn(r); ok && !own.Owner() {
			answerError(w, http.StatusForbidden, "permission_denied", "only the owner of the node may do that")
			return
		}
		answerError(w, http.StatusUnauthorized, "unauthenticated", "sign in first: send the node's access token (archy login)")
	})
}

// answerError answers with an error as the Connect protocol has it.
func answerError(w http.ResponseWriter, status int, code, message string) {
	b, _ := json.Marshal(map[string]string{"code": code, "message": message})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b)
}

// SignIn tells whether what was typed is the password or the token, and if so begins a
// session and sets its cookie. answered is true where the response has been written: not
// over TLS, nobody signs in, since whoever listens would be signed in too. The token is
// let through however many attempts were wrong before: it cannot be guessed, and is what
// an owner has left whose address is being abused. The password takes the code, too, where there
// is a second factor: with ErrFactor, that alone was wrong, which the answer is not to tell;
// with ErrRecovered it was one for recovery, and the session is begun.
func (g *Guard) SignIn(w http.ResponseWriter, r *http.Request, typed, code string) (ok, answered bool, err error) {
	if r.TLS == nil {
		refusePlain(w, r)
		return false, true, nil
	}
	credentials, err := g.sessions.credentials() // those that are checked, whatever they become meanwhile
	if err != nil {
		return false, false, err
	}
	if ok, answered, err = g.knows(w, r, typed, code); !ok {
		return false, answered, err
	}
	setCookie(w, g.sessions.begin(r, credentials), sessionLife)
	return true, false, err
}

// knows tells whether what was typed is the token, or the password with the code that goes with
// it. The rest is as for SignIn.
func (g *Guard) knows(w http.ResponseWriter, r *http.Request, typed, code string) (ok, answered bool, err error) {
	if subtle.ConstantTimeCompare([]byte(strings.TrimSpace(typed)), []byte(g.sessions.token)) == 1 {
		return true, false, nil
	}
	return g.Prove(w, r, typed, code)
}

// SignedIn gives the session that a request carries.
func (g *Guard) SignedIn(r *http.Request) (Session, bool) {
	g.sessions.mu.Lock()
	defer g.sessions.mu.Unlock()
	s := g.sessions.find(r)
	return s, s.ID != ""
}

// SignOut ends the browser's session; for an error see Sessions.End.
func (g *Guard) SignOut(w http.ResponseWriter, r *http.Request) error {
	setCookie(w, "", -time.Second)
	s, ok := g.SignedIn(r)
	if !ok {
		return nil
	}
	return g.sessions.End(s.ID)
}

// refusePlain answers a sign-in that is not encrypted, and names where it is.
func refusePlain(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	address := net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(manifest.DaemonTLSPort))
	http.Error(w, "This connection is not encrypted. Sign in at https://"+address+".", http.StatusForbidden)
}

func setCookie(w http.ResponseWriter, value string, life time.Duration) {
	setNamedCookie(w, cookie, value, life)
}

func setNamedCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(life.Seconds()), HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
}

// As is a request of whoever has a session, for Who.
func As(r *http.Request, own Session) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), sessionKey{}, own))
}

type sessionKey struct{}

// Who names the caller, for the audit log: the user, too, where that is not the node's first owner.
func Who(r *http.Request) string {
	who := "My Apps from " + From(r)
	if own, _ := r.Context().Value(sessionKey{}).(Session); own.User != "" {
		return own.User + " on " + who
	}
	return who
}
