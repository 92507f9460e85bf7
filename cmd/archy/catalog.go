package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/publish"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/cmd/internal/keys"
	"github.com/archipelago-cloud/archipelago/gate"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// defaultLife is how long a catalog is good for: a node that is kept from newer ones
// for longer says so and takes nothing new.
const defaultLife = 14 * 24 * time.Hour

func (a *app) catalog() *cobra.Command {
	c := &cobra.Command{Use: "catalog", Short: "Make, sign, check, compare and promote signed catalogs", Args: cobra.NoArgs,
		Long:    "A catalog is one JSON document with whole manifests. It is built for channel\nfeature from directories of manifests, signed, tested by the gate, and promoted\nto user and then to beta entry by entry, each on a green run of the gate over\nexactly its digests.",
		Example: "  archy catalog build --output feature.json\n  archy catalog sign feature.json --key release.key --identity id.txt\n  archy catalog promote miniflux --from feature.json --to user.json --root root.json --run out/gate/latest --trust gate.key.pub",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(keys.Command("archy catalog"), a.catalogRoot(), a.catalogBuild(), a.catalogSign(), a.catalogVerify(), a.catalogDiff(), a.catalogPromote(), a.catalogRevoke())
	return c
}

// rootFlags name the chain of root documents.
type rootFlags struct{ files []string }

func (f *rootFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.files, "root", nil, "file of the root document; successors follow in order")
	c.MarkFlagRequired("root")
}

func (f *rootFlags) read() (chain [][]byte, p *root.Policy, err error) {
	for _, name := range f.files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, usageError{fmt.Errorf("--root: %w", err)}
		}
		chain = append(chain, b)
	}
	p, err = root.Verify(time.Now(), chain[0], chain[1:]...)
	return chain, p, err
}

// verified reads a signed catalog, and gives its envelope too.
func verified(ctx context.Context, file string, p *root.Policy, channel string) (*document.Document, []byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, usageError{err}
	}
	if _, err := document.Decode(b); err == nil {
		return nil, nil, fmt.Errorf("%s: %w: it is not signed; sign it with: archy catalog sign %s", file, sign.ErrUntrusted, file)
	}
	d, err := document.Verify(ctx, b, p, document.Expectation{Channel: channel, Now: time.Now()})
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return d, b, err
}

// goOn is verified for a catalog to go on from, for which an expired one will do.
func goOn(ctx context.Context, file string, p *root.Policy) (*document.Document, error) {
	d, _, err := verified(ctx, file, p, "")
	if errors.Is(err, document.ErrExpired) {
		err = nil
	}
	return d, err
}

// shown reads a catalog to show it, whoever signed it, or before anybody has.
func shown(file string) (*document.Document, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError{err}
	}
	if payload, err := sign.Unverified(b, document.MaxSize, document.PayloadType); err == nil {
		b = payload
	}
	d, err := document.Decode(b)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", file, err)}
	}
	return d, nil
}

func writeDocument(cmd *cobra.Command, d *document.Document, file string) error {
	b, err := d.Encode()
	if err != nil {
		return err
	}
	if err := state.WriteFile(file, b, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: catalog %s, %d applications, not signed; sign it with: archy catalog sign %s\n", file, d.Head(), len(d.Entries), file)
	return nil
}

// timeFlags say when a document is made and how long it is good for.
type timeFlags struct {
	created string
	life    time.Duration
}

func (f *timeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.created, "created", "", "time of making, RFC 3339, for the same bytes again; default: now")
	c.Flags().DurationVar(&f.life, "life", defaultLife, "how long it is good for")
}

func (f *timeFlags) time() (time.Time, error) {
	if f.created == "" {
		return time.Now(), nil
	}
	t, err := time.Parse(time.RFC3339, f.created)
	if err != nil {
		return t, usageError{fmt.Errorf("--created: %w", err)}
	}
	return t, nil
}

