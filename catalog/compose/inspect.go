package compose

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// ImportInspect converts what podman inspect, or docker inspect, says of containers. Name
// is for places only.
func ImportInspect(ctx context.Context, name string, text []byte, o Options) (*Result, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%s: more than %d bytes", name, MaxSize)
	}
	im, err := newImporter(o)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node // JSON is YAML, which knows the lines
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&doc); err != nil {
		return nil, fmt.Errorf("%s: not what inspect prints: %w", name, err)
	}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s: no container there", name)
	}
	if n, at := grown(doc.Content[0], map[*yaml.Node]int{}); n > maxNodes {
		return nil, fmt.Errorf("%s:%d: more than %d values, or some that contain themselves", name, at.Line, maxNodes)
	}
	services := &yaml.Node{Kind: yaml.MappingNode}
	for _, c := range items(doc.Content[0]) {
		at := Place{name, c.Line}
		config, _ := child(c, "Config")
		if config == nil || below(c, "HostConfig") == nil {
			return nil, fmt.Errorf("%s: expected a container, with Config and HostConfig", at)
		}
		if err := im.inspected(services, c, at); err != nil {
			return nil, err
		}
	}
	if len(services.Content) == 0 {
		return nil, fmt.Errorf("%s: no container there", name)
	}
	return im.ofServices(ctx, name, services)
}

// below is what some names lead to; nil for nothing.
func below(n *yaml.Node, names ...string) *yaml.Node {
	for _, name := range names {
		n, _ = child(n, name)
	}
	if n == nil || n.Tag == "!!null" {
		return nil
	}
	return n
}

