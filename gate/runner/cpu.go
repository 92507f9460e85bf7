package runner

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/archipelago-cloud/archipelago/gate/vitals"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/reports"
)

// meter counts what cycles cost on each node. A node's counters begin anew with each boot, so
// they are read before a reboot, too.
type meter struct {
	mu    sync.Mutex
	last  map[string]reports.Used // by node, since its boot
	spent map[string]reports.CPU  // by node, since its last look
	gate  float64                 // of this process, in all looks so far
}

// node adds what a node used since it was asked last; anew: it has been rebooted since.
func (m *meter) node(name string, now reports.Used, anew bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.last[name]
	if anew || now.Services < before.Services {
		before = reports.Used{}
	}
	m.add(name, reports.CPU{Services: now.Services - before.Services, Sessions: now.Sessions - before.Sessions})
	if m.last == nil {
		m.last = map[string]reports.Used{}
	}
	m.last[name] = now
}

// process adds a process of the suite that has ended, with those that it waited for.
func (m *meter) process(node string, p *os.ProcessState) {
	if p == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(node, reports.CPU{Suite: (p.UserTime() + p.SystemTime()).Seconds()})
}

// take gives what a node's cycle cost, and begins with the next one. Those that share this
// process pay for it in turns.
func (m *meter) take(node string) reports.CPU {
	var own syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &own) // fails for no process that asks about itself
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	m.mu.Lock()
	defer m.mu.Unlock()
	all := seconds(own.Utime) + seconds(own.Stime)
	out := m.spent[node].Add(reports.CPU{Gate: all - m.gate})
	m.gate = all
	delete(m.spent, node)
	return out
}

func (m *meter) add(node string, c reports.CPU) {
	if m.spent == nil {
		m.spent = map[string]reports.CPU{}
	}
	m.spent[node] = m.spent[node].Add(c)
}

// counted reads a node's counters before it is rebooted.
func (r *Runner) counted(ctx context.Context, n *fleet.Node) error {
	answer, err := r.machine(n).CPU(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // interrupted
		}
		return fmt.Errorf("%s: what it used before its reboot: %w", n.Name, err)
	}
	used, err := vitals.Used(answer)
	if err != nil || used == nil {
		return err
	}
	r.meter.node(n.Name, *used, false)
	return nil
}
