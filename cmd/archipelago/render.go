package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
)

// rendered is what 'render --json' prints.
type rendered struct {
	App   string            `json:"app"`
	Files map[string]string `json:"files"` // by name in the Quadlet directory
}

// renderCommand shows what this program would have Podman and systemd run.
func renderCommand() *cobra.Command {
	var dataDir, node string
	var settings map[string]string
	var requirers, others []string
	var asJSON, stopped bool
	c := &cobra.Command{
		Use: "render MANIFEST", Short: "Print the Quadlet files that this program writes for an application",
		Long:    "Print the Quadlet files that this program writes for an application which is to run.\nNothing is written or started. A manifest with a problem is refused with its place; exit\nstatus 2.",
		Example: "  archipelago render catalog/apps/APP/manifest.yaml\n  archipelago render manifest.yaml --json --setting txindex=1 --required-by lightning",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := manifest.ParseFile(args[0])
			if err != nil {
				return usage.Wrap(err)
			}
			apps := map[string]*manifest.Manifest{}
			for _, file := range others {
				other, err := manifest.ParseFile(file)
				if err != nil {
					return usage.Wrap(fmt.Errorf("--with: %w", err))
				}
				apps[other.ID] = other
			}
			var by []quadlet.Requirer
			for _, r := range requirers {
				app, uses, some := strings.Cut(r, ":")
				need := manifest.Requirement{App: m.ID}
				if some {
					need.Uses = strings.Split(uses, ":")
				}
				by = append(by, quadlet.Requirer{App: app, Reaches: m.Reached(need)})
			}
			r, err := (&render.Renderer{DataDir: dataDir, Node: nodeNamed(node)}).Render(m, settings, nil, !stopped, by, apps)
			if err != nil {
				return usage.Wrap(err)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(rendered{m.ID, r.Files})
			}
			return render.Print(cmd.OutOrStdout(), r.Files)
		},
	}
	dataFlag(c, &dataDir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON: the application's id, and its files by name")
	c.Flags().StringToStringVar(&settings, "setting", nil, "a setting, NAME=VALUE; may be given again")
	c.Flags().StringSliceVar(&requirers, "required-by", nil, "an application that requires this one, APP, or APP:EXPORT for what it uses; may be given again")
	c.Flags().StringSliceVar(&others, "with", nil, "the manifest of an application that this one requires; may be given again")
	c.Flags().StringVar(&node, "node", "node", "the node's host name, where the application's texts say it")
	c.Flags().BoolVar(&stopped, "stopped", false, "for an application that is not to start with the machine")
	return c
}
