// Package subscription follows a channel of the signed catalog. It fetches documents from
// mirrors, accepts only those signed by the root's keys, never accepts one older than it
// has seen, and keeps the last good one on disk. With each document it verifies, offline, that
// gates which the root names have proven the entries; those that are not are held back. It never decides what is installed.
package subscription

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

const (
	interval   = time.Hour       // between refreshes, give or take a tenth
	afterError = 5 * time.Minute // until the next refresh, when every mirror failed
	maxMirrors = 16

	catalogFile = "catalog.json"
	partFile    = "catalog.part"
)

// ErrConfig is wrapped when a subscription cannot be followed as it is configured.
var ErrConfig = errors.New("subscription")

// ErrNone is returned when no channel is followed.
var ErrNone = errors.New("no catalog is followed; see 'archy subscribe --help'")

// ErrDamaged is wrapped when neither copy of what is on disk can be read.
var ErrDamaged = errors.New("the subscription on disk cannot be read")

// Config says which channel is followed, and how.
type Config struct {
	Channel   string   `json:"channel"`
	Mirrors   []string `json:"mirrors,omitempty"` // base addresses, tried in this order
	Automatic bool     `json:"automatic,omitempty"`
	Window    Window   `json:"window,omitzero"` // when automatic updates may begin
}

// check refuses a configuration that cannot be followed.
func (c *Config) check() error {
	if !slices.Contains(catalog.Channels, c.Channel) {
		return fmt.Errorf("%w: channel %q; the channels are %s", ErrConfig, c.Channel, strings.Join(catalog.Channels, ", "))
	}
	if len(c.Mirrors) > maxMirrors {
		return fmt.Errorf("%w: %d mirrors; at most %d", ErrConfig, len(c.Mirrors), maxMirrors)
	}
	for _, m := range c.Mirrors {
		u, err := url.Parse(m)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("%w: mirror %q: expected an address such as https://mirror.example/archipelago", ErrConfig, m)
		}
	}
	return nil
}

// Window is a daily span of local time; the zero value is the whole day. A window that
// ends before it begins spans midnight.
type Window struct{ From, To int } // minutes after midnight

// ParseWindow parses a window such as "02:00-05:00"; empty is the whole day.
func ParseWindow(s string) (w Window, err error) {
	if s == "" {
		return w, nil
	}
	from, to, ok := strings.Cut(s, "-")
	begin, err1 := time.Parse("15:04", from)
	end, err2 := time.Parse("15:04", to)
	if !ok || err1 != nil || err2 != nil || begin.Equal(end) {
		return w, fmt.Errorf("%w: window %q: expected a window such as 02:00-05:00", ErrConfig, s)
	}
	return Window{begin.Hour()*60 + begin.Minute(), end.Hour()*60 + end.Minute()}, nil
}

