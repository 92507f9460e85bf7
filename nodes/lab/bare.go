package lab

import (
	"context"
	"io"
	"slices"

	"github.com/archipelago-cloud/archipelago/nodes"
)

// Bare is a machine beside the nodes that has nothing of one: Debian, systemd and sshd. What
// is to make a node of a machine is tried on it.
var Bare = struct{ Name, Address string }{".55", "127.0.0.55"}

// bareDisks are only what another machine has as disks, too: its user and its data are yet to
// come.
var bareDisks = map[string]string{"-home": "/home", "-journal": "/var/log/journal"}

// machines are the nodes and the bare machine.
func machines() []struct{ Name, Address string } {
	return append(slices.Clone(Nodes), Bare)
}

// UpBare starts the bare machine anew. ports are published on its address, besides SSH. It
// gives an inventory of the node that it is to become: SSH answers once the user archipelago
// is there; until then, Exec and Put reach it. RemoveBare takes it away.
func (l *Lab) UpBare(ctx context.Context, ports []int) (*nodes.Inventory, error) {
	unlock, err := l.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := l.Engine.Start(ctx); err != nil {
		return nil, err
	}
	image, err := l.Engine.machineImage(ctx, bareStage, l.out)
	if err != nil {
		return nil, err
	}
	user, err := l.key("id_ed25519")
	if err != nil {
		return nil, err
	}
	host, err := l.key(hostKeyFile(Bare.Name))
	if err != nil {
		return nil, err
	}
	n := l.node(Bare.Name, Bare.Address, host, nil)
	if err := l.remove(ctx, n.Name); err != nil {
		return nil, err
	}
	ports = append([]int{22}, ports...)
	slices.Sort(ports)
	if err := l.create(ctx, &n, image, "bare", slices.Compact(ports), bareDisks, authorized(user)); err != nil {
		return nil, err
	}
	return &nodes.Inventory{Nodes: []nodes.Node{n}}, nil
}

// RemoveBare removes the bare machine with its data.
func (l *Lab) RemoveBare(ctx context.Context) error { return l.remove(ctx, Bare.Name) }

// Put copies a file of this machine into a directory of a node, as root.
func (l *Lab) Put(ctx context.Context, node, file, dir string) error {
	if err := l.known(node); err != nil {
		return err
	}
	return l.Engine.Podman(ctx, io.Discard, "cp", file, containerName(node)+":"+dir+"/")
}