func (a *app) catalogRoot() *cobra.Command {
	var signers keys.Flags
	var rootKeys, catalogKeys []string
	var out string
	var life time.Duration
	p := root.Policy{}
	c := &cobra.Command{
		Use: "root", Short: "Make a root document: whose signatures count, and how many of them are needed",
		Long:    "Make a root document. The first is version 1 and goes to nodes by their owners'\nhands; each successor is signed by as many keys of the one before as its threshold\nasks, and as many of its own, so that keys change without anyone touching a node.\nKeys that are elsewhere sign with 'archy catalog sign'.",
		Example: "  archy catalog root --version 1 --root-key a.pub --root-key b.pub --root-threshold 2 --catalog-key c.pub --key a.key --key b.key --identity id.txt --output root.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if p.Root.Keys, err = keys.Read(rootKeys...); err != nil {
				return err
			}
			if p.Catalog.Keys, err = keys.Read(catalogKeys...); err != nil {
				return err
			}
			by, err := signers.Open()
			if err != nil {
				return err
			}
			p.Expires = time.Now().Add(life)
			b, err := root.Sign(p, by...)
			if err != nil {
				return usageError{err}
			}
			if err := state.WriteFile(out, b, 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: root %d, good until %s\n", out, p.Version, p.Expires.Format(time.DateOnly))
			return err
		},
	}
	signers.Add(c)
	f := c.Flags()
	f.Int64Var(&p.Version, "version", 1, "1 for the first, one more for each successor")
	f.StringArrayVar(&rootKeys, "root-key", nil, "file of public keys that may sign the next root")
	f.IntVar(&p.Root.Threshold, "root-threshold", 1, "how many of them must")
	f.StringArrayVar(&catalogKeys, "catalog-key", nil, "file of public keys that may sign catalogs")
	f.IntVar(&p.Catalog.Threshold, "catalog-threshold", 1, "how many of them must")
	f.DurationVar(&life, "life", 365*24*time.Hour, "how long it is good for")
	f.StringVarP(&out, "output", "o", "root.json", "file to write")
	c.MarkFlagRequired("root-key")
	c.MarkFlagRequired("catalog-key")
	return c
}

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

func (a *app) catalogSign() *cobra.Command {
	var flags keys.Flags
	c := &cobra.Command{
		Use: "sign FILE", Short: "Sign a catalog or a root document, in place",
		Long:    "Sign a catalog that was just made, or add a signature to a signed catalog or to a\nroot document. Look at what changes first: archy catalog diff.",
		Example: "  archy catalog sign feature.json --key release.key --identity id.txt\n  archy catalog sign beta.json --key agent:release@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signers, err := flags.Open()
			if err != nil {
				return err
			}
			b, err := os.ReadFile(args[0])
			if err != nil {
				return usageError{err}
			}
			var signed []byte
			if _, notEnvelope := sign.Unverified(b, document.MaxSize, document.PayloadType); notEnvelope == nil {
				if _, err := shown(args[0]); err != nil {
					return err
				}
				signed, err = sign.Add(cmd.Context(), b, document.MaxSize, signers...)
			} else if d, notDocument := document.Decode(b); notDocument == nil {
				signed, err = document.Sign(cmd.Context(), d, signers...)
			} else if signed, err = root.Add(b, signers...); err != nil {
				return usageError{fmt.Errorf("%s: neither a catalog (%w) nor a root document (%w)", args[0], notDocument, err)}
			}
			if err != nil {
				return err
			}
			if err := state.WriteFile(args[0], signed, 0o644); err != nil {
				return err
			}
			for _, s := range signers {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: signed by %s\n", args[0], s.PublicKey)
			}
			return nil
		},
	}
	flags.Add(c)
	return c
}

func (a *app) catalogVerify() *cobra.Command {
	var roots rootFlags
	var channel string
	c := &cobra.Command{
		Use: "verify FILE", Short: "Check a signed catalog as a node does: signatures, age, and every entry",
		Long:    "Check a signed catalog as a node does. Exit status 1 where it does not hold, with\nevery reason.",
		Example: "  archy catalog verify beta.json --root root.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, p, err := roots.read()
			if err != nil {
				return err
			}
			d, _, err := verified(cmd.Context(), args[0], p, channel)
			if err != nil {
				return err
			}
			var problems []error
			for i := range d.Entries {
				e := &d.Entries[i]
				if e.ImageOnly() {
					continue // what it makes of a manifest shows on the node that has one
				}
				if _, err := e.Parse(); err != nil {
					problems = append(problems, err)
				}
			}
			if err := errors.Join(problems...); err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"channel": d.Channel, "serial": d.Serial, "created": d.Created, "expires": d.Expires, "entries": len(d.Entries), "revoked": d.Revoked, "digest": d.Digest})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: catalog %s holds: %d applications, %d revoked versions, good until %s\n", args[0], d.Head(), len(d.Entries), len(d.Revoked), d.Expires.Format(time.RFC3339))
			return err
		},
	}
	roots.add(c)
	c.Flags().StringVar(&channel, "channel", "", "channel that it must be of")
	return c
}

