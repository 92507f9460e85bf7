package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// ErrClaimed is returned where a node has an owner already: a password has been set.
var ErrClaimed = errors.New("this node has an owner already")

// ErrCode is returned for what is not the code.
var ErrCode = errors.New("that is not this node's code")

const (
	// Digits and letters that cannot be taken for each other (Crockford's base 32): 40 bits,
	// which the throttle makes unguessable, and which can be typed.
	codeLetters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	codeLength  = 8
)

// Offer is what makes the node somebody's, as whoever is at the node may read it.
type Offer struct {
	Code string `json:"code"`
	Port int    `json:"port"` // of My Apps
}

// Claim is how a node that has no password gets one, and with it its owner: by a code that
// the daemon makes when it starts, and that only those read who are at the node. It is dead
// as soon as there is a password, however that was set; whether there is one is asked of the
// disk, so that a power cut at any instant leaves a code or a password, and never both.
type Claim struct {
	file      string
	passwords *Passwords

	judging sync.Mutex // held while a code and a password are: of two, one claims
	mu      sync.Mutex
	code    string // empty where the node has, or once had, an owner
}

func claimFile(dir string) string { return filepath.Join(dir, "claim.json") }

// OpenClaim makes a code where there is no password, and leaves it in a file that is private
// to the daemon.
func OpenClaim(dir string, port int, passwords *Passwords) (*Claim, error) {
	c := &Claim{file: claimFile(dir), passwords: passwords}
	switch set, err := passwords.isSet(); {
	case err != nil:
		return nil, err
	case set:
		return c, c.end()
	}
	c.code = randomCode(codeLength)
	b, err := json.Marshal(Offer{Spaced(c.code), port})
	if err != nil {
		return nil, err
	}
	if err := atomicfile.Write(c.file, append(b, '\n'), 0o600); err != nil {
		return nil, fmt.Errorf("writing the code that claims the node: %w", err)
	}
	passwords.changed = append(passwords.changed, func() { c.end() })
	return c, nil
}

// ReadOffer reads the code from a daemon's state directory, or fails with ErrClaimed.
func ReadOffer(dir string) (o Offer, err error) {
	switch set, err := NewPasswords(dir).isSet(); {
	case err != nil:
		return o, err
	case set:
		return o, ErrClaimed
	}
	b, err := os.ReadFile(claimFile(dir))
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		return o, fmt.Errorf("reading the code that claims the node, which the daemon makes when it starts: %w", err)
	}
	return o, nil
}

// Spaced is a code as people read it: in groups of four.
func Spaced(code string) string {
	if code = Plain(code); len(code) != codeLength {
		return ""
	}
	return code[:codeLength/2] + "-" + code[codeLength/2:]
}

// asTyped takes what people type into a code, and for what they take its letters.
var asTyped = strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1")

// Plain is a code however it was typed; empty where it cannot be one.
func Plain(typed string) string { return plain(typed, codeLength) }

// plain is the same of a code of so many letters.
func plain(typed string, length int) string {
	if len(typed) > 4*length {
		return ""
	}
	typed = asTyped.Replace(strings.ToUpper(typed))
	if len(typed) != length || strings.Trim(typed, codeLetters) != "" {
		return ""
	}
	return typed
}

// randomCode is a code of so many letters, of five bits each.
func randomCode(length int) string {
	random := make([]byte, length)
	rand.Read(random)
	for i, b := range random {
		random[i] = codeLetters[int(b)%len(codeLetters)] // 256 is a multiple of 32
	}
	return string(random)
}

// Open tells whether the node can be claimed. Where that cannot be told, it cannot.
func (c *Claim) Open() bool {
	if c.Code() == "" {
		return false
	}
	set, err := c.passwords.isSet()
	return err == nil && !set
}

// Code gives the code; empty where there is none.
func (c *Claim) Code() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code
}

// end makes the code a dead one.
func (c *Claim) end() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.code = ""
	if err := os.Remove(c.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Claim makes a password the node's first one for whoever knows the code, and begins a
// session. It fails with ErrClaimed, ErrCode, or with what judge says of the password (without
// spaces around it), which is asked only where the code is right; the code lives on then.
// Whatever is not the code of a node without an owner counts as wrong, so that nobody can ask, and
// have it put down, without end. answered is as for SignIn.
func (g *Guard) Claim(w http.ResponseWriter, r *http.Request, c *Claim, code, password string, judge func(password string) error) (answered bool, err error) {
	if r.TLS == nil {
		refusePlain(w, r)
		return true, nil
	}
	giveBack, wait, ok := g.throttle.take(origin(r))
	if !ok {
		g.refuse(w, r, wait, tooManyCodes)
		return true, nil
	}
	c.judging.Lock()
	defer c.judging.Unlock()
	want := c.Code() // kept: it may end meanwhile, and nothing equals nothing
	if want == "" || !c.Open() {
		return false, ErrClaimed
	}
	// What cannot be a code is compared, too: it counts as every wrong one does.
	if subtle.ConstantTimeCompare([]byte(Plain(code)), []byte(want)) != 1 {
		return false, ErrCode
	}
	giveBack()
	if err := judge(strings.TrimSpace(password)); err != nil {
		return false, err
	}
	if err := g.sessions.forget(); err != nil {
		return false, err
	}
	line, err := c.passwords.set(password, true)
	if err != nil {
		return false, err
	}
	setCookie(w, g.sessions.begin(r, g.sessions.credentialsWith(line)), sessionLife)
	return false, nil
}

// SetPassword makes a password the first owner's for whoever has the node's token. Where the node
// has no owner, that makes one, as a claim does.
func (s *Sessions) SetPassword(password string) error {
	if !long(strings.TrimSpace(password)) {
		return ErrLength
	}
	switch set, err := s.passwords.isSet(); {
	case err != nil:
		return err
	case !set:
		if err := s.forget(); err != nil {
			return err
		}
	}
	return s.passwords.Set(password)
}

// forget removes what is of an owner before, and none of the next one's: the second factor, the
// passkeys, the users and the access tokens.
func (s *Sessions) forget() error {
	if err := s.Factor.Off(); err != nil && !errors.Is(err, ErrNoFactor) {
		return err
	}
	if _, err := s.Passkeys.RemoveAll(); err != nil {
		return err
	}
	return errors.Join(s.Users.clear(), s.Tokens.clear())
}
