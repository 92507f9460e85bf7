package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
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
	{"chromium-headless-shell", "chromium-headless-shell"},
	{"ssh", "openssh-client"},
	{"unshare", "util-linux"},
}

// setupCommand installs what is missing if it may, and its user wants that; otherwise it
// prints the command that would.
func setupCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "setup", Short: "Install what the gate and its lab need, or name what is missing",
		Long:    "Install the programs that the gate runs, from Debian's archive, and give the lab's\nnodes user ids of their own (subuid(5)). On a terminal it asks before that; elsewhere,\nnothing is changed without --yes.",
		Example: "  gate setup\n  gate setup --yes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var missing []string
			for _, t := range tools {
				if _, err := exec.LookPath(t.program); err != nil {
					missing = append(missing, t.pkg)
				}
			}
			var steps []string
			if len(missing) > 0 {
				steps = append(steps, "apt-get update", "apt-get install -y --no-install-recommends "+strings.Join(missing, " "))
			}
			if add := lab.IDsToAdd(); add != "" {
				missing = append(missing, "user ids for the lab's nodes")
				steps = append(steps, add)
			}
			if len(steps) == 0 {
				return nil
			}
			install := strings.Join(steps, " && ")
			if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
				return fmt.Errorf("%w: missing: %s; as root: %s", runner.ErrIncomplete, strings.Join(missing, ", "), install)
			}
			if !yes {
				in, terminal := cmd.InOrStdin().(*os.File)
				if err := consent(cmd.InOrStdin(), cmd.ErrOrStderr(), terminal && term.IsTerminal(int(in.Fd())), install); err != nil {
					return err
				}
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
	c.Flags().BoolVar(&yes, "yes", false, "install without asking")
	return c
}

// consent asks on a terminal whether a command may be run as root; elsewhere nobody can say
// so.
func consent(in io.Reader, out io.Writer, terminal bool, command string) error {
	if !terminal {
		return fmt.Errorf("%w: something is missing, and nobody is asked here; run this, or pass --yes: %s", plan.ErrUsage, command)
	}
	fmt.Fprintf(out, "something is missing; this would be run as root:\n  %s\nrun it? [y/N] ", command)
	var answer string
	fmt.Fscanln(in, &answer)
	if strings.ToLower(answer) != "y" {
		return fmt.Errorf("%w: nothing was changed; when it suits you: %s", plan.ErrUsage, command)
	}
	return nil
}

func tailOf(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}