func (a *app) catalogDiff() *cobra.Command {
	return &cobra.Command{
		Use: "diff [OLD] NEW", Short: "What another catalog would change on a node, privileges and ports first",
		Example: "  archy catalog diff beta.json beta.new.json",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var before *document.Document
			after, err := shown(args[len(args)-1])
			if err == nil && len(args) == 2 {
				before, err = shown(args[0])
			}
			if err != nil {
				return err
			}
			changes := document.Diff(before, after)
			w := cmd.OutOrStdout()
			if a.json {
				return json.NewEncoder(w).Encode(changes)
			}
			for _, c := range changes {
				switch {
				case c.From == "":
					fmt.Fprintf(w, "%s %s, new\n", c.ID, c.To)
				case c.To == "":
					fmt.Fprintf(w, "%s %s goes\n", c.ID, c.From)
				default:
					fmt.Fprintf(w, "%s %s -> %s\n", c.ID, c.From, c.To)
				}
				for label, text := range map[string]string{"REVOKED": c.Revoked, "WAIVER": c.Waiver, "notes": c.Notes} {
					if text != "" {
						fmt.Fprintf(w, "  %-9s  %s\n", label, text)
					}
				}
				if c.From == "" || c.To == "" {
					continue
				}
				for _, l := range c.Lines {
					fmt.Fprintf(w, "  %-9s  %s: %s -> %s\n", l.Kind, l.Path, orNothing(l.Old), orNothing(l.New))
				}
			}
			if len(changes) == 0 {
				fmt.Fprintln(w, "nothing changes")
			}
			return nil
		},
	}
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

func (a *app) catalogPromote() *cobra.Command {
	var roots rootFlags
	var trust keys.Trust
	var times timeFlags
	var from, to, out, run, daemon string
	c := &cobra.Command{
		Use: "promote APP...", Short: "Bring entries to the next channel, on a green run of the gate over exactly their digests",
		Long: "Bring entries from one channel to the next: feature, user, beta. Each needs a signed\nrun of the gate that is green under the whole release policy (20 cycles, two nodes,\nnine steps) over exactly the digests of its manifest and images, by a trusted key and\nnot too old. Otherwise it is refused, and the cell that stands in the way is named.\nA failure can only be excused by a waiver ('gate waive') signed by as many catalog\nkeys of the root as it asks.",
		Example: "  archy catalog promote miniflux --from feature.json --to user.json --root root.json --run out/gate/latest --trust gate.key.pub\n" +
			"  archy catalog promote miniflux --from user.json --to beta.json --root root.json --run out/gate/latest --trust gate.key.pub",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			_, p, err := roots.read()
			if err != nil {
				return err
			}
			t, err := trust.ReadFor(p.Catalog.Keys, p.Catalog.Threshold)
			if err != nil {
				return err
			}
			created, err := times.time()
			if err != nil {
				return err
			}
			source, _, err := verified(ctx, from, p, "")
			if err != nil {
				return err
			}
			channel := strings.TrimSuffix(filepath.Base(to), ".json")
			var before *document.Document
			if _, err := os.Stat(to); err == nil {
				if before, err = goOn(ctx, to, p); err != nil {
					return err
				}
				channel = before.Channel
			}
			if want, ok := document.Before(channel); !ok || source.Channel != want {
				return usageError{fmt.Errorf("entries of channel %q do not go to %q: the channels are %s, one after the other; --to is the channel's catalog, or where there is none yet a file named after it", source.Channel, channel, strings.Join(document.Channels, ", "))}
			}
			dir, err := filepath.EvalSymlinks(run)
			if err != nil {
				return usageError{fmt.Errorf("--run: %w", err)}
			}
			r, err := gate.VerifyRun(ctx, dir, t, time.Now())
			if err != nil {
				return err
			}
			if daemon != "" && r.Subject.Daemon != daemon {
				return fmt.Errorf("run %s tested another daemon (%.12s…) than %.12s…", r.Run, r.Subject.Daemon, daemon)
			}
			d := document.Next(before, channel, created, times.life)
			var problems []error
			for _, id := range args {
				e := source.Entry(id)
				if e == nil {
					problems = append(problems, usageError{fmt.Errorf("%s has no entry of %s", from, id)})
					continue
				}
				moved := *e
				if moved.Waiver, err = gate.Proves(r, e); err == nil {
					err = d.Put(moved)
				}
				problems = append(problems, err)
			}
			if err := errors.Join(problems...); err != nil {
				return err
			}
			if out == "" {
				out = to
			}
			return writeDocument(cmd, d, out)
		},
	}
	roots.add(c)
	trust.Add(c)
	times.add(c)
	f := c.Flags()
	f.StringVar(&from, "from", "", "signed catalog of the channel that they are in")
	f.StringVar(&to, "to", "", "signed catalog of the channel that they go to; CHANNEL.json where there is none yet")
	f.StringVar(&run, "run", "out/gate/latest", "directory of the gate's run")
	f.StringVar(&daemon, "daemon", "", "SHA-256 of the daemon that must have been tested; default: any")
	f.StringVarP(&out, "output", "o", "", "file to write; default: the one of --to")
	c.MarkFlagRequired("from")
	c.MarkFlagRequired("to")
	return c
}

