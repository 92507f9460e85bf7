package compose

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const (
	lowest  = 1024                         // port of a node that an application may publish
	highWeb = 32767 - manifest.ProxyOffset // the last one for a web interface
)

// usualWeb are ports that are mostly of a page, the surest first.
var usualWeb = []int{80, 8080, 3000, 8000, 5000, 8081, 8888, 9000, 8096, 8090, 3001, 4000, 5173, 8008, 443, 8443, 9443}

// neverWeb are ports that are those of another protocol, by IANA's registry or by use.
var neverWeb = []int{
	20, 21, 22, 23, 25, 53, 67, 68, 69, 110, 111, 119, 123, 137, 138, 139, 143, 161, 162, 179, 389, 445, 464, 465, 514, 515, 548, 554, 563, 587, 631, 636, 853, 873,
	990, 993, 995, 1194, 1433, 1521, 1701, 1723, 1812, 1813, 1883, 1900, 1935, 2049, 2222, 3074, 3260, 3306, 3389, 3478, 3479, 4190, 4222, 4369, 5004, 5060, 5061, 5222, 5269,
	5349, 5353, 5355, 5432, 5672, 5900, 6379, 6667, 6697, 6881, 7687, 8333, 8883, 9042, 9050, 9092, 9100, 9300, 9418, 9735, 10001, 11211, 18333, 19132, 25565, 26379, 27015, 27017, 28015,
	50000, 50001, 50002, 51413, 51820, 10009,
}

var (
	routed    = regexp.MustCompile(`^traefik\.http\.services\.[^.]+\.loadbalancer\.server\.port$`)
	upstreams = regexp.MustCompile(`upstreams (?:https? )?(\d+)`)
)

// webPort is the container's port that looks most like that of a page, and how little it
// does; -1 for none.
func webPort(s types.ServiceConfig) (port, rank int) {
	rank = -1
	better := func(p, r int) {
		if p > 0 && p < 65536 && (rank < 0 || r < rank) {
			port, rank = p, r
		}
	}
	for _, key := range sortedKeys(s.Labels) { // what proxies are told
		if routed.MatchString(key) {
			p, _ := strconv.Atoi(s.Labels[key])
			better(p, 0)
		} else if m := upstreams.FindStringSubmatch(s.Labels[key]); m != nil {
			p, _ := strconv.Atoi(m[1])
			better(p, 0)
		}
	}
	if v := s.Environment["VIRTUAL_PORT"]; v != nil {
		p, _ := strconv.Atoi(*v)
		better(p, 0)
	}
	for i, p := range s.Ports {
		target := int(p.Target)
		if p.Protocol == "udp" || slices.Contains(neverWeb, target) {
			continue
		}
		if at := slices.Index(usualWeb, target); at >= 0 {
			better(target, 10+at)
		} else {
			better(target, 100+i)
		}
	}
	return port, rank
}

// web decides which port is the web interface, once the containers have their names.
func (im *importer) web() {
	main := im.members[im.main()]
	service, port := im.proxied()
	if i := slices.IndexFunc(im.members, func(m *member) bool { return m.Name == service }); i >= 0 && port > 0 {
		im.members[i].http = port
		return
	}
	if main.http = im.dialect.inside; main.http > 0 && main.Name == im.dialect.main {
		return
	}
	main.http, _ = webPort(main.ServiceConfig)
	if d := im.dialect; d.port > 0 {
		for _, p := range main.Ports {
			if n, _ := strconv.Atoi(p.Published); n == d.port {
				main.http = int(p.Target)
			}
		}
	}
	if main.http == 0 {
		for _, m := range im.members { // behind a main container without a page
			if m.http, _ = webPort(m.ServiceConfig); m.http > 0 {
				return
			}
		}
		im.exposed(main)
	}
}

// exposed takes a port that a container has for a proxy's sake as the page's, where nothing at
// all is published: a proxy of somebody else's was to publish it.
func (im *importer) exposed(main *member) {
	for _, m := range im.members {
		if len(m.Ports) > 0 {
			return
		}
	}
	for _, m := range append([]*member{main}, im.members...) {
		for _, e := range m.Expose {
			port, err := strconv.Atoi(strings.TrimSuffix(e, "/tcp"))
			if err == nil && port > 0 && port < 65536 && !slices.Contains(neverWeb, port) {
				m.http = port
				im.note(m.Name, "expose", im.place("services", m.Name, "expose"), fmt.Sprintf("port %d is for a proxy, which is the node's here: it is the web interface", port))
				return
			}
		}
	}
}

