package drill

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// prefix begins every name of a drill's. No id and no container's name has an underscore
// (schema.json, $defs/name), so no application is ever called so.
const prefix = "drill_"

// memoryLimit is what a container may use whose manifest has no limit.
const memoryLimit = "1G"

// Name is what an application, or a container, is called in a drill.
func Name(of string) string { return prefix + of }

// Of gives the application, or the container, whose drill has this name; ok is false for any
// other name.
func Of(name string) (of string, ok bool) { return strings.CutPrefix(name, prefix) }

// Unfit says why an application is not started from a backup of it; empty where it can be. It
// would need what it cannot have beside the one that runs: to reach another application, the
// only device of its kind, the owner's files.
func Unfit(m *manifest.Manifest) string {
	var required []string
	for _, r := range m.Requires {
		required = append(required, strings.Join(r.Apps(), " or "))
	}
	switch {
	case len(required) > 0:
		return "it requires " + strings.Join(required, ", ")
	case len(m.Devices()) > 0:
		return "it uses devices of the node"
	case len(m.Storage()) > 0:
		return "it uses your folders " + strings.Join(m.Storage(), ", ")
	}
	return ""
}

// Isolated is an application, with its settings filled in, as it runs in a drill: it and its
// containers have other names, among themselves also their own; its volumes are in dir; its
// network leads nowhere; none of its ports is the node's; its memory is bounded.
func Isolated(m *manifest.Manifest, dir string) *manifest.Manifest {
	out := *m
	out.ID, out.Name = Name(m.ID), m.Name+" (restore drill)"
	out.Network.Internet = new(bool)
	out.Containers = slices.Clone(m.Containers)
	for i := range out.Containers {
		c := &out.Containers[i]
		c.Memory = cmp.Or(m.MemoryOf(*c), memoryLimit)
		own := map[string]string{c.Name: Name(c.Name)}
		for name, member := range c.ExtraHosts {
			own[name] = Name(member)
		}
		c.ExtraHosts, c.Name = own, Name(c.Name)
		c.DependsOn, c.Volumes, c.Ports = slices.Clone(c.DependsOn), slices.Clone(c.Volumes), slices.Clone(c.Ports)
		for j := range c.DependsOn {
			c.DependsOn[j].Container = Name(c.DependsOn[j].Container)
		}
		for j := range c.Volumes {
			c.Volumes[j].At = filepath.Join(dir, c.Volumes[j].Name)
		}
		for j := range c.Ports {
			c.Ports[j].Host = 0
		}
	}
	return &out
}

// page is what answers on a web interface.
type page struct {
	name      string // of the interface
	container string // in the drill
	port      int    // in there
	path      string
	host      string // as the proxy has it
	status    int    // expected; 0: any of 200 to 299
	title     string // that the page's contains
}

// pages are those of an application's web interfaces, "web" first. node is the name under which the
// proxy has them.
func pages(m *manifest.Manifest, node string) (all []page) {
	for name, in := range m.Interfaces {
		if in.Protocol != "" && in.Protocol != "http" {
			continue
		}
		for _, c := range m.Containers {
			p, ok := c.Port(in.Port)
			if !ok {
				continue
			}
			asked := page{name: name, container: Name(c.Name), port: p.Container, path: cmp.Or(in.Path, "/"), status: in.Expect.Status, title: in.Expect.Title}
			if node != "" {
				asked.host = fmt.Sprintf("%s:%d", node, p.Host+manifest.ProxyOffset)
			}
			if in.Login != nil && in.Login.Basic {
				asked.status, asked.title = 401, "" // to strangers
			}
			all = append(all, asked)
		}
	}
	slices.SortFunc(all, func(a, b page) int {
		if (a.name == "web") != (b.name == "web") {
			if a.name == "web" {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return all
}
