// Package fleet owns the nodes of a run as one thing: it connects to them, checks that
// they can be nodes, empties them, and brings the daemon and the published catalog onto
// them. It does not know what is then run there.
package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/publish"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// Fleet is the nodes of a run. Once equipped, they have the daemon and the published
// catalog, and can reach the registry.
type Fleet struct {
	Nodes     []*Node
	Published catalog.Catalog
	Images    []Image // of Published, each once
	Warnings  []string
	// Previous are earlier releases, whose images Equip publishes too; nothing of them is
	// deployed.
	Previous       catalog.Catalog
	PreviousImages []Image

	// Registry, if set, wraps the registry that the nodes see.
	Registry func(http.Handler) http.Handler

	stop    context.CancelFunc
	tunnels sync.WaitGroup
}

// Node is one machine of a fleet.
type Node struct {
	*nodes.Node
	SSH       *nodes.Client
	Identity  nodes.Identity
	Token     string
	Authority nodes.Authority // of the node's certificates
}

// RPC is the base URL of the node's daemon.
func (n *Node) RPC() string {
	return "https://" + net.JoinHostPort(n.Address, strconv.Itoa(manifest.DaemonTLSPort))
}

// Client talks to the node's daemon.
func (n *Node) Client() *client.Client {
	return client.New(n.RPC(), n.Token, n.Authority.Fingerprint())
}

// Assemble connects to machines and checks that each can be a node. The problems of
// all of them are reported at once.
func Assemble(ctx context.Context, machines []nodes.Node) (*Fleet, error) {
	f := &Fleet{stop: func() {}}
	errs := make([]error, len(machines))
	warnings := make([][]string, len(machines))
	var wg sync.WaitGroup
	for i := range machines {
		n := &Node{Node: &machines[i], SSH: nodes.NewClient(&machines[i])}
		f.Nodes = append(f.Nodes, n)
		wg.Go(func() { n.Identity, warnings[i], errs[i] = n.SSH.Check(ctx) })
	}
	wg.Wait()
	for _, w := range warnings {
		f.Warnings = append(f.Warnings, w...)
	}
	if err := errors.Join(errs...); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// images are those of a published catalog, each once.
func images(ctx context.Context, p *publish.Publisher, cat catalog.Catalog) (out []Image) {
	for _, id := range cat.IDs() {
		for _, c := range cat[id].Containers {
			ref := c.Image.Pinned()
			i := slices.IndexFunc(out, func(i Image) bool { return i.Ref == ref })
			if i < 0 {
				i = len(out)
				out = append(out, Image{Ref: ref, Bytes: p.Size(ctx, ref), Own: strings.HasPrefix(ref, publish.Registry+"/")})
			}
			if !slices.Contains(out[i].Apps, id) {
				out[i].Apps = append(out[i].Apps, id)
			}
		}
	}
	return out
}

// Equip publishes a catalog and deploys it, with the daemon, to every node. The nodes
// can reach the registry until Close.
func (f *Fleet) Equip(ctx context.Context, binary string, cat catalog.Catalog, builder publish.Builder, environment []string, progress io.Writer) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	p, err := publish.Open(filepath.Join(cache, "archipelago", "registry"), builder)
	if err != nil {
		return err
	}
	if f.Published, err = p.Publish(ctx, cat, publish.Registry, progress); err != nil {
		return err
	}
	if f.Previous, err = p.Publish(ctx, f.Previous, publish.Registry, progress); err != nil {
		return fmt.Errorf("the earlier releases: %w", err)
	}
	f.Images, f.PreviousImages = images(ctx, p, f.Published), images(ctx, p, f.Previous)
	files := map[string][]byte{}
	for id, e := range f.Published {
		if files[id], err = json.MarshalIndent(e.Manifest, "", "  "); err != nil {
			return err
		}
	}
	pictures, err := cat.Pictures()
	if err != nil {
		return err
	}
	f.stop() // of an earlier catalog
	f.tunnels.Wait()
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	registry := p.Nodes()
	if f.Registry != nil {
		registry = f.Registry(registry)
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, n := range f.Nodes {
		f.tunnels.Go(func() {
			n.ServeThere(life, publish.Registry, registry, func(err error) { fmt.Fprintln(progress, "registry:", err) })
		})
		g.Go(func() error {
			var err error
			if n.Token, err = n.SSH.Deploy(gctx, nodes.Deployment{Binary: binary, Catalog: files, Pictures: pictures, Environment: environment}); err != nil {
				return err
			}
			n.Authority, err = n.SSH.Authority(gctx)
			return err
		})
	}
	return g.Wait()
}

// Close ends tunnels and connections. It changes nothing on the nodes.
func (f *Fleet) Close() {
	f.stop()
	f.tunnels.Wait()
	for _, n := range f.Nodes {
		n.SSH.Close()
	}
}
