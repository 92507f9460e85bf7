package engine

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// tables are the kernel's lists of sockets, with the state in which one holds its port
// against others: TCP listens, UDP is bound and talks to nobody in particular (proc_net_tcp(5),
// include/net/tcp_states.h).
var tables = []struct {
	file, state string
	udp         bool
}{
	{"/proc/net/tcp", "0A", false}, {"/proc/net/tcp6", "0A", false},
	{"/proc/net/udp", "07", true}, {"/proc/net/udp6", "07", true},
}

// PortHolders names the process behind each of these ports that something listens on.
// Processes of other users stay anonymous.
func (e *Engine) PortHolders(ctx context.Context, ports []manifest.NodePort) (map[manifest.NodePort]string, error) {
	inodes, err := listeners(ports)
	if err != nil {
		return nil, err
	}
	out := map[manifest.NodePort]string{}
	for _, p := range inodes {
		out[p] = "another user's process"
	}
	if len(out) == 0 {
		return out, nil
	}
	// Only processes outside the daemon's sandbox can hold them.
	argv, err := inShell("socket-holders.sh", slices.Sorted(maps.Keys(inodes)))
	if err != nil {
		return nil, err
	}
	said, err := e.helper(ctx, limit{total: listTimeout}, "archipelago: who listens", argv...)
	if err != nil {
		return nil, fmt.Errorf("looking for who listens: %w", err)
	}
	for line := range strings.Lines(said) {
		var inode, pid string
		if _, err := fmt.Sscan(line, &inode, &pid); err != nil {
			continue
		}
		name := strings.TrimSpace(strings.TrimPrefix(line, inode+" "+pid+" "))
		if port, ok := inodes[inode]; ok {
			out[port] = fmt.Sprintf("process %s (%s)", pid, name)
		}
	}
	return out, nil
}

// listeners gives the ports that something listens on, by the inode of its socket.
func listeners(ports []manifest.NodePort) (map[string]manifest.NodePort, error) {
	inodes := map[string]manifest.NodePort{}
	for _, table := range tables {
		f, err := os.Open(table.file)
		if os.IsNotExist(err) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("looking for listening ports: %w", err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			w := strings.Fields(lines.Text())
			if len(w) < 10 || w[3] != table.state {
				continue
			}
			_, hex, _ := strings.Cut(w[1], ":")
			number, err := strconv.ParseInt(hex, 16, 32)
			if port := (manifest.NodePort{Number: int(number), UDP: table.udp}); err == nil && slices.Contains(ports, port) {
				inodes[w[9]] = port
			}
		}
		err = lines.Err()
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("looking for listening ports: %s: %w", table.file, err)
		}
	}
	return inodes, nil
}
