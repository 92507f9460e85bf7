package matrix

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// CheckRendered requires a daemon's Quadlet files (podman-systemd.unit(5)), by name, to
// say what is meant: every directive that is more, less or other is wrong. They are those
// of an application that is to run.
func CheckRendered(e *Expectation, files map[string]string) (wrong []string) {
	want := map[string]wanted{}
	for i := range e.Containers {
		want[e.Containers[i].Name+".container"] = e.Containers[i].directives()
	}
	for name, b := range e.Networks {
		w := wanted{}
		// Made only where there is none: Podman keeps each in a file of its own.
		w.must("[Unit] ConditionPathExists", "expanded by systemd, !%h/.local/share/containers/storage/networks/"+name+".json")
		w.must("[Network] NetworkName", name)
		w.must("[Network] Options isolate", b.Isolate)
		w.must("[Network] Label "+manifest.LabelApp, e.App)
		if b.Internal {
			w.must("[Network] Internal", "true")
		}
		want[name+".network"] = w
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		body, ok := files[name]
		if !ok {
			wrong = append(wrong, fmt.Sprintf("unit file %s is missing", name))
			continue
		}
		p, err := directives(body)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("unit file %s: %v", name, err))
			continue
		}
		wrong = append(wrong, compare("unit file "+name, want[name], p)...)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if _, ok := want[name]; !ok {
			wrong = append(wrong, fmt.Sprintf("unit file %s is rendered, and none is meant", name))
		}
	}
	return wrong
}

// directives are what a container's Quadlet file must say.
func (c *Meant) directives() wanted {
	w := wanted{"[Unit] Description": {any: true}, "[Container] Label " + manifest.LabelSpec: {text: "a digest"}}
	w.must("[Unit] StartLimitIntervalSec", "0s")
	for _, d := range c.DependsOn {
		w.must("[Unit] Requires "+d+".service", "set")
		w.must("[Unit] After "+d+".service", "set")
	}
	for _, app := range c.Follows {
		w.must("[Unit] After "+app+".service", "set")
	}
	in := func(name, value string) { w.must("[Container] "+name, value) }
	in("ContainerName", c.Name)
	in("Image", c.Image.Pinned())
	in("Pull", "never")
	in("Label "+manifest.LabelApp, c.App)
	if uid, gid, stated := strings.Cut(c.User, ":"); stated {
		in("User", uid)
		in("Group", gid)
	}
	in("DropCapability", "all")
	in("NoNewPrivileges", "true")
	for _, n := range c.Networks {
		in("Network "+n+".network", c.joins(n))
	}
	c.saysGrants(func(name, value string) { w.also("[Container] "+name, value) })
	for _, p := range c.Ports {
		name, value := p.published()
		in("PublishPort "+name, value)
	}
	for target, v := range c.Volumes {
		in("Volume "+target, v.source())
	}
	for target, f := range c.Files {
		in("Volume "+target, f.source())
	}
	for _, t := range c.Tmpfs {
		in("Tmpfs "+t.Target, t.options())
	}
	c.saysMore(func(name, value string) { in(name, value) })
	for _, s := range c.Secrets {
		w.also("[Container] Secret "+s.Name, s.options())
	}
	for name, value := range c.Environment {
		in("Environment "+name, value)
	}
	if len(c.Command) > 0 {
		in("Exec", words(c.Command))
	}
	if h := c.Health; h != nil {
		in("HealthCmd", words(h.Exec))
		in("Label "+manifest.LabelHealth, h.Probe)
		in("HealthInterval", "disable")
		in("HealthTimeout", h.Timeout.String())
		in("HealthRetries", fmt.Sprint(h.Retries))
		in("HealthStartPeriod", h.StartPeriod.String())
		in("Notify", "healthy")
	}
	in("StopTimeout", c.StopTimeout.String())
	for name, value := range map[string]string{
		"Restart": "always", "RestartSec": restartDelay.String(), "RestartSteps": fmt.Sprint(restartSteps),
		"RestartMaxDelaySec": restartMaxDelay.String(), "TimeoutStartSec": c.Start.String(),
		"TimeoutStopSec": (c.StopTimeout + stopMargin).String(), "SuccessExitStatus": c.successStatus(),
	} {
		w.must("[Service] "+name, value)
	}
	if c.Memory > 0 {
		w.must("[Service] MemoryMax", fmt.Sprint(c.Memory))
	}
	if c.CPU > 0 {
		w.must("[Service] CPUQuota", c.quota())
	}
	if c.Pids > 0 {
		w.must("[Service] TasksMax", c.tasks())
	}
	for _, mark := range c.Marks {
		w.also("[Service] ExecStartPre", `/usr/bin/test -e "`+mark+`"`)
	}
	for _, app := range c.Joins {
		w.must("[Service] ExecStartPost "+app, c.joiner())
	}
	w.must("[Install] WantedBy", "default.target")
	return w
}

// published names a port as the node has it, and says where it leads.
func (p PortMeant) published() (name, value string) {
	address, protocol := "every address", "tcp"
	if p.Loopback {
		address = "127.0.0.1"
	}
	if p.Protocol == "udp" {
		protocol = "udp"
	}
	return fmt.Sprintf("%d/%s", p.Host, protocol), fmt.Sprintf("%s to %d", address, p.Container)
}

// options are those of podman-run(1), --secret, in order.
func (s SecretMeant) options() string {
	if s.Variable != "" {
		return "target=" + s.Variable + ",type=env"
	}
	return fmt.Sprintf("gid=%d,mode=0400,target=%s,type=mount,uid=%d", s.GID, s.Target, s.UID)
}

