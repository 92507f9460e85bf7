package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
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
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

const (
	factorFormat = 1

	// What authenticator applications take for granted (RFC 6238): SHA-1, six digits, 30 s.
	stepTime   = 30 * time.Second
	stepSkew   = 1 // steps that a clock may be ahead or behind
	codeDigits = otp.DigitsSix
	secretSize = 20 // bytes, as RFC 4226 recommends

	recoveryCodes = 10
	recoverySize  = 16 // letters of Crockford's base 32: 80 bits, which need no throttle

	// setUpTime is how long a secret that is being set up may be confirmed.
	setUpTime = 10 * time.Minute

	// Wrong codes beside the right password, of whoever: three of a million are right at a time.
	wrongCodes     = 10
	wrongCodeEvery = 5 * time.Minute
)

var (
	// ErrFactor is returned for what is neither the authenticator's code nor one for recovery.
	ErrFactor = errors.New("that is not the code that the authenticator shows now, nor an unused recovery code")

	// ErrRecovered is returned where a recovery code was right: it is used up.
	ErrRecovered = errors.New("by a recovery code, which is used up")

	// ErrNoFactor is returned where there is no second factor, or none is being set up.
	ErrNoFactor = errors.New("there is no second factor")

	// ErrHasFactor is returned where there is a second factor already.
	ErrHasFactor = errors.New("there is a second factor already; turn it off first")
)

// Factor is the second factor beside the password: codes of an authenticator application, by
// time (TOTP, RFC 6238), and codes for whoever has lost that. It is asked of the disk whether
// there is one; what cannot be read lets nobody in by the password.
type Factor struct {
	file    string
	log     *slog.Logger
	now     func() time.Time
	replace func(name string, data []byte, mode fs.FileMode) error // a file, durably

	mu      sync.Mutex // held while a code is judged: of two that are the same, one counts
	pending string     // the secret that is being set up, in base 32, until it is confirmed
	by      string     // the session that does
	begun   time.Time
	wrong   counter
	used    map[string]int64 // by secret: the newest step whose code was used, where the disk could not take it
	spent   map[string]bool  // digests of recovery codes, where it could not either
}

// factorFile is the second factor on disk.
type factorFile struct {
	Format   int       `json:"format"`
	Secret   string    `json:"secret"` // in base 32
	Since    time.Time `json:"since"`
	Used     int64     `json:"used"`     // the newest step whose code was used
	Recovery []string  `json:"recovery"` // SHA-256 of the codes that were not used, in hex
}

// newFactor keeps it in a directory that is private to the daemon.
func newFactor(dir string, log *slog.Logger) *Factor {
	return &Factor{file: filepath.Join(dir, "factor.json"), log: log, now: time.Now, replace: atomicfile.Write, used: map[string]int64{}, spent: map[string]bool{}}
}

// FactorStatus is what may be said of a second factor.
type FactorStatus struct {
	On       bool
	Since    time.Time
	Recovery int // codes that were not used
}

