package manifest

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
)

// Node is what the texts of a manifest may know of the node that it runs on.
type Node struct {
	Name   string // such as "box"
	Domain string // by which browsers on its network find it, such as "box.local"

	Apps map[string]*Manifest // of other applications that are there to be used, those that are required
}

// reference stands in a text for something that is known on the node alone:
//
//	{{setting:NAME}}           a setting's value
//	{{secret:NAME}}            a generated secret or a secret setting, in files only
//	{{port:NAME}}              the port of the node by which one of the application's is reached
//	{{node:name}}              the node's name
//	{{url:INTERFACE}}          where browsers find a web interface, "https://HOST:PORT"
//	{{app:ID.EXPORT.host}}     the host name of an export of an application that is required
//	{{app:ID.EXPORT.port}}     its port
//	{{app:ID.EXPORT.NAME}}     one of its credentials, in files only
var reference = regexp.MustCompile(`\{\{([a-z]+):([^{}\n]*)\}\}`)

// place is a text in which references are filled in.
type place struct {
	where     []any
	container string
	file      bool // it is a file's, and in no unit
}

// filling is what references are filled in with.
type filling struct {
	values map[string]string // settings that are not secret
	refs   map[string]string // what stands for the values of secret settings that are set
	node   Node

	requires []Requirement // as they are on the node
	apps     map[string]*Manifest
}

// meaning is the text that a reference stands for. The error says why it stands for none.
func (m *Manifest) meaning(kind, name string, p place, f filling) (string, error) {
	switch kind {
	case "setting":
		s, ok := m.Setting(name)
		switch {
		case !ok:
			return "", fmt.Errorf("no setting is named %q", name)
		case s.Secret && p.file:
			return "", fmt.Errorf("the setting %q is secret; write {{secret:%s}}", name, name)
		case s.Secret:
			return "", fmt.Errorf("the setting %q is secret, and this text would be in a unit file; give it to the container with its secrets, as a file or a variable", name)
		}
		return f.values[name], nil
	case "secret":
		generated := slices.ContainsFunc(m.Secrets, func(g GeneratedSecret) bool { return g.Name == name })
		switch {
		case !generated && !m.Secret(name):
			return "", fmt.Errorf("no generated secret and no secret setting is named %q", name)
		case !p.file:
			return "", errors.New("a secret is not filled in here, where others can read it; give it to the container with its secrets, or in a file")
		case generated:
			return mark(name), nil
		case f.refs[name] == "":
			return mark(""), nil
		}
		return mark(name + "@" + f.refs[name]), nil
	case "port":
		port, ok := m.Port(name)
		if !ok {
			return "", fmt.Errorf("no port is named %q", name)
		}
		return strconv.Itoa(m.reached(port)), nil
	case "node":
		if name != "name" {
			return "", fmt.Errorf("of the node there is no %q; write {{node:name}}", name)
		}
		return f.node.Name, nil
	case "url":
		in, ok := m.Interfaces[name]
		if !ok || !in.web() {
			return "", fmt.Errorf("no http interface is named %q", name)
		}
		port, ok := m.Port(in.Port)
		if !ok {
			return "", fmt.Errorf("no port is named %q", in.Port)
		}
		return fmt.Sprintf("https://%s:%d", f.node.Domain, m.reached(port)), nil
	case "app":
		text, known, err := m.ofApp(name, p, f)
		if err == nil && !known {
			return "{{app:" + name + "}}", nil
		}
		return text, err
	}
	return "", fmt.Errorf("nothing is called %q; expected setting, secret, port, node, url or app", kind)
}

// reached is the port of the node by which one of the application's is reached from outside.
func (m *Manifest) reached(p Port) int {
	if slices.Contains(m.WebPorts(), p) {
		return p.Host + ProxyOffset
	}
	return p.Host
}

// NamesNode tells whether a text says the node's name, or where the node is found.
func (m *Manifest) NamesNode() bool {
	return m.refersTo(func(kind string) bool { return kind == "node" || kind == "url" })
}

func (m *Manifest) refersTo(what func(kind string) bool) (found bool) {
	m.eachText(func(text string, _ place) string {
		for _, r := range reference.FindAllStringSubmatch(text, -1) {
			found = found || what(r[1])
		}
		return text
	})
	return found
}

// eachText visits the texts in which references are filled in, and has what visit returns
// take their place.
func (m *Manifest) eachText(visit func(text string, p place) string) {
	words := func(list []string, container string, where ...any) {
		for i, was := range list {
			if is := visit(was, place{where: append(slices.Clone(where), i), container: container}); is != was {
				list[i] = is
			}
		}
	}
	for i := range m.Containers {
		c := &m.Containers[i]
		for _, k := range slices.Sorted(maps.Keys(c.Environment)) {
			was := c.Environment[k]
			if is := visit(was, place{where: []any{"containers", i, "environment", k}, container: c.Name}); is != was {
				c.Environment[k] = is
			}
		}
		words(c.Entrypoint, c.Name, "containers", i, "entrypoint")
		words(c.Command, c.Name, "containers", i, "command")
		if c.Health != nil {
			words(c.Health.Exec, c.Name, "containers", i, "health", "exec")
		}
		for j := range c.Devices {
			d := &c.Devices[j]
			if is := visit(d.ID, place{where: []any{"containers", i, "devices", j, "id"}, container: c.Name}); is != d.ID {
				d.ID = is
			}
		}
		for j := range c.Files {
			f := &c.Files[j]
			if !f.Template {
				continue
			}
			if is := visit(f.Content, place{where: []any{"containers", i, "files", j, "content"}, container: c.Name, file: true}); is != f.Content {
				f.Content = is
			}
		}
	}
	for kind, hooks := range m.Hooks.byKind() {
		for i, h := range hooks {
			words(h.Command, h.Container, "hooks", kind, i, "command")
		}
	}
}

