package fleet

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/archipelago-cloud/archipelago/nodes"
)

var (
	//go:embed vitals.sh
	vitalsScript string
	//go:embed cpu.sh
	cpuScript string
)

// vitalsTimeout is longer than counting what a disk holds may take, twice.
const vitalsTimeout = 5 * time.Minute

const cpuTimeout = 30 * time.Second

// VitalsCommand is what a node's shell runs to say how the node is, a fact a line, and what
// its journal said since a cursor; none: that is not asked. own: its kernel is its own.
func VitalsCommand(since string, own bool) string {
	kernel := "shared"
	if own {
		kernel = "own"
	}
	return bash(cpuScript+vitalsScript, since, nodes.DataDir, kernel)
}

// Vitals are what the node says of itself and of what happened since a cursor of its journal,
// for package vitals to read.
func (n *Node) Vitals(ctx context.Context, since string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, vitalsTimeout, fmt.Errorf("it did not say how it is within %s", vitalsTimeout))
	defer cancel()
	return n.SSH.Run(ctx, VitalsCommand(since, !n.Identity.Inside))
}

// CPU is what the node says of what its user has used since the boot, in the words of Vitals.
func (n *Node) CPU(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, cpuTimeout, fmt.Errorf("it did not say what it has used within %s", cpuTimeout))
	defer cancel()
	return n.SSH.Run(ctx, bash(cpuScript+"used\n"))
}
