package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/manifest/findings"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
)

func (a *app) appRender() *cobra.Command {
	var settings map[string]string
	var against string
	c := &cobra.Command{
		Use: "render PATH", Short: "Print the units that a daemon of this version would write for an application",
		Long: "Print the Quadlet files that a daemon of this version would write for an application that\nis to run: PATH is its manifest, or the directory that holds it. With --diff, print what\nchanges in them since another manifest, or since another version of this one in git.\n\n" +
			"Images that the publisher builds have no reference yet.",
		Example: "  archy app render photos\n  archy app render photos --setting cache=100\n  archy app render photos --diff HEAD\n  archy app render photos --diff old/manifest.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := manifestIn(args[0])
			m, err := manifest.ParseFile(file)
			if err != nil {
				return usage.Wrap(err)
			}
			files, err := rendered(m, settings)
			if err != nil {
				return usage.Wrap(err)
			}
			if against == "" {
				return a.units(cmd, m.ID, files)
			}
			before, err := earlier(cmd, file, against)
			if err != nil {
				return usage.Wrap(fmt.Errorf("--diff: %w", err))
			}
			old, err := rendered(before, settings)
			if err != nil {
				return usage.Wrap(fmt.Errorf("--diff: %w", err))
			}
			changes := map[string]string{}
			for _, f := range []map[string]string{old, files} {
				for unit := range f {
					if d := diff.Diff(against+"/"+unit, []byte(old[unit]), "now/"+unit, []byte(files[unit])); d != nil {
						changes[unit] = string(d)
					}
				}
			}
			return a.units(cmd, m.ID, changes)
		},
	}
	c.Flags().StringToStringVar(&settings, "setting", nil, "a setting, NAME=VALUE; may be given again")
	c.Flags().StringVar(&against, "diff", "", "show what changes since this manifest, or since this version in git")
	return c
}

// units prints unit files, or what changes in them.
func (a *app) units(cmd *cobra.Command, id string, files map[string]string) error {
	if a.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
			App   string            `json:"app"`
			Files map[string]string `json:"files"`
		}{id, files})
	}
	return render.Print(cmd.OutOrStdout(), files)
}

func rendered(m *manifest.Manifest, settings map[string]string) (map[string]string, error) {
	r, err := (&render.Renderer{DataDir: manifest.DataDir}).Render(m, settings, nil, true, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("--setting: %w", err)
	}
	return r.Files, nil
}

// manifestIn gives the manifest in a directory; a file is one itself.
func manifestIn(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, findings.FileName)
	}
	return path
}

// earlier reads another manifest, or another version of this one from git.
func earlier(cmd *cobra.Command, file, against string) (*manifest.Manifest, error) {
	if _, err := os.Stat(against); !errors.Is(err, fs.ErrNotExist) {
		return manifest.ParseFile(manifestIn(against))
	}
	if strings.HasPrefix(against, "-") {
		return nil, fmt.Errorf("%q is neither a file nor a version", against)
	}
	show := exec.CommandContext(cmd.Context(), "git", "show", against+":./"+filepath.Base(file))
	show.Dir = filepath.Dir(file)
	src, err := show.Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return nil, fmt.Errorf("%s is no file, and git has no such version of %s: %s", against, file, strings.TrimSpace(string(exit.Stderr)))
	case err != nil:
		return nil, fmt.Errorf("asking git for %s: %w", against, err)
	}
	return manifest.Parse(against+":"+file, src)
}
