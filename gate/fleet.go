package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/publish"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// Fleet is the nodes of a run, with the daemon and the published catalog on them
// and the registry within their reach.
type Fleet struct {
	Nodes     []*Member
	Published catalog.Catalog
	Warnings  []string

	stop    context.CancelFunc
	tunnels sync.WaitGroup
}

// Member is one node of a fleet.
type Member struct {
	*nodes.Node
	SSH      *nodes.Client
	Identity nodes.Identity
	Token    string
}

// RPC is the base URL of the node's daemon.
func (m *Member) RPC() string { return fmt.Sprintf("http://%s:%d", m.Address, manifest.DaemonPort) }

// Client talks to the node's daemon.
func (m *Member) Client() *client.Client { return client.New(m.RPC(), m.Token) }

// Assemble connects to the nodes and checks that each can be one. Everything that
// stands in the way, on any node, is reported at once.
func Assemble(ctx context.Context, members []nodes.Node) (*Fleet, error) {
	f := &Fleet{stop: func() {}}
	errs := make([]error, len(members))
	warnings := make([][]string, len(members))
	var wg sync.WaitGroup
	for i := range members {
		n := &members[i]
		m := &Member{Node: n, SSH: nodes.NewClient(n)}
		f.Nodes = append(f.Nodes, m)
		wg.Go(func() { m.Identity, warnings[i], errs[i] = m.SSH.Check(ctx) })
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

// Equip publishes the catalog and brings it and the daemon onto every node. The
// registry stays within the nodes' reach until Close.
func (f *Fleet) Equip(ctx context.Context, binary string, cat catalog.Catalog, builder publish.Builder, environment []string, progress io.Writer) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	p, err := publish.Open(filepath.Join(cache, "archipelago", "registry"), builder)
	if err != nil {
		return err
	}
	if f.Published, err = p.Publish(ctx, cat, progress); err != nil {
		return err
	}
	files := map[string][]byte{}
	for id, e := range f.Published {
		if files[id], err = json.MarshalIndent(e.Manifest, "", "  "); err != nil {
			return err
		}
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	g, gctx := errgroup.WithContext(ctx)
	for _, m := range f.Nodes {
		f.tunnels.Go(func() {
			m.ServeThere(life, publish.Registry, p, func(err error) { fmt.Fprintln(progress, "registry:", err) })
		})
		g.Go(func() error {
			token, err := m.SSH.Deploy(gctx, nodes.Deployment{Binary: binary, Catalog: files, Environment: environment})
			m.Token = token
			return err
		})
	}
	return g.Wait()
}

// ErrOccupied is wrapped where a node holds data of an application under test that
// no gate put there.
var ErrOccupied = fmt.Errorf("%w: node is in use", ErrUsage)

// gateMark is a file on nodes that were clean when a gate first came to them: all
// data of applications under test is then the gate's own, and it may delete it.
const gateMark = nodes.DataDir + "/_gate"

// Clean refuses nodes with data of an application under test, unless it is the
// gate's own: the gate purges what it tests.
func (f *Fleet) Clean(ctx context.Context, apps []string) error {
	var problems []error
	for _, m := range f.Nodes {
		out, err := m.SSH.Run(ctx, fmt.Sprintf("[ -e %[1]s ] || { cd %[2]s; for a in %[3]s; do [ ! -e $a ] && [ ! -e _daemon/state/desired/$a.json ] || echo $a; done; }", gateMark, nodes.DataDir, strings.Join(apps, " ")))
		if err != nil {
			return err
		}
		if found := strings.Fields(out); len(found) > 0 {
			problems = append(problems, fmt.Errorf("%w: %s has data of %s, which the gate would delete; uninstall with --purge, or take another machine", ErrOccupied, m.Node, strings.Join(found, ", ")))
			continue
		}
		if _, err := m.SSH.Run(ctx, "touch "+gateMark); err != nil {
			return err
		}
	}
	return errors.Join(problems...)
}

// Close ends tunnels and connections; nothing on the nodes is changed.
func (f *Fleet) Close() {
	f.stop()
	f.tunnels.Wait()
	for _, m := range f.Nodes {
		m.SSH.Close()
	}
}
