package manifest

import (
	"cmp"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The daemon's ports; no application may publish them.
const (
	DaemonPort    = 7070 // RPC without TLS, on the node's loopback
	DaemonTLSPort = 7443 // My Apps and RPC
	ByNamePort    = 8443 // each application as https://APP.NODE.local
)

// maxStopTimeout is how long a container may stand in its owner's way that does not stop.
const maxStopTimeout = 10 * time.Minute

// at builds a path into the document from names and indexes.
func at(parts ...any) []string {
	out := make([]string, len(parts))
	for i, p := range parts {
		switch v := p.(type) {
		case string:
			out[i] = v
		case int:
			out[i] = strconv.Itoa(v)
		}
	}
	return out
}

// check finds what a schema cannot say: names used twice, references to nothing,
// cycles, ports and paths in conflict.
func (d *document) check(m *Manifest) {
	secrets := d.checkSecrets(m)
	mountable := maps.Clone(secrets)
	for _, s := range m.Settings {
		if s.Secret {
			mountable[s.Name] = true
		}
	}
	refuse := func(name string, where ...any) {
		if whose := reserved(name); whose != "" {
			d.report(at(where...), false, "%q is reserved: %s.service is a name of %s", name, name, whose)
		}
	}
	refuse(m.ID, "id")
	names := map[string]int{}
	ports := map[string]bool{}
	hostPorts := map[string]string{}
	volumes := map[string]bool{}
	for i, c := range m.Containers {
		if first, dup := names[c.Name]; dup {
			d.report(at("containers", i, "name"), false, "the name %q is already that of containers[%d]", c.Name, first)
		}
		names[c.Name] = i
		if c.Name != m.ID {
			refuse(c.Name, "containers", i, "name")
		}
		d.checkContainer(m, i, c, mountable, ports, hostPorts, volumes)
	}
	if len(m.Containers) == 1 && m.Containers[0].Name != m.ID {
		d.report(at("containers", 0, "name"), false, "the only container of an application has the application's name, %q", m.ID)
	} else if _, ok := names[m.ID]; !ok {
		d.report(at("containers"), false, "one container of a stack has the application's name, %q: it is the one that others reach", m.ID)
	}
	for i, c := range m.Containers {
		if c.Name != m.ID && !strings.HasPrefix(c.Name, m.ID+"-") {
			d.report(at("containers", i, "name"), false, "expected %q or a name that begins with %q: container names are unique over the node", m.ID, m.ID+"-")
		}
		for j, dep := range c.DependsOn {
			if k, ok := names[dep.Container]; !ok {
				d.report(at("containers", i, "depends_on", j, "container"), false, "no container is named %q", dep.Container)
			} else if dep.Condition == "healthy" && m.Containers[k].Health == nil {
				d.report(at("containers", i, "depends_on", j, "condition"), false, "%q declares no health check that could become healthy", dep.Container)
			}
		}
	}
	d.checkVolumes(m)
	d.checkExtraHosts(m, names)
	d.checkFilesTogether(m)
	if _, cycle := order(m.Containers); cycle != "" {
		d.report(at("containers", names[cycle], "depends_on"), false, "depends on itself, directly or through others")
	}
	d.checkInterfaces(m, ports, secrets)
	d.checkReach(m, names)
	d.checkCanary(m, names, secrets, volumes)
	d.checkSettings(m, secrets)
	d.checkRequires(m)
	d.checkExports(m, names, secrets, volumes)
	d.checkTexts(m)
	d.checkConditions(m, names, ports)
	d.checkHooks(names, m.Hooks.PostInstall, "post_install")
	d.checkHooks(names, m.Hooks.PreUpdate, "pre_update")
	d.checkHooks(names, m.Hooks.PostUpdate, "post_update")
	d.checkAdopts(m, names, secrets, volumes)
	d.checkListing(m)
	for _, b := range []struct {
		name  string
		value Duration
	}{{"start", m.Budget.Start}, {"reboot", m.Budget.Reboot}} {
		if time.Duration(b.value) > time.Hour {
			d.report(at("budget", b.name), false, "longer than an hour")
		}
	}
}

func (d *document) checkContainer(m *Manifest, i int, c Container, secrets, ports map[string]bool, hostPorts map[string]string, volumes map[string]bool) {
	if b := c.Image.Build; b != "" && (path.Clean(b) != b || b == ".." || strings.HasPrefix(b, "../")) {
		d.report(at("containers", i, "image", "build"), false, "%q leaves the application's folder", b)
	}
	if time.Duration(c.StopTimeout) > maxStopTimeout {
		d.report(at("containers", i, "stop_timeout"), false, "longer than %d minutes", maxStopTimeout/time.Minute)
	}
	if h := c.Health; h != nil {
		d.checkHealth(i, c, h)
	}
	d.checkProcess(m, i, c)
	d.checkPrivileges(m, i, c)
	targets := map[string]string{}
	target := func(p string, where ...any) {
		if path.Clean(p) != p || p == "/" {
			d.report(at(where...), false, "%q is not a clean absolute path", p)
		}
		if other, dup := targets[p]; dup {
			d.report(at(where...), false, "%q is already used by %s", p, other)
		}
		for _, sys := range []string{"/proc", "/sys", "/dev"} {
			if p == sys || strings.HasPrefix(p, sys+"/") {
				d.report(at(where...), false, "%s belongs to the engine", sys)
			}
		}
		targets[p] = field(at(where...))
	}
	for j, v := range c.Volumes {
		volumes[v.Name] = true
		target(v.Path, "containers", i, "volumes", j, "path")
	}
	d.checkStorage(i, c, target)
	for j, t := range c.Tmpfs {
		target(t.Path, "containers", i, "tmpfs", j)
	}
	variables := map[string]string{}
	for name := range c.Environment {
		variables[name] = "the environment"
	}
	for j, s := range c.Secrets {
		if !secrets[s.Name] {
			d.report(at("containers", i, "secrets", j, "name"), false, "no generated secret and no secret setting is named %q", s.Name)
		}
		switch {
		case (s.Path == "") == (s.Env == ""):
			d.report(at("containers", i, "secrets", j), false, "expected either path, for a file, or env, for an environment variable")
		case s.Path != "":
			target(s.Path, "containers", i, "secrets", j, "path")
		case variables[s.Env] != "":
			d.report(at("containers", i, "secrets", j, "env"), false, "%q is already set by %s", s.Env, variables[s.Env])
		default:
			variables[s.Env] = field(at("containers", i, "secrets", j))
		}
	}
	d.checkImports(m, i, c, target, variables)
	d.checkFiles(i, c, target)
	for j, p := range c.Ports {
		if ports[p.Name] {
			d.report(at("containers", i, "ports", j, "name"), false, "a port named %q is already declared", p.Name)
		}
		ports[p.Name] = true
		key := strconv.Itoa(p.Host) + "/" + cmp.Or(p.Protocol, "tcp")
		if other, dup := hostPorts[key]; dup {
			d.report(at("containers", i, "ports", j, "host"), false, "port %s is already published as %q", key, other)
		}
		hostPorts[key] = p.Name
		if p.Host == DaemonPort || p.Host == DaemonTLSPort || p.Host == ByNamePort {
			d.report(at("containers", i, "ports", j, "host"), false, "port %d is the daemon's own", p.Host)
		}
	}
}

func (d *document) checkInterfaces(m *Manifest, ports, secrets map[string]bool) {
	for name, in := range m.Interfaces {
		if !ports[in.Port] {
			d.report(at("interfaces", name, "port"), false, "no port is named %q", in.Port)
			continue
		}
		d.checkLogin(in.Login, m, secrets, "interfaces", name, "login")
		d.checkSignIn(name, in)
		p, _ := m.Port(in.Port)
		if p.Protocol == "udp" {
			d.report(at("interfaces", name, "port"), false, "port %q is UDP", in.Port)
		}
		if !in.web() && (in.Path != "" || !reflect.ValueOf(in.Expect).IsZero()) {
			d.report(at("interfaces", name), false, "path and expect go with an http interface")
		}
		if in.web() && p.Host+ProxyOffset > 32767 {
			d.report(at("interfaces", name, "port"), false, "the web port %d is too high: the proxy serves it on %d above, below the ephemeral ports; use 1024 to %d", p.Host, ProxyOffset, 32767-ProxyOffset)
		}
		if name == "web" && in.web() && (in.Expect.Title == "" || in.Expect.Selector == "") {
			d.report(at("interfaces", name), false, "a web interface says what its page shows: expect.title and expect.selector")
		}
	}
}

func (d *document) checkLogin(l *Login, m *Manifest, secrets map[string]bool, where ...any) {
	if l == nil {
		return
	}
	if !secrets[l.Secret] {
		d.report(at(append(where, "secret")...), false, "no generated secret is named %q", l.Secret)
		return
	}
	if i := slices.IndexFunc(m.Secrets, func(s GeneratedSecret) bool { return s.Name == l.Secret }); !m.Secrets[i].Shown {
		d.report(at(append(where, "secret")...), false, "the secret %q is not shown, so nobody could sign in with it", l.Secret)
	} else if m.Secrets[i].Key() || m.Secrets[i].Derive != nil {
		d.report(at(append(where, "secret")...), false, "the secret %q is no password", l.Secret)
	}
}

func (d *document) checkCanary(m *Manifest, names map[string]int, secrets, volumes map[string]bool) {
	stateful := len(volumes) > 0
	switch c := m.Canary; {
	case c == nil && stateful:
		d.report(at("containers"), false, "the application keeps data, so it needs a canary that proves the data is kept")
	case c == nil:
	case c.HTTP != nil:
		d.checkWebInterface(m, c.HTTP.Interface, "canary", "http", "interface")
		d.checkLogin(c.HTTP.Login, m, secrets, "canary", "http", "login")
		if w := c.HTTP.Write; !strings.Contains(w.Path+w.Body, "{{canary}}") {
			d.report(at("canary", "http", "write"), false, "neither path nor body holds {{canary}}")
		}
	case c.MQTT != nil:
		if in, ok := m.Interfaces[c.MQTT.Interface]; !ok || in.Protocol != "mqtt" {
			d.report(at("canary", "mqtt", "interface"), false, "no mqtt interface is named %q", c.MQTT.Interface)
		}
		d.checkLogin(c.MQTT.Login, m, secrets, "canary", "mqtt", "login")
	case c.Exec != nil:
		d.checkExecCanary(names, c.Exec)
	case c.Volume != nil:
		d.checkVolumeCanary(m, volumes, c.Volume)
	}
}

func (d *document) checkSettings(m *Manifest, secrets map[string]bool) {
	mounted := func(name string) bool {
		return slices.ContainsFunc(m.Containers, func(c Container) bool {
			return slices.ContainsFunc(c.Secrets, func(s SecretMount) bool { return s.Name == name }) ||
				slices.ContainsFunc(c.Files, func(f File) bool { return slices.Contains(f.secrets(), name) })
		})
	}
	seen := map[string]bool{}
	for i, s := range m.Settings {
		if seen[s.Name] {
			d.report(at("settings", i, "name"), false, "a setting named %q is already declared", s.Name)
		}
		seen[s.Name] = true
		switch {
		case !s.Secret && s.Default == "":
			d.report(at("settings", i), false, "missing property 'default'")
		case !s.Secret && len(s.Values) > 0 && !slices.Contains(s.Values, s.Default):
			d.report(at("settings", i, "default"), false, "%q is not one of the values", s.Default)
		case !s.Secret:
		case s.Default != "":
			d.report(at("settings", i, "default"), false, "a secret setting has no default: a manifest is public")
		case len(s.Values) > 0:
			d.report(at("settings", i, "values"), false, "a secret setting has no list of values: a manifest is public")
		case secrets[s.Name]:
			d.report(at("settings", i, "name"), false, "a generated secret named %q is already declared", s.Name)
		case !mounted(s.Name):
			d.report(at("settings", i, "name"), false, "the secret setting %q reaches no container; give it to one with its secrets, as a file or a variable, or in a file", s.Name)
		}
	}
}

func (d *document) checkConditions(m *Manifest, names map[string]int, ports map[string]bool) {
	port := func(name string, where ...any) {
		if !ports[name] {
			d.report(at(where...), false, "no port is named %q", name)
		} else if p, _ := m.Port(name); p.Protocol == "udp" {
			d.report(at(where...), false, "port %q is UDP", name)
		}
	}
	for i, c := range m.Ready {
		switch {
		case c.TCP != "":
			port(c.TCP, "ready", i, "tcp")
		case c.HTTP != nil:
			port(c.HTTP.Port, "ready", i, "http", "port")
		case c.Exec != nil:
			d.checkMember(names, c.Exec.Container, "ready", i, "exec", "container")
		case c.Socket != nil:
			d.checkMember(names, c.Socket.Container, "ready", i, "socket", "container")
		}
	}
}

// checkHealth wants the port that is asked to be one of the container itself, whose
// network is where it is asked.
func (d *document) checkHealth(i int, c Container, h *Health) {
	port := func(name, kind string) {
		where := at("containers", i, "health", kind, "port")
		if p, ok := c.Port(name); !ok {
			d.report(where, false, "no port of %s is named %q", c.Name, name)
		} else if p.Protocol == "udp" {
			d.report(where, false, "port %q is UDP", name)
		}
	}
	if h.HTTP != nil {
		port(h.HTTP.Port, "http")
	}
	if h.TCP != nil {
		port(h.TCP.Port, "tcp")
	}
	if h.HTTP != nil && h.TCP != nil {
		d.report(at("containers", i, "health", "tcp"), false, "expected one of http and tcp, not both")
	}
}

func (d *document) checkMember(names map[string]int, name string, where ...any) {
	if _, ok := names[name]; !ok {
		d.report(at(where...), false, "no container is named %q", name)
	}
}

func (d *document) checkHooks(names map[string]int, hooks []Hook, kind string) {
	for i, h := range hooks {
		d.checkMember(names, h.Container, "hooks", kind, i, "container")
		if time.Duration(h.Timeout) > time.Hour {
			d.report(at("hooks", kind, i, "timeout"), false, "longer than an hour")
		}
	}
}

func (d *document) checkAdopts(m *Manifest, names map[string]int, secrets, volumes map[string]bool) {
	seen := map[string]bool{}
	for i, a := range m.Adopts {
		if seen[a.Container] {
			d.report(at("adopts", i), false, "container %q is already adopted", a.Container)
		}
		seen[a.Container] = true
		if strings.HasSuffix(a.Container, Retired) {
			d.report(at("adopts", i), false, "container %q is what is kept of another application, with its secrets", a.Container)
		}
		if a.As != "" {
			d.checkMember(names, a.As, "adopts", i, "as")
		}
		for p, v := range a.Volumes {
			if !volumes[v] {
				d.report(at("adopts", i, "volumes", p), false, "no volume is named %q", v)
			}
		}
		for env, s := range a.Secrets {
			if !secrets[s] {
				d.report(at("adopts", i, "secrets", env), false, "no generated secret is named %q", s)
			}
		}
	}
}
