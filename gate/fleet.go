package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	// Registry, where it is set, stands between the nodes and the registry.
	Registry func(http.Handler) http.Handler

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
func (m *Member) Client() *client.Client { return client.New(m.RPC(), m.Token, "") }

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
	if f.Published, err = p.Publish(ctx, cat, publish.Registry, progress); err != nil {
		return err
	}
	files := map[string][]byte{}
	for id, e := range f.Published {
		if files[id], err = json.MarshalIndent(e.Manifest, "", "  "); err != nil {
			return err
		}
	}
	f.stop() // of an earlier catalog
	f.tunnels.Wait()
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	var registry http.Handler = p
	if f.Registry != nil {
		registry = f.Registry(p)
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, m := range f.Nodes {
		f.tunnels.Go(func() {
			m.ServeThere(life, publish.Registry, registry, func(err error) { fmt.Fprintln(progress, "registry:", err) })
		})
		g.Go(func() error {
			token, err := m.SSH.Deploy(gctx, nodes.Deployment{Binary: binary, Catalog: files, Environment: environment})
			m.Token = token
			return err
		})
	}
	return g.Wait()
}

// ErrOccupied is wrapped where a node holds data that no gate put there.
var ErrOccupied = fmt.Errorf("%w: node is in use", ErrUsage)

// gateMark is a file on nodes that were clean when a gate first came to them: all
// data of applications is then the gate's own, and it may delete it.
const gateMark = nodes.DataDir + "/_gate"

// resetScript takes everything of applications off a node, without asking the
// daemon, which may be the broken one of an earlier run.
const resetScript = `set -u
systemctl --user stop archipelago.service 2>/dev/null
cd ~/.config/containers/systemd 2>/dev/null && for f in $(grep -ls '^Label="io.archipelago.app=' *); do
  case $f in *.container) systemctl --user stop ${f%.container}.service 2>/dev/null;; *.network) systemctl --user stop ${f%.network}-network.service 2>/dev/null;; esac
  rm -f $f
done
systemctl --user daemon-reload; systemctl --user reset-failed
podman rm --all --force --time 2 --filter label=io.archipelago.app >/dev/null 2>&1 || podman ps -aq --filter label=io.archipelago.app | xargs -r podman rm -f -t 2 >/dev/null
podman network ls -q --filter label=io.archipelago.app | xargs -r podman network rm -f >/dev/null
for s in $(podman secret ls --format '{{.Name}}'); do case $s in *.*) podman secret rm $s >/dev/null;; esac; done
cd ` + nodes.DataDir + ` && for d in *; do case $d in _*|lost+found) ;; *) podman unshare rm -rf --one-file-system "$d";; esac; done
rm -rf _daemon/state/desired _daemon/state/data _daemon/state/observed.json _daemon/state/accept.json _daemon/secrets; podman unshare rm -rf _daemon/snapshots; true`

// Clean makes nodes empty of applications. A node that held data before a gate
// first came to it is refused: the gate deletes only what is its own.
func (f *Fleet) Clean(ctx context.Context) error {
	errs := make([]error, len(f.Nodes))
	var wg sync.WaitGroup
	for i, m := range f.Nodes {
		wg.Go(func() { errs[i] = m.clean(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (m *Member) clean(ctx context.Context) error {
	out, err := m.SSH.Run(ctx, fmt.Sprintf("[ -e %s ] || { cd %s; for d in *; do case $d in _*|lost+found|'*') ;; *) echo $d;; esac; done; ls _daemon/state/desired 2>/dev/null; }; true", gateMark, nodes.DataDir))
	if err != nil {
		return err
	}
	if found := strings.Fields(out); len(found) > 0 {
		return fmt.Errorf("%w: %s has data that the gate did not put there and would delete: %s; take another machine, or uninstall with --purge", ErrOccupied, m.Node, strings.Join(found, ", "))
	}
	if _, err := m.SSH.Run(ctx, "touch "+gateMark+"; bash -c "+nodes.Quote(resetScript)); err != nil {
		return fmt.Errorf("%s: clearing what an earlier run left: %w", m.Node, err)
	}
	return nil
}

// Close ends tunnels and connections; nothing on the nodes is changed.
func (f *Fleet) Close() {
	f.stop()
	f.tunnels.Wait()
	for _, m := range f.Nodes {
		m.SSH.Close()
	}
}
