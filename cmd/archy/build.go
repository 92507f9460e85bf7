package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/publish"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

// builder builds images with the lab's engine, which is started where it is needed.
type builder struct{ *lab.Engine }

func (b builder) Base(ctx context.Context, w io.Writer) (string, error) {
	if err := b.Start(ctx); err != nil {
		return "", err
	}
	return b.Engine.Base(ctx, w)
}

// published gives directories' applications as nodes get them: valid, rendered into
// units that Podman's own generator takes, and with every image pinned.
func published(ctx context.Context, dirs []string, registry string, progress io.Writer) (_ catalog.Catalog, err error) {
	cat, err := catalog.Load(dirs...)
	if err != nil {
		return nil, usageError{err}
	}
	engine, err := lab.OpenEngine()
	if err != nil {
		return nil, err
	}
	if !engine.Running() {
		if err := engine.Start(ctx); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, engine.Stop(context.WithoutCancel(ctx))) }()
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	p, err := publish.Open(filepath.Join(cache, "archipelago", "registry"), builder{engine})
	if err != nil {
		return nil, err
	}
	out, err := p.Publish(ctx, cat, registry, progress)
	if err != nil {
		return nil, err
	}
	units := map[string]string{}
	for _, id := range out.IDs() {
		for name, body := range quadlet.Render(out[id].Manifest, nodes.DataDir, true).Files {
			units[name] = body
		}
	}
	fmt.Fprintf(progress, "generating services of %d units\n", len(units))
	if _, err := engine.Generate(ctx, units); err != nil {
		return nil, usageError{err}
	}
	if registry != publish.Registry { // which the gate itself serves to its nodes
		if err := p.Push(ctx, out, publish.Built(cat), progress); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// buildFlags say what a catalog of channel feature is made of.
type buildFlags struct {
	timeFlags
	apps      []string
	registry  string
	publisher string
}

func (f *buildFlags) add(c *cobra.Command) {
	f.timeFlags.add(c)
	c.Flags().StringArrayVar(&f.apps, "apps", []string{"catalog/apps"}, "directory of manifests; may be given again")
	c.Flags().StringVar(&f.registry, "registry", publish.Registry, "registry that images built here are pushed to, such as registry.example/archipelago; default: the gate's own")
	c.Flags().StringVar(&f.publisher, "publisher", "archipelago", "who publishes")
}

func (f *buildFlags) build(cmd *cobra.Command, before *document.Document) (*document.Document, error) {
	created, err := f.time()
	if err != nil {
		return nil, err
	}
	cat, err := published(cmd.Context(), f.apps, f.registry, cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	d := document.Next(before, document.Channels[0], created, f.life)
	d.Entries = []document.Entry{} // of the directories, and of nothing else
	var problems []error
	for _, id := range cat.IDs() {
		e, err := document.NewEntry(cat[id].Manifest, f.publisher, cat[id].Notes)
		if err == nil {
			err = d.Put(e)
		}
		problems = append(problems, err)
	}
	return d, errors.Join(problems...)
}

func (a *app) catalogBuild() *cobra.Command {
	var flags buildFlags
	var before, out string
	c := &cobra.Command{
		Use: "build", Short: "Make the catalog of channel feature from directories of manifests",
		Long:    "Make the catalog of channel feature. Images that are built here are built where\ntheir context has changed, and pushed; every image is pinned; every manifest is\nchecked, and its units are given to Podman's own generator. The same input and\n--created give the same bytes.",
		Example: "  archy catalog build --output feature.json\n  archy catalog build --previous feature.json --registry registry.example/archipelago --output feature.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var previous *document.Document
			if before != "" {
				var err error
				if previous, err = shown(before); err != nil {
					return err
				}
			}
			d, err := flags.build(cmd, previous)
			if err != nil {
				return err
			}
			return writeDocument(cmd, d, out)
		},
	}
	flags.add(c)
	c.Flags().StringVar(&before, "previous", "", "the catalog before it, whose serial and revocations go on")
	c.Flags().StringVarP(&out, "output", "o", "feature.json", "file to write")
	return c
}
