package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/manifest/findings"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
)

// packaged is an application in a directory of its own, below that of a catalog.
type packaged struct {
	*manifest.Manifest
	dir, catalog string // absolute
}

// packagedIn reads the application of a directory, which has its id for a name, as every
// directory of a catalog.
func packagedIn(path string) (packaged, error) {
	file := manifestIn(path)
	m, err := manifest.ParseFile(file)
	if err != nil {
		return packaged{}, usage.Wrap(err)
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return packaged{}, err
	}
	if filepath.Base(file) != findings.FileName || filepath.Base(dir) != m.ID {
		return packaged{}, usage.Wrap(fmt.Errorf("%s: gate and catalog look for it in %s: name the directory like the id", file, filepath.Join(m.ID, findings.FileName)))
	}
	return packaged{m, dir, filepath.Dir(dir)}, nil
}

func (a *app) appTest() *cobra.Command {
	var cycles int
	var steps, only, more []string
	c := &cobra.Command{
		Use: "test DIR", Short: "Take an application through its whole life on nodes, as the gate does",
		Long: "Take an application, with what it requires, through its whole life on real nodes: the\ncells of the gate for this application, whose program gate runs them and writes the report.\nWithout an inventory, the nodes are those of the lab, on this machine.\n\n" +
			"What it requires is looked for beside it, in the directory above DIR, and in --catalog.\nAll that is in these directories must be valid.\n\nExit status: the gate's: 0 all passed; 1 red; 2 usage or bad input; 3 incomplete.",
		Example: "  archy app test photos\n  archy app test photos --cycles 3 --steps install,ui-reachable,uninstall\n  archy app test photos-ui --catalog ../catalog/apps",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cycles < 1 {
				return usage.Wrap(fmt.Errorf("--cycles %d: expected 1 or more", cycles))
			}
			p, err := packagedIn(args[0])
			if err != nil {
				return err
			}
			gate, err := program("gate")
			if err != nil {
				return err
			}
			run := []string{"run", "--catalog", p.catalog}
			for _, dir := range more {
				run = append(run, "--catalog", dir)
			}
			run = append(run, "--apps", p.ID, "--cycles", fmt.Sprint(cycles))
			if len(steps) > 0 {
				run = append(run, "--steps", strings.Join(steps, ","))
			}
			if len(only) > 0 {
				run = append(run, "--only", strings.Join(only, ","))
			}
			if a.json {
				run = append(run, "--json")
			}
			return become(gate, run...)
		},
	}
	f := c.Flags()
	f.IntVar(&cycles, "cycles", 1, "how many times; a release takes 20, on two nodes")
	f.StringSliceVar(&steps, "steps", nil, "steps; default: all nine")
	f.StringSliceVar(&only, "only", nil, "names of nodes; default: all")
	f.StringArrayVar(&more, "catalog", nil, "directory of applications that it requires; may be given again")
	c.RegisterFlagCompletionFunc("steps", cobra.FixedCompletions(steplist, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// steplist are the gate's steps; a test compares them.
var steplist = []string{"install", "ui-reachable", "stop", "start", "restart", "reinstall", "reboot-survive", "archipelago-restart-survive", "uninstall"}

func (a *app) appPublish() *cobra.Command {
	var registry, publisher, out, key, identity, to string
	var roots []string
	c := &cobra.Command{
		Use: "publish DIR", Short: "Publish the catalog that an application is in, of channel feature",
		Long: "Publish the catalog of channel feature. DIR is its directory of applications, or one of\nthem: a catalog is published whole, and what is not beside DIR is in it no more. The\nprogram catalog does the work: it checks everything, builds and pushes the images, pins\nthem by digest ('catalog build'), shows what changes since the last one ('catalog diff'),\nsigns ('catalog sign', with --key) and writes into a mirror's directory ('catalog\npublish', with --to). The file is replaced once it is signed.\n\n" +
			"From there, 'catalog promote' takes applications to owners, on a green run of the gate.",
		Example: "  archy app publish photos --output feature.json\n  archy app publish photos --registry registry.example/apps --key release.key --root root.json --to /srv/mirror",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to != "" && (key == "" || len(roots) == 0) {
				return usage.Wrap(errors.New("--to: what a mirror has is signed: name --key and --root too"))
			}
			if len(roots) > 0 && to == "" {
				return usage.Wrap(errors.New("--root goes with --to, the mirror whose catalog it vouches for; name that, or leave out --root"))
			}
			if identity != "" && key == "" {
				return usage.Wrap(errors.New("--identity goes with --key, the key that it opens; name that, or leave out --identity"))
			}
			dir, err := catalogOf(args[0])
			if err != nil {
				return err
			}
			catalog, err := program("catalog")
			if err != nil {
				return err
			}
			run := func(args ...string) error {
				fmt.Fprintln(cmd.ErrOrStderr(), "catalog", strings.Join(args, " "))
				c := exec.CommandContext(cmd.Context(), catalog, args...)
				c.Stdin, c.Stdout, c.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
				c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
				err := c.Run()
				if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 {
					return ended{"catalog " + args[0], exit.ExitCode()}
				}
				return err
			}
			fresh := out + ".new"
			build := []string{"build", "--apps", dir, "--output", fresh}
			if registry != "" {
				build = append(build, "--registry", registry)
			}
			if publisher != "" {
				build = append(build, "--publisher", publisher)
			}
			_, err = os.Stat(out)
			before := err == nil
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return usage.Wrap(err)
			}
			if before {
				build = append(build, "--previous", out)
			}
			defer os.Remove(fresh) // which is away by then, unless something failed
			if err := run(build...); err != nil {
				return err
			}
			if before {
				if err := run("diff", out, fresh); err != nil {
					return err
				}
			}
			if key != "" {
				sign := []string{"sign", fresh, "--key", key}
				if identity != "" {
					sign = append(sign, "--identity", identity)
				}
				if err := run(sign...); err != nil {
					return err
				}
			}
			if err := os.Rename(fresh, out); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s is now %s\n", fresh, out)
			if to == "" {
				return nil
			}
			publish := []string{"publish", out, "--to", to}
			for _, root := range roots {
				publish = append(publish, "--root", root)
			}
			return run(publish...)
		},
	}
	f := c.Flags()
	f.StringVarP(&out, "output", "o", "feature.json", "the catalog's file; the one there is the predecessor")
	f.StringVar(&registry, "registry", "", "registry that images built here are pushed to; default: the gate's own, for tests")
	f.StringVar(&publisher, "publisher", "", "name of the publisher")
	f.StringVar(&key, "key", "", "key that signs, a file or agent:NAME; default: it is not signed")
	f.StringVar(&identity, "identity", "", "file of the age identity that opens the key")
	f.StringArrayVar(&roots, "root", nil, "with --to: file of the root document; successors follow in order")
	f.StringVar(&to, "to", "", "directory of the mirror to write to; default: none")
	return c
}

// catalogOf gives the directory of a catalog that is named by itself, or by one of its
// applications. Whatever is wrong in it is said here, at once.
func catalogOf(path string) (string, error) {
	dir, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, findings.FileName)); err == nil {
		p, err := packagedIn(path)
		return p.catalog, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", findings.FileName))
	if err != nil || len(files) == 0 {
		return "", usage.Wrap(fmt.Errorf("%s: neither an application nor a directory of some: there is no %s", path, filepath.Join("ID", findings.FileName)))
	}
	var problems []error
	for _, f := range slices.Sorted(slices.Values(files)) {
		_, err := packagedIn(f)
		problems = append(problems, err)
	}
	return dir, usage.Wrap(errors.Join(problems...))
}

// ended is how another program, which has said why, ended.
type ended struct {
	program string
	status  int
}

func (e ended) Error() string { return fmt.Sprintf("%s ended with status %d", e.program, e.status) }