// Status tells whether there is one.
func (f *Factor) Status() (FactorStatus, error) {
	k, err := f.read()
	switch {
	case errors.Is(err, ErrNoFactor):
		return FactorStatus{}, nil
	case err != nil:
		return FactorStatus{On: true}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return FactorStatus{On: true, Since: k.Since, Recovery: len(f.unspent(k))}, nil
}

func (f *Factor) read() (k factorFile, err error) {
	b, err := os.ReadFile(f.file)
	if errors.Is(err, fs.ErrNotExist) {
		return k, ErrNoFactor
	}
	if err != nil {
		return k, fmt.Errorf("reading the second factor: %w", err)
	}
	// Not the decoder's words: they may quote the secret.
	if strictly(b, &k) != nil || k.Format != factorFormat || k.Secret == "" {
		return k, fmt.Errorf("%s is not a second factor that this daemon can read; 'archy second-factor off' removes it", f.file)
	}
	return k, nil
}

func (f *Factor) write(k factorFile) error {
	return put(f.replace, f.file, k)
}

// Begin makes a secret for a session, in base 32, that counts for nothing until Confirm. It is
// said this once: whoever finds the browser later must not confirm it. The one before is dead.
func (f *Factor) Begin(session string) (secret string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.read(); !errors.Is(err, ErrNoFactor) {
		return "", errors.Join(ErrHasFactor, err)
	}
	random := make([]byte, secretSize)
	rand.Read(random)
	f.pending, f.by, f.begun = base32.StdEncoding.EncodeToString(random), session, f.now()
	return f.pending, nil
}

// Confirm has the secret count that a session is setting up, and knows, where the code shows that
// an authenticator has it, and gives the recovery codes, which are said this once. It fails with
// ErrNoFactor where the session has begun none, or not of late.
func (f *Factor) Confirm(session, secret, code string) (recovery []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.read(); !errors.Is(err, ErrNoFactor) {
		return nil, errors.Join(ErrHasFactor, err)
	}
	late := f.now().Sub(f.begun)
	if f.pending == "" || f.by != session || late < 0 || late > setUpTime || subtle.ConstantTimeCompare([]byte(secret), []byte(f.pending)) != 1 {
		return nil, fmt.Errorf("%w that this browser is setting up; begin anew, and turn it on within %s", ErrNoFactor, setUpTime)
	}
	step, ok := f.step(f.pending, code, 0)
	if !ok {
		return nil, ErrFactor
	}
	k := factorFile{Format: factorFormat, Secret: f.pending, Since: f.now().UTC().Truncate(time.Second), Used: step}
	recovery, k.Recovery = newRecovery()
	if err := f.write(k); err != nil {
		return nil, err
	}
	f.pending, f.by = "", ""
	return recovery, nil
}

// newRecovery makes recovery codes, and what is kept of them.
func newRecovery() (codes, digests []string) {
	for range recoveryCodes {
		code := randomCode(recoverySize)
		codes, digests = append(codes, Grouped(code)), append(digests, digest(code))
	}
	return codes, digests
}

// Renew makes recovery codes anew, which are said this once; those before are void. It is for whoever
// has shown a code. Where the new ones cannot be kept, those before stay.
func (f *Factor) Renew() (recovery []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, err := f.read()
	if err != nil {
		return nil, err
	}
	recovery, k.Recovery = newRecovery()
	k.Used = max(k.Used, f.used[k.Secret])
	if err := f.write(k); err != nil {
		return nil, fmt.Errorf("keeping the recovery codes, so those before stay: %w", err)
	}
	return recovery, nil
}

// Judge is for whoever has the node's token, and shows a code before Renew. It fails with
// ErrFactor, ErrNoFactor, or with why the second factor cannot be read.
func (f *Factor) Judge(code string) error {
	if _, err := f.read(); err != nil {
		return err
	}
	_, err := f.check(code)
	return err
}

// step finds the step of a code, which must be newer than one; false where there is none.
func (f *Factor) step(secret, code string, after int64) (step int64, ok bool) {
	code = strings.ReplaceAll(strings.TrimSpace(code), " ", "")
	now := f.now().Unix() / int64(stepTime/time.Second)
	for s := now - stepSkew; s <= now+stepSkew; s++ {
		want, err := hotp.GenerateCodeCustom(secret, uint64(s), hotp.ValidateOpts{Digits: codeDigits, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && s > after {
			step, ok = s, true
		}
	}
	return step, ok
}

// check judges a code beside a right password; nil where there is no second factor. recovered
// tells that it was one for recovery, which is used up. It fails with ErrFactor, or with why
// the second factor cannot be read.
func (f *Factor) check(code string) (recovered bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, err := f.read()
	if errors.Is(err, ErrNoFactor) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if strings.TrimSpace(code) == "" {
		return false, fmt.Errorf("%w: none was typed", ErrFactor) // which guesses nothing
	}
	spent := digest(plain(code, recoverySize))
	if slices.Contains(f.unspent(k), spent) {
		f.spent[spent] = true
		f.keep(k)
		return true, nil
	}
	now := f.now()
	still := max(f.wrong.attempts-max(float64(now.Sub(f.wrong.at)), 0)/float64(wrongCodeEvery), 0)
	if still+1 > wrongCodes {
		return false, fmt.Errorf("%w: too many were wrong; one is looked at every %s", ErrFactor, wrongCodeEvery)
	}
	step, ok := f.step(k.Secret, code, max(k.Used, f.used[k.Secret]))
	if !ok {
		f.wrong.attempts, f.wrong.at = still+1, now
		return false, ErrFactor
	}
	f.used[k.Secret], k.Used = step, step
	f.keep(k)
	return false, nil
}

// keep notes on the disk what was used, if it can: on a full one, the owner needs My Apps. What it
// cannot note counts no second time while the daemon runs, and is noted with what is used next.
func (f *Factor) keep(k factorFile) {
	k.Used = max(k.Used, f.used[k.Secret])
	k.Recovery = f.unspent(k)
	if err := f.write(k); err != nil {
		f.log.Error("which code was used is not on the disk", "error", err)
	}
}

// unspent are the recovery codes that were not used.
func (f *Factor) unspent(k factorFile) []string {
	return slices.DeleteFunc(slices.Clone(k.Recovery), func(digest string) bool { return f.spent[digest] })
}

// Off removes the second factor; also one that cannot be read.
func (f *Factor) Off() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending, f.by, f.wrong = "", "", counter{}
	switch err := os.Remove(f.file); {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNoFactor
	case err != nil:
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(f.file))
}

// Grouped is a code or a secret as people read it: in groups of four.
func Grouped(code string) string {
	var groups []string
	for group := range slices.Chunk([]byte(code), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, "-")
}

// known judges a password, and the code that goes with it where there is a second factor, and
// gives the attempt back where both are right. With ErrFactor, the password was right; with
// ErrRecovered, the code was one for recovery.
func (g *Guard) known(w http.ResponseWriter, r *http.Request, giveBack func(), password, code string) (ok, answered bool, err error) {
	if _, err := g.sessions.Factor.Status(); err != nil {
		return false, false, err // whatever the password is: whether it is right must not be told
	}
	ok, err = g.sessions.passwords.Check(r.Context(), password)
	switch {
	case errors.Is(err, errBusy):
		giveBack()
		g.refuse(w, r, wrongEvery, tooManyAtOnce)
		return false, true, nil
	case err != nil || !ok:
		return false, false, err
	}
	recovered, err := g.sessions.Factor.check(code)
	if err != nil {
		return false, false, err
	}
	giveBack()
	if recovered {
		err = ErrRecovered
	}
	return true, false, err
}

// Prove tells whether whoever uses a signed-in browser knows the password, and the code that
// goes with it, before what somebody who finds the browser must not do. The rest is as for SignIn.
func (g *Guard) Prove(w http.ResponseWriter, r *http.Request, password, code string) (ok, answered bool, err error) {
	giveBack, wait, ok := g.throttle.take(origin(r))
	if !ok {
		g.refuse(w, r, wait, tooManyWrong)
		return false, true, nil
	}
	return g.known(w, r, giveBack, strings.TrimSpace(password), code)
}
