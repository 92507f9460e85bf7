package document

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/zeebo/blake3"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/proof"
)

// Entry is one application. Its digests are those of its manifest's canonical form. An
// entry without a manifest is image-only: it overrides images in the manifest that a node
// has on its disk.
type Entry struct {
	ID        string         `json:"id"`
	Version   string         `json:"version,omitempty"`
	Publisher string         `json:"publisher"`
	Notes     string         `json:"notes,omitempty"`
	Manifest  jsontext.Value `json:"manifest,omitempty"`
	// BLAKE3 is the digest by which manifests will be distributed in pieces that can be
	// verified one by one. Until then it is only checked, beside SHA256: it is in the
	// format from the start so that catalogs need not be signed again. 32 bytes, in hex.
	BLAKE3 string            `json:"blake3,omitempty"`
	SHA256 string            `json:"sha256,omitempty"`
	Images map[string]string `json:"images"` // by container, "NAME@sha256:HEX"
	Waiver *catalog.Waiver   `json:"waiver,omitempty"`
	Proof  *proof.Proof      `json:"proof,omitempty"` // that a gate has tested exactly this
}

// NewEntry makes an entry of a published manifest, in which every image is pinned.
func NewEntry(m *manifest.Manifest, publisher, notes string) (Entry, error) {
	e := Entry{ID: m.ID, Version: m.Version, Publisher: publisher, Notes: notes, Manifest: m.Canonical()}
	e.BLAKE3, e.SHA256 = digests(e.Manifest)
	var err error
	if e.Images, err = images(m); err != nil {
		return Entry{}, err
	}
	// What is shipped must read back as the same.
	if _, err := e.Parse(); err != nil {
		return Entry{}, err
	}
	return e, nil
}

func digests(b []byte) (string, string) {
	b3, s2 := blake3.Sum256(b), sha256.Sum256(b)
	return hex.EncodeToString(b3[:]), hex.EncodeToString(s2[:])
}

func images(m *manifest.Manifest) (map[string]string, error) {
	out := map[string]string{}
	for _, c := range m.Containers {
		if c.Image.Digest == "" {
			return nil, fmt.Errorf("%s: the image of container %s is not pinned by digest", m.ID, c.Name)
		}
		out[c.Name] = c.Image.Pinned()
	}
	return out, nil
}

// Listing is what a store shows of the application, as far as the entry can be read.
func (e *Entry) Listing() (l manifest.Listing) {
	if !e.ImageOnly() {
		_ = jsonv2.Unmarshal(e.Manifest, &l) // of the others' fields, nothing is asked
	}
	return l
}

// ImageOnly says whether the entry only overrides images.
func (e *Entry) ImageOnly() bool { return len(e.Manifest) == 0 }

// digested checks the manifest against the entry's digests.
func (e *Entry) digested() error {
	if b3, s2 := digests(e.Manifest); b3 != e.BLAKE3 || s2 != e.SHA256 {
		return fmt.Errorf("%w: entry %q: its manifest has other digests (blake3 %.12s…, sha256 %.12s…) than the entry states (%.12s…, %.12s…)", ErrRefused, e.ID, b3, s2, e.BLAKE3, e.SHA256)
	}
	return nil
}

