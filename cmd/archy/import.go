package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/compose"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/internal/plain"
)

// How long registries may take to say what a tag means: one of them, and all together.
const (
	registryTimeout   = 15 * time.Second
	registriesTimeout = time.Minute
)

func importing() *cobra.Command {
	var (
		o           compose.Options
		output, run string
		container   string
		env         []string
		pin, force  bool
	)
	c := &cobra.Command{
		Use: "import [FILE|DIRECTORY]...", Short: "Make a manifest of a compose file, or of a command line that runs a container",
		Long: `Make a manifest of a compose file, or of a command line that runs a container.

A directory stands for the compose file in it. Several files of one directory are merged,
the later over the earlier. A file that begins with "podman run" or "docker run" is one of
command lines, and a file of JSON, or - for standard input, what "podman inspect" or
"docker inspect" printed of containers. Variables have the values of the file .env and of --env, and never those of
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
				ctx, cancel := context.WithTimeout(cmd.Context(), registriesTimeout)
				defer cancel()
				o.Digest = func(_ context.Context, ref string) (string, error) { return digest(ctx, ref, registryTimeout) }
			}
			var err error
			if o.Env, err = assignments(env); err != nil {
				return fmt.Errorf("--env: %w", err)
			}
			r, err := imported(cmd, o, run, container, args)
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
	f.StringVar(&container, "container", "", "a container of Podman on this machine, in place of files")
	f.StringVar(&o.ID, "id", "", "id of the application; default: what the files or the directory are called")
	f.StringArrayVar(&o.Profiles, "profile", nil, "carry the services of a profile, too; once for each")
	f.StringArrayVar(&env, "env", nil, "NAME=VALUE of a variable, over those of the file .env; once for each")
	f.BoolVar(&o.MissingEnvFiles, "without-env-files", false, "go on without an env_file that is not there")
	f.BoolVar(&pin, "pin", false, "ask registries for the digests of tags")
	return c
}

// imported converts a command line, or files, which are all in one directory.
func imported(cmd *cobra.Command, o compose.Options, run, container string, args []string) (*compose.Result, error) {
	ctx := cmd.Context()
	if container != "" || len(args) == 1 && args[0] == "-" {
		o.Dir = "."
		if container != "" && (run != "" || len(args) > 0) {
			return nil, errors.New("--container stands in place of files and of --run; give one of them")
		}
		if container == "" {
			text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), compose.MaxSize+1))
			if err != nil {
				return nil, err
			}
			return compose.ImportInspect(ctx, "standard input", text, o)
		}
		text, err := inspect(ctx, container)
		if err != nil {
			return nil, err
		}
		return compose.ImportInspect(ctx, container, text, o)
	}
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
		if t := bytes.TrimSpace(text); bytes.HasPrefix(t, []byte("[")) {
			return compose.ImportInspect(ctx, o.Files[0], text, o)
		}
		if is {
			return compose.ImportRun(ctx, o.Files[0], text, o)
		}
	}
	return compose.Import(ctx, o)
}

// inspectTimeout is how long Podman may take to say what a container is.
const inspectTimeout = 30 * time.Second

// inspect asks Podman on this machine about a container.
func inspect(ctx context.Context, container string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	var said bytes.Buffer
	c := exec.CommandContext(ctx, "podman", "container", "inspect", "--", container)
	c.Stderr = &said
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("asking Podman about the container %s: %w %s", container, err, plain.Clip(plain.Text(strings.TrimSpace(said.String())), 300))
	}
	return out, nil
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
func digest(ctx context.Context, ref string, timeout time.Duration) (string, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	d, err := remote.Head(r, remote.WithContext(ctx))
	if err != nil {
		return "", err
	}
	return d.Digest.String(), nil
}
