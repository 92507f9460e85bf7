package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/channel"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/publish"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// defaultLife is how long a catalog is good for. A node that is kept from newer ones for
// longer says so, and installs nothing new.
const defaultLife = 14 * 24 * time.Hour

// rootFlags name the chain of root documents.
type rootFlags struct{ files []string }

func (f *rootFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.files, "root", nil, "file of the root document; successors follow in order")
	c.MarkFlagRequired("root")
}

// addOptional adds the flag to a command that needs it for some files only.
func (f *rootFlags) addOptional(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.files, "root", nil, "file of the root document that says which gates count, for the catalog of a channel whose entries need a proof (user, beta), or which the root document to sign succeeds; successors follow in order")
}

func (f *rootFlags) read() ([][]byte, *root.Policy, error) { return keys.Roots(f.files...) }

// validityFlags say when a catalog is made and how long it is good for.
type validityFlags struct {
	created string
	life    time.Duration
}

func (f *validityFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.created, "created", "", "time of creation (RFC 3339), to get the same bytes again; default: now")
	c.Flags().DurationVar(&f.life, "life", defaultLife, "how long it is good for")
}

func (f *validityFlags) read() (channel.Validity, error) {
	v := channel.Validity{Created: time.Now(), Life: f.life}
	if f.created != "" {
		var err error
		if v.Created, err = time.Parse(time.RFC3339, f.created); err != nil {
			return v, usage.Wrap(fmt.Errorf("--created: %w", err))
		}
	}
	return v, nil
}

// readVerified reads a signed catalog, and returns its envelope too.
func readVerified(ctx context.Context, file string, p *root.Policy, channel string) (*document.Document, []byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, usage.Wrap(err)
	}
	if _, err := document.Decode(b); err == nil {
		return nil, nil, fmt.Errorf("%s: %w: it is not signed; sign it with: catalog sign %s", file, sign.ErrUntrusted, file)
	}
	d, err := document.Verify(ctx, b, p, document.Expectation{Channel: channel, Now: time.Now()})
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return d, b, err
}

// readPredecessor reads a signed catalog that the next one follows; it may have expired.
func readPredecessor(ctx context.Context, file string, p *root.Policy) (*document.Document, error) {
	d, _, err := readVerified(ctx, file, p, "")
	if errors.Is(err, document.ErrExpired) {
		err = nil
	}
	return d, err
}

// sound refuses a catalog that nodes could not use as it is: with entries that no gate has
// proven, although their channel needs that, whose images owners cannot pull, that require
// each other in a circle or use the same port. It says to w which were proven under another policy than the built-in one.
func sound(ctx context.Context, file string, d *document.Document, p *root.Policy, w io.Writer) error {
	problems := []error{d.Cycles(), d.Conflicts()}
	if catalog.NeedsProof(d.Channel) {
		problems = append(problems, d.Proven(ctx, p), pullable(d.Channel, d.Entries...))
		policies := d.AnotherPolicy(ctx, p)
		for _, id := range slices.Sorted(maps.Keys(policies)) {
			fmt.Fprintf(w, "%s: %s was proven under another policy: %s\n", file, id, policies[id])
		}
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// pullable refuses, for channels that owners follow, entries with an image in the gate's own
// registry, which only nodes under test reach.
func pullable(channel string, entries ...document.Entry) error {
	var problems []error
	for _, e := range entries {
		for _, c := range slices.Sorted(maps.Keys(e.Images)) {
			if catalog.NeedsProof(channel) && strings.HasPrefix(e.Images[c], publish.Registry+"/") {
				problems = append(problems, fmt.Errorf("entry %q in channel %s: the image of %s is in the gate's own registry (%s), where no owner's node can pull it; build the catalog with --registry, and test that one", e.ID, channel, c, publish.Registry))
			}
		}
	}
	return errors.Join(problems...)
}

// peek reads a catalog to show it, whoever signed it, or before anybody has.
func peek(file string) (*document.Document, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, usage.Wrap(err)
	}
	d, err := document.Peek(b)
	if err != nil {
		return nil, usage.Wrap(fmt.Errorf("%s: %w", file, err))
	}
	return d, nil
}

// write writes an unsigned catalog.
func write(cmd *cobra.Command, d *document.Document, file string) error {
	b, err := d.Encode()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(file, b, 0o644); err != nil {
		return err
	}
	with := ""
	if catalog.NeedsProof(d.Channel) {
		with = " --root ROOT"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: catalog %s, %d applications, not signed; sign it with: catalog sign %s%s --key KEY\n", file, d.Head(), len(d.Entries), file, with)
	return err
}

// jsonFlag adds the flag of a command that can answer in JSON.
func jsonFlag(c *cobra.Command) *bool { return c.Flags().Bool("json", false, "print JSON") }

func printJSON(cmd *cobra.Command, v any) error {
	return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
}
