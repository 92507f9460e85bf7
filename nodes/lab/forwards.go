package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"

	"github.com/archipelago-cloud/archipelago/nodes"
)

// portsFree names every port of the node's address that something else on this
// machine holds.
func portsFree(n *nodes.Node, ports []int) error {
	var taken []error
	for _, p := range ports {
		probe, err := net.Listen("tcp", net.JoinHostPort(n.Address, fmt.Sprint(p)))
		if err != nil {
			taken = append(taken, fmt.Errorf("node %s: port %d of %s is taken on this machine (%w); 'ss -ltnp' names the process", n.Name, p, n.Address, err))
			continue
		}
		probe.Close()
	}
	return errors.Join(taken...)
}

// dropForwards removes the kernel's port forwards from an address to a container that is
// gone. netavark's iptables driver keeps them while any other container is on the
// network, and a killed engine leaves them all behind. The oldest rule wins, so a new
// node would be unreachable.
func dropForwards(ctx context.Context, address string) error {
	save, err := exec.LookPath("iptables-save")
	if err != nil {
		return nil // netavark's other driver, nftables, has rules for each container
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, save, "-t", "nat")
	cmd.Stderr = &errs
	rules, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("listing the forwards of %s: %w: %s", address, err, errs.String())
	}
	stale := staleForwards(string(rules), address)
	if stale == "" {
		return nil
	}
	cmd = exec.CommandContext(ctx, "iptables-restore", "--noflush", "--wait")
	cmd.Stdin, cmd.Stderr = strings.NewReader(stale), &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("taking the stale forwards of %s away: %w: %s", address, err, errs.String())
	}
	return nil
}

// staleForwards turns the output of iptables-save into input for iptables-restore that
// deletes netavark's rules for an address; it is empty if there are none.
func staleForwards(rules, address string) string {
	var b strings.Builder
	for line := range strings.Lines(rules) {
		if rule, ok := strings.CutPrefix(line, "-A NETAVARK-DN-"); ok && strings.Contains(rule, " -d "+address+"/32 ") {
			b.WriteString("-D NETAVARK-DN-" + rule)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "*nat\n" + b.String() + "COMMIT\n"
}
