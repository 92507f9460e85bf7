package access

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

const (
	passkeysFormat = 1
	maxPasskeys    = 20
	maxPasskeyName = 60 // characters

	// passkeyCookie holds the ticket of a sign-in by a passkey, of which the challenge is made.
	passkeyCookie = "__Host-archipelago-passkey"
	ticketTime    = 5 * time.Minute // how long a sign-in by a passkey may take
	userHandle    = 32              // bytes, by which authenticators know whose passkeys they are
)

var (
	// ErrPasskey is returned where somebody is not signed in by a passkey, or none is made; what
	// it wraps is for the audit log.
	ErrPasskey = errors.New("that is no passkey of this node's for this address")

	// ErrNoPasskey is returned for an id that names no passkey.
	ErrNoPasskey = errors.New("no such passkey")

	// ErrPasskeyName is returned for a name that a passkey cannot have.
	ErrPasskeyName = fmt.Errorf("a passkey's name has 1 to %d characters that can be seen", maxPasskeyName)

	// ErrPasskeys is returned where there are too many.
	ErrPasskeys = fmt.Errorf("there are %d passkeys already; remove one first", maxPasskeys)

	// ErrPasskeyHost is returned where browsers make no passkeys.
	ErrPasskeyHost = errors.New("passkeys are for names such as box.local, by https; open My Apps by the node's whole name")
)

// Passkey is a key in the owner's device (WebAuthn), which signs in to My Apps after the device
// has seen who uses it, by a PIN, a finger or a face. Nothing in it signs anyone in.
type Passkey struct {
	ID     string    `json:"id"`
	Name   string    `json:"name"`   // that the owner gave it
	Origin string    `json:"origin"` // of the pages for which it was made, such as "https://box.local:7443"
	Added  time.Time `json:"added"`
	Used   time.Time `json:"used"` // the last time; zero for never
}

