package engine

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const listening = "0A" // a socket's state in /proc/net/tcp, proc_net_tcp(5)

// PortHolders names the process behind each of these TCP ports that something listens
// on. Processes of other users stay anonymous.
func (e *Engine) PortHolders(ports []int) (map[int]string, error) {
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
				inodes["socket:["+w[9]+"]"] = int(port)
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
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // those of other users cannot be read
	for _, fd := range fds {
		link, err := os.Readlink(fd)
		if err != nil {
			continue
		}
		port, ok := inodes[link]
		if !ok {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		out[port] = fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
	}
	return out, nil
}
