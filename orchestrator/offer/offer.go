// Package offer owns what can be installed on a node at one time: the signed
// catalog that it follows, merged with the manifests on its disk.
package offer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// ErrRefused is wrapped where something cannot be granted as things are: an entry
// that must not be used, a request that would break what is installed.
var ErrRefused = errors.New("refused")

// Offer is what can be installed. It is never changed, only replaced.
type Offer struct {
	catalog catalog.Catalog
	refused map[string]error   // entries that must not be used, by name
	signed  *document.Document // its head and revocations; nil where none is followed
	digests map[string]string  // of manifests that are not the signed catalog's word for word

	filling sync.Once
	shelf   shelf
}

// New merges a signed catalog, nil for none, with the disk's. What the offer before
// it has with the same digest is not validated again.
func New(signed *document.Document, disk catalog.Catalog, before *Offer, now time.Time) *Offer {
	if signed == nil {
		all := maps.Clone(disk)
		return of(all, acyclic(all, nil), nil)
	}
	var known catalog.Catalog
	if before != nil {
		known = before.catalog
	}
	merged, refused := signed.Merge(disk, known, now)
	head := *signed
	head.Entries, head.Attestations = nil, nil // 10,000 applications twice in memory are too many
	return of(merged, refused, &head)
}

// WithDisk gives the same offer with other manifests on the node's disk. What the signed
// catalog offers or refuses is as it was.
func (o *Offer) WithDisk(disk catalog.Catalog) *Offer {
	all := catalog.Catalog{}
	for id, e := range o.catalog {
		if e.Source.From != catalog.FromDisk {
			all[id] = e
		}
	}
	for id, e := range disk {
		if all[id] == nil && o.refused[id] == nil {
			own := *e
			own.Source = catalog.Source{From: catalog.FromDisk}
			all[id] = &own
		}
	}
	return of(all, acyclic(all, maps.Clone(o.refused)), o.signed)
}

// acyclic takes the applications that require themselves out of a catalog, and adds them to
// those that are refused. Merge has done so.
func acyclic(all catalog.Catalog, refused map[string]error) map[string]error {
	for id, err := range all.Cycles() {
		if refused == nil {
			refused = map[string]error{}
		}
		refused[id] = fmt.Errorf("%w: %s: %w", ErrRefused, id, err)
		delete(all, id)
	}
	return refused
}

// of makes an offer of a catalog in which no application requires itself.
func of(all catalog.Catalog, refused map[string]error, signed *document.Document) *Offer {
	digests := map[string]string{}
	for id, e := range all {
		if e.Source.From != catalog.FromCatalog {
			digests[id] = e.Digest()
		}
	}
	return &Offer{catalog: all, refused: refused, signed: signed, digests: digests}
}

// IDs are those of all applications that are offered or refused, in no order.
func (o *Offer) IDs() []string {
	all := slices.Collect(maps.Keys(o.catalog))
	for id := range o.refused {
		if o.catalog[id] == nil {
			all = append(all, id)
		}
	}
	return all
}

// Knows tells whether an application is offered or refused.
func (o *Offer) Knows(id string) bool { return o.catalog[id] != nil || o.refused[id] != nil }

// Manifest gives what the catalog holds under an id, whether or not it may be
// installed now, and where it is from; nil where there is nothing.
func (o *Offer) Manifest(id string) (m *manifest.Manifest, source string) {
	e := o.catalog[id]
	if e == nil {
		return nil, ""
	}
	return e.Manifest, e.Source.String()
}

// Digest is the canonical digest of the manifest under an id; empty where there is none.
func (o *Offer) Digest(id string) string {
	if d, ok := o.digests[id]; ok {
		return d
	}
	if e := o.catalog[id]; e != nil {
		return e.Source.SHA256
	}
	return ""
}

// Refused are the entries that must not be used, by name, and why.
func (o *Offer) Refused() map[string]string {
	out := make(map[string]string, len(o.refused))
	for id, err := range o.refused {
		out[id] = err.Error()
	}
	return out
}

// Frozen says that the signed catalog, or the root that vouches for it, has expired, and
// how long ago; empty where it has not, or where none is followed.
func (o *Offer) Frozen(now time.Time) string {
	if o.signed == nil {
		return ""
	}
	return o.signed.Frozen(now)
}

