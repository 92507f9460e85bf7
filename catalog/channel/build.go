package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/publish"
)

// Engine builds images, and runs the generator with which Podman turns unit files into
// services. Package lab's engine is one.
type Engine interface {
	publish.Builder
	Generate(ctx context.Context, units map[string]string) (string, error)
}

// Builder builds the catalog of the first channel.
type Builder struct {
	Engine    Engine
	Images    string                                     // directory of the images built so far
	Registry  string                                     // that serves them to nodes; publish.Registry: the gate does
	Publisher string                                     // who publishes
	Units     func(*manifest.Manifest) map[string]string // that a node renders a manifest into, by file name
}

// Build returns a catalog of exactly these applications, as nodes get them: images
// built, pushed to the registry and pinned by digest, units taken by Podman's own
// generator. Applications whose requirements go round in a circle are refused before
// anything is built. It has the serial after before's, and keeps its revocations; before is nil
// for the channel's first. The same input gives the same bytes. Progress goes to w.
func (b *Builder) Build(ctx context.Context, cat catalog.Catalog, before *document.Document, v Validity, w io.Writer) (*document.Document, error) {
	cycles := cat.Cycles()
	var problems []error
	for _, id := range slices.Sorted(maps.Keys(cycles)) {
		problems = append(problems, fmt.Errorf("%w: %s: %w", ErrInput, id, cycles[id]))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	p, err := publish.Open(b.Images, b.Engine)
	if err != nil {
		return nil, err
	}
	pinned, err := p.Publish(ctx, cat, b.Registry, w)
	if err != nil {
		return nil, err
	}
	units := map[string]string{}
	for _, e := range pinned {
		maps.Copy(units, b.Units(e.Manifest))
	}
	fmt.Fprintf(w, "generating the services of %d units\n", len(units))
	if _, err := b.Engine.Generate(ctx, units); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	if b.Registry != publish.Registry {
		if err := p.Push(ctx, pinned, publish.Built(cat), w); err != nil {
			return nil, err
		}
	}
	d := document.Next(before, catalog.Channels[0], v.Created, v.Life)
	d.Entries = []document.Entry{} // of these applications, and of nothing else
	for _, id := range pinned.IDs() {
		e, err := document.NewEntry(pinned[id].Manifest, b.Publisher, pinned[id].Notes)
		if err == nil {
			err = d.Put(e)
		}
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return d, nil
}
