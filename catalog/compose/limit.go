package compose

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// size writes bytes as the language does, rounded up to what it can say; nil for none.
func size(n types.UnitBytes) *node {
	if n <= 0 {
		return nil
	}
	for i, unit := range []string{"G", "M", "K"} {
		if one := types.UnitBytes(1) << (30 - 10*i); n%one == 0 || unit == "K" {
			return scalar(fmt.Sprintf("%d%s", (n+one-1)/one, unit))
		}
	}
	return nil
}

// duration writes a time as the language does.
func duration(d time.Duration) *node {
	if d%time.Second == 0 {
		return scalar(fmt.Sprintf("%ds", d/time.Second))
	}
	return scalar(fmt.Sprintf("%dms", max(1, d/time.Millisecond)))
}

func (im *importer) limits(m *member, at func(string, ...string) Place) {
	n := m.node
	memory, field := m.MemLimit, []string{"mem_limit"}
	if d := m.Deploy; memory == 0 && d != nil && d.Resources.Limits != nil {
		memory, field = d.Resources.Limits.MemoryBytes, []string{"deploy", "resources", "limits", "memory"}
	}
	if s := size(memory); s != nil {
		n.set("memory", s.from(m.Name, strings.Join(field, "."), at(field[0], field[1:]...)))
	}
	im.processors(m, at)
	im.processes(m, at)
	if s := size(m.ShmSize); s != nil && n.get("shm_size") == nil {
		n.set("shm_size", s.from(m.Name, "shm_size", at("shm_size")))
	}
	limits := mapping()
	for _, name := range sortedKeys(m.Ulimits) {
		u := m.Ulimits[name]
		value := u.Single
		if value == 0 {
			value = u.Soft
			if u.Soft != u.Hard {
				im.note(m.Name, "ulimits."+name, at("ulimits", name), fmt.Sprintf("the hard limit is the soft one, %d", u.Soft))
			}
		}
		limits.set(name, scalar(value).from(m.Name, "ulimits."+name, at("ulimits", name)))
	}
	if len(limits.items) > 0 {
		n.set("ulimits", limits)
	}
	sysctls := mapping()
	for _, name := range sortedKeys(m.Sysctls) {
		value, err := strconv.Atoi(strings.TrimSpace(m.Sysctls[name]))
		if err != nil {
			im.left(m.Name, "sysctls."+name, at("sysctls", name), "only numbers are taken: "+m.Sysctls[name], "the kernel's default")
			continue
		}
		sysctls.set(name, scalar(value).from(m.Name, "sysctls."+name, at("sysctls", name)))
	}
	if len(sysctls.items) > 0 {
		n.set("sysctls", sysctls)
	}
}

// processors carries how much processor time a container may have, however it is said.
func (im *importer) processors(m *member, at func(string, ...string) Place) {
	count, field := float64(m.CPUS), []string{"cpus"}
	switch d := m.Deploy; {
	case count > 0:
	case m.CPUQuota > 0:
		count, field = float64(m.CPUQuota)/float64(cmp.Or(m.CPUPeriod, 100_000)), []string{"cpu_quota"}
	case m.CPUCount > 0:
		count, field = float64(m.CPUCount), []string{"cpu_count"}
	case d != nil && d.Resources.Limits != nil && d.Resources.Limits.NanoCPUs > 0:
		count, field = float64(d.Resources.Limits.NanoCPUs), []string{"deploy", "resources", "limits", "cpus"}
	default:
		return
	}
	name := strings.Join(field, ".")
	hundredths := math.Round(count * 100)
	m.node.set("cpus", scalar(hundredths/100).from(m.Name, name, at(field[0], field[1:]...)))
	if hundredths != count*100 {
		im.note(m.Name, name, at(field[0], field[1:]...), "rounded to a hundredth of a processor")
	}
}

