// Package matrix owns what is tested: the nine steps of an application's life, and
// the witnesses that say whether a step did what it promises. Each step acts
// through the node's RPC as a user would, and then asks witnesses that do not
// trust that RPC: Podman's API over SSH, systemd, the disk, a real HTTP or
// protocol client, a real browser. The Ginkgo suite in this package makes a spec
// of each cell; the gate runs the compiled suite.
package matrix

import "slices"

// Step is one of the nine.
type Step struct {
	Name  string
	Level string // L1, L2 or L3
	Phase Phase
}

// Phase is when in a node's cycle a step runs. What needs everyone, a reboot or a
// restart of the daemon, is a phase of its own: once per node and cycle.
type Phase int

// The phases of a cycle, in order.
const (
	Life     Phase = iota // each application by itself, side by side
	Survival              // all applications of the node together
	End                   // each by itself again
)

// Names of steps.
const (
	Install        = "install"
	UIReachable    = "ui-reachable"
	Stop           = "stop"
	Start          = "start"
	Restart        = "restart"
	Reinstall      = "reinstall"
	RebootSurvive  = "reboot-survive"
	RestartSurvive = "archipelago-restart-survive"
	Uninstall      = "uninstall"
)

// Steps in the order of a cycle.
var steps = []Step{
	{Install, "L1", Life},
	{UIReachable, "L2", Life},
	{Stop, "L1", Life},
	{Start, "L1", Life},
	{Restart, "L1", Life},
	{Reinstall, "L1", Life},
	{RebootSurvive, "L3", Survival},
	{RestartSurvive, "L3", Survival},
	{Uninstall, "L1", End},
}

// Steps gives the nine steps in the order of a cycle.
func Steps() []Step { return slices.Clone(steps) }

// StepNames gives their names.
func StepNames() []string {
	out := make([]string, len(steps))
	for i, s := range steps {
		out[i] = s.Name
	}
	return out
}

// FindStep finds a step by name.
func FindStep(name string) (Step, bool) {
	i := slices.IndexFunc(steps, func(s Step) bool { return s.Name == name })
	if i < 0 {
		return Step{}, false
	}
	return steps[i], true
}
