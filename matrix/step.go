// Package matrix owns what is tested: the nine steps of an application's life, and
// the witnesses that say whether a step kept its promise. A step is declared as a
// value; one harness runs it. Each step acts through the node's RPC, as a user
// would, and then asks witnesses that do not trust that RPC: Podman's API over SSH,
// systemd, the disk, a real HTTP or protocol client, a real browser. The Ginkgo
// suite in this package makes a spec of each cell; the gate runs the compiled suite.
package matrix

import (
	"context"
	"slices"
	"time"
)

// Work is what is done to one application in a step.
type Work func(ctx context.Context, env *Environment, rec *Recorder) error

// Step is one of the nine.
type Step struct {
	Name    string
	Level   string // L1, L2 or L3
	Phase   Phase
	Timeout time.Duration // ends a cell that hangs
	Reboots bool          // the step itself puts the node on another boot
	Before  Work          // what must hold before the step; nil: nothing

	// The step, in one of two forms.
	Run    Work                          // to one application by itself
	RunAll func(context.Context, *Group) // to all applications of the node together
}

// Phase is when in a node's cycle a step runs. What affects every application, a
// reboot or a restart of the daemon, is a phase of its own: once per node and cycle.
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

// cellTimeout is longer than any cell that works takes, a first pull of images included.
const cellTimeout = 30 * time.Minute

// Steps gives the nine steps in the order of a cycle.
func Steps() []Step {
	return []Step{
		{Name: Install, Level: "L1", Phase: Life, Timeout: cellTimeout, Run: install},
		{Name: UIReachable, Level: "L2", Phase: Life, Timeout: cellTimeout, Before: beRunning, Run: reach},
		{Name: Stop, Level: "L1", Phase: Life, Timeout: cellTimeout, Before: beRunning, Run: stop},
		{Name: Start, Level: "L1", Phase: Life, Timeout: cellTimeout, Before: beStopped, Run: start},
		{Name: Restart, Level: "L1", Phase: Life, Timeout: cellTimeout, Before: beRunning, Run: restart},
		{Name: Reinstall, Level: "L1", Phase: Life, Timeout: cellTimeout, Before: beRunning, Run: reinstall},
		{Name: RebootSurvive, Level: "L3", Phase: Survival, Timeout: cellTimeout, Reboots: true, Before: beRunning, RunAll: surviveReboot},
		{Name: RestartSurvive, Level: "L3", Phase: Survival, Timeout: cellTimeout, Before: beRunning, RunAll: surviveRestarts},
		{Name: Uninstall, Level: "L1", Phase: End, Timeout: cellTimeout, Before: beRunning, Run: uninstall},
	}
}

// StepNames gives their names.
func StepNames() (names []string) {
	for _, s := range Steps() {
		names = append(names, s.Name)
	}
	return names
}

// FindStep finds a step by name.
func FindStep(name string) (Step, bool) {
	all := Steps()
	i := slices.IndexFunc(all, func(s Step) bool { return s.Name == name })
	if i < 0 {
		return Step{}, false
	}
	return all[i], true
}
