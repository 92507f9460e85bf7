package manifest

import (
	"slices"
	"strconv"
)

// ProxyOffset is added to the published port of a web interface, which is on the node's
// loopback only, to give the port on which the node's reverse proxy serves it by TLS.
const ProxyOffset = 10000

// Port is published by the node on all its addresses.
type Port struct {
	Name      string `json:"name"`
	Container int    `json:"container"`
	Host      int    `json:"host"`
	Protocol  string `json:"protocol,omitempty"` // tcp (default) or udp
}

// Port finds a published port by its name, over all members.
func (m *Manifest) Port(name string) (Port, bool) {
	for _, c := range m.Containers {
		if p, ok := c.Port(name); ok {
			return p, true
		}
	}
	return Port{}, false
}

// Port finds a published port of the container by its name.
func (c Container) Port(name string) (Port, bool) {
	i := slices.IndexFunc(c.Ports, func(p Port) bool { return p.Name == name })
	if i < 0 {
		return Port{}, false
	}
	return c.Ports[i], true
}

// WebPorts are the ports of all interfaces that speak HTTP, each once: the one that My
// Apps links to first, the others by number. A port that another protocol uses as well
// is among them.
func (m *Manifest) WebPorts() (ports []Port) {
	for _, i := range m.Interfaces {
		if p, ok := m.Port(i.Port); ok && i.web() && !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	_, main, _ := m.Web()
	slices.SortFunc(ports, func(a, b Port) int {
		if (a == main) != (b == main) {
			if a == main {
				return -1
			}
			return 1
		}
		return a.Host - b.Host
	})
	return ports
}

// NodePort is a port of the node. The same number with another protocol is another port.
type NodePort struct {
	Number int
	UDP    bool
}

// String names the port in messages: "8080", or "53/udp".
func (p NodePort) String() string {
	if p.UDP {
		return strconv.Itoa(p.Number) + "/udp"
	}
	return strconv.Itoa(p.Number)
}

// Node is the port of the node that is published.
func (p Port) Node() NodePort { return NodePort{p.Host, p.Protocol == "udp"} }

// NodePorts are the ports of the node that the application occupies: published ones,
// and the proxy's for its web interfaces.
func (m *Manifest) NodePorts() (ports []NodePort) {
	for _, c := range m.Containers {
		for _, p := range c.Ports {
			ports = append(ports, p.Node())
		}
	}
	for _, p := range m.WebPorts() {
		ports = append(ports, NodePort{Number: p.Host + ProxyOffset})
	}
	return ports
}
