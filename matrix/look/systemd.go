package look

import (
	"maps"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// identityProperties are told with a unit itself; all others each as a property.
var identityProperties = []string{"Id", "LoadState", "ActiveState", "SubState", "WantedBy", "ControlGroup"}

// properties are what is asked of a unit.
var properties = strings.Join(append(slices.Clone(identityProperties),
	"Type", "Restart", "RestartUSec", "RestartSteps", "RestartMaxDelayUSec", "StartLimitIntervalUSec", "TimeoutStartUSec", "TimeoutStopUSec", "MemoryMax",
	"Requires", "After", "SuccessExitStatus", "KillMode", "CPUQuotaPerSecUSec", "TasksMax", "ExecCondition", "ExecStartPre", "ExecStartPost", "ExecReload"), ",")

// units tells what systemd says of some units, by one question.
func (a *answer) units(names []string) {
	if len(names) == 0 {
		return
	}
	told, err := asked("systemctl", append([]string{"--user", "show", "-p", properties}, names...)...)
	if err != nil {
		a.say(failed, "systemctl")
		return
	}
	v := map[string]string{}
	unit := func() {
		if v["Id"] == "" {
			return
		}
		boot := "0"
		if strings.Contains(v["WantedBy"], "default.target") {
			boot = "1"
		}
		a.say("unit", v["Id"], v["LoadState"], v["ActiveState"], v["SubState"], boot)
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if !slices.Contains(identityProperties, name) {
				a.say("property", v["Id"], name, v[name])
			}
		}
		if group := v["ControlGroup"]; group != "" {
			a.limit("memory", v["Id"], group+"/memory.max")
			a.limit("tasks", v["Id"], group+"/pids.max")
		}
		clear(v)
	}
	for line := range strings.SplitSeq(told, "\n") {
		name, value, ok := strings.Cut(line, "=")
		if had, more := v[name]; more && ok {
			value = had + " " + value // a line for each command
		}
		switch {
		case ok:
			v[name] = value
		case line == "":
			unit()
		}
	}
	unit()
}

// limit tells what a unit's cgroup is limited to, where there is a controller for it.
func (a *answer) limit(what, unit, file string) {
	if b, err := os.ReadFile("/sys/fs/cgroup" + file); err == nil && len(b) > 0 {
		a.say(what, unit, strings.TrimSpace(string(b)))
	}
}

// services tells the states of all services that systemd has loaded, by one question; whether
// they are started at boot is not asked.
func (a *answer) services() {
	told, err := asked("systemctl", "--user", "list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager", "--type=service")
	if err != nil {
		a.say(failed, "systemctl")
		return
	}
	for line := range strings.Lines(told) {
		if f := strings.Fields(line); len(f) >= 4 {
			a.say("unit", f[0], f[1], f[2], f[3], none)
		}
	}
}

func asked(program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return string(out), err
}

// identity tells the ids of this user and the first ones of its containers (subuid(5)).
func (a *answer) identity() {
	words := []string{"ids", strconv.Itoa(os.Getuid())}
	name := userName()
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		for _, line := range lines(file) {
			if f := strings.Split(line, ":"); len(f) > 1 && f[0] == name && name != "" {
				words = append(words, f[1])
				break
			}
		}
	}
	a.say(words...)
}

func userName() string {
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil {
		return u.Username
	}
	// A user that is not in /etc/passwd, which is all that a static program reads.
	name, err := asked("id", "-un")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(name)
}