func (h *Hooks) byKind() map[string][]Hook {
	return map[string][]Hook{"post_install": h.PostInstall, "pre_update": h.PreUpdate, "post_update": h.PostUpdate}
}

// With gives the manifest as it is with these settings, on this node: defaults and
// references are filled in. For the value of a secret there is only what stands for it. A
// setting that is unknown or has a value that is not allowed is an error.
func (m *Manifest) With(config map[string]string, on Node) (*Manifest, error) {
	f := filling{values: map[string]string{}, node: on, apps: on.Apps}
	for _, s := range m.Settings {
		f.values[s.Name] = s.Default
	}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		s, ok := m.Setting(name)
		if !ok {
			return nil, fmt.Errorf("%s has no setting %q", m.ID, name)
		}
		v := config[name]
		if s.Secret && v != "" && !secretRef.MatchString(v) {
			return nil, fmt.Errorf("setting %s of %s is secret, and yet its value is in the clear; set it again with 'archy configure %s %s=-'", name, m.ID, m.ID, name)
		}
		if err := s.Takes(v); err != nil {
			return nil, fmt.Errorf("setting %s of %s: %w", name, m.ID, err)
		}
		f.values[name] = v
	}
	there, err := m.On(f.apps)
	if err != nil {
		return nil, err
	}
	if len(m.Settings) == 0 && len(m.Requires) == 0 && !m.refersTo(func(string) bool { return true }) {
		return m, nil
	}
	f.refs, f.requires = m.SecretRefs(config), there.Requires
	out := there.copied()
	for i := range out.Containers {
		c := &out.Containers[i]
		c.Secrets = slices.DeleteFunc(slices.Clone(c.Secrets), func(s SecretMount) bool { return m.Secret(s.Name) && f.refs[s.Name] == "" })
		for j := range c.Secrets {
			c.Secrets[j].Ref = f.refs[c.Secrets[j].Name]
		}
	}
	out.eachText(func(text string, p place) string {
		return reference.ReplaceAllStringFunc(text, func(ref string) string {
			r := reference.FindStringSubmatch(ref)
			meant, err := m.meaning(r[1], r[2], p, f)
			if err != nil {
				return ref // Parse has refused it
			}
			return meant
		})
	})
	for i := range out.Containers {
		for j, was := range m.Containers[i].Devices {
			if is := out.Containers[i].Devices[j]; is.ID != was.ID {
				if err := is.takesID(); err != nil {
					return nil, fmt.Errorf("%s: %w", m.ID, err)
				}
			}
		}
	}
	return out, nil
}

// copied is the manifest with copies of all texts in which references are filled in.
func (m *Manifest) copied() *Manifest {
	out := *m
	out.Containers = slices.Clone(m.Containers)
	for i := range out.Containers {
		c := &out.Containers[i]
		c.Environment = maps.Clone(c.Environment)
		c.Entrypoint, c.Command, c.Devices, c.Files = slices.Clone(c.Entrypoint), slices.Clone(c.Command), slices.Clone(c.Devices), slices.Clone(c.Files)
		if c.Health != nil {
			health := *c.Health
			health.Exec = slices.Clone(health.Exec)
			c.Health = &health
		}
	}
	for _, hooks := range []*[]Hook{&out.Hooks.PostInstall, &out.Hooks.PreUpdate, &out.Hooks.PostUpdate} {
		*hooks = slices.Clone(*hooks)
		for i := range *hooks {
			(*hooks)[i].Command = slices.Clone((*hooks)[i].Command)
		}
	}
	return &out
}

// checkTexts wants every reference to stand for something, and none to be where nothing is
// filled in.
func (d *document) checkTexts(m *Manifest) {
	m.eachText(func(text string, p place) string {
		for _, r := range reference.FindAllStringSubmatchIndex(text, -1) {
			if _, err := m.meaning(text[r[2]:r[3]], text[r[4]:r[5]], p, filling{}); err != nil {
				d.reportIn(text, r[0], p, err)
			}
		}
		return text
	})
	none := func(words []string, where ...any) {
		for i, w := range words {
			if ref := reference.FindString(w); ref != "" {
				d.report(at(append(where, i)...), false, "%s is not filled in here", ref)
			}
		}
	}
	for i, c := range m.Ready {
		if c.Exec != nil {
			none(c.Exec.Command, "ready", i, "exec", "command")
		}
	}
	if m.Canary != nil && m.Canary.Exec != nil {
		none(m.Canary.Exec.Write, "canary", "exec", "write")
		none(m.Canary.Exec.Read, "canary", "exec", "read")
	}
	for name, in := range m.Interfaces {
		if in.Handshake != nil && in.Handshake.Exec != nil {
			none(in.Handshake.Exec.Argv, "interfaces", name, "handshake", "exec", "argv")
		}
	}
}
