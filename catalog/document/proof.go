package document

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/proof"
	"github.com/archipelago-cloud/archipelago/catalog/root"
)

// tested is what the entry says of itself, for a proof.
func (e *Entry) tested() proof.Tested {
	return proof.Tested{App: e.ID, Manifest: e.SHA256, Images: e.Images, Waiver: e.Waiver}
}

// Prove adds an entry, or replaces that of the same application, with the proof that
// evidence gives of it; attestations that no entry needs any more are dropped.
func (d *Document) Prove(e Entry, by *proof.Evidence, promoted time.Time) error {
	if by == nil || e.ImageOnly() {
		return fmt.Errorf("%w: %w", ErrRefused, d.missing(&e))
	}
	p, err := by.Of(e.tested(), promoted)
	if err != nil {
		return fmt.Errorf("%w: entry %q: %w", ErrRefused, e.ID, err)
	}
	e.Proof = &p
	if err := d.Put(e); err != nil {
		return err
	}
	if d.Attestations == nil {
		d.Attestations = map[string]string{}
	}
	d.Attestations[by.Digest] = string(by.Envelope)
	maps.DeleteFunc(d.Attestations, func(digest, _ string) bool {
		return !slices.ContainsFunc(d.Entries, func(e Entry) bool { return e.Proof != nil && e.Proof.Attestation == digest })
	})
	return nil
}

// missing says that an entry carries nothing that could be verified.
func (d *Document) missing(e *Entry) error {
	if e.ImageOnly() {
		return fmt.Errorf("entry %q in channel %s: %w: it only overrides images, and no gate has seen what comes of it on a node; publish its whole manifest", e.ID, d.Channel, proof.ErrUnproven)
	}
	return fmt.Errorf("entry %q in channel %s: %w: it carries no proof that a gate has tested it; its publisher adds one with 'catalog promote %s --run RUN'", e.ID, d.Channel, proof.ErrUnproven, e.ID)
}

// examine says which entries have no valid proof, and why. Each attestation is verified
// once.
func (d *Document) examine(ctx context.Context, p *root.Policy) map[string]error {
	if !catalog.NeedsProof(d.Channel) {
		return nil
	}
	type opened struct {
		evidence *proof.Evidence
		err      error
	}
	known := map[string]opened{}
	out := map[string]error{}
	for i := range d.Entries {
		e := &d.Entries[i]
		if e.Proof == nil || e.ImageOnly() {
			out[e.ID] = d.missing(e)
			continue
		}
		o, ok := known[e.Proof.Attestation]
		if !ok {
			o.evidence, o.err = d.open(ctx, e.Proof.Attestation, p)
			known[e.Proof.Attestation] = o
		}
		if o.err == nil {
			o.err = d.agrees(e, o.evidence)
		}
		if o.err != nil {
			out[e.ID] = fmt.Errorf("entry %q in channel %s: %w", e.ID, d.Channel, o.err)
		}
	}
	return out
}

// open verifies the attestation of that digest.
func (d *Document) open(ctx context.Context, digest string, p *root.Policy) (*proof.Evidence, error) {
	envelope, ok := d.Attestations[digest]
	if !ok {
		return nil, fmt.Errorf("%w: the catalog does not hold its attestation %.12s…", proof.ErrUnproven, digest)
	}
	e, err := proof.Open(ctx, []byte(envelope), p)
	if err == nil && e.Digest != digest {
		err = fmt.Errorf("%w: the attestation %.12s… has another digest, %.12s…", proof.ErrUnproven, digest, e.Digest)
	}
	return e, err
}

// agrees says why an entry's proof is not the one that the evidence gives.
func (d *Document) agrees(e *Entry, evidence *proof.Evidence) error {
	follows, err := evidence.Of(e.tested(), e.Proof.Promoted)
	switch {
	case err != nil:
		return err
	case !e.Proof.Same(follows):
		return fmt.Errorf("%w: its proof is not what the attestation of run %s says", proof.ErrUnproven, follows.Run)
	case e.Proof.Promoted.After(d.Created):
		return fmt.Errorf("%w: it says that it was promoted on %s, after the catalog was made", proof.ErrUnproven, e.Proof.Promoted.Format(time.RFC3339))
	}
	return nil
}

// Proven says which entries of the document have no valid proof, all at once; nil if none
// needs one. It does not ask who signed the document.
func (d *Document) Proven(ctx context.Context, p *root.Policy) error {
	unproven := d.examine(ctx, p)
	var problems []error
	for _, id := range slices.Sorted(maps.Keys(unproven)) {
		problems = append(problems, fmt.Errorf("%w: %w", ErrRefused, unproven[id]))
	}
	return errors.Join(problems...)
}

// DropUnproven removes the entries that have no valid proof though their channel needs one,
// and says why of each.
func (d *Document) DropUnproven(ctx context.Context, p *root.Policy) (dropped []error) {
	unproven := d.examine(ctx, p)
	for _, id := range slices.Sorted(maps.Keys(unproven)) {
		dropped = append(dropped, unproven[id])
	}
	d.Entries = slices.DeleteFunc(slices.Clone(d.Entries), func(e Entry) bool { return unproven[e.ID] != nil })
	return dropped
}

// AnotherPolicy says of each entry whose run was judged by another policy than the built-in
// one what that demands beyond, by application. The document has been verified.
func (d *Document) AnotherPolicy(ctx context.Context, p *root.Policy) map[string]string {
	out := map[string]string{}
	for i := range d.Entries {
		e := &d.Entries[i]
		if e.Proof == nil {
			continue
		}
		if o, err := d.open(ctx, e.Proof.Attestation, p); err == nil && len(o.AnotherPolicy()) > 0 {
			out[e.ID] = strings.Join(o.AnotherPolicy(), "; ")
		}
	}
	return out
}

// proven says why an entry must not be used; nil if its proof was verified, or if its
// channel needs none.
func (d *Document) proven(e *Entry) error {
	if !catalog.NeedsProof(d.Channel) {
		return nil
	}
	if !d.examined {
		return fmt.Errorf("entry %q in channel %s: %w: nobody has verified the catalog", e.ID, d.Channel, proof.ErrUnproven)
	}
	return d.unproven[e.ID]
}

// Conflicts says which entries cannot run on one node, and which cannot be read.
func (d *Document) Conflicts() error {
	all := catalog.Catalog{}
	var problems []error
	for i := range d.Entries {
		e := &d.Entries[i]
		if e.ImageOnly() {
			continue
		}
		m, err := e.Parse()
		if err != nil {
			problems = append(problems, err)
			continue
		}
		all[e.ID] = &catalog.Entry{Manifest: m}
	}
	for _, err := range all.Conflicts() {
		problems = append(problems, fmt.Errorf("%w: catalog %s: %w", ErrRefused, d.Head(), err))
	}
	return errors.Join(problems...)
}