func (w Window) String() string {
	if w == (Window{}) {
		return ""
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d", w.From/60, w.From%60, w.To/60, w.To%60)
}

// Open says whether a time is within the window.
func (w Window) Open(t time.Time) bool {
	m := t.Hour()*60 + t.Minute()
	switch {
	case w == Window{}:
		return true
	case w.From < w.To:
		return w.From <= m && m < w.To
	}
	return w.From <= m || m < w.To
}

// MarshalText writes the form that ParseWindow parses.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads the form that ParseWindow parses.
func (w *Window) UnmarshalText(b []byte) (err error) { *w, err = ParseWindow(string(b)); return err }

// Status is the state of a subscription.
type Status struct {
	Config
	Serial      int64 // of the document in force; 0 for none
	Created     time.Time
	Expires     time.Time
	Checked     time.Time // when a mirror last answered properly
	Error       string    // why the last refresh failed
	RootVersion int64
}

// Subscription follows at most one channel.
type Subscription struct {
	dir     string
	now     func() time.Time
	changed func(*document.Document)
	client  *http.Client
	limits  limits
	replace func(name string, data []byte, mode fs.FileMode) error // a file, durably
	wake    chan struct{}

	broken error // why what is on disk cannot be followed; nil where it can

	refreshing sync.Mutex // one refresh, or other change of the record, at a time

	mu     sync.Mutex // held for moments only: pages wait for it, and must not for the disk
	rec    record
	held   document.Document // the one in force, without its entries
	under  int64             // version of the root that it was verified with
	status Status

	pictures struct {
		turns   chan struct{} // holds one for each that is being fetched
		keeping sync.Mutex
		limit   int64                // bytes that are kept
		missing map[string]time.Time // since when no mirror has them; mu is held
	}
}

// Open reads the subscription on disk; where that cannot be read, nothing is followed, and
// Status and Follow say why. changed is called with every document that comes
// into force, including the one on disk, and with nil when none is in force any more. It
// is never called concurrently.
func Open(ctx context.Context, dir string, now func() time.Time, changed func(*document.Document)) *Subscription {
	s := &Subscription{dir: dir, now: now, changed: changed, client: newClient(), limits: defaultLimits, replace: atomicfile.Write, wake: make(chan struct{}, 1)}
	s.pictures.turns, s.pictures.limit = make(chan struct{}, pictureTries), picturesBytes
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.broken = fmt.Errorf("%w: %w; what is installed runs on", ErrDamaged, err)
		return s
	}
	rec, err := s.read()
	switch {
	case errors.Is(err, ErrNone):
		return s
	case err != nil:
		s.broken = err
		return s
	}
	s.rec, s.status.Config = rec, rec.Config
	envelope, err := os.ReadFile(filepath.Join(dir, catalogFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s
	}
	// It is verified like one from a mirror: a disk can be edited.
	var d *document.Document
	if err == nil {
		d, err = s.verify(ctx, envelope)
	}
	if err != nil {
		s.status.Error = fmt.Sprintf("the catalog on disk: %v", err)
	}
	if err != nil && !errors.Is(err, document.ErrExpired) {
		return s
	}
	if s.rec.Seen[d.Channel].Serial < d.Serial { // the record was to be written next
		s.rec.Seen = maps.Clone(s.rec.Seen)
		if s.rec.Seen == nil {
			s.rec.Seen = map[string]seen{}
		}
		s.rec.Seen[d.Channel] = seen{d.Serial, d.Digest}
	}
	s.hold(d)
	changed(d)
	return s
}

// Policy is that of the newest root that the node trusts. ErrNone if it trusts none.
func (s *Subscription) Policy() (*root.Policy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.policy(s.now())
}

// policy is that of the newest root, at a time; the zero time asks for one that may have
// expired. The caller holds the lock.
func (s *Subscription) policy(now time.Time) (*root.Policy, error) {
	switch {
	case s.broken != nil:
		return nil, s.broken
	case len(s.rec.Roots) == 0:
		return nil, ErrNone
	}
	return root.Verify(now, s.rec.Roots[0], s.rec.Roots[1:]...)
}

// verify reads the envelope of a document of the followed channel. One whose root has
// expired comes with document.ErrExpired, as one that has expired itself does.
func (s *Subscription) verify(ctx context.Context, envelope []byte) (*document.Document, error) {
	s.mu.Lock()
	p, err := s.policy(time.Time{})
	known := s.rec.Seen[s.rec.Channel]
	want := document.Expectation{Channel: s.rec.Channel, Serial: known.Serial, Now: s.now()}
	if err == nil {
		s.status.RootVersion = p.Version
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	d, err := document.Verify(ctx, envelope, p, want)
	if d != nil && d.Serial == known.Serial && d.Digest != known.Digest {
		return nil, fmt.Errorf("%w: serial %d was seen with other content", document.ErrRollback, d.Serial)
	}
	return d, err
}

func (s *Subscription) hold(d *document.Document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = *d
	s.held.Entries, s.held.Attestations = nil, nil
	s.under = s.status.RootVersion
	s.status.Serial, s.status.Created, s.status.Expires = d.Serial, d.Created, d.Ends()
}

// Follow changes what is followed. first is the root document that the owner trusts; nil
// keeps the present one. Once a root is trusted, another one is refused: its keys sign what
// runs as the daemon, and whoever asks may only have the token. Without mirrors, those of
// the same channel are kept. The serials that have been seen are remembered.
func (s *Subscription) Follow(c Config, first []byte) error {
	if err := c.check(); err != nil {
		return err
	}
	s.refreshing.Lock() // without which the record does not change
	defer s.refreshing.Unlock()
	if s.broken != nil {
		return s.broken
	}
	rec := s.rec
	other := rec.Channel != c.Channel
	at := time.Time{} // the root that is trusted may have a successor
	if len(c.Mirrors) == 0 && !other {
		c.Mirrors = rec.Mirrors
	}
	switch {
	case len(rec.Roots) == 0 && first == nil:
		return fmt.Errorf("%w: a root document is needed, which says whose signatures count", ErrConfig)
	case len(rec.Roots) == 0:
		rec.Roots, at = [][]byte{first}, s.now()
	case first != nil && !slices.ContainsFunc(rec.Roots, func(r []byte) bool { return bytes.Equal(r, first) }):
		return fmt.Errorf("%w: the node trusts another root document, and takes only its successors, from a mirror; to trust another all the same, remove %s on the node while the daemon is stopped", ErrConfig, s.dir)
	}
	p, err := root.Verify(at, rec.Roots[0], rec.Roots[1:]...)
	if err != nil {
		return err
	}
	rec.Config, rec.ETags = c, nil
	// The record first: without it, the catalog that it is about would be gone. One of another
	// channel, should it stay, is not taken.
	if err := s.write(rec); err != nil {
		return err
	}
	if other {
		if err := os.Remove(filepath.Join(s.dir, catalogFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("changing the subscription: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = Status{Config: c, RootVersion: p.Version, Serial: s.status.Serial, Created: s.status.Created, Expires: s.status.Expires}
	if other {
		s.held, s.status.Serial, s.status.Created, s.status.Expires = document.Document{}, 0, time.Time{}, time.Time{}
		s.changed(nil)
	}
	s.Wake()
	return nil
}

// Status returns the state of the subscription, or ErrNone.
func (s *Subscription) Status() (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.broken != nil:
		return Status{}, s.broken
	case s.rec.Channel == "":
		return Status{}, ErrNone
	}
	return s.status, nil
}

// Said is in one line what is followed, and how that is.
func (s *Subscription) Said() string {
	st, err := s.Status()
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%s %d, checked %s, ends %s", st.Channel, st.Serial, st.Checked.UTC().Format(time.RFC3339), st.Expires.UTC().Format(time.RFC3339))
	if st.Automatic {
		text += ", updates by itself"
	}
	if st.Error != "" {
		text += "; the last refresh failed: " + st.Error
	}
	return text
}

// MayUpdate says whether updates may begin by themselves at a time.
func (s *Subscription) MayUpdate(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec.Automatic && s.rec.Window.Open(t)
}

// Wake makes Run refresh soon.
func (s *Subscription) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run refreshes periodically until the context ends.
func (s *Subscription) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := interval
		if _, err := s.Refresh(ctx); err != nil && !errors.Is(err, ErrNone) {
			wait = afterError
		}
		select {
		case <-time.After(time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64()))):
		case <-s.wake:
		case <-ctx.Done():
		}
	}
}

// Refresh asks one mirror after the other until one has a document that may come into
// force, and says whether that is a different one than before.
func (s *Subscription) Refresh(ctx context.Context) (changed bool, err error) {
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	s.mu.Lock()
	mirrors, none := s.rec.Mirrors, s.rec.Channel == ""
	s.mu.Unlock()
	switch {
	case s.broken != nil:
		return false, s.broken
	case none:
		return false, ErrNone
	}
	var errs []error
	for _, m := range mirrors {
		if changed, err = s.ask(ctx, strings.TrimSuffix(m, "/")); err == nil {
			break
		}
		errs = append(errs, fmt.Errorf("%s: %w", m, err))
		if ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		err = errors.Join(errs...)
	}
	if dropped, why := s.reexamine(ctx); dropped {
		changed, err = true, errors.Join(err, why)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.Error = ""; err != nil {
		s.status.Error = err.Error()
	} else if len(mirrors) > 0 {
		s.status.Checked = s.now()
	}
	return changed, err
}

// ask brings one mirror's root documents and catalog into force.
func (s *Subscription) ask(ctx context.Context, base string) (bool, error) {
	if err := s.roots(ctx, base); err != nil {
		return false, err
	}
	if _, err := s.Policy(); err != nil {
		return false, err // what it would vouch for is not taken
	}
	s.mu.Lock()
	channel, etag := s.rec.Channel, s.rec.ETags[base]
	if s.held.Serial == 0 {
		etag = "" // "not modified" is no answer to a node that holds nothing
	}
	s.mu.Unlock()
	envelope, etag, err := s.fetch(ctx, base, channel, etag)
	if err != nil || envelope == nil {
		return false, err
	}
	return s.take(ctx, envelope, base, etag)
}

// Load brings an envelope from the owner, instead of a mirror, into force.
func (s *Subscription) Load(ctx context.Context, envelope []byte) (changed bool, err error) {
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	return s.take(ctx, envelope, "", "")
}

// take verifies an envelope and brings it into force.
func (s *Subscription) take(ctx context.Context, envelope []byte, base, etag string) (bool, error) {
	d, err := s.verify(ctx, envelope)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	// Another root may trust other gates, and then other entries of the same document.
	same := d.Digest == s.held.Digest && s.under == s.status.RootVersion
	rec := s.rec
	rec.ETags = map[string]string{}
	if same {
		maps.Copy(rec.ETags, s.rec.ETags)
	}
	if etag != "" {
		rec.ETags[base] = etag
	}
	rec.Seen = maps.Clone(s.rec.Seen)
	if rec.Seen == nil {
		rec.Seen = map[string]seen{}
	}
	rec.Seen[d.Channel] = seen{d.Serial, d.Digest}
	s.mu.Unlock()
	// The record last: a new serial would refuse the old catalog after a power cut.
	if !same {
		err = s.replace(filepath.Join(s.dir, catalogFile), envelope, 0o600)
	}
	if err == nil {
		err = s.write(rec)
	}
	if err != nil || same {
		return false, err
	}
	s.hold(d)
	s.changed(d)
	return true, nil
}
