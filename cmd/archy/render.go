package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/manifest/findings"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
)

func (a *app) appRender() *cobra.Command {
	var settings map[string]string
	var against, ssh string
	c := &cobra.Command{
		Use: "render PATH", Short: "Print the units that a daemon of this version would write for an application",
		Long: "Print the Quadlet files that a daemon of this version would write for an application that\nis to run: PATH is its manifest, or the directory that holds it. With --diff, print what\nchanges in them since another manifest, or since another version of this one in git; or, with --diff node,\nwhat this would change on the node that you are signed in to, with its daemon, its settings\nand its name.\n\n" +
			"Images that the publisher builds have no reference yet.",
		Example: "  archy app render photos\n  archy app render photos --set cache=100\n  archy app render photos --diff HEAD\n  archy app render photos --diff old/manifest.yaml\n  archy app render photos --diff node",
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
			var old map[string]string
			if _, err := os.Stat(against); against == "node" && errors.Is(err, fs.ErrNotExist) {
				if old, files, err = a.onNode(cmd, ssh, m, settings); err != nil {
					return fmt.Errorf("--diff node: %w", err)
				}
			} else {
				before, err := earlier(cmd, file, against)
				if err != nil {
					return usage.Wrap(fmt.Errorf("--diff: %w", err))
				}
				if old, err = rendered(before, settings); err != nil {
					return usage.Wrap(fmt.Errorf("--diff: %w", err))
				}
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
	c.Flags().StringToStringVar(&settings, "set", nil, "a setting, NAME=VALUE; may be given again")
	c.Flags().StringVar(&against, "diff", "", "show what changes since this manifest, since this version in git, or on the node")
	reachFlag(c, &ssh)
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
		return nil, fmt.Errorf("--set: %w", err)
	}
	return r.Files, nil
}

// onNode gives the units of an application that a node has, and those that its daemon would
// write for a manifest, with the settings that it has there and those given.
func (a *app) onNode(cmd *cobra.Command, ssh string, m *manifest.Manifest, settings map[string]string) (old, now map[string]string, err error) {
	c, err := a.client()
	if err != nil {
		return nil, nil, err
	}
	way, err := a.reach(ssh)
	if err != nil {
		return nil, nil, err
	}
	r, err := c.GetApp(cmd.Context(), connect.NewRequest(&api.GetAppRequest{Id: m.ID}))
	if err != nil && connect.CodeOf(err) != connect.CodeNotFound {
		return nil, nil, err
	}
	command := "~/.local/bin/archipelago render --json --node \"$(uname -n)\" /dev/stdin"
	for _, s := range m.Settings {
		value, given := settings[s.Name]
		if err == nil && !given && !slices.Contains(r.Msg.SecretSettings, s.Name) {
			value, given = r.Msg.Config[s.Name], true
		}
		if given && !s.Secret {
			command += " --setting " + quoted(`"`+strings.ReplaceAll(s.Name+"="+value, `"`, `""`)+`"`)
		}
	}
	out, err := way.run(cmd.Context(), command, strings.NewReader(string(m.Canonical())), io.Discard)
	if err != nil {
		return nil, nil, err
	}
	var answer struct {
		Files map[string]string `json:"files"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, nil, fmt.Errorf("what the node's daemon renders: %w", err)
	}
	names := slices.Collect(maps.Keys(answer.Files))
	if r != nil {
		for _, c := range r.Msg.Containers {
			names = append(names, c.Name+".container")
		}
	}
	slices.Sort(names)
	old = map[string]string{}
	for _, name := range slices.Compact(names) {
		body, err := way.run(cmd.Context(), "cd ~/.config/containers/systemd && if [ -e "+quoted(name)+" ]; then cat "+quoted(name)+"; fi", nil, io.Discard)
		if err != nil {
			return nil, nil, err
		}
		if body != "" {
			old[name] = body
		}
	}
	return old, answer.Files, nil
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