func textBelow(n *yaml.Node, names ...string) string {
	if v := below(n, names...); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// inspected reads a container into a service: by the command that made it, which Podman
// keeps, or by what became of it.
func (im *importer) inspected(services, c *yaml.Node, at Place) error {
	var made []string
	for _, w := range items(below(c, "Config", "CreateCommand")) {
		made = append(made, w.Value)
	}
	i := slices.IndexFunc(made[:min(len(made), 4)], func(w string) bool { return w == "run" || w == "create" })
	if i > 0 {
		said := len(im.items)
		err := im.runWords(services, Place{at.File, below(c, "Config", "CreateCommand").Line}, made[i+1:])
		if err == nil {
			return nil
		}
		im.items = im.items[:said]
		im.note("", "Config.CreateCommand", at, "the container is read by its state, and not by the command that made it: "+err.Error())
	}
	return im.state(services, c, at)
}

// state reads what became of a container, with what its image adds.
func (im *importer) state(services, c *yaml.Node, at Place) error {
	service := &yaml.Node{Kind: yaml.MappingNode, Line: at.Line}
	config, host := below(c, "Config"), below(c, "HostConfig")
	name := strings.TrimPrefix(textBelow(c, "Name"), "/")
	image := textBelow(config, "Image")
	if full := textBelow(c, "ImageName"); full != "" {
		image = full
	}
	if image == "" || name == "" {
		return fmt.Errorf("%s: the container has no Name or no image", at)
	}
	if digest := textBelow(c, "ImageDigest"); digestForm.MatchString(digest) && !strings.Contains(image, "@") {
		image += "@" + digest
	}
	one := func(n *yaml.Node) *yaml.Node { return word(escaped(n.Value), n.Line) }
	set(service, "image", word(image, at.Line))
	for _, f := range []struct {
		in    *yaml.Node
		from  string
		field string
	}{
		{config, "User", "user"}, {config, "WorkingDir", "working_dir"}, {config, "StopSignal", "stop_signal"},
		{host, "Memory", "mem_limit"}, {host, "ShmSize", "shm_size"}, {host, "CpuQuota", "cpu_quota"}, {host, "CpuPeriod", "cpu_period"},
		{host, "PidsLimit", "pids_limit"}, {host, "Privileged", "privileged"}, {host, "ReadonlyRootfs", "read_only"}, {host, "Init", "init"},
	} {
		n := below(f.in, f.from)
		if n == nil || n.Kind != yaml.ScalarNode || n.Value == "" || n.Value == "0" || n.Value == "false" || f.field == "shm_size" && (n.Value == "65536000" || n.Value == "67108864") {
			continue
		}
		v := one(n)
		if n.Tag == "!!int" || n.Tag == "!!bool" {
			v = &yaml.Node{Kind: yaml.ScalarNode, Tag: n.Tag, Value: n.Value, Line: n.Line}
		}
		if f.field == "stop_signal" && n.Tag == "!!int" { // as Podman says SIGTERM
			if n.Value != "15" {
				im.left(name, "stop_signal", Place{at.File, n.Line}, "the number of a signal: "+n.Value, "stop_signal, with its name")
			}
			continue
		}
		set(service, f.field, v)
	}
	if n := below(host, "NanoCpus"); n != nil && n.Value != "0" {
		count, _ := strconv.ParseFloat(n.Value, 64)
		set(service, "cpus", word(strconv.FormatFloat(count/1e9, 'f', -1, 64), n.Line))
	}
	for _, f := range []struct {
		in    *yaml.Node
		from  string
		field string
	}{
		{config, "Cmd", "command"}, {config, "Entrypoint", "entrypoint"}, {host, "CapAdd", "cap_add"}, {host, "CapDrop", "cap_drop"},
		{host, "ExtraHosts", "extra_hosts"}, {host, "SecurityOpt", "security_opt"}, {host, "GroupAdd", "group_add"}, {host, "Dns", "dns"}, {config, "Env", "environment"},
	} {
		for _, n := range items(below(f.in, f.from)) {
			if variable, _, _ := strings.Cut(n.Value, "="); f.field == "environment" && slices.Contains([]string{"PATH", "HOME", "HOSTNAME", "TERM", "container"}, variable) {
				im.note(name, "environment."+variable, Place{at.File, n.Line}, "the image and the engine say it")
				continue
			}
			if n.Value != "" {
				appendTo(service, f.field, one(n))
			}
		}
	}
	if below(config, "Env") != nil {
		im.note(name, "environment", Place{at.File, below(config, "Env").Line}, "what the image says of its environment and its command is not told from what the container adds: leave out what the image says anyway")
	}
	im.statePorts(service, host)
	im.stateMounts(service, c)
	for _, d := range items(below(host, "Devices")) {
		appendTo(service, "devices", word(escaped(textBelow(d, "PathOnHost")+":"+textBelow(d, "PathInContainer")), d.Line))
	}
	for _, u := range items(below(host, "Ulimits")) {
		limit := strings.ToLower(strings.TrimPrefix(textBelow(u, "Name"), "RLIMIT_"))
		if err := setUlimit(service, limit+"="+textBelow(u, "Soft"), u.Line); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	for _, table := range [][2]string{{"Tmpfs", "tmpfs"}, {"Sysctls", "sysctls"}} {
		n := below(host, table[0])
		for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if k := n.Content[i]; table[1] == "tmpfs" {
				appendTo(service, "tmpfs", one(k))
			} else {
				appendTo(service, "sysctls", word(escaped(k.Value+"="+n.Content[i+1].Value), k.Line))
			}
		}
	}
	if n := below(host, "RestartPolicy", "Name"); n != nil && (n.Value == "no" || n.Value == "on-failure") {
		set(service, "restart", one(n))
	}
	if n := below(host, "NetworkMode"); n != nil {
		if mode, _, _ := strings.Cut(n.Value, ":"); slices.Contains([]string{"host", "none", "container", "ns"}, mode) {
			set(service, "network_mode", one(n))
		}
	}
	for _, space := range [][2]string{{"PidMode", "pid"}, {"IpcMode", "ipc"}, {"UTSMode", "uts"}, {"UsernsMode", "userns_mode"}} {
		if n := below(host, space[0]); n != nil && n.Value == "host" {
			set(service, space[1], one(n))
		}
	}
	im.stateCheck(service, config)
	im.unread(name, "HostConfig", host, at.File)
	im.unread(name, "Config", config, at.File)
	services.Content = append(services.Content, word(name, at.Line), service)
	return nil
}

// read are the parts of a container's state that are carried, or listed where they are not.
var read = map[string]bool{
	"Memory": true, "ShmSize": true, "CpuQuota": true, "CpuPeriod": true, "PidsLimit": true, "Privileged": true, "ReadonlyRootfs": true, "Init": true, "NanoCpus": true,
	"CapAdd": true, "CapDrop": true, "ExtraHosts": true, "SecurityOpt": true, "GroupAdd": true, "Dns": true, "PortBindings": true, "Binds": true, "Devices": true,
	"Ulimits": true, "Tmpfs": true, "Sysctls": true, "RestartPolicy": true, "NetworkMode": true, "PidMode": true, "IpcMode": true, "UTSMode": true, "UsernsMode": true,
	"User": true, "WorkingDir": true, "StopSignal": true, "Cmd": true, "Entrypoint": true, "Env": true, "Healthcheck": true, "Image": true, "CreateCommand": true,
}

// unread lists what else a container's state says, in one item.
func (im *importer) unread(service, part string, n *yaml.Node, file string) {
	var names []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i].Value, target(n.Content[i+1])
		nothing := v.Tag == "!!null" || v.Kind != yaml.ScalarNode && len(v.Content) == 0 || slices.Contains([]string{"", "0", "-1", "false"}, v.Value) && v.Kind == yaml.ScalarNode
		if !read[k] && !nothing {
			names = append(names, k)
		}
	}
	if len(names) > 0 {
		im.note(service, part, Place{file, n.Line}, "what the engine says beyond what a manifest does: "+strings.Join(names, ", "))
	}
}

