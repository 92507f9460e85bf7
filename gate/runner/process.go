package runner

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// Process is one process of one machine: pids and host names are given out again.
type Process struct {
	Host      string `json:"host"`      // name of the machine, for people
	Machine   string `json:"machine"`   // machine-id(5); empty where there is none
	Boot      string `json:"boot"`      // the kernel's boot_id
	Namespace string `json:"namespace"` // of pids: containers share a boot_id, and may share a machine-id
	PID       int    `json:"pid"`
	Start     string `json:"start"` // ticks since the boot, proc_pid_stat(5), field 22
}

// Self is this process.
func Self() (Process, error) {
	host, err := os.Hostname()
	if err != nil {
		return Process{}, err
	}
	machine, err := os.ReadFile("/etc/machine-id")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Process{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Process{}, err
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return Process{}, err
	}
	p := Process{Host: host, Machine: strings.TrimSpace(string(machine)), Boot: strings.TrimSpace(string(boot)), Namespace: namespace, PID: os.Getpid()}
	if p.Start, _, err = stat(p.PID); err != nil {
		return Process{}, err
	}
	return p, nil
}

// stat gives the start and the state of a process.
func stat(pid int) (start string, ended bool, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false, err
	}
	text := string(b)
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // the name before may hold anything
	if len(f) < 20 {
		return "", false, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	return f[19], f[0] == "Z" || f[0] == "X", nil
}

// probe says whether a process of this machine runs, and since when; an empty start is one
// that this process may not see.
func probe(pid int) (start string, runs bool) {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return "", false // EPERM is another user's, which runs
	}
	start, ended, err := stat(pid)
	if err != nil {
		return "", true
	}
	return start, !ended
}

// gone tells that a process has certainly ended, as far as this one can know.
func (p Process) gone(me Process, probe func(pid int) (start string, runs bool)) bool {
	switch {
	case p.Boot != me.Boot:
		// On another boot of the same machine. Copies of a machine may share its machine-id.
		return p.Machine != "" && p.Machine == me.Machine && p.Host == me.Host
	case p.Namespace != me.Namespace:
		return false // a container beside this one, or the machine around it
	}
	start, runs := probe(p.PID)
	return !runs || start != "" && start != p.Start
}
