package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// Scope is what a token may do. Each has what the ones before it have.
type Scope string

const (
	Read    Scope = "read"    // see applications, their use, backups and the node, and read metrics
	Operate Scope = "operate" // also start, stop and restart, back up, read logs
	Admin   Scope = "admin"   // also install, change, update, remove, restore, and see credentials

	// NodeToken is what only the node's own token may do: say who has access, and replace the daemon.
	NodeToken Scope = "the node's own token"
)

// Scopes are those that a token can be given, in rising order.
var Scopes = []Scope{Read, Operate, Admin}

// covers tells whether a scope is enough where another is needed.
func (s Scope) covers(need Scope) bool {
	rising := append(slices.Clone(Scopes), NodeToken)
	have, want := slices.Index(rising, s), slices.Index(rising, need)
	return have >= 0 && want >= 0 && have >= want
}

// Takes is what all of a handler's requests take.
func Takes(s Scope) func(*http.Request) Scope { return func(*http.Request) Scope { return s } }

// named is a scope in a message.
func (s Scope) named() string {
	if s == NodeToken {
		return string(s)
	}
	return fmt.Sprintf("the scope %q", s)
}

const (
	tokensFormat = 1
	maxTokens    = 100

	// TokenPrefix begins each token, by which scanners for leaked secrets know one.
	TokenPrefix = "archipelago_"

	// MaxTokenDays is for how long a token can be made.
	MaxTokenDays = 3650
)

var (
	// ErrToken is returned for a name that no token has.
	ErrToken = errors.New("no such token")

	// ErrTokenRefused is returned for a token that is not made as asked.
	ErrTokenRefused = errors.New("refused")
)

// Token is a secret for a program: it opens the daemon's interface up to a scope, until it ends.
// Nothing in it opens anything.
type Token struct {
	Name  string    `json:"name"`
	Scope Scope     `json:"scope"`
	Made  time.Time `json:"made"`
	Ends  time.Time `json:"ends"`
	Used  time.Time `json:"used,omitzero"` // its first use on the day of the last
}

// token is one on disk.
type token struct {
	Token
	Secret string `json:"secret"` // HMAC-SHA-256 of it with the node's own token, in hex: another one ends them all
}

// Tokens keeps the tokens besides the node's own. The disk is asked at each use, and where it
// cannot be read, none of them opens anything.
type Tokens struct {
	file    string
	key     string // the node's own token
	log     *slog.Logger
	now     func() time.Time
	replace func(name string, data []byte, mode fs.FileMode) error // a file, durably

	mu      sync.Mutex  // held by whoever changes the file
	removed bell        // rung when one may have been removed
	damaged atomic.Bool // it could not be read when it was asked last
	undone  sync.Map    // what is kept of those whose removal the disk did not take
}

// newTokens keeps them in a directory that is private to the daemon.
func newTokens(dir, key string, log *slog.Logger) *Tokens {
	return &Tokens{file: filepath.Join(dir, "tokens.json"), key: key, log: log, now: time.Now, replace: atomicfile.Write}
}

type tokensFile struct {
	Format int     `json:"format"`
	Tokens []token `json:"tokens"`
}

func (t *Tokens) read() ([]token, error) {
	b, err := os.ReadFile(t.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the access tokens: %w", err)
	}
	var f tokensFile
	if strictly(b, &f) != nil || f.Format != tokensFormat || !wholeTokens(f.Tokens) {
		return nil, fmt.Errorf("%s does not hold access tokens as this daemon keeps them, so only the node's own opens it; put it back from a backup, or remove it and make the tokens again", t.file)
	}
	return f.Tokens, nil
}

// wholeTokens tells whether tokens are as this daemon would have written them.
func wholeTokens(all []token) bool {
	names := map[string]bool{}
	for _, one := range all {
		if !isName(one.Name) || names[one.Name] || !slices.Contains(Scopes, one.Scope) || len(one.Secret) != 2*sha256.Size || one.Ends.IsZero() {
			return false
		}
		names[one.Name] = true
	}
	return true
}

func (t *Tokens) write(all []token) error {
	if err := put(t.replace, t.file, tokensFile{tokensFormat, all}); err != nil {
		return fmt.Errorf("writing the access tokens: %w", err)
	}
	return nil
}

func (t *Tokens) mac(secret string) string {
	return hex.EncodeToString(keyed([]byte(t.key), []byte("token "+secret)))
}

