// Package request decides what a request means: the records that are to be accepted
// for it, or why it is refused. It is pure: what it rests on is passed in.
package request

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/offer"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

var (
	// ErrUnknownApp is returned for an id that neither the catalog nor a record has.
	ErrUnknownApp = catalog.ErrUnknownApp
	// ErrNotInstalled is returned where an operation needs an installed application.
	ErrNotInstalled = errors.New("not installed")
	// ErrRefused is wrapped where a request cannot be granted as things are.
	ErrRefused = offer.ErrRefused
	// ErrConsent is wrapped, beside ErrRefused, where an update, or an installation, may do
	// what the owner has not agreed to.
	ErrConsent = errors.New("the owner's consent is missing")
	// ErrDevice is wrapped, beside ErrRefused, where the node lacks a device, or its user may
	// not use it.
	ErrDevice = errors.New("a device is missing")
	// ErrFolder is wrapped, beside ErrRefused, where a folder of the owner's has no name on
	// the node, or cannot be used now.
	ErrFolder = errors.New("a folder is missing")
	// ErrUnknownFolder is returned for a name that the owner has given no folder.
	ErrUnknownFolder = errors.New("unknown folder")
)

// Unagreed is wrapped, as ErrConsent, where the owner has not agreed to these privileges.
type Unagreed struct{ Asked []string }

func (u *Unagreed) Error() string { return ErrConsent.Error() }

// Unwrap gives ErrConsent.
func (u *Unagreed) Unwrap() error { return ErrConsent }

// The operations, as people and programs name them.
const (
	Install   = "install"
	Start     = "start"
	Stop      = "stop"
	Restart   = "restart"
	Update    = "update"
	Rollback  = "rollback"
	Configure = "configure"
	Adopt     = "adopt"
	Uninstall = "uninstall"
)

// Request is a request for an operation on an application.
type Request struct {
	App     string
	Verb    string            // one of the operations above
	Purge   bool              // with Uninstall: data and secrets too
	Found   bool              // with Purge: the node has data of it, which need neither have a record nor be of what is offered
	Config  map[string]string // with Install and Configure: settings to change; an empty value of a secret one clears it
	Version string            // with Rollback: the version to go back to, as its owner has read it; empty for whichever is kept
	Consent []string          // with Update, Rollback, Install and Adopt: what the owner agrees to, as offer.NewPrivileges and offer.Grants name it
	Who     string            // for the audit log

	Automatic bool // with Update: nobody has asked for it
}

// deciding is a decision under way.
type deciding struct {
	records  state.Records
	offer    *offer.Offer
	observed host.Observation
	now      time.Time

	decided []state.Desired // so far, each after those it requires
}

// Decide gives the records to accept for a request, all of them or none: those of
// applications that it brings along first, its own last. Generations are the store's
// to assign.
func Decide(records state.Records, o *offer.Offer, observed host.Observation, now time.Time, r Request) ([]state.Desired, error) {
	d := &deciding{records: records, offer: o, observed: observed, now: now}
	rec, err := records.Get(r.App)
	installed := err == nil && rec.Goal != state.Absent && (rec.Manifest != nil || r.Verb != Install) // one without a manifest is to be installed again
	switch {
	case err != nil && !errors.Is(err, state.ErrNotFound):
		return nil, err
	case err != nil && !o.Knows(r.App) && !(r.Verb == Uninstall && r.Purge && r.Found):
		return nil, fmt.Errorf("%w %q", ErrUnknownApp, r.App)
	case !installed && r.Verb != Install && r.Verb != Uninstall && r.Verb != Adopt:
		return nil, fmt.Errorf("%s: %w: install it first", r.App, ErrNotInstalled)
	case rec.Update != nil && r.Verb != Stop && r.Verb != Start:
		return nil, fmt.Errorf("%w: %s is being updated to %s; wait until that is done", ErrRefused, r.App, rec.Update.To.Version)
	}
	rec.App = r.App
	switch r.Verb {
	case Install, Adopt:
		err = d.install(&rec, installed, r)
	case Start:
		rec.Goal = state.Running
	case Stop:
		rec.Goal = state.Stopped
	case Restart:
		rec.Goal, rec.Restart = state.Running, state.RestartRequested
	case Configure:
		if err = d.configure(&rec, r.Config); err == nil {
			err = d.devices(rec.App, rec.Manifest, rec.Config)
		}
	case Update:
		err = d.stage(&rec, r)
	case Rollback:
		err = d.rollback(&rec, r)
	case Uninstall:
		err = d.uninstall(&rec, r.Purge)
	default:
		err = fmt.Errorf("unknown operation %q", r.Verb)
	}
	if err != nil {
		return nil, err
	}
	return append(d.decided, rec), nil
}

func (d *deciding) install(rec *state.Desired, installed bool, r Request) error {
	if !installed {
		offered, err := d.offer.Entry(r.App, d.now)
		if err != nil {
			return err
		}
		*rec = state.Desired{App: r.App, Manifest: offered.Manifest, Source: offered.Source.String(), Config: d.kept(offered.Manifest)}
		if err := d.adopt(rec, r.Verb == Adopt); err != nil {
			return err
		}
	}
	rec.Goal, rec.Purge = state.Running, false
	if err := d.configure(rec, r.Config); err != nil {
		return err
	}
	if rec.Manifest == nil {
		return nil
	}
	if data := d.records.Data[r.App]; data.Migration > rec.Manifest.Migration {
		return formatRefused(r.App, data.Migration, rec.Manifest)
	}
	asked := d.offer.Grants(rec.Manifest, d.records, d.now)
	if err := d.admit(rec, rec.Manifest); err != nil {
		return err
	}
	for _, r := range append(slices.Clone(d.decided), *rec) {
		if err := d.devices(r.App, r.Manifest, r.Config); err != nil {
			return err
		}
		if err := d.folders(r.App, r.Manifest); err != nil {
			return err
		}
	}
	if missing := without(asked, r.Consent); !installed && len(missing) > 0 {
		return fmt.Errorf("%w: %w: to be installed, %s asks for more than applications have by themselves: it %s; look at it and agree with 'archy %s %s' or in My Apps", ErrRefused, &Unagreed{missing}, rec.App, strings.Join(missing, "; it "), r.Verb, rec.App)
	}
	return nil
}

