package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/compose"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// registryTimeout is how long one registry may take to say what a tag means.
const registryTimeout = 15 * time.Second

func importing() *cobra.Command {
	var (
		o           compose.Options
		output, run string
		env         []string
		pin, force  bool
	)
	c := &cobra.Command{
		Use: "import [FILE|DIRECTORY]...", Short: "Make a manifest of a compose file, or of a command line that runs a container",
		Long: `Make a manifest of a compose file, or of a command line that runs a container.

A directory stands for the compose file in it. Several files of one directory are merged,
the later over the earlier. A file that begins with "podman run" or "docker run" is one of
command lines. Variables have the values of the file .env and of --env, and never those of
your own environment.

What cannot be carried is listed, with the line where it stands and with what would do
instead; what is left to you also stands in the manifest, as TODO comments.

Exit status: 0 converted; 1 converted, and something is left for you; 2 refused, and
nothing is written.`,
		Example: "  archy app import docker-compose.yml\n  archy app import . --pin --output manifest.yaml\n  archy app import --run 'podman run -d --name web -p 8080:80 docker.io/library/nginx:1.29'",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			logrus.SetOutput(io.Discard) // of the library, which warns about what is listed here anyway
			if pin {
				o.Digest = digest
			}
			var err error
			if o.Env, err = assignments(env); err != nil {
				return fmt.Errorf("--env: %w", err)
			}
			r, err := imported(cmd.Context(), o, run, args)
			if err != nil {
				return usage.Wrap(err)
			}
			if err := place(cmd.OutOrStdout(), output, r.Manifest, force); err != nil {
				return usage.Wrap(err)
			}
			return report(cmd, r, output)
		},
	}
	f := c.Flags()
	f.StringVarP(&output, "output", "o", "manifest.yaml", "the manifest to write; - for standard output")
	f.BoolVar(&force, "force", false, "replace the manifest if it exists")
	f.StringVar(&run, "run", "", "a command line, podman run … or docker run …, in place of files")
	f.StringVar(&o.ID, "id", "", "id of the application; default: what the files or the directory are called")
	f.StringArrayVar(&o.Profiles, "profile", nil, "carry the services of a profile, too; once for each")
	f.StringArrayVar(&env, "env", nil, "NAME=VALUE of a variable, over those of the file .env; once for each")
	f.BoolVar(&o.MissingEnvFiles, "without-env-files", false, "go on without an env_file that is not there")
	f.BoolVar(&pin, "pin", false, "ask registries for the digests of tags")
	return c
}

// imported converts a command line, or files, which are all in one directory.
func imported(ctx context.Context, o compose.Options, run string, args []string) (*compose.Result, error) {
	if run != "" {
		if len(args) > 0 {
			return nil, errors.New("--run stands in place of files; give one or the other")
		}
		o.Dir = "."
		return compose.ImportRun(ctx, "--run", []byte(run), o)
	}
	if len(args) == 0 {
		args = []string{"."}
	}
	for _, a := range args {
		info, err := os.Stat(a)
		if err != nil {
			return nil, err
		}
		dir := filepath.Dir(a)
		if info.IsDir() {
			if dir = a; len(args) > 1 {
				return nil, fmt.Errorf("%s is a directory, and stands alone for the compose file in it", a)
			}
		} else {
			o.Files = append(o.Files, filepath.Base(a))
		}
		if o.Dir != "" && o.Dir != dir {
			return nil, fmt.Errorf("%s is not in %s; files that are merged are in one directory", a, o.Dir)
		}
		o.Dir = dir
	}
	if len(o.Files) == 1 {
		text, is, err := compose.RunLines(filepath.Join(o.Dir, o.Files[0]))
		if err != nil {
			return nil, err
		}
		if is {
			return compose.ImportRun(ctx, o.Files[0], text, o)
		}
	}
	return compose.Import(ctx, o)
}

// place writes the whole manifest or nothing.
func place(stdout io.Writer, output string, text []byte, force bool) error {
	if output == "-" {
		_, err := stdout.Write(text)
		return err
	}
	if _, err := os.Lstat(output); err == nil && !force {
		return fmt.Errorf("%s exists; give another --output, or --force to replace it", output)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.Write(output, text, 0o644)
}

// report lists what became of the rest, and fails if something is left.
func report(cmd *cobra.Command, r *compose.Result, output string) error {
	left := r.Left()
	asJSON, err := cmd.Flags().GetBool("json")
	if err != nil {
		return err
	}
	if asJSON && output != "-" {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		if err := enc.Encode(map[string]any{"id": r.ID, "manifest": output, "items": r.Items}); err != nil {
			return err
		}
	} else {
		for _, i := range r.Items {
			word := "left"
			if i.Note {
				word = "note"
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", word, i)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%s is made, and %d things in it are left to you: see its TODO comments", r.ID, len(left))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s is made, and nothing is left to do\n", r.ID)
	return nil
}

// digest asks an image's registry what a tag means now.
func digest(ctx context.Context, ref string) (string, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	d, err := remote.Head(r, remote.WithContext(ctx))
	if err != nil {
		return "", err
	}
	return d.Digest.String(), nil
}
