package compose

import (
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// option is what an option of "run" is in a compose file.
type option struct {
	field string // with dots; empty: it has no meaning for an application
	list  bool
	flag  bool // it takes no value
}

var options = map[string]option{
	"add-host": {"extra_hosts", true, false}, "annotation": {"", false, false}, "blkio-weight": {"", false, false}, "cap-add": {"cap_add", true, false},
	"cap-drop": {"cap_drop", true, false}, "cgroupns": {"cgroup", false, false}, "cgroup-parent": {"cgroup_parent", false, false}, "cgroups": {"", false, false},
	"cidfile": {"", false, false}, "cpu-period": {"cpu_period", false, false}, "cpu-quota": {"cpu_quota", false, false}, "cpu-shares": {"cpu_shares", false, false},
	"c": {"cpu_shares", false, false}, "cpus": {"cpus", false, false}, "cpuset-cpus": {"cpuset", false, false}, "detach": {"", false, true}, "d": {"", false, true},
	"device": {"devices", true, false}, "device-cgroup-rule": {"device_cgroup_rules", true, false}, "dns": {"dns", true, false}, "dns-opt": {"dns_opt", true, false}, "dns-option": {"dns_opt", true, false},
	"dns-search": {"dns_search", true, false}, "domainname": {"domainname", false, false}, "entrypoint": {"entrypoint", true, false}, "env": {"environment", true, false}, "e": {"environment", true, false},
	"env-file": {"env_file", true, false}, "expose": {"expose", true, false}, "gpus": {"gpus", false, false}, "group-add": {"group_add", true, false},
	"health-cmd": {"healthcheck.test", false, false}, "health-interval": {"healthcheck.interval", false, false}, "health-retries": {"healthcheck.retries", false, false},
	"health-start-period": {"healthcheck.start_period", false, false}, "health-timeout": {"healthcheck.timeout", false, false}, "health-start-interval": {"healthcheck.start_interval", false, false},
	"health-on-failure": {"", false, false}, "help": {"", false, true}, "hostname": {"hostname", false, false}, "h": {"hostname", false, false}, "init": {"init", false, true},
	"interactive": {"", false, true}, "i": {"", false, true}, "ip": {"", false, false}, "ip6": {"", false, false}, "ipc": {"ipc", false, false}, "label": {"labels", true, false}, "l": {"labels", true, false},
	"label-file": {"", false, false}, "link": {"links", true, false}, "log-driver": {"", false, false}, "log-opt": {"", false, false}, "mac-address": {"", false, false},
	"memory": {"mem_limit", false, false}, "m": {"mem_limit", false, false}, "memory-reservation": {"mem_reservation", false, false}, "memory-swap": {"memswap_limit", false, false},
	"memory-swappiness": {"", false, false}, "mount": {"volumes", true, false}, "name": {"container_name", false, false}, "net": {"network_mode", false, false}, "network": {"network_mode", false, false},
	"network-alias": {"", false, false}, "net-alias": {"", false, false}, "no-healthcheck": {"healthcheck.disable", false, true}, "oom-kill-disable": {"oom_kill_disable", false, true},
	"oom-score-adj": {"oom_score_adj", false, false}, "os": {"", false, false}, "arch": {"", false, false}, "pid": {"pid", false, false}, "pids-limit": {"pids_limit", false, false},
	"platform": {"platform", false, false}, "pod": {"", false, false}, "privileged": {"privileged", false, true}, "publish": {"ports", true, false}, "p": {"ports", true, false},
	"publish-all": {"", false, true}, "P": {"", false, true}, "pull": {"", false, false}, "q": {"", false, true}, "quiet": {"", false, true}, "read-only": {"read_only", false, true}, "replace": {"", false, true},
	"restart": {"restart", false, false}, "rm": {"", false, true}, "runtime": {"runtime", false, false}, "secret": {"secrets", true, false}, "rmi": {"", false, true}, "sdnotify": {"", false, false}, "conmon-pidfile": {"", false, false}, "pidfile": {"", false, false}, "security-opt": {"security_opt", true, false},
	"shm-size": {"shm_size", false, false}, "sig-proxy": {"", false, false}, "stop-signal": {"stop_signal", false, false}, "stop-timeout": {"stop_grace_period", false, false},
	"storage-opt": {"", false, false}, "sysctl": {"sysctls", true, false}, "systemd": {"", false, false}, "tmpfs": {"tmpfs", true, false}, "tty": {"", false, true}, "t": {"", false, true},
	"tz": {"", false, false}, "ulimit": {"ulimits", true, false}, "umask": {"umask", false, false}, "user": {"user", false, false}, "u": {"user", false, false}, "userns": {"userns_mode", false, false},
	"uts": {"uts", false, false}, "volume": {"volumes", true, false}, "v": {"volumes", true, false}, "volumes-from": {"volumes_from", true, false}, "workdir": {"working_dir", false, false}, "w": {"working_dir", false, false},
}

// option writes an option as the field of a compose file.
func (im *importer) option(service *yaml.Node, name string, o option, value string, at Place) error {
	one := func(text string) *yaml.Node { return word(escaped(text), at.Line) }
	switch {
	case o.field == "":
		if !o.flag && !slices.Contains([]string{"log-driver", "log-opt", "pull", "label-file", "cidfile", "network-alias"}, name) {
			im.note("", "--"+name, at, "an option of the command line that says nothing of the application: "+value)
		}
		return nil
	case name == "name":
		set(service, o.field, word(value, at.Line))
	case name == "mount":
		n, err := mountOf(value, at.Line)
		if err != nil {
			return err
		}
		appendTo(service, o.field, n)
	case o.field == "volumes":
		appendTo(service, o.field, volumeOf(value, at.Line))
	case name == "secret":
		return im.secretOption(service, value, at)
	case o.field == "ulimits":
		return setUlimit(service, value, at.Line)
	case name == "stop-timeout":
		set(service, o.field, one(value+"s"))
	case name == "health-cmd" && value == "none", name == "no-healthcheck":
		check := entry(service, "healthcheck", at.Line)
		set(check, "disable", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true", Line: at.Line})
	case strings.HasPrefix(o.field, "healthcheck."):
		n := one(value)
		if name == "health-retries" {
			n.Style, n.Tag = 0, "!!int"
		}
		if strings.HasPrefix(value, "[") && name == "health-cmd" {
			var argv []string
			if err := yaml.Unmarshal([]byte(value), &argv); err != nil {
				return err
			}
			n = &yaml.Node{Kind: yaml.SequenceNode, Line: at.Line, Content: []*yaml.Node{word("CMD", at.Line)}}
			for _, w := range argv {
				n.Content = append(n.Content, one(w))
			}
		}
		set(entry(service, "healthcheck", at.Line), strings.TrimPrefix(o.field, "healthcheck."), n)
	case o.field == "network_mode":
		if mode, _, _ := strings.Cut(value, ":"); slices.Contains([]string{"host", "none", "container", "ns"}, mode) {
			set(service, o.field, one(value))
		} // else it is one of the application's own
	case o.field == "entrypoint" && strings.HasPrefix(value, "["):
		var argv []string
		if err := yaml.Unmarshal([]byte(value), &argv); err != nil {
			return err
		}
		for _, w := range argv {
			appendTo(service, o.field, one(w))
		}
	case o.list:
		appendTo(service, o.field, one(value))
	case value == "true" || value == "false":
		set(service, o.field, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: value, Line: at.Line})
	default:
		n := one(value)
		if slices.Contains([]string{"cpu_shares", "pids_limit", "oom_score_adj"}, o.field) {
			n.Style, n.Tag = 0, ""
		}
		set(service, o.field, n)
	}
	return nil
}

func set(m *yaml.Node, name string, v *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			m.Content[i+1] = v
			return
		}
	}
	m.Content = append(m.Content, word(name, v.Line), v)
}