func (a *app) catalogRevoke() *cobra.Command {
	var roots rootFlags
	var times timeFlags
	var in, out, reason string
	c := &cobra.Command{
		Use: "revoke APP VERSION", Short: "Withdraw a version: it is never installed anew, and nodes that run it say so",
		Example: "  archy catalog revoke miniflux 2.2.6 --reason 'CVE-2026-0001' --in beta.json --root root.json",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, p, err := roots.read()
			if err != nil {
				return err
			}
			created, err := times.time()
			if err != nil {
				return err
			}
			before, err := goOn(cmd.Context(), in, p)
			if err != nil {
				return err
			}
			d := document.Next(before, before.Channel, created, times.life)
			if err := d.Revoke(document.Revocation{ID: args[0], Version: args[1], Reason: reason, Since: created}); err != nil {
				return usageError{err}
			}
			if out == "" {
				out = in
			}
			return writeDocument(cmd, d, out)
		},
	}
	roots.add(c)
	times.add(c)
	c.Flags().StringVar(&in, "in", "", "signed catalog of the channel")
	c.Flags().StringVar(&reason, "reason", "", "why; owners of nodes read it")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write; default: the one of --in")
	c.MarkFlagRequired("in")
	c.MarkFlagRequired("reason")
	return c
}

func (a *app) publish() *cobra.Command {
	var roots rootFlags
	var to string
	c := &cobra.Command{
		Use: "publish FILE...", Short: "Write signed catalogs where mirrors serve them from",
		Long:    "Write signed catalogs, and the root documents, into a directory that any web server\ncan serve as a mirror. Each must hold, be of another channel, and have a higher serial\nthan the one there.",
		Example: "  archy publish feature.json beta.json --root root.json --to /srv/mirror",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			chain, p, err := roots.read()
			if err != nil {
				return err
			}
			files := map[string][]byte{}
			var problems []error
			for _, name := range args {
				d, b, err := verified(cmd.Context(), name, p, "")
				if err != nil {
					problems = append(problems, err)
					continue
				}
				file := filepath.Join(to, d.Channel+".json")
				if _, twice := files[file]; twice {
					problems = append(problems, usageError{fmt.Errorf("%s: a second catalog of channel %s", name, d.Channel)})
				}
				if there, err := shown(file); err == nil && there.Serial >= d.Serial && there.Digest != d.Digest {
					problems = append(problems, fmt.Errorf("%s: %w: serial %d; %s has %d", name, document.ErrRollback, d.Serial, file, there.Serial))
				}
				files[file] = b
			}
			if err := errors.Join(problems...); err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Join(to, "root"), 0o755); err != nil {
				return err
			}
			for i, b := range chain {
				version := p.Version - int64(len(chain)-1-i)
				if err := state.WriteFile(filepath.Join(to, "root", fmt.Sprintf("%d.json", version)), b, 0o644); err != nil {
					return err
				}
			}
			for file, b := range files {
				if err := state.WriteFile(file, b, 0o644); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), file)
			}
			return nil
		},
	}
	roots.add(c)
	c.Flags().StringVar(&to, "to", "", "directory to write to")
	c.MarkFlagRequired("to")
	return c
}
