package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/manifest/findings"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
)

// packaging groups what packagers of applications use.
func (a *app) packaging() *cobra.Command {
	c := &cobra.Command{
		Use: "app", Short: "Package an application: from its first manifest to its publication",
		Long:    "Package an application: begin its manifest, check it, try it on a node, test it as a\nrelease is tested, publish it. Of these commands, dev, shell and logs need a node, as\n'render --diff node' does; test brings up a lab of its own.",
		Example: "  archy app init photos --template web\n  archy app validate photos\n  archy app dev photos\n  archy app test photos",
	}
	logs := a.logs()
	logs.Example = "  archy app logs photos -f"
	c.AddCommand(a.appInit(), importing(), a.appValidate(), a.appRender(), a.appDev(), a.appShell(), logs, a.appTest(), a.appPublish())
	return c
}

// formats are how findings are told.
var formats = []string{"text", "json", "sarif", "github"}

func (a *app) appValidate() *cobra.Command {
	var format string
	var watching, strict bool
	c := &cobra.Command{
		Use: "validate [PATH...]", Short: "Check manifests and report every problem at once; exit status 2 if there is one",
		Long: "Check manifests, or all that are called manifest.yaml in and below directories (default:\nthis one). Every problem is reported at once, with its place, what was expected and where\nthe language is explained; what is valid and yet unwise is a warning. Problems and warnings\ngo to standard error as text, and to standard output in the formats for programs.\n\n" +
			"Exit status: 0 all manifests are valid; 2 there is a problem or, with --strict, a warning.",
		Example: "  archy app validate\n  archy app validate catalog/apps/*/manifest.yaml --format github\n  archy app validate photos --watch",
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.json {
				format = "json"
			}
			if !slices.Contains(formats, format) {
				return usage.Wrap(fmt.Errorf("--format %q: expected one of %s", format, strings.Join(formats, ", ")))
			}
			if len(args) == 0 {
				args = []string{"."}
			}
			if watching {
				return a.watch(cmd, args, format)
			}
			return a.validate(cmd, args, format, strict)
		},
	}
	c.Flags().StringVar(&format, "format", "text", "how findings are told: text, json, sarif or github")
	c.Flags().BoolVar(&watching, "watch", false, "check again whenever a file changes, until Ctrl-C")
	c.Flags().BoolVar(&strict, "strict", false, "take warnings for problems")
	c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// validate is 'archy validate' of before there was 'archy app'.
func (a *app) validateAlias() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE...", Hidden: true, Short: "What is now 'archy app validate'",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format := "text"
			if a.json {
				format = "json"
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "'archy validate' will go: use 'archy app validate'")
			return a.validate(cmd, args, format, false)
		},
	}
}

func (a *app) validate(cmd *cobra.Command, paths []string, format string, strict bool) error {
	names, err := findings.Files(paths...)
	if err != nil {
		return usage.Wrap(err)
	}
	files, err := findings.Check(names...)
	if err != nil {
		return err
	}
	if err := tell(cmd, files, format); err != nil {
		return err
	}
	problems, warnings, bad := findings.Count(files)
	switch {
	case problems > 0:
		return usage.Wrap(fmt.Errorf("%s in %d of %s", count(problems, "problem"), bad, count(len(files), "manifest")))
	case strict && warnings > 0:
		return usage.Wrap(fmt.Errorf("%s, and --strict takes them for problems", count(warnings, "warning")))
	}
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func tell(cmd *cobra.Command, files []findings.File, format string) error {
	switch format {
	case "json":
		return findings.JSON(cmd.OutOrStdout(), files)
	case "sarif":
		return findings.SARIF(cmd.OutOrStdout(), version, files)
	case "github":
		return findings.GitHub(cmd.OutOrStdout(), files)
	}
	for _, f := range files {
		if f.Manifest != nil {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s is valid\n", f.Name, f.Manifest)
		}
	}
	return findings.Text(cmd.ErrOrStderr(), files)
}
