package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/channel"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/mirror"
	"github.com/archipelago-cloud/archipelago/catalog/publish"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

func buildCommand() *cobra.Command {
	var validity validityFlags
	var apps []string
	var builder channel.Builder
	var previous, out string
	c := &cobra.Command{
		Use: "build", Short: "Build the catalog of channel feature from directories of manifests",
		Long:    "Build the catalog of channel feature. Every manifest is checked, and Podman's own\ngenerator must accept its units. Images that are built here are rebuilt if their\ncontext has changed, and pushed to the registry; every image is pinned by digest.\nThe same input and --created give the same bytes. Icons and screenshots are written to\nthe directory pictures beside the output, each named by its digest.",
		Example: "  catalog build --output feature.json\n  catalog build --previous feature.json --registry registry.example/archipelago --output feature.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			var before *document.Document
			if previous != "" {
				if before, err = peek(previous); err != nil {
					return err
				}
			}
			v, err := validity.read()
			if err != nil {
				return err
			}
			cat, err := catalog.Load(apps...)
			if err != nil {
				return err
			}
			cache, err := os.UserCacheDir()
			if err != nil {
				return err
			}
			engine, stop, err := startEngine(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, stop()) }()
			builder.Engine, builder.Images, builder.Units = engine, filepath.Join(cache, "archipelago", "registry"), units
			d, err := builder.Build(cmd.Context(), cat, before, v, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			pictures, err := cat.Pictures()
			if err == nil {
				err = mirror.WritePictures(filepath.Dir(out), pictures)
			}
			if err != nil {
				return err
			}
			return write(cmd, d, out)
		},
	}
	validity.add(c)
	f := c.Flags()
	f.StringArrayVar(&apps, "apps", []string{"catalog/apps"}, "directory of manifests; may be given again")
	f.StringVar(&builder.Registry, "registry", publish.Registry, "registry that images built here are pushed to, such as registry.example/archipelago; default: the gate's own, for tests: no owner's node can pull from it")
	f.StringVar(&builder.Publisher, "publisher", "archipelago", "name of the publisher")
	f.StringVar(&previous, "previous", "", "the channel's catalog so far: the new one has the next serial, and keeps its revocations")
	f.StringVarP(&out, "output", "o", "feature.json", "file to write")
	return c
}

// units renders a manifest as a node does.
func units(m *manifest.Manifest) map[string]string {
	return quadlet.Render(m, nodes.DataDir, true).Files
}

// startEngine starts the lab's engine; stop stops it again, unless it was running before.
func startEngine(ctx context.Context) (_ *lab.Engine, stop func() error, err error) {
	e, err := lab.OpenEngine()
	if err != nil {
		return nil, nil, err
	}
	if e.Running() {
		return e, func() error { return nil }, nil
	}
	if err := e.Start(ctx); err != nil {
		return nil, nil, err
	}
	return e, func() error { return e.Stop(context.WithoutCancel(ctx)) }, nil
}
