package document

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Next returns a channel's next document, with the content of the one before it; before
// is nil for the first. Times are truncated to seconds.
func Next(before *Document, channel string, created time.Time, life time.Duration) *Document {
	created = created.UTC().Truncate(time.Second)
	d := &Document{Schema: Schema, Channel: channel, Serial: 1, Created: created, Expires: created.Add(life.Truncate(time.Second)), Entries: []Entry{}, Revoked: []Revocation{}}
	if before != nil {
		d.Serial = before.Serial + 1
		d.Entries, d.Revoked = slices.Clone(before.Entries), slices.Clone(before.Revoked)
		d.Attestations = maps.Clone(before.Attestations)
	}
	return d
}

// Put adds an entry, or replaces that of the same application. A revoked version is
// refused.
func (d *Document) Put(e Entry) error {
	if r := d.Revocation(e.ID, e.Version); r != nil && !e.ImageOnly() {
		return fmt.Errorf("%w: %s %s was revoked in channel %s on %s: %s", ErrRefused, e.ID, e.Version, d.Channel, r.Since.Format(time.DateOnly), r.Reason)
	}
	i, have := slices.BinarySearchFunc(d.Entries, e.ID, func(e Entry, id string) int { return strings.Compare(e.ID, id) })
	if have {
		d.Entries[i] = e
	} else {
		d.Entries = slices.Insert(d.Entries, i, e)
	}
	return nil
}

// Revoke withdraws a version for good: its entry is removed, and nodes that run it say so.
func (d *Document) Revoke(r Revocation) error {
	if old := d.Revocation(r.ID, r.Version); old != nil {
		return fmt.Errorf("%w: %s %s has been revoked since %s: %s", ErrRefused, r.ID, r.Version, old.Since.Format(time.DateOnly), old.Reason)
	}
	if strings.TrimSpace(r.Reason) == "" {
		return fmt.Errorf("%w: a revocation needs a reason", ErrRefused)
	}
	r.Since = r.Since.UTC().Truncate(time.Second)
	d.Entries = slices.DeleteFunc(d.Entries, func(e Entry) bool { return e.ID == r.ID && e.Version == r.Version })
	d.Revoked = append(d.Revoked, r)
	slices.SortFunc(d.Revoked, func(a, b Revocation) int { return strings.Compare(a.key(), b.key()) })
	return nil
}