// processes carries how many a container may have.
func (im *importer) processes(m *member, at func(string, ...string) Place) {
	count, field := m.PidsLimit, []string{"pids_limit"}
	if d := m.Deploy; count == 0 && d != nil && d.Resources.Limits != nil {
		count, field = d.Resources.Limits.Pids, []string{"deploy", "resources", "limits", "pids"}
	}
	switch name := strings.Join(field, "."); {
	case count > 0:
		m.node.set("pids", scalar(int(count)).from(m.Name, name, at(field[0], field[1:]...)))
	case count < 0:
		im.note(m.Name, name, at(field[0], field[1:]...), "the number of processes is not limited by the manifest, but by the node")
	}
}

// checked tells whether a check is declared.
func checked(h *types.HealthCheckConfig) bool {
	return h != nil && !h.Disable && len(h.Test) > 0 && h.Test[0] != "NONE"
}

// shell is where a check's text is read by one.
var shell = []string{"/bin/sh", "-c"}

// health carries a check in all its forms: CMD, CMD-SHELL, or a text alone.
func (im *importer) health(m *member) {
	h := m.HealthCheck
	at := im.place("services", m.Name, "healthcheck")
	if h == nil || !checked(h) {
		if h != nil && (h.Disable || len(h.Test) > 0) {
			im.note(m.Name, "healthcheck", at, "a container whose manifest names no check has none, be one in the image")
		}
		if h != nil && len(h.Test) == 0 && !h.Disable {
			im.left(m.Name, "healthcheck", at, "the check is the image's own, which the manifest has to name", "health: {exec: [COMMAND]}")
		}
		return
	}
	argv, inShell := slices.Clone(h.Test[1:]), false
	switch h.Test[0] {
	case "CMD-SHELL":
		argv, inShell = append(slices.Clone(shell), strings.Join(h.Test[1:], " ")), true
	case "CMD":
		inShell = len(argv) > 2 && argv[1] == "-c"
	default:
		argv = slices.Clone(h.Test)
	}
	for i, w := range argv {
		before := ""
		if i > 0 {
			before = argv[i-1]
		}
		w = mark.ReplaceAllStringFunc(w, func(ref string) string {
			name, _ := onlyMark(ref)
			return im.inCheck(m, name, inShell, at)
		})
		argv[i] = im.rehostWord(before, w)
		if inShell {
			argv[i] = oneLineOfShell(argv[i])
		}
	}
	n := mapping()
	n.set("exec", words(argv))
	for _, d := range []struct {
		name  string
		value *types.Duration
	}{{"interval", h.Interval}, {"timeout", h.Timeout}, {"start_period", h.StartPeriod}} {
		if d.value != nil && *d.value > 0 {
			n.set(d.name, duration(time.Duration(*d.value)).from(m.Name, "healthcheck."+d.name, im.place("services", m.Name, "healthcheck", d.name)))
		}
	}
	if h.StartPeriod != nil {
		im.slowest = max(im.slowest, time.Duration(*h.StartPeriod))
	}
	if h.Retries != nil && *h.Retries > 0 {
		at := im.place("services", m.Name, "healthcheck", "retries")
		if *h.Retries > mostRetries {
			im.note(m.Name, "healthcheck.retries", at, fmt.Sprintf("%d in a row are many: it is %d, the most there are", *h.Retries, mostRetries))
		}
		n.set("retries", scalar(int(min(*h.Retries, mostRetries))))
	}
	m.node.set("health", n.from(m.Name, "healthcheck", at))
}

// continues matches a line that the next one belongs to.
var continues = regexp.MustCompile(`(\|\||&&|\||;|\{|\(|\b(then|do|else))$`)

// oneLineOfShell joins lines that a shell reads as one, or as one after the other.
func oneLineOfShell(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\\\n", " ")
	if strings.Contains(s, "\n") && !strings.ContainsAny(s, "#'\"") && !strings.Contains(s, "<<") {
		var lines []string
		for l := range strings.Lines(s) {
			if l = strings.TrimSpace(l); l != "" {
				lines = append(lines, l)
			}
		}
		s = lines[0]
		for i, l := range lines[1:] {
			if continues.MatchString(lines[i]) {
				s += " " + l
			} else {
				s += "; " + l
			}
		}
	}
	return s
}