// Entry gives what may be installed now under an id; ErrRefused says why nothing may.
func (o *Offer) Entry(id string, now time.Time) (*catalog.Entry, error) {
	if err := o.refused[id]; err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	e := o.catalog[id]
	switch {
	case e == nil:
		return nil, fmt.Errorf("%w: %s is not in the catalog any more", ErrRefused, id)
	case e.Waiver.Ended(now) != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrRefused, id, e.Waiver.Ended(now))
	case e.Source.From != catalog.FromDisk && o.Frozen(now) != "":
		return nil, fmt.Errorf("%w: %s", ErrRefused, o.Frozen(now))
	}
	return e, nil
}

// Update gives what may take the place of an installed version, whose record says what it
// is from, and its manifest's digest; ErrRefused says why nothing may. What came from a signed catalog is never
// replaced by the disk's: where the catalog is lost, or has the application no more, what
// the disk has may be years older.
func (o *Offer) Update(id, source, digest string, now time.Time) (*catalog.Entry, error) {
	e, err := o.Entry(id, now)
	if err != nil {
		return nil, err
	}
	if e.Source.Below(catalog.ParseSource(source)) && o.Digest(id) != digest {
		return nil, fmt.Errorf("%w: %s was installed from the %s, which does not offer it now, and is not replaced by version %s from %s; 'archy subscription' says what is offered; to have that version all the same, uninstall %s and install it again: its data stays", ErrRefused, id, source, e.Version, e.Source, id)
	}
	return e, nil
}

// Node is what privileges depend on, of the node that gives them.
type Node interface {
	Installed(app string) bool
	// On is a manifest with the node's folders of its owner's filled in.
	On(m *manifest.Manifest) *manifest.Manifest
}

// NewPrivileges are those that an update of an application adds: the version's own, and
// all of those applications that it brings along, because they are not installed.
func (o *Offer) NewPrivileges(from, to *manifest.Manifest, node Node, now time.Time) []string {
	return append(manifest.NewPrivileges(node.On(from), node.On(to)), o.broughtAlong(to, (*manifest.Manifest).Privileges, node, now)...)
}

// Grants are what an installation needs the owner's consent to: the application's own
// capabilities, devices and folders, and those of what it brings along.
func (o *Offer) Grants(m *manifest.Manifest, node Node, now time.Time) []string {
	return append(node.On(m).Grants(), o.GrantsAlong(m, node, now)...)
}

// Unvouched is what of a manifest, which is not from the catalog's hand, the catalog does
// not vouch for: that it is another one, and the privileges that it has beyond the one that
// may be installed now; all that need consent where none may.
func (o *Offer) Unvouched(m *manifest.Manifest, node Node, now time.Time) []string {
	offered, err := o.Entry(m.ID, now)
	if err == nil && o.Digest(m.ID) == m.Digest() {
		return nil
	}
	asked := []string{fmt.Sprintf("runs version %s as its backup describes it, which nothing on this node vouches for", m.Version)}
	if err != nil {
		return append(asked, node.On(m).Grants()...)
	}
	return append(asked, manifest.NewPrivileges(node.On(offered.Manifest), node.On(m))...)
}

// GrantsAlong are those of Grants that are of what the application brings along.
func (o *Offer) GrantsAlong(m *manifest.Manifest, node Node, now time.Time) []string {
	return o.broughtAlong(m, (*manifest.Manifest).Grants, node, now)
}

// broughtAlong are privileges of those applications that another one brings along: the same,
// and in the same order, as a request takes them along.
func (o *Offer) broughtAlong(by *manifest.Manifest, privileges func(*manifest.Manifest) []string, node Node, now time.Time) (all []string) {
	met := map[string]bool{by.ID: true}
	var visit func(m *manifest.Manifest)
	visit = func(m *manifest.Manifest) {
		for _, r := range m.Requires {
			if r.Optional || slices.ContainsFunc(r.Apps(), func(app string) bool { return met[app] || node.Installed(app) }) {
				continue
			}
			for _, app := range r.Apps() {
				entry, err := o.Entry(app, now)
				if err != nil || r.App == "" && m.Lacks(r, entry.Manifest) != nil {
					continue // the next alternative; without one the request is refused, with this reason
				}
				met[app] = true
				for _, p := range privileges(node.On(entry.Manifest)) {
					all = append(all, "installs "+app+", which "+p)
				}
				visit(entry.Manifest)
				break
			}
		}
	}
	visit(by)
	return all
}

// Revoked says why a version must not be installed any more; empty where it may.
func (o *Offer) Revoked(id, version string) string {
	if o.signed == nil {
		return ""
	}
	r := o.signed.Revocation(id, version)
	if r == nil {
		return ""
	}
	return fmt.Sprintf("version %s was revoked on %s: %s", version, r.Since.Format(time.DateOnly), r.Reason)
}