// Host is the name of the node for which it was made.
func (p Passkey) Host() string {
	host := strings.TrimPrefix(p.Origin, "https://")
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

// passkey is one on disk.
type passkey struct {
	Passkey
	Credential []byte `json:"credential"` // the device's id of it
	PublicKey  []byte `json:"public_key"` // as COSE
	Counter    uint32 `json:"counter"`    // of signatures; 0 where the device counts none
	Copied     bool   `json:"copied"`     // whether the device may copy it to others of its owner's
}

type passkeysFile struct {
	Format   int       `json:"format"`
	User     []byte    `json:"user"` // the owner's handle
	Passkeys []passkey `json:"passkeys"`
}

// Passkeys keeps the owner's passkeys. The disk is asked each time; what cannot be read signs
// nobody in.
type Passkeys struct {
	file    string
	log     *slog.Logger
	now     func() time.Time
	replace func(name string, data []byte, mode fs.FileMode) error // a file, durably
	key     []byte                                                 // makes challenges of tickets; ends with the daemon

	mu       sync.Mutex           // held while an answer is judged: of two to one challenge, one counts
	pending  *enrolment           // what is being made
	spent    map[string]time.Time // tickets that signed somebody in, until they end
	counters map[string]uint32    // by id, where the disk could not take them
}

// enrolment is a passkey that is being made.
type enrolment struct {
	by      string // the session that does
	begun   time.Time
	name    string
	user    []byte
	origin  string
	session webauthn.SessionData
}

// newPasskeys keeps them in a directory that is private to the daemon.
func newPasskeys(dir string, log *slog.Logger) *Passkeys {
	p := &Passkeys{file: filepath.Join(dir, "passkeys.json"), log: log, now: time.Now, replace: atomicfile.Write, key: make([]byte, sha256.Size), spent: map[string]time.Time{}, counters: map[string]uint32{}}
	rand.Read(p.key)
	return p
}

// PasskeyHost is the name for which a browser makes passkeys on the page that it asks for; empty
// where it makes none: by an address or a name of one word, or without TLS.
func PasskeyHost(r *http.Request) string {
	host := Passkey{Origin: pageOrigin(r)}.Host()
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || r.TLS == nil || protocol.ValidateRPID(host) != nil {
		return ""
	}
	return host
}

func pageOrigin(r *http.Request) string { return "https://" + strings.ToLower(r.Host) }

func (p *Passkeys) read() (f passkeysFile, err error) {
	b, err := os.ReadFile(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return passkeysFile{Format: passkeysFormat}, nil
	}
	if err != nil {
		return f, fmt.Errorf("reading the passkeys: %w", err)
	}
	if err := strictly(b, &f); err != nil || f.Format != passkeysFormat || len(f.User) != userHandle {
		return f, fmt.Errorf("%s are no passkeys that this daemon can read; 'archy passkeys remove --all' removes them", p.file)
	}
	return f, nil
}

func (p *Passkeys) write(f passkeysFile) error {
	if err := put(p.replace, p.file, f); err != nil {
		return fmt.Errorf("keeping the passkeys: %w", err)
	}
	return nil
}

// List gives them, the newest first.
func (p *Passkeys) List() (all []Passkey, err error) {
	f, err := p.read()
	for _, one := range slices.Backward(f.Passkeys) {
		all = append(all, one.Passkey)
	}
	return all, err
}

// Of tells whether there are passkeys for a name of the node.
func (p *Passkeys) Of(host string) bool {
	all, err := p.List()
	return err == nil && host != "" && slices.ContainsFunc(all, func(one Passkey) bool { return one.Host() == host })
}

// Begin begins to make a passkey for the page that a request asks for, with a name of the owner's,
// and gives what the browser is to be asked (PublicKeyCredential.parseCreationOptionsFromJSON). It
// counts for nothing until Confirm; the one that was begun before is dead.
func (p *Passkeys) Begin(session, name, node string, r *http.Request) (options []byte, err error) {
	host, name := PasskeyHost(r), strings.TrimSpace(name)
	switch {
	case host == "":
		return nil, ErrPasskeyHost
	case name == "" || utf8.RuneCountInString(name) > maxPasskeyName || name != printable(name):
		return nil, ErrPasskeyName
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := p.read()
	switch {
	case err != nil:
		return nil, err
	case len(f.Passkeys) >= maxPasskeys:
		return nil, ErrPasskeys
	case f.User == nil:
		f.User = make([]byte, userHandle)
		rand.Read(f.User)
	}
	party, err := partyOf(pageOrigin(r))
	if err != nil {
		return nil, err
	}
	who := owner{f.User, cmp.Or(node, host), nil}
	var have []protocol.CredentialDescriptor // a device makes no second one
	for _, one := range f.Passkeys {
		if one.Host() == host {
			have = append(have, protocol.CredentialDescriptor{Type: protocol.PublicKeyCredentialType, CredentialID: one.Credential})
		}
	}
	ask, data, err := party.BeginRegistration(who, webauthn.WithExclusions(have))
	if err != nil {
		return nil, err
	}
	p.pending = &enrolment{by: session, begun: p.now(), name: name, user: f.User, origin: pageOrigin(r), session: *data}
	return json.Marshal(ask.Response)
}

// Confirm keeps the passkey that a session is making, with the browser's answer
// (PublicKeyCredential.toJSON). One answer is looked at. It fails with ErrPasskey.
func (p *Passkeys) Confirm(session, answer string) (Passkey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.pending
	if e == nil || e.by != session {
		return Passkey{}, fmt.Errorf("%w: this browser is making none; begin anew", ErrPasskey)
	}
	p.pending = nil
	if late := p.now().Sub(e.begun); late < 0 || late > setUpTime {
		return Passkey{}, fmt.Errorf("%w: it took longer than %s; begin anew", ErrPasskey, setUpTime)
	}
	f, err := p.read()
	if err != nil {
		return Passkey{}, err
	}
	if f.User != nil && !bytes.Equal(f.User, e.user) || len(f.Passkeys) >= maxPasskeys {
		return Passkey{}, fmt.Errorf("%w: the passkeys have changed meanwhile; begin anew", ErrPasskey)
	}
	party, err := partyOf(e.origin)
	if err != nil {
		return Passkey{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(answer))
	if err != nil {
		return Passkey{}, unproven(err)
	}
	c, err := party.CreateCredential(owner{e.user, "", nil}, e.session, parsed)
	if err != nil {
		return Passkey{}, unproven(err)
	}
	if slices.ContainsFunc(f.Passkeys, func(one passkey) bool { return bytes.Equal(one.Credential, c.ID) }) {
		return Passkey{}, fmt.Errorf("%w: it is here already", ErrPasskey)
	}
	made := passkey{
		Passkey:    Passkey{ID: strings.ToLower(rand.Text()[:8]), Name: e.name, Origin: e.origin, Added: p.now().UTC().Truncate(time.Second)},
		Credential: c.ID, PublicKey: c.PublicKey, Counter: c.Authenticator.SignCount, Copied: c.Flags.BackupEligible,
	}
	f.User, f.Passkeys = e.user, append(f.Passkeys, made)
	return made.Passkey, p.write(f)
}

// Remove has the passkey with this id sign in no more, or fails with ErrNoPasskey. Sessions that
// it began go on.
func (p *Passkeys) Remove(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := p.read()
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(f.Passkeys), func(one passkey) bool { return one.ID == id })
	if len(left) == len(f.Passkeys) {
		return fmt.Errorf("%w: %q; 'archy passkeys' lists them", ErrNoPasskey, id)
	}
	f.Passkeys = left
	return p.write(f)
}

// RemoveAll has none sign in any more, also of those that cannot be read, and tells how many
// there were.
func (p *Passkeys) RemoveAll() (removed int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = nil
	f, _ := p.read()
	if err := os.Remove(p.file); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	return len(f.Passkeys), atomicfile.SyncDir(filepath.Dir(p.file))
}

// challenge is what is asked of whoever has a ticket: nobody who has not asked for it knows it, so
// that the ticket need not be kept, and none that was made up is of use.
func (p *Passkeys) challenge(ticket string) []byte {
	return keyed(p.key, []byte("passkey "+ticket))
}

// ticket makes one. It says when it ends.
func (p *Passkeys) ticket() string {
	return strconv.FormatInt(p.now().Add(ticketTime).Unix(), 10) + "." + rand.Text()
}

// holds tells whether a ticket may still sign somebody in, and when it ends. The caller holds mu.
func (p *Passkeys) holds(ticket string) (ends time.Time, ok bool) {
	at, _, _ := strings.Cut(ticket, ".")
	seconds, err := strconv.ParseInt(at, 10, 64)
	ends = time.Unix(seconds, 0)
	left := ends.Sub(p.now())
	_, spent := p.spent[ticket]
	return ends, err == nil && left > 0 && left <= ticketTime && !spent
}

// judge gives the passkey that has signed the challenge of one of the tickets.
func (p *Passkeys) judge(tickets []string, answer string) (Passkey, error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(answer))
	if err != nil {
		return Passkey{}, unproven(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f, err := p.read()
	if err != nil {
		return Passkey{}, err
	}
	i := slices.IndexFunc(f.Passkeys, func(one passkey) bool { return bytes.Equal(one.Credential, parsed.RawID) })
	if i < 0 {
		return Passkey{}, fmt.Errorf("%w: nobody knows it", ErrPasskey)
	}
	one := &f.Passkeys[i]
	// The page for which it was made, not the one that the request names: applications have other
	// ports of the same host, and ask for it, too.
	party, err := partyOf(one.Origin)
	if err != nil {
		return Passkey{}, err
	}
	one.Counter = max(one.Counter, p.counters[one.ID])
	who := owner{f.User, "", []webauthn.Credential{{
		ID: one.Credential, PublicKey: one.PublicKey,
		Flags:         webauthn.CredentialFlags{BackupEligible: one.Copied},
		Authenticator: webauthn.Authenticator{SignCount: one.Counter},
	}}}
	failed := fmt.Errorf("%w: its challenge was not asked for, or has ended", ErrPasskey)
	for _, ticket := range tickets {
		ends, ok := p.holds(ticket)
		if !ok {
			continue
		}
		data := webauthn.SessionData{
			Challenge: base64.RawURLEncoding.EncodeToString(p.challenge(ticket)), RelyingPartyID: one.Host(),
			UserVerification: protocol.VerificationRequired,
		}
		c, err := party.ValidateDiscoverableLogin(func(_, handle []byte) (webauthn.User, error) { return who, nil }, data, parsed)
		if err != nil {
			failed = unproven(err)
			continue
		}
		p.spend(ticket, ends)
		if c.Authenticator.CloneWarning {
			return Passkey{}, fmt.Errorf("%w: its counter has not gone on, so that there may be a copy of %q; remove it if it was not you", ErrPasskey, one.Name)
		}
		one.Counter, one.Used = c.Authenticator.SignCount, p.now().UTC().Truncate(time.Second)
		p.counters[one.ID] = one.Counter
		if err := p.write(f); err != nil { // on a full disk, the owner needs My Apps
			p.log.Error("which passkey was used is not on the disk", "error", err)
		}
		return one.Passkey, nil
	}
	return Passkey{}, failed
}

// spend has a ticket count no more. The caller holds mu.
func (p *Passkeys) spend(ticket string, ends time.Time) {
	for other, at := range p.spent {
		if !at.After(p.now()) {
			delete(p.spent, other)
		}
	}
	p.spent[ticket] = ends
}

// unproven is the library's reason, which says what of an answer is wrong, and nothing of it.
func unproven(err error) error { return fmt.Errorf("%w: %s", ErrPasskey, printable(err.Error())) }

// partyOf is the library, asked for the pages of an origin. (go-webauthn, as reading CBOR and COSE
// and checking what was signed is nothing to write anew.) A passkey counts for password and code:
// the device has to find out who uses it.
func partyOf(origin string) (*webauthn.WebAuthn, error) {
	must := true
	return webauthn.New(&webauthn.Config{
		RPID: Passkey{Origin: origin}.Host(), RPDisplayName: "Archipelago", RPOrigins: []string{origin},
		AttestationPreference:  protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{RequireResidentKey: &must, ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationRequired},
		// Password managers answer what nobody has asked.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
}

// owner is whose passkeys they are, as the library asks for it.
type owner struct {
	handle      []byte
	node        string // what devices show
	credentials []webauthn.Credential
}

func (o owner) WebAuthnID() []byte                         { return o.handle }
func (o owner) WebAuthnName() string                       { return o.node }
func (o owner) WebAuthnDisplayName() string                { return o.node }
func (o owner) WebAuthnCredentials() []webauthn.Credential { return o.credentials }

// AskPasskey gives what a browser is to be asked that signs in by a passkey
// (PublicKeyCredential.parseRequestOptionsFromJSON), and sets the cookie that goes with it. It says
// nothing of the passkeys that there are. answered is as for SignIn.
func (g *Guard) AskPasskey(w http.ResponseWriter, r *http.Request) (options []byte, answered bool, err error) {
	if r.TLS == nil {
		refusePlain(w, r)
		return nil, true, nil
	}
	if PasskeyHost(r) == "" {
		return nil, false, ErrPasskeyHost
	}
	party, err := partyOf(pageOrigin(r))
	if err != nil {
		return nil, false, err
	}
	ticket := g.sessions.Passkeys.ticket()
	ask, _, err := party.BeginDiscoverableLogin(webauthn.WithChallenge(g.sessions.Passkeys.challenge(ticket)))
	if err != nil {
		return nil, false, err
	}
	setNamedCookie(w, passkeyCookie, ticket, ticketTime)
	options, err = json.Marshal(ask.Response)
	return options, false, err
}

// SignInByPasskey begins a session for whoever answers what AskPasskey has asked, and gives the
// passkey. It fails with ErrPasskey. answered is as for SignIn, and so is how often one address may
// be wrong.
func (g *Guard) SignInByPasskey(w http.ResponseWriter, r *http.Request, answer string) (by Passkey, answered bool, err error) {
	if r.TLS == nil {
		refusePlain(w, r)
		return by, true, nil
	}
	giveBack, wait, ok := g.throttle.take(origin(r))
	if !ok {
		g.refuse(w, r, wait, tooManyWrong)
		return by, true, nil
	}
	setNamedCookie(w, passkeyCookie, "", -time.Second)
	credentials, err := g.sessions.credentials() // those that hold now, whatever they become meanwhile
	if err != nil {
		return by, false, err
	}
	// The passkeys of an owner before are none of the next one's.
	if set, err := g.sessions.passwords.isSet(); err != nil || !set {
		return by, false, errors.Join(fmt.Errorf("%w: the node has no owner", ErrPasskey), err)
	}
	var tickets []string
	for _, c := range r.CookiesNamed(passkeyCookie) { // an application may have set others
		tickets = append(tickets, c.Value)
	}
	if by, err = g.sessions.Passkeys.judge(tickets, answer); err != nil {
		return by, false, err
	}
	giveBack()
	setCookie(w, g.sessions.begin(r, credentials), sessionLife)
	return by, false, nil
}
