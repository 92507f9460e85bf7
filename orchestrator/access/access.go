// Package access decides who may use a daemon: by its token, by the owner's
// password, or by a session that one of them began. What is wrong too often from
// one address has to wait.
package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/time/rate"

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

	// Of wrong attempts from one address.
	wrongEvery = 2 * time.Second
	wrongBurst = 5
	maxTracked = 10000
)

// Passwords keeps the owner's password, as Argon2id in the PHC string format.
type Passwords struct {
	file string
	mu   sync.Mutex // one hash at a time: each takes 64 MiB
}

// NewPasswords keeps it in a directory that is private to the daemon.
func NewPasswords(dir string) *Passwords { return &Passwords{file: filepath.Join(dir, "password")} }

// Set makes a password the one that opens My Apps.
func (p *Passwords) Set(password string) error {
	if n := utf8.RuneCountInString(password); n < minPassword || n > maxPassword {
		return fmt.Errorf("a password has %d to %d characters", minPassword, maxPassword)
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	p.mu.Lock()
	defer p.mu.Unlock()
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	b64 := base64.RawStdEncoding
	line := fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s\n", argon2.Version, argonMemory, argonTime, argonThreads, b64.EncodeToString(salt), b64.EncodeToString(key))
	return atomicfile.Write(p.file, []byte(line), 0o600)
}

// Check tells whether a password is the owner's; never where none has been set.
func (p *Passwords) Check(password string) (bool, error) {
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
	p.mu.Lock()
	defer p.mu.Unlock()
	got := argon2.IDKey([]byte(password), salt, uint32(passes), uint32(memory), threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// Guard lets requests through that carry the token or a session.
type Guard struct {
	token     string
	passwords *Passwords

	mu    sync.Mutex
	wrong map[string]*rate.Limiter // by address
}

// NewGuard guards with a token and the owner's password.
func NewGuard(token string, passwords *Passwords) *Guard {
	return &Guard{token: token, passwords: passwords, wrong: map[string]*rate.Limiter{}}
}

// address is the caller's, without the port.
func address(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// limiter counts the wrong attempts of an address.
func (g *Guard) limiter(r *http.Request) *rate.Limiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := address(r)
	l, ok := g.wrong[a]
	if !ok {
		if len(g.wrong) >= maxTracked {
			clear(g.wrong)
		}
		l = rate.NewLimiter(rate.Every(wrongEvery), wrongBurst)
		g.wrong[a] = l
	}
	return l
}

// Blocked answers 429 to an address that was wrong too often, and tells so. Its
// attempts are not even looked at.
func (g *Guard) blocked(w http.ResponseWriter, r *http.Request) bool {
	if g.limiter(r).Tokens() >= 1 {
		return false
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(wrongEvery.Seconds())))
	http.Error(w, "Too many wrong attempts from your address; wait a little.", http.StatusTooManyRequests)
	return true
}

// Token answers 401 to requests without "Authorization: Bearer TOKEN".
func (g *Guard) Token(next http.Handler) http.Handler {
	want := []byte("Bearer " + g.token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) == 1 {
			next.ServeHTTP(w, r)
			return
		}
		if g.blocked(w, r) {
			return
		}
		g.limiter(r).Allow()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"code":"unauthenticated","message":"sign in first: send the node's access token (archy login)"}`)
	})
}

// SignIn tells whether what was typed is the password or the token, and sets the
// session's cookie if so. answered is true where the response has been written.
func (g *Guard) SignIn(w http.ResponseWriter, r *http.Request, typed string) (ok, answered bool, err error) {
	if g.blocked(w, r) {
		return false, true, nil
	}
	typed = strings.TrimSpace(typed)
	if subtle.ConstantTimeCompare([]byte(typed), []byte(g.token)) != 1 {
		if ok, err = g.passwords.Check(typed); !ok || err != nil {
			g.limiter(r).Allow()
			return false, false, err
		}
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
