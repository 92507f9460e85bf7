package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/archipelago-cloud/archipelago/catalog/draft"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
)

// beginning is what 'archy app init' is told.
type beginning struct {
	draft.Options
	dir                 string
	image, archive, ref string
	force               bool
}

func (a *app) appInit() *cobra.Command {
	var b beginning
	c := &cobra.Command{
		Use: "init [DIR]", Short: "Begin an application: write its manifest, and an image to build where it has none",
		Long: "Begin an application in DIR (default: a directory with its id): from an image in a registry\nor an archive, whose ports, volumes, user and health check are taken over, or from a\ntemplate that is built and runs as it is. What only you can know is marked TODO. On a\nterminal you are asked for what no flag says. No file of yours is replaced without --force;\nall files are written, or none.\n\n" +
			"Templates:\n" + templateList(),
		Example: "  archy app init photos --template web\n  archy app init --image docker.io/library/nginx:1.27\n  archy app init photos --archive photos.tar --ref registry.example/photos:1.4\n  archy app init photos-ui --template companion --requires photos",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				b.dir = args[0]
			}
			if in, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(in.Fd())) {
				if err := b.ask(cmd.Context(), in, cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			return a.begin(cmd, b)
		},
	}
	f := c.Flags()
	f.StringVar(&b.ID, "id", "", "the application's id; default: the name of DIR, or of the image")
	f.StringVar(&b.Name, "name", "", "its name for people; default: from the id")
	f.StringVar(&b.Template, "template", "", "what kind of application it is; default: with an image, what that looks like")
	f.StringVar(&b.image, "image", "", "an image in a registry")
	f.StringVar(&b.archive, "archive", "", "an image in a file of 'podman save', or in the directory of an OCI layout")
	f.StringVar(&b.ref, "ref", "", "where the image of --archive will be pulled from")
	f.StringVar(&b.Requires, "requires", "", "of a companion: the id of the application that it is for")
	f.IntVar(&b.Port, "port", 0, "the node's port for it; default: like the container's")
	f.BoolVar(&b.force, "force", false, "replace files that are there")
	c.RegisterFlagCompletionFunc("template", cobra.FixedCompletions(draft.Names(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func templateList() string {
	var b strings.Builder
	for _, t := range draft.Templates {
		fmt.Fprintf(&b, "  %-10s %s\n", t.Name, t.About)
	}
	return strings.TrimRight(b.String(), "\n")
}

// begin makes the files and writes them.
func (a *app) begin(cmd *cobra.Command, b beginning) (err error) {
	switch {
	case b.image != "" && b.archive != "":
		err = errors.New("name --image or --archive, not both")
	case b.image != "":
		b.Image, err = draft.FromRegistry(cmd.Context(), b.image)
	case b.archive != "":
		b.Image, err = draft.FromArchive(b.archive, b.ref)
	case b.ref != "":
		err = errors.New("--ref goes with --archive")
	case b.Template == "":
		err = fmt.Errorf("nothing to begin with: name --image, --archive or --template, one of %s", strings.Join(draft.Names(), ", "))
	}
	if err != nil {
		return usage.Wrap(err)
	}
	if b.Template == "" {
		b.Template = "protocol"
		if b.Image.Listens() {
			b.Template = "web"
		}
	}
	if b.ID == "" && b.dir != "" {
		abs, err := filepath.Abs(b.dir)
		if err != nil {
			return err
		}
		b.ID = filepath.Base(abs)
	}
	if b.ID == "" && b.Image != nil {
		b.ID = b.Image.ID()
	}
	if b.ID == "" {
		return usage.Wrap(errors.New("what is the application called? name its directory, or --id"))
	}
	if b.dir == "" {
		b.dir = b.ID
	}
	files, err := draft.Make(b.Options)
	if err != nil {
		return usage.Wrap(err)
	}
	names, err := draft.Write(b.dir, files, b.force)
	if errors.Is(err, draft.ErrExists) {
		return usage.Wrap(fmt.Errorf("%w; --force replaces files", err))
	}
	if err != nil {
		return err
	}
	if a.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
			ID    string   `json:"id"`
			Files []string `json:"files"`
		}{b.ID, names})
	}
	for _, name := range names {
		fmt.Fprintln(cmd.OutOrStdout(), name)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "next: mend what is marked TODO, then 'archy app validate %s'\n", b.dir)
	return nil
}

// ask asks a person, line by line, for what no flag says. No answer is the default.
func (b *beginning) ask(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	question := func(to *string, said, otherwise string) error {
		if *to != "" {
			return nil
		}
		fmt.Fprint(out, said)
		if otherwise != "" {
			fmt.Fprintf(out, " [%s]", otherwise)
		}
		fmt.Fprint(out, ": ")
		answer, err := readLine(ctx, lines)
		if *to = strings.TrimSpace(answer); *to == "" {
			*to = otherwise
		}
		return err
	}
	if b.archive == "" && b.Template == "" {
		if err := question(&b.image, "Image in a registry (empty: begin with a template)", ""); err != nil {
			return err
		}
	}
	if b.image == "" && b.archive == "" && b.Template == "" {
		for i, t := range draft.Templates {
			fmt.Fprintf(out, "  %d  %-10s %s\n", i+1, t.Name, t.About)
		}
		if err := question(&b.Template, "Template, by number or name", draft.Templates[0].Name); err != nil {
			return err
		}
		if n, err := strconv.Atoi(b.Template); err == nil && n >= 1 && n <= len(draft.Templates) {
			b.Template = draft.Templates[n-1].Name
		}
		if !slices.Contains(draft.Names(), b.Template) {
			return usage.Wrap(fmt.Errorf("there is no template %q", b.Template))
		}
	}
	if b.dir == "" && b.image == "" {
		if err := question(&b.ID, "Id: lower-case letters, digits and hyphens", ""); err != nil {
			return err
		}
	}
	if b.Template == "companion" {
		return question(&b.Requires, "Id of the application that it is for", "")
	}
	return nil
}

// readLine reads a line of a person, who may as well interrupt the program.
func readLine(ctx context.Context, in *bufio.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // ends with the program, if the person never answers
		line, err := in.ReadString('\n')
		answers <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", errors.New("interrupted; nothing is written")
	case a := <-answers:
		if a.err != nil && (!errors.Is(a.err, io.EOF) || a.line == "") {
			return "", errors.New("no answer; nothing is written")
		}
		return a.line, nil
	}
}
