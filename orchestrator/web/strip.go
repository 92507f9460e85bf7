package web

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
)

// fact is one thing about the node that its owner sees at a glance.
type fact struct {
	Name, Icon string
	Value      string
	Link       string // where there is more of it
	Share      int    // in percent, of what there is; -1 where that means nothing
	Warn       bool
}

// sample is how the machine was, taken once a minute however many look: otherwise each
// message would be another for its sake.
type sample struct {
	mu     sync.Mutex
	minute int64
	facts  []fact
}

func (m *sample) get(dir string, minute int64) []fact {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.facts == nil || m.minute != minute {
		m.minute, m.facts = minute, nil
		for _, look := range []func() (fact, error){processors, memory, func() (fact, error) { return room(dir) }} {
			if f, err := look(); err == nil { // what cannot be read is not shown
				m.facts = append(m.facts, f)
			}
		}
	}
	return slices.Clone(m.facts)
}

// strip says how the node is.
func (s *Server) strip(apps []card, newest time.Time) []fact {
	return append(s.sample.get(s.About.DataDir, s.now().Unix()/60), s.backups(newest), updates(apps))
}

func processors() (fact, error) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return fact{}, err
	}
	first, _, _ := strings.Cut(string(b), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return fact{}, err
	}
	cores := runtime.NumCPU()
	return fact{Name: "Load", Icon: "cpu", Value: fmt.Sprintf("%.1f, %d cores", load, cores), Share: min(100, int(100*load)/cores), Warn: load > 2*float64(cores)}, nil
}

func memory() (fact, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return fact{}, err
	}
	defer f.Close()
	kib := map[string]int64{}
	for in := bufio.NewScanner(f); in.Scan(); {
		if words := strings.Fields(in.Text()); len(words) > 1 {
			kib[words[0]], _ = strconv.ParseInt(words[1], 10, 64)
		}
	}
	return used("Memory", "memory-stick", kib["MemAvailable:"]<<10, kib["MemTotal:"]<<10)
}

// room is where applications' data is.
func room(dir string) (fact, error) {
	s, err := disk.Of(dir)
	if err != nil {
		return fact{}, err
	}
	return used("Disk", "hard-drive", s.Free, s.Total)
}

func used(name, icon string, free, total int64) (fact, error) {
	if total <= 0 {
		return fact{}, errors.New("nothing is known of it")
	}
	share := int(100 * (total - free) / total)
	return fact{Name: name, Icon: icon, Value: size(free) + " free", Share: share, Warn: share >= notify.NearlyFull}, nil
}

// backups says how old the newest backup is.
func (s *Server) backups(newest time.Time) fact {
	f := fact{Name: "Backup", Icon: "archive", Link: "/backups", Share: -1, Value: "none yet"}
	all, err := s.Reconciler.Repositories()
	switch {
	case err != nil:
		f.Value, f.Warn = err.Error(), true
	case len(all) == 0:
		f.Value, f.Warn = "not set up", true
	case !newest.IsZero():
		f.Value = "newest " + ago(newest)
	}
	return f
}

// updates says how many applications have another version to go to.
func updates(apps []card) fact {
	f := fact{Name: "Updates", Icon: "circle-arrow-up", Share: -1, Value: "none", Link: "/system"}
	var have []string
	for _, c := range apps {
		if c.Update != "" {
			have = append(have, c.Name)
		}
	}
	if len(have) > 0 {
		f.Value = strings.Join(have, ", ")
		if len(have) > 2 {
			f.Value = fmt.Sprintf("%d applications", len(have))
		}
	}
	return f
}