func entry(m *yaml.Node, name string, at int) *yaml.Node {
	if n, _ := child(m, name); n != nil {
		return n
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Line: at}
	set(m, name, n)
	return n
}

func appendTo(m *yaml.Node, name string, v *yaml.Node) {
	list, _ := child(m, name)
	if list == nil {
		list = &yaml.Node{Kind: yaml.SequenceNode, Line: v.Line}
		set(m, name, list)
	}
	list.Content = append(list.Content, v)
}

// volumeOf reads SOURCE:TARGET:OPTIONS.
func volumeOf(value string, at int) *yaml.Node {
	parts := strings.Split(value, ":")
	n := &yaml.Node{Kind: yaml.MappingNode, Line: at}
	if windowsPath.MatchString(value) || len(parts) > 3 {
		return word(escaped(value), at)
	}
	kind, source, target := "volume", "", parts[0]
	if len(parts) > 1 {
		source, target = parts[0], parts[1]
		if strings.ContainsAny(source[:min(1, len(source))], "/.~") {
			kind = "bind"
		}
	}
	set(n, "type", word(kind, at))
	if source != "" {
		set(n, "source", word(escaped(source), at))
	}
	set(n, "target", word(escaped(target), at))
	if len(parts) == 3 && slices.Contains(strings.Split(parts[2], ","), "ro") {
		set(n, "read_only", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true", Line: at})
	}
	return n
}

// mountOf reads type=bind,source=…,target=….
func mountOf(value string, at int) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode, Line: at}
	set(n, "type", word("volume", at))
	for part := range strings.SplitSeq(value, ",") {
		k, v, _ := strings.Cut(part, "=")
		switch k {
		case "type":
			set(n, "type", word(v, at))
		case "src", "source":
			set(n, "source", word(escaped(v), at))
		case "dst", "destination", "target":
			set(n, "target", word(escaped(v), at))
		case "ro", "readonly":
			if v != "false" {
				set(n, "read_only", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true", Line: at})
			}
		case "tmpfs-size", "size":
			set(entry(n, "tmpfs", at), "size", word(v, at))
		}
	}
	if t, _ := child(n, "target"); t == nil {
		return nil, errors.New("no target")
	}
	return n, nil
}

func setUlimit(service *yaml.Node, value string, at int) error {
	name, limit, ok := strings.Cut(value, "=")
	if !ok {
		return errors.New("expected NAME=SOFT:HARD")
	}
	soft, _, _ := strings.Cut(limit, ":")
	set(entry(service, "ulimits", at), name, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: soft, Line: at})
	return nil
}

// secretOption reads NAME,type=mount|env,target=….
func (im *importer) secretOption(service *yaml.Node, value string, at Place) error {
	parts := strings.Split(value, ",")
	n := &yaml.Node{Kind: yaml.MappingNode, Line: at.Line}
	set(n, "source", word(parts[0], at.Line))
	for _, p := range parts[1:] {
		k, v, _ := strings.Cut(p, "=")
		switch {
		case k == "type" && v == "env":
			variable := parts[0]
			for _, p := range parts[1:] {
				if t, ok := strings.CutPrefix(p, "target="); ok {
					variable = t
				}
			}
			appendTo(service, "environment", word(variable+"=${"+strings.ToUpper(unnameable.ReplaceAllString(strings.ToLower(parts[0]), "_"))+"}", at.Line))
			return nil
		case k == "target":
			set(n, "target", word(v, at.Line))
		}
	}
	appendTo(service, "secrets", n)
	return nil
}
