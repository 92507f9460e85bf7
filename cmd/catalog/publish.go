package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/mirror"
	"github.com/archipelago-cloud/archipelago/catalog/root"
)

func publishCommand() *cobra.Command {
	var roots rootFlags
	var to string
	c := &cobra.Command{
		Use: "publish FILE...", Short: "Write signed catalogs and root documents into a mirror's directory",
		Long:    "Write signed catalogs, and the root documents, into a directory that any web server\ncan serve as a mirror. Each catalog must be valid, of a channel of its own, and newer\nthan the one that the mirror has. Root documents that the mirror has beyond those of\n--root count too: a key that they have removed publishes nothing more. Entries of\nchannels user and beta must carry the proof of a gate that the newest root names.\nIcons and screenshots that the mirror lacks are taken from the directory pictures\nbeside FILE, where 'catalog build' writes them.",
		Example: "  catalog publish feature.json beta.json --root root.json --to /srv/mirror",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			chain, p, err := roots.read()
			if err != nil {
				return err
			}
			given := p.Version
			if chain, err = mirror.Roots(to, chain, given); err != nil {
				return err
			}
			if p, err = root.Verify(time.Now(), chain[0], chain[1:]...); err != nil {
				return err
			}
			if p.Version != given {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s has root %d, which succeeds root %d of --root and counts\n", to, p.Version, given)
			}
			var catalogs []mirror.Signed
			var problems []error
			for _, name := range args {
				d, envelope, err := readVerified(cmd.Context(), name, p, "")
				if err == nil {
					err = sound(cmd.Context(), name, d, p, cmd.ErrOrStderr())
				}
				problems = append(problems, err)
				catalogs = append(catalogs, mirror.Signed{Name: name, Document: d, Envelope: envelope, Pictures: filepath.Join(filepath.Dir(name), manifest.PicturesDir)})
			}
			if err := errors.Join(problems...); err != nil {
				return err
			}
			files, err := mirror.Publish(to, mirror.Chain{Documents: chain, Newest: p.Version}, catalogs...)
			for _, f := range files {
				fmt.Fprintln(cmd.OutOrStdout(), f)
			}
			return err
		},
	}
	roots.add(c)
	c.Flags().StringVar(&to, "to", "", "directory to write to")
	c.MarkFlagRequired("to")
	return c
}
