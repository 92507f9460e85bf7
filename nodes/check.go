package nodes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
)

// Identity is what a node says about itself.
type Identity struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Host    string `json:"host"` // the machine's own name
	HostKey string `json:"host_key"`
	OS      string `json:"os"`
	Kernel  string `json:"kernel"`
	Podman  string `json:"podman"`
	Systemd string `json:"systemd"`
	Memory  bool   `json:"memory_controller"` // whether memory limits can be enforced
	CPUs    int    `json:"cpus"`
	Free    int64  `json:"memory"`    // bytes of memory that are available
	Virt    string `json:"virt"`      // what it runs in (systemd-detect-virt(1)): "none", "kvm", "podman", …
	Inside  bool   `json:"container"` // Virt is a container
}

// Check compares a machine with the prerequisites of a node. Every essential one that
// it does not meet is reported at once, wrapped in ErrRefused, and so is a clock that is off;
// the others are warnings.
func (c *Client) Check(ctx context.Context) (id Identity, warnings []string, err error) {
	out, err := c.script(ctx, "facts.sh", nil, manifest.DataDir)
	if err != nil {
		return Identity{}, nil, err
	}
	f := map[string]string{}
	for line := range strings.SplitSeq(out, "\n") {
		if k, v, ok := strings.Cut(line, "="); ok {
			f[k] = v
		}
	}
	clock, err := c.Clock(ctx)
	if err != nil {
		return Identity{}, nil, err
	}
	id, warnings, err = c.Node.judge(f)
	if off := clock.Check(); off != nil {
		err = errors.Join(err, fmt.Errorf("%s: %w", c.Node, off))
	}
	return id, warnings, err
}

// judge takes what facts.sh printed, by name.
func (n *Node) judge(f map[string]string) (id Identity, warnings []string, err error) {
	number := func(name string) int { v, _ := strconv.Atoi(f[name]); return v }
	facts := dist.Facts{
		User: n.User, Root: f["uid"] == "0",
		Podman: f["podman"], Quadlet: f["quadlet"] != "", Systemd: f["systemd"], Linger: f["linger"] == "yes",
		SubUIDs: number("subuid"), SubGIDs: number("subgid"),
		Cgroup: f["cgroup"], Controllers: strings.Fields(f["controllers"]),
		Runtime: f["runtime"], DataDir: f["data"] == "writable",
	}
	if f["online"] != "active" {
		facts.Late = "network-online.target is " + f["online"]
	}
	var problems []error
	for _, found := range dist.Check(facts) {
		switch {
		case found.OK:
		case found.Essential:
			problems = append(problems, fmt.Errorf("%s: %w: %s: %s", n, ErrRefused, found.Detail, found.Remedy))
		default:
			warnings = append(warnings, fmt.Sprintf("%s: %s: %s", n, found.Detail, found.Remedy))
		}
	}
	memory := slices.Contains(facts.Controllers, "memory")
	return Identity{n.Name, n.Addr(), f["host"], n.HostKey, f["os"], f["kernel"], f["podman"], f["systemd"], memory, number("cpus"), int64(number("memory")), f["virt"], f["container"] == "yes"}, warnings, errors.Join(problems...)
}