// ports writes what a container publishes.
func (im *importer) ports(m *member) {
	out := sequence()
	add := func(target, host int, protocol string, at Place) {
		web := target == m.http && protocol != "udp" && im.top.get("interfaces") == nil
		wanted := host
		host = im.free(cmp.Or(host, target), web, protocol)
		if wanted > 0 && wanted != host && !web {
			im.left(m.Name, "ports", at, fmt.Sprintf("port %d of the node cannot be an application's; it is %d", wanted, host), "clients that are told the other port")
		} else if wanted != host {
			im.note(m.Name, "ports", at, fmt.Sprintf("container port %d is published at %d of the node", target, host))
		}
		name := fmt.Sprintf("%s-%d", cmp.Or(protocol, "tcp"), target)
		if web {
			name = "web"
		}
		for n, base := 2, name; im.portNames[name]; n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		im.portNames[name] = true
		n := mapping()
		n.set("name", scalar(name))
		n.set("container", scalar(target))
		n.set("host", scalar(host))
		if protocol == "udp" {
			n.set("protocol", scalar("udp"))
		}
		out.add(n.from(m.Name, "ports", at))
		if web {
			im.interfaces(m, name, at)
		}
	}
	seen := map[string]bool{}
	for i, p := range m.Ports {
		at := im.place("services", m.Name, "ports", strconv.Itoa(int(p.Target)))
		if i >= mostMounts {
			im.left(m.Name, "ports", at, fmt.Sprintf("a container publishes at most %d ports; %d are left", mostMounts, len(m.Ports)-i), "fewer of them, if the program can be told which")
			break
		}
		host, err := strconv.Atoi(p.Published)
		if err != nil && p.Published != "" {
			first, _, _ := strings.Cut(p.Published, "-")
			host, _ = strconv.Atoi(first)
			im.note(m.Name, "ports", at, fmt.Sprintf("of the range %s, the first is taken", p.Published))
		}
		if p.Protocol != "" && p.Protocol != "tcp" && p.Protocol != "udp" {
			im.left(m.Name, "ports", at, "only TCP and UDP are published, not "+p.Protocol, "nothing")
			continue
		}
		key := fmt.Sprintf("%d/%s", p.Target, cmp.Or(p.Protocol, "tcp"))
		if seen[key+p.Published] {
			continue // once more, for another address of the node
		}
		seen[key+p.Published], seen[key] = true, true
		if ip := p.HostIP; ip != "" && ip != "0.0.0.0" && ip != "::" && int(p.Target) != m.http {
			im.left(m.Name, "ports", at, fmt.Sprintf("a port is published on all addresses of the node, also where it was on %s alone", ip), "no port at all, if only members of the application use it")
		}
		if ip := p.HostIP; ip != "" && ip != "0.0.0.0" && ip != "::" && int(p.Target) == m.http {
			im.note(m.Name, "ports", at, fmt.Sprintf("the page was on %s alone; the node's proxy serves it on all addresses", ip))
		}
		add(int(p.Target), host, p.Protocol, at)
	}
	if m.http > 0 && !seen[fmt.Sprintf("%d/tcp", m.http)] {
		add(m.http, im.dialect.port, "", im.place("services", m.Name))
	}
	if len(out.items) > 0 {
		m.node.set("ports", out)
	}
}

// free gives a port of the node: the one that is wanted, or the next one that may be had.
func (im *importer) free(port int, web bool, protocol string) int {
	if port < lowest {
		port += 8000
	}
	if web && port > highWeb {
		port = 8000 + port%1000
	}
	for ; ; port++ {
		n := manifest.NodePort{Number: port, UDP: protocol == "udp"}
		proxy := manifest.NodePort{Number: port + manifest.ProxyOffset}
		daemons := port == manifest.DaemonPort || port == manifest.DaemonTLSPort || port == manifest.ByNamePort
		if daemons || im.nodePorts[n] || web && im.nodePorts[proxy] {
			continue
		}
		im.nodePorts[n] = true
		if web {
			im.nodePorts[proxy] = true
		}
		return port
	}
}

