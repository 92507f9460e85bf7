package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/gate/runner"
)

// tools are the programs that the gate and its lab run, with their Debian packages.
var tools = []struct{ program, pkg string }{
	{"podman", "podman"},
	{"crun", "crun"},
	{"/usr/lib/podman/netavark", "netavark"},
	{"/usr/lib/podman/aardvark-dns", "aardvark-dns"},
	{"conmon", "conmon"},
	{"iptables", "iptables"},
	{"nft", "nftables"},
	{"mmdebstrap", "mmdebstrap"},
	{"chromium", "chromium"},
	{"ssh", "openssh-client"},
	{"unshare", "util-linux"},
}

// setupCommand installs what is missing if it may; otherwise it prints the command that
// would.
func setupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "setup", Short: "Install the programs that the gate runs, or name those that are missing",
		Example: "  gate setup",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var missing []string
			for _, t := range tools {
				if _, err := exec.LookPath(t.program); err != nil {
					missing = append(missing, t.pkg)
				}
			}
			if len(missing) == 0 {
				return nil
			}
			install := "apt-get update && apt-get install -y --no-install-recommends " + strings.Join(missing, " ")
			if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
				return fmt.Errorf("%w: missing: %s; as root: %s", runner.ErrIncomplete, strings.Join(missing, ", "), install)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "gate: installing", strings.Join(missing, ", "))
			run := exec.CommandContext(cmd.Context(), "sh", "-ec", install)
			run.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
			if out, err := run.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s: %w: %s", runner.ErrIncomplete, install, err, tailOf(string(out)))
			}
			return nil
		},
	}
}

func tailOf(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}