// List gives the tokens by name, those that have ended, too.
func (t *Tokens) List() ([]Token, error) {
	all, err := t.read()
	var list []Token
	for _, one := range all {
		list = append(list, one.Token)
	}
	slices.SortFunc(list, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// Ended tells whether a token opens nothing any more.
func (t *Tokens) Ended(one Token) bool { return !t.now().Before(one.Ends) }

// Admits tells whether Add would make a token now, or all that is wrong with it.
func (t *Tokens) Admits(name string, scope Scope, days int) error {
	_, err := t.admits(name, scope, days)
	return err
}

// admits is Admits, and gives the tokens there are.
func (t *Tokens) admits(name string, scope Scope, days int) ([]token, error) {
	all, err := t.read()
	if err != nil {
		return nil, err
	}
	var wrong []error
	if !isName(name) {
		wrong = append(wrong, fmt.Errorf("%w: %q is no name for a token; it begins with a lower-case letter, goes on with letters, digits, '.', '-' and '_', has %d characters at most, and is not %q", ErrTokenRefused, name, maxName, Owner))
	}
	if slices.ContainsFunc(all, func(one token) bool { return one.Name == name }) {
		wrong = append(wrong, fmt.Errorf("%w: there is a token %q already; 'archy tokens remove %[2]s' removes it", ErrTokenRefused, name))
	}
	if !slices.Contains(Scopes, scope) {
		wrong = append(wrong, fmt.Errorf("%w: %q is no scope; there are %s, %s and %s", ErrTokenRefused, scope, Read, Operate, Admin))
	}
	if days < 1 || days > MaxTokenDays {
		wrong = append(wrong, fmt.Errorf("%w: a token is made for 1 to %d days, not for %d", ErrTokenRefused, MaxTokenDays, days))
	}
	if len(all) >= maxTokens {
		wrong = append(wrong, fmt.Errorf("%w: a node has %d tokens at most; remove those that have ended", ErrTokenRefused, maxTokens))
	}
	return all, errors.Join(wrong...)
}

// Add makes a token that ends after some days, and gives its secret, which is kept nowhere. It
// fails with all that is wrong with it.
func (t *Tokens) Add(name string, scope Scope, days int) (made Token, secret string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all, err := t.admits(name, scope, days)
	if err != nil {
		return made, "", err
	}
	now := t.now().UTC().Truncate(time.Second)
	made, secret = Token{Name: name, Scope: scope, Made: now, Ends: now.AddDate(0, 0, days)}, TokenPrefix+rand.Text()
	if err := t.write(append(all, token{made, t.mac(secret)})); err != nil {
		return Token{}, "", err
	}
	return made, secret, nil
}

// Remove removes a token, which opens nothing from then on. Where the disk does not take that, it
// fails, and the token opens nothing until the daemon ends.
func (t *Tokens) Remove(name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	all, err := t.read()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(one token) bool { return one.Name == name })
	if i < 0 {
		return fmt.Errorf("%w: %q; 'archy tokens list' lists them", ErrToken, name)
	}
	defer t.removed.ring()
	if err := t.write(slices.Delete(slices.Clone(all), i, i+1)); err != nil {
		t.undone.Store(all[i].Secret, true)
		return fmt.Errorf("%w; until the daemon ends, %s opens nothing all the same", err, name)
	}
	return nil
}

// clear removes all tokens; also those that cannot be read.
func (t *Tokens) clear() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.removed.ring()
	return removeDurably(t.file)
}

// find gives the token with a secret.
func (t *Tokens) find(secret string) (by token, ok bool) {
	if !strings.HasPrefix(secret, TokenPrefix) {
		return by, false
	}
	all, err := t.read()
	if before := t.damaged.Swap(err != nil); err != nil {
		if !before { // it is said once: anybody can ask
			t.log.Error("no access token but the node's own opens the node", "error", err)
		}
		return by, false
	}
	mac := t.mac(secret)
	for _, one := range all {
		if subtle.ConstantTimeCompare([]byte(one.Secret), []byte(mac)) == 1 && !t.Ended(one.Token) {
			_, removed := t.undone.Load(one.Secret)
			return one, !removed
		}
	}
	return by, false
}

// until has a call that came by a token end when the token does, however long it would have lasted;
// changed is closed at the first removal since before the token was found. The caller ends it, too.
func (t *Tokens) until(ctx context.Context, secret string, by token, changed <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancel(context.WithValue(ctx, tokenKey{}, by.Name))
	over := time.NewTimer(by.Ends.Sub(t.now()))
	go func() {
		defer end()
		defer over.Stop()
		for ok := true; ok; {
			select {
			case <-changed:
				changed = t.removed.next()
				_, ok = t.find(secret)
			case <-over.C:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, end
}

// used puts down when a token was used first on this day. A disk that does not take that is no
// reason to turn a token away.
func (t *Tokens) used(by token) {
	const day = 24 * time.Hour
	now := t.now().UTC().Truncate(time.Second)
	if by.Used.Truncate(day).Equal(now.Truncate(day)) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	all, err := t.read()
	if i := slices.IndexFunc(all, func(one token) bool { return one.Secret == by.Secret }); i >= 0 {
		all[i].Used = now
		err = t.write(all)
	}
	if err != nil {
		t.log.Warn("the use of a token is not put down", "token", by.Name, "error", err)
	}
}

// TokenOf is the name of the token by which a call came; empty for the node's own.
func TokenOf(ctx context.Context) string {
	name, _ := ctx.Value(tokenKey{}).(string)
	return name
}

type tokenKey struct{}

// Making is what Add is asked for, as the audit log has it.
func Making(name string, scope Scope) string {
	return "make token " + name + " with the scope " + string(scope)
}