// interfaces declares the page. What it shows nobody can know from the files.
func (im *importer) interfaces(m *member, port string, at Place) {
	web := mapping()
	web.set("port", scalar(port))
	if p := im.dialect.path; strings.HasPrefix(p, "/") && p != "/" {
		web.set("path", scalar(p).from("", "path", im.dialect.described))
	}
	expect := mapping()
	expect.set("title", im.top.get("name"))
	expect.set("selector", scalar("body"))
	web.set("expect", expect)
	all := mapping()
	all.set("web", web)
	im.top.set("interfaces", all)
	im.left(m.Name, "ports", at, "the files do not say what the page shows, so its title is taken to be the application's name", "interfaces.web.expect: {title, selector}, as a browser sees them")
	if m.http == 443 || m.http == 8443 || m.http == 9443 {
		im.left(m.Name, "ports", at, fmt.Sprintf("port %d is mostly TLS, and the node's proxy speaks HTTP to a container", m.http), "the program's port without TLS")
	}
}

// closing writes what is about the whole application.
func (im *importer) closing() {
	if len(im.secrets.generated) > 0 {
		all := sequence()
		for _, s := range im.secrets.generated {
			all.add(s)
		}
		im.top.set("generated_secrets", all)
	}
	if len(im.settings) > 0 {
		all := sequence()
		for _, s := range im.settings {
			all.add(s)
		}
		im.top.set("settings", all)
	}
	if in := im.top.get("interfaces"); in != nil { // after what it speaks of
		im.top.drop(in)
		im.top.set("interfaces", in)
	} else {
		im.note("", "ports", Place{File: im.order[0].name}, "nothing published looks like a page, so the application has no web interface")
	}
	im.canary()
	if im.slowest > manifest.DefaultStartBudget {
		budget := mapping()
		budget.set("start", duration(im.slowest+manifest.DefaultStartBudget).from("", "healthcheck.start_period", Place{File: im.order[0].name}))
		im.top.set("budget", budget)
	}
	im.networks()
	im.requires()
	im.unasked()
	for _, e := range sortedKeys(im.project.Extensions) {
		if e != "x-casaos" {
			im.note("", e, im.place(e), "an extension: what refers to it is carried where it is used")
		}
	}
}

// canary writes one that a shell can do, which says the least that can be said.
func (im *importer) canary() {
	first := im.main()
	for _, m := range append([]*member{im.members[first]}, im.members...) {
		all := m.node.get("volumes")
		if all == nil {
			continue
		}
		for _, v := range all.items {
			if v.get("read_only") != nil {
				continue
			}
			file := strings.Trim(v.get("path").text, `"`) + "/.canary"
			exec := mapping()
			exec.set("container", scalar(m.name))
			exec.set("write", words([]string{"/bin/sh", "-c", "echo '{{canary}}' > " + file}))
			exec.set("read", words([]string{"/bin/cat", file}))
			c := mapping()
			c.set("exec", exec)
			im.top.set("canary", c)
			im.left(m.Name, "volumes", im.place("services", m.Name, "volumes"), "the files do not say how state is put into the application and found again, so the canary is a bare file", "canary: {http: …}, or {exec: …} with a tool of the application's")
			return
		}
	}
}

func (im *importer) networks() {
	inside := len(im.members) > 0
	for _, m := range im.members {
		inside = inside && len(m.Networks) > 0
		for _, name := range sortedKeys(m.Networks) {
			inside = inside && im.project.Networks[name].Internal
		}
	}
	for _, name := range sortedKeys(im.project.Networks) {
		n, at := im.project.Networks[name], im.place("networks", name)
		switch {
		case bool(n.External):
			im.left("", "networks."+name, at, "the network is somebody else's, and is not joined", "requires: [{app: ID}], if another application is to be reached; nothing, if a proxy is to reach this one")
		case n.Internal && !inside:
			im.note("", "networks."+name, at, "members of an application have one network, which reaches the internet")
		}
	}
	if inside {
		n := mapping()
		n.set("internet", scalar(false))
		im.top.set("network", n)
	}
}
