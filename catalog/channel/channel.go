// Package channel makes the catalogs of the channels. The first channel's catalog is
// built from directories of manifests; entries move on to the next channel by
// promotion, and versions leave a channel by revocation.
//
// It never decides whom to believe: the documents that it is given have been verified,
// a Proof says which entries may move on, and signing the result is up to the caller.
package channel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/proof"
)

// ErrInput is wrapped when what was asked for makes no sense, whatever a gate has found.
var ErrInput = errors.New("bad input")

// Validity is when a catalog is made and how long it is good for.
type Validity struct {
	Created time.Time
	Life    time.Duration
}

// Proof says why an entry may move to the next channel: a green run, for which it
// returns nil, or a waiver that excuses a run's failures. An error means neither.
type Proof func(*document.Entry) (*catalog.Waiver, error)

// Promotion moves entries from one channel to the next.
type Promotion struct {
	From     *document.Document
	To       *document.Document // the next channel's newest catalog; nil if it has none yet
	Channel  string             // that they move to
	Evidence *proof.Evidence    // what gates have signed of the run that proves them
}

// Check refuses, with ErrInput, to skip a channel or to go back.
func (p Promotion) Check() error {
	i := slices.Index(catalog.Channels, p.Channel)
	if i < 1 || p.From.Channel != catalog.Channels[i-1] || p.To != nil && p.To.Channel != p.Channel {
		return fmt.Errorf("%w: entries of channel %q do not go to %q: the channels are %s, in this order", ErrInput, p.From.Channel, p.Channel, strings.Join(catalog.Channels, ", "))
	}
	return nil
}

// Promote returns the next channel's new catalog, in which these entries are as they
// are in the channel before, each with what the evidence proves of it. All move or none:
// every refusal is in the error. What the channel has revoked stays revoked. Entries do
// not move that would take the channel back to an older version, or that, with those that
// are there, would require each other in a circle or use the same port of a node.
func (p Promotion) Promote(ids []string, proof Proof, v Validity) (*document.Document, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	d := document.Next(p.To, p.Channel, v.Created, v.Life)
	var problems []error
	for _, id := range ids {
		e := p.From.Entry(id)
		if e == nil {
			problems = append(problems, fmt.Errorf("%w: catalog %s has no entry of %s", ErrInput, p.From.Head(), id))
			continue
		}
		moved := *e
		var err error
		if moved.Waiver, err = proof(e); err == nil {
			err = p.renewal(moved.Waiver, id)
		}
		if err == nil {
			err = p.downgrade(e)
		}
		if err == nil {
			err = d.Prove(moved, p.Evidence, v.Created)
		}
		problems = append(problems, err)
	}
	if err := errors.Join(append(problems, d.Cycles(), d.Conflicts())...); err != nil {
		return nil, err
	}
	return d, nil
}

// renewal refuses a waiver for what the channel's entry is excused from already, unless it
// renews that very one, which it can do once.
func (p Promotion) renewal(w *catalog.Waiver, id string) error {
	if w == nil || p.To == nil {
		return nil
	}
	before := p.To.Entry(id)
	if before == nil || !w.Overlaps(before.Waiver) || w.Renews == before.Waiver.Digest(id) && w.Renewed == before.Waiver.Renewed+1 {
		return nil
	}
	return fmt.Errorf("%w: channel %s has released %s by a waiver for %s already, and this one does not renew it; a waiver can be renewed once ('gate waive --renews', with the file of that one)", ErrInput, p.Channel, id, strings.Join(before.Waiver.Steps, ", "))
}

// downgrade refuses a version older than the channel's: nodes that run that one would not
// take it, and new ones would get what has been mended since.
func (p Promotion) downgrade(e *document.Entry) error {
	if p.To == nil {
		return nil
	}
	before := p.To.Entry(e.ID)
	if before == nil || before.ImageOnly() || catalog.CompareVersions(e.Version, before.Version) >= 0 {
		return nil
	}
	return fmt.Errorf("%w: channel %s has %s %s already, which is newer than %s; if that must not be used, withdraw it first: catalog revoke %s %s", ErrInput, p.Channel, e.ID, before.Version, e.Version, e.ID, before.Version)
}

// Revoke returns a channel's new catalog, without a version that it withdraws for good.
func Revoke(before *document.Document, id, version, reason string, v Validity) (*document.Document, error) {
	d := document.Next(before, before.Channel, v.Created, v.Life)
	if err := d.Revoke(document.Revocation{ID: id, Version: version, Reason: reason, Since: v.Created}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	return d, nil
}
