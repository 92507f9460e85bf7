// Package access decides who may use a daemon: by its token, by the owner's
// password, or by a session that one of them began. What is wrong too often from
// one address has to wait.
package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

const (
	sessionLife = 30 * 24 * time.Hour
	cookie      = "archipelago-session"

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

// Passwords keeps the owner's password, as Argon2id in the PHC string format.
type Passwords struct {
	file    string
	hashing chan struct{} // holds one for each hash in progress
	wait    time.Duration // how long a check waits for its place
	hash    func(password, salt []byte, time, memory uint32, threads uint8, length uint32) []byte
}

// NewPasswords keeps it in a directory that is private to the daemon.
func NewPasswords(dir string) *Passwords {
	return &Passwords{file: filepath.Join(dir, "password"), hashing: make(chan struct{}, maxHashing), wait: hashWait, hash: argon2.IDKey}
}

// Set makes a password the one that opens My Apps.
func (p *Passwords) Set(password string) error {
	if n := utf8.RuneCountInString(password); n < minPassword || n > maxPassword {
		return fmt.Errorf("a password has %d to %d characters", minPassword, maxPassword)
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	p.hashing <- struct{}{}
	defer func() { <-p.hashing }()
	key := p.hash([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	b64 := base64.RawStdEncoding
	line := fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s\n", argon2.Version, argonMemory, argonTime, argonThreads, b64.EncodeToString(salt), b64.EncodeToString(key))
	return atomicfile.Write(p.file, []byte(line), 0o600)
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
	var version, memory, passes int
	var threads uint8
	parts := strings.Split(strings.TrimSpace(string(b)), "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, fmt.Errorf("%s is not an Argon2id password", p.file)
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &passes, &threads); err != nil || version != argon2.Version {
		return false, fmt.Errorf("%s is not an Argon2id password", p.file)
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err := errors.Join(err1, err2); err != nil {
		return false, fmt.Errorf("%s: %w", p.file, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.wait, errBusy)
	defer cancel()
	select {
	case p.hashing <- struct{}{}:
		defer func() { <-p.hashing }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	got := p.hash([]byte(password), salt, uint32(passes), uint32(memory), threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// Guard lets requests through that carry the token or a session.
type Guard struct {
	token     string
	passwords *Passwords
	throttle  *throttle
}

// NewGuard guards with a token and the owner's password.
func NewGuard(token string, passwords *Passwords) *Guard {
	return &Guard{token: token, passwords: passwords, throttle: newThrottle()}
}

const tooManyWrong = "Too many wrong attempts from your address; wait a little."

// Token answers 401 to requests without "Authorization: Bearer TOKEN". One that carries
// no credential at all guesses nothing, and does not count as an attempt: a page of
// somebody else's could make the owner's browser send many.
func (g *Guard) Token(next http.Handler) http.Handler {
	want := []byte("Bearer " + g.token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Get("Authorization")
		if subtle.ConstantTimeCompare([]byte(given), want) == 1 {
			next.ServeHTTP(w, r)
			return
		}
		if given != "" {
			if _, wait, ok := g.throttle.take(origin(r)); !ok {
				refuse(w, wait, tooManyWrong)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"code":"unauthenticated","message":"sign in first: send the node's access token (archy login)"}`)
	})
}

// SignIn tells whether what was typed is the password or the token, and sets the
// session's cookie if so. answered is true where the response has been written. The
// token is let through however many attempts were wrong before: it cannot be guessed,
// and is what an owner has left whose address is being abused.
func (g *Guard) SignIn(w http.ResponseWriter, r *http.Request, typed string) (ok, answered bool, err error) {
	typed = strings.TrimSpace(typed)
	if subtle.ConstantTimeCompare([]byte(typed), []byte(g.token)) != 1 {
		giveBack, wait, ok := g.throttle.take(origin(r))
		if !ok {
			refuse(w, wait, tooManyWrong)
			return false, true, nil
		}
		ok, err = g.passwords.Check(r.Context(), typed)
		switch {
		case errors.Is(err, errBusy):
			giveBack()
			refuse(w, wrongEvery, "Too many sign-ins at the same time; try again in a moment.")
			return false, true, nil
		case err != nil || !ok:
			return false, false, err
		}
		giveBack()
	}
	g.setCookie(w, r, g.session(time.Now().Add(sessionLife).Unix(), rand.Text()), sessionLife)
	return true, false, nil
}

// SignOut ends the browser's session.
func (g *Guard) SignOut(w http.ResponseWriter, r *http.Request) {
	g.setCookie(w, r, "", -time.Second)
}

// A session is "EXPIRY.NONCE.MAC": it needs no storage and survives a restart of
// the daemon; a new token ends all sessions, and so does a new password.
func (g *Guard) session(expiry int64, nonce string) string {
	mac := hmac.New(sha256.New, []byte(g.token))
	hash, _ := os.ReadFile(g.passwords.file)
	fmt.Fprintf(mac, "archipelago session %d %s %s", expiry, nonce, hash)
	return fmt.Sprintf("%d.%s.%s", expiry, nonce, hex.EncodeToString(mac.Sum(nil)))
}

// SignedIn tells whether a request carries a valid session.
func (g *Guard) SignedIn(r *http.Request) bool {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return false
	}
	parts := strings.Split(c.Value, ".")
	if len(parts) != 3 {
		return false
	}
	expiry, err := strconv.ParseInt(parts[0], 10, 64)
	return err == nil && time.Now().Unix() < expiry && hmac.Equal([]byte(c.Value), []byte(g.session(expiry, parts[1])))
}

// cookieName has, over TLS, the prefix that binds a cookie to this host (RFC 6265bis).
func cookieName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-" + cookie
	}
	return cookie
}

func (g *Guard) setCookie(w http.ResponseWriter, r *http.Request, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Value: value, Path: "/", MaxAge: int(life.Seconds()),
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
}

// Who names the caller, for the audit log.
func Who(r *http.Request) string { return "My Apps from " + address(r) }
