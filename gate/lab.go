package gate

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Ports that the lab publishes besides those of the catalog, for applications of other
// catalogs, such as one that is being packaged; the proxy's are above them.
const (
	firstSparePort = 8900
	sparePorts     = 8
)

// LabUp brings the lab up, with the ports that a catalog's applications publish, and
// waits until its nodes answer. Progress goes to w.
func LabUp(ctx context.Context, cat catalog.Catalog, w io.Writer) (*lab.Lab, error) {
	l, err := lab.Open(w)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	ports := cat.Ports()
	for p := range sparePorts {
		ports = append(ports, firstSparePort+p, firstSparePort+manifest.ProxyOffset+p)
	}
	if err := l.Up(ctx, ports); err != nil {
		return nil, err
	}
	fmt.Fprintf(w, "lab: both nodes answer over SSH (%.1f s); inventory %s\n", time.Since(begin).Seconds(), l.InventoryFile())
	return l, nil
}

// holdLab keeps others from removing the lab's nodes until release.
func holdLab(user string) (release func(), err error) {
	l, err := lab.Open(io.Discard)
	if err != nil {
		return nil, err
	}
	return l.Hold(user)
}

// Inventory reads an inventory of nodes; no file stands for the lab's.
func Inventory(file string) (*nodes.Inventory, error) {
	if file == "" {
		l, err := lab.Open(io.Discard)
		if err != nil {
			return nil, err
		}
		file = l.InventoryFile()
	}
	return nodes.LoadInventory(file)
}

// knownNodes gives the nodes that can be asked for: those of an inventory, or the lab's.
func knownNodes(inventory string) (out []reports.Node, err error) {
	if inventory == "" {
		for _, n := range lab.Nodes {
			out = append(out, reports.Node{Name: n.Name, Address: n.Address})
		}
		return out, nil
	}
	inv, err := nodes.LoadInventory(inventory)
	if err != nil {
		return nil, err
	}
	for i := range inv.Nodes {
		n := &inv.Nodes[i]
		out = append(out, reports.Node{Name: n.Name, Address: n.Addr(), HostKey: n.HostKey})
	}
	return out, nil
}