// formatRefused says that a version does not know the format of the data.
func formatRefused(app string, format int, m *manifest.Manifest) error {
	return fmt.Errorf("%w: the data of %s has format %d, version %s knows only %d", ErrRefused, app, format, m.Version, m.Migration)
}

func (d *deciding) uninstall(rec *state.Desired, purge bool) error {
	var by []string
	for _, other := range d.records.All {
		if slices.ContainsFunc(versions(other), func(m *manifest.Manifest) bool { _, needs := m.Need(rec.App, other.Chosen); return needs }) {
			by = append(by, other.App)
		}
	}
	if len(by) > 0 {
		return fmt.Errorf("%w: %s is required by %s; uninstall that first", ErrRefused, rec.App, strings.Join(by, ", "))
	}
	if len(rec.Adopted) > 0 {
		return fmt.Errorf("%w: %s runs in a container that archipelago does not manage; restart it first, so that its data becomes the application's own", ErrRefused, rec.App)
	}
	rec.Goal, rec.Purge, rec.Restart, rec.Restarted, rec.Note = state.Absent, purge, 0, 0, ""
	return nil
}

// Restored gives the records to accept for an application that a backup brings back;
// where the backup's version must not be installed here, or the application is, it is
// refused, and so is what the owner has not agreed to: a backup may have been anywhere, and
// its manifest is nobody's word but its own where the catalog's is another.
func Restored(records state.Records, o *offer.Offer, now time.Time, rec state.Desired, consent []string) ([]state.Desired, error) {
	if have, err := records.Get(rec.App); err == nil {
		return nil, fmt.Errorf("%w: %s is installed (%s); uninstall it with --purge before a backup takes its place", ErrRefused, rec.App, have.Goal)
	} else if !errors.Is(err, state.ErrNotFound) {
		return nil, err
	}
	if why := o.Revoked(rec.App, rec.Manifest.Version); why != "" {
		return nil, fmt.Errorf("%w: %s: %s", ErrRefused, rec.App, why)
	}
	asked := append(o.Unvouched(rec.Manifest, records, now), o.GrantsAlong(rec.Manifest, records, now)...)
	d := &deciding{records: records, offer: o, now: now}
	if err := d.admit(&rec, rec.Manifest); err != nil {
		return nil, err
	}
	for _, r := range append(slices.Clone(d.decided), rec) {
		if err := d.folders(r.App, r.Manifest); err != nil {
			return nil, err
		}
	}
	if missing := without(asked, consent); len(missing) > 0 {
		return nil, fmt.Errorf("%w: %w: to be brought back as its backup says, %s asks for your consent: it %s; look at it, and agree with 'archy restore --accept' to each, in just these words", ErrRefused, &Unagreed{missing}, rec.App, strings.Join(missing, "; it "))
	}
	return append(d.decided, rec), nil
}

// admit brings along what a version of an application requires, and refuses one that
// collides.
func (d *deciding) admit(rec *state.Desired, m *manifest.Manifest) (err error) {
	if m == nil {
		return nil
	}
	if rec.Chosen, err = d.require(m, rec.Chosen); err != nil {
		return err
	}
	return d.collision(m)
}

// collision refuses a manifest that publishes, or names a container, as another
// application does that is installed or comes along, or whose unit somebody else defines.
func (d *deciding) collision(m *manifest.Manifest) error {
	for _, c := range m.Containers {
		file := d.observed.UnitFiles[quadlet.Service(c.Name)]
		if _, err := d.records.Get(m.ID); file == "" && errors.Is(err, state.ErrNotFound) && render.Foreign(c.Name, d.observed.Files) {
			file = c.Name + ".container"
		}
		if file != "" {
			return fmt.Errorf("%w: the unit file %s has the name of one of %s's, and is not archipelago's; rename or remove it", ErrRefused, file, m.ID)
		}
	}
	for _, other := range slices.Concat(d.records.All, d.decided) {
		if other.App == m.ID {
			continue
		}
		for _, theirs := range versions(other) {
			for _, p := range m.NodePorts() {
				if slices.Contains(theirs.NodePorts(), p) {
					return fmt.Errorf("%w: %s and %s both use port %s of the node", ErrRefused, m.ID, other.App, p)
				}
			}
			if name := manifest.Ambiguous(m, theirs); name != "" {
				return fmt.Errorf("%w: %s and %s share a network, as one of them requires the other, and %q is a container of one of them and a further name of one of the other's: what is meant for that could reach the wrong one", ErrRefused, m.ID, other.App, name)
			}
			for _, c := range m.Containers {
				if _, taken := theirs.Container(c.Name); taken {
					return fmt.Errorf("%w: %s and %s both name a container %q", ErrRefused, m.ID, other.App, c.Name)
				}
			}
		}
	}
	return nil
}

// versions are those of an application that others must get on with: the one that is
// installed, and the one that it is being updated to. There are none of one that goes.
func versions(d state.Desired) (all []*manifest.Manifest) {
	if d.Goal == state.Absent {
		return nil
	}
	if d.Manifest != nil {
		all = append(all, d.Manifest)
	}
	if d.Update != nil {
		all = append(all, d.Update.To)
	}
	return all
}
