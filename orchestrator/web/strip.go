package web

import (
	"bufio"
	"os"
	"runtime"
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
	is     machine
}

// machine is what was read of one; what could not be read is negative, or a total of 0.
type machine struct {
	load         float64
	memory, disk disk.Space
}

func (m *sample) get(dir string, minute int64) machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.minute != minute {
		m.minute = minute
		m.is.load = load()
		m.is.memory = memory()
		m.is.disk, _ = disk.Of(dir) // applications' data is there
	}
	return m.is
}

// strip says how the node is.
func (s *Server) strip(l tongue, apps []card, newest time.Time) (all []fact) {
	is := s.sample.get(s.About.DataDir, s.now().Unix()/60)
	if cores := runtime.NumCPU(); is.load >= 0 {
		all = append(all, fact{Name: l.t("Load"), Icon: "cpu", Value: l.t("%.1[2]f, %[1]d cores", cores, is.load), Share: min(100, int(100*is.load)/cores), Warn: is.load > 2*float64(cores)})
	}
	if is.memory.Total > 0 {
		all = append(all, l.used(l.t("Memory"), "memory-stick", is.memory))
	}
	if is.disk.Total > 0 {
		all = append(all, l.used(l.t("Disk"), "hard-drive", is.disk))
	}
	return append(all, s.backups(l, newest), updates(l, apps))
}

func (l tongue) used(name, icon string, of disk.Space) fact {
	share := of.Used()
	return fact{Name: name, Icon: icon, Value: l.t("%s free", l.size(of.Free)), Share: share, Warn: share >= notify.NearlyFull}
}

// load is how much the processors had to do in the last minute.
func load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return -1
	}
	first, _, _ := strings.Cut(string(b), " ")
	n, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return -1
	}
	return n
}

func memory() disk.Space {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return disk.Space{}
	}
	defer f.Close()
	kib := map[string]int64{}
	for in := bufio.NewScanner(f); in.Scan(); {
		if words := strings.Fields(in.Text()); len(words) > 1 {
			kib[words[0]], _ = strconv.ParseInt(words[1], 10, 64)
		}
	}
	return disk.Space{Free: kib["MemAvailable:"] << 10, Total: kib["MemTotal:"] << 10}
}

// backups says how old the newest backup is.
func (s *Server) backups(l tongue, newest time.Time) fact {
	f := fact{Name: l.t("Backup"), Icon: "archive", Link: "/backups", Share: -1, Value: l.t("none yet")}
	all, err := s.Reconciler.Repositories()
	switch {
	case err != nil:
		f.Value, f.Warn = l.t("cannot be read"), true // why, the page says
	case len(all) == 0:
		f.Value, f.Warn = l.t("not set up"), true
	case !newest.IsZero():
		f.Value = l.t("newest %s", l.ago(newest))
	}
	return f
}

// updates says how many applications have another version to go to.
func updates(l tongue, apps []card) fact {
	f := fact{Name: l.t("Updates"), Icon: "circle-arrow-up", Share: -1, Value: l.t("none"), Link: "/system"}
	var have []string
	for _, c := range apps {
		if c.Update != "" {
			have = append(have, c.Name)
		}
	}
	if len(have) > 0 {
		f.Value = strings.Join(have, ", ")
		if len(have) > 2 {
			f.Value = l.t("%d applications", len(have))
		}
	}
	return f
}