func (im *importer) statePorts(service, host *yaml.Node) {
	n := below(host, "PortBindings")
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		for _, b := range items(n.Content[i+1]) {
			text := n.Content[i].Value
			if port := textBelow(b, "HostPort"); port != "" && port != "0" {
				text = port + ":" + text
				if ip := textBelow(b, "HostIp"); ip != "" && ip != "0.0.0.0" && !strings.Contains(ip, ":") {
					text = ip + ":" + text
				}
			}
			appendTo(service, "ports", word(text, n.Content[i].Line))
		}
	}
}

func (im *importer) stateMounts(service, c *yaml.Node) {
	for _, v := range items(below(c, "Mounts")) {
		n := &yaml.Node{Kind: yaml.MappingNode, Line: v.Line}
		kind, source := textBelow(v, "Type"), textBelow(v, "Source")
		if kind == "volume" {
			source = textBelow(v, "Name")
		}
		set(n, "type", word(kind, v.Line))
		if source != "" && kind != "tmpfs" {
			set(n, "source", word(escaped(source), v.Line))
		}
		set(n, "target", word(escaped(path.Clean(textBelow(v, "Destination"))), v.Line))
		if rw := textBelow(v, "RW"); rw == "false" {
			set(n, "read_only", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true", Line: v.Line})
		}
		appendTo(service, "volumes", n)
	}
}

func (im *importer) stateCheck(service, config *yaml.Node) {
	check := below(config, "Healthcheck")
	for _, n := range items(below(check, "Test")) {
		appendTo(entry(service, "healthcheck", n.Line), "test", word(escaped(n.Value), n.Line))
	}
	if below(service, "healthcheck") == nil {
		return
	}
	for _, f := range [][2]string{{"Interval", "interval"}, {"Timeout", "timeout"}, {"StartPeriod", "start_period"}} {
		if n := below(check, f[0]); n != nil {
			if ns, err := strconv.ParseInt(n.Value, 10, 64); err == nil && ns > 0 {
				set(entry(service, "healthcheck", n.Line), f[1], word(time.Duration(ns).String(), n.Line))
			}
		}
	}
	if n := below(check, "Retries"); n != nil && n.Value != "0" {
		set(entry(service, "healthcheck", n.Line), "retries", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: n.Value, Line: n.Line})
	}
}