// Parse returns the entry's manifest, if everything that the entry says of it is true.
func (e *Entry) Parse() (*manifest.Manifest, error) {
	if err := e.digested(); err != nil {
		return nil, err
	}
	m, err := manifest.ParseCanonical("entry "+e.ID, e.Manifest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if m.ID != e.ID || m.Version != e.Version {
		return nil, fmt.Errorf("%w: entry %q, version %q: its manifest is that of %q, version %q", ErrRefused, e.ID, e.Version, m.ID, m.Version)
	}
	have, err := images(m)
	if err != nil {
		return nil, fmt.Errorf("%w: entry %w", ErrRefused, err)
	}
	for name, image := range have {
		if e.Images[name] != image || len(e.Images) != len(have) {
			return nil, fmt.Errorf("%w: entry %q: its manifest has image %q for container %s, the entry %q", ErrRefused, e.ID, image, name, e.Images[name])
		}
	}
	return m, nil
}

// override returns a manifest from the disk with the images of an image-only entry.
func (e *Entry) override(disk *manifest.Manifest) (*manifest.Manifest, error) {
	if disk == nil {
		return nil, fmt.Errorf("%w: entry %q only overrides images, but this node has no manifest for it on disk", ErrRefused, e.ID)
	}
	m := *disk
	m.Containers = slices.Clone(disk.Containers)
	for _, name := range slices.Sorted(maps.Keys(e.Images)) {
		i := slices.IndexFunc(m.Containers, func(c manifest.Container) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%w: entry %q overrides the image of container %q, which the manifest on this node's disk does not have", ErrRefused, e.ID, name)
		}
		ref, digest, ok := strings.Cut(e.Images[name], "@")
		if !ok {
			return nil, fmt.Errorf("%w: entry %q: the image of container %s is not pinned by digest", ErrRefused, e.ID, name)
		}
		m.Containers[i].Image = manifest.Image{Ref: ref, Digest: digest}
	}
	// The result must be as valid as any other manifest.
	out, err := manifest.ParseCanonical("entry "+e.ID, m.Canonical())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return out, nil
}

// Merge returns the applications of a node: the document's, and those on the node's disk
// that the document does not have. An invalid entry, or an unproven one where the channel
// needs a proof, is rejected without fallback, and so
// is each application of a requirement cycle; others are unaffected. An entry that before
// holds with the same digest is not parsed again.
func (d *Document) Merge(disk, before catalog.Catalog, now time.Time) (catalog.Catalog, map[string]error) {
	merged, refused := make(catalog.Catalog, len(d.Entries)+len(disk)), map[string]error{}
	for id, e := range disk {
		own := *e
		own.Source = catalog.Source{From: catalog.FromDisk}
		merged[id] = &own
	}
	entries := make([]*catalog.Entry, len(d.Entries))
	errs := make([]error, len(d.Entries))
	each(len(d.Entries), func(i int) error {
		entries[i], errs[i] = d.entry(&d.Entries[i], disk, before, now)
		return nil
	})
	for i := range d.Entries {
		id := d.Entries[i].ID
		if errs[i] != nil {
			delete(merged, id)
			refused[id] = errs[i]
			continue
		}
		merged[id] = entries[i]
	}
	for _, r := range d.Revoked {
		if e := merged[r.ID]; e != nil && e.Version == r.Version {
			refused[r.ID] = fmt.Errorf("%w: %s %s was revoked on %s: %s", ErrRefused, r.ID, r.Version, r.Since.Format(time.DateOnly), r.Reason)
			delete(merged, r.ID)
		}
	}
	for id, err := range merged.Cycles() {
		refused[id] = fmt.Errorf("%w: %s: %w", ErrRefused, id, err)
		delete(merged, id)
	}
	return merged, refused
}

// entry gives what a node installs of an entry. That its digests are right is asked first:
// what is not what it says it is need not be proven.
func (d *Document) entry(e *Entry, disk, before catalog.Catalog, now time.Time) (*catalog.Entry, error) {
	out, err := d.read(e, disk, before, now)
	if err == nil {
		if err = d.proven(e); err != nil {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	return out, err
}

func (d *Document) read(e *Entry, disk, before catalog.Catalog, now time.Time) (*catalog.Entry, error) {
	if err := e.Waiver.Ended(now); err != nil {
		return nil, fmt.Errorf("%w: entry %q: %w", ErrRefused, e.ID, err)
	}
	out := &catalog.Entry{Notes: e.Notes, Publisher: e.Publisher, Waiver: e.Waiver, Source: catalog.Source{From: catalog.FromCatalog, Document: d.Head(), SHA256: e.SHA256}}
	if e.Proof != nil && d.examined && catalog.NeedsProof(d.Channel) {
		out.Proof = e.Proof.String()
	}
	var err error
	if e.ImageOnly() {
		out.Source.From = catalog.FromBoth
		out.Manifest, err = e.override(disk.Manifest(e.ID))
		return out, err
	}
	if known := before[e.ID]; known != nil && known.Source.From == catalog.FromCatalog && known.Source.SHA256 == e.SHA256 && e.digested() == nil && known.Version == e.Version {
		out.Manifest = known.Manifest
		return out, nil
	}
	out.Manifest, err = e.Parse()
	return out, err
}

// each calls do for every index below n, on all processors, and joins the errors.
func each(n int, do func(i int) error) error {
	const piece = 64
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	next := make(chan int)
	for range min(runtime.GOMAXPROCS(0), max(1, n/piece)) {
		wg.Go(func() {
			for from := range next {
				for i := from; i < min(from+piece, n); i++ {
					if err := do(i); err != nil {
						mu.Lock()
						errs = append(errs, err)
						mu.Unlock()
						break
					}
				}
			}
		})
	}
	for from := 0; from < n; from += piece {
		next <- from
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}