// directives reads a unit file into properties, "[SECTION] NAME SUBJECT".
func directives(body string) (properties, error) {
	p, section := properties{}, ""
	for line := range strings.SplitSeq(body, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, "["):
			section = line
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%q is no directive", line)
		}
		name = section + " " + name
		subject, about, err := split(name, unescape(value))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		if lone(value) && name != "[Service] CPUQuota" { // in which systemd expands nothing
			about = "expanded by systemd, " + about
		}
		for i := range subject {
			p.add(strings.TrimSpace(name+" "+subject[i]), about)
		}
	}
	return p, nil
}

// split gives what a directive speaks of, which may be several things or nothing by name,
// and what it says of it.
func split(name, value string) (subjects []string, about string, err error) {
	_, directive, _ := strings.Cut(name, " ")
	one := func(subject, about string, _ bool) ([]string, string, error) {
		return []string{subject}, about, nil
	}
	switch directive {
	case "Requires", "After":
		return strings.Fields(value), "set", nil
	case "Network":
		return one(joined(value))
	case "Label", "Environment":
		w, err := argv(value)
		if err != nil || len(w) != 1 {
			return nil, "", fmt.Errorf("not one word: %w", err)
		}
		k, v, _ := strings.Cut(w[0], "=")
		if k == manifest.LabelSpec && specDigest.MatchString(v) {
			v = "a digest"
		}
		return one(k, v, true)
	case "Options":
		return one(strings.Cut(value, "="))
	case "PublishPort":
		return one(publication(value))
	case "Volume":
		source, target, _ := strings.Cut(value, ":")
		target, options, _ := strings.Cut(target, ":")
		return one(target, strings.TrimSuffix(placeOf(source)+", "+options, ", "), true)
	case "Tmpfs":
		return one(tmpfsOptions(value))
	case "SuccessExitStatus":
		status := strings.Fields(value)
		slices.Sort(status)
		return one("", strings.Join(status, " "), true)
	case "Entrypoint":
		return one("", probeWords(value), true)
	case "ShmSize":
		return one("", fmt.Sprint(bytesOf(value)), true)
	case "Ulimit", "Sysctl":
		return one(strings.Cut(value, "="))
	case "Secret":
		return one(secretOptions(value))
	case "Exec":
		w, err := argv(value)
		return []string{""}, words(w), err
	case "HealthCmd", "HealthStartupCmd":
		return one("", probeWords(value), true)
	case "HealthInterval", "HealthTimeout", "HealthStartPeriod", "HealthStartupInterval", "HealthStartupTimeout", "StopTimeout",
		"StartLimitIntervalSec", "RestartSec", "RestartMaxDelaySec", "TimeoutStartSec", "TimeoutStopSec":
		return one("", span(value), true)
	case "MemoryMax":
		return one("", fmt.Sprint(bytesOf(value)), true)
	case "ExecStartPost":
		if app, who, ok := joining(strings.TrimPrefix(value, "-")); ok {
			return one(app, who, true)
		}
	}
	return one("", value, true)
}

// publication reads "[ADDRESS:]HOST:CONTAINER[/PROTOCOL]".
func publication(value string) (name, about string, ok bool) {
	ports, protocol, udp := strings.Cut(value, "/")
	if !udp {
		protocol = "tcp"
	}
	parts := strings.Split(ports, ":")
	if len(parts) < 2 {
		return value, "anywhere", false
	}
	host, container := parts[len(parts)-2], parts[len(parts)-1]
	address := everyAddress(strings.Join(parts[:len(parts)-2], ":"))
	return host + "/" + protocol, address + " to " + container, true
}

func secretOptions(value string) (name, options string, ok bool) {
	all := strings.Split(value, ",")
	slices.Sort(all[1:])
	return all[0], strings.Join(all[1:], ","), true
}

// probeWords reads a probe, which is argv in JSON; another form stays as it is.
func probeWords(value string) string {
	var w []string
	if json.Unmarshal([]byte(value), &w) != nil {
		return value
	}
	return words(w)
}

// unescape takes back what keeps systemd from expanding a value.
func unescape(value string) string {
	return strings.NewReplacer("%%", "%", "$$", "$").Replace(value)
}

// lone tells whether systemd expands something in a value: a single % or $.
func lone(value string) bool {
	return strings.ContainsAny(strings.NewReplacer("%%", "", "$$", "").Replace(value), "%$")
}

// argv splits a command line as systemd does (systemd.service(5), Command lines).
func argv(line string) (out []string, err error) {
	var word strings.Builder
	open, quote := false, byte(0)
	for i := 0; i < len(line); i++ {
		switch b := line[i]; {
		case b == '\\' && i+3 < len(line) && line[i+1] == 'x':
			var n byte
			if _, err := fmt.Sscanf(line[i+2:i+4], "%02x", &n); err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			word.WriteByte(n)
			open = true
			i += 3
		case b == '\\' && i+1 < len(line):
			i++
			word.WriteByte(line[i])
			open = true
		case quote != 0 && b == quote:
			quote = 0
		case quote == 0 && (b == '"' || b == '\''):
			quote, open = b, true
		case quote == 0 && b == ' ':
			if open {
				out = append(out, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteByte(b)
			open = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("%q: a quotation has no end", line)
	}
	if open {
		out = append(out, word.String())
	}
	return out, nil
}
