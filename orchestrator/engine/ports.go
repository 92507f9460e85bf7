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
)

const listening = "0A" // a socket's state in /proc/net/tcp, proc_net_tcp(5)

// PortHolders names the process behind each of these TCP ports that something listens
// on. Processes of other users stay anonymous.
func (e *Engine) PortHolders(ctx context.Context, ports []int) (map[int]string, error) {
	wanted := map[int]bool{}
	for _, p := range ports {
		wanted[p] = true
	}
	inodes := map[string]int{}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(file)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking for listening ports: %w", err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			w := strings.Fields(lines.Text())
			if len(w) < 10 || w[3] != listening {
				continue
			}
			_, hex, _ := strings.Cut(w[1], ":")
			if port, err := strconv.ParseInt(hex, 16, 32); err == nil && wanted[int(port)] {
				inodes[w[9]] = int(port)
			}
		}
		f.Close()
	}
	out := map[int]string{}
	for _, p := range inodes {
		out[p] = "another user's process"
	}
	if len(out) == 0 {
		return out, nil
	}
	// Only processes outside the daemon's sandbox can hold them.
	script, err := scripts.ReadFile("scripts/socket-holders.sh")
	if err != nil {
		return nil, err
	}
	said, err := e.outside(ctx, listTimeout, "archipelago: who listens", append([]string{"/bin/sh", "-c", string(script), "socket-holders.sh"}, slices.Sorted(maps.Keys(inodes))...)...)
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
