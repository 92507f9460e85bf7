//go:build lab

package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/labtest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
)

// inTurns are the applications that both drivers take through one cycle on both nodes.
var inTurns = []string{"miniflux", "mosquitto", "radicale"}

// TestAgainstASequentialDriver compares the gate with the script that people begin with: one
// node after the other, one application after the other, nine steps each, every one followed
// by a look once a second until the containers are healthy and a fresh browser finds the page.
// The script judges next to nothing: no invariants, no data, no journal.
func TestAgainstASequentialDriver(t *testing.T) {
	chromium, err := matrix.Chromium()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "catalog", "apps")
	bin, err := labtest.Up(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	// The gate first, so that images are built and on the nodes for both.
	var gate []float64
	for range 2 {
		begin := time.Now()
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "gate"), "run", "--cycles", "1", "--out", t.TempDir(), "--catalog", dir, "--apps", strings.Join(inTurns, ",")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		gate = append(gate, time.Since(begin).Seconds())
	}
	var script float64
	for i := range 2 {
		t.Run(fmt.Sprint("node", i), func(t *testing.T) {
			f, _ := labtest.Node(t, root, dir, i)
			begin := time.Now()
			for _, app := range inTurns {
				oneAfterTheOther(t, f.Nodes[0], f.Published[app].Manifest, chromium)
			}
			script += time.Since(begin).Seconds()
		})
	}
	cells := 2 * len(inTurns) * len(matrix.Steps())
	fmt.Printf("\n%d cells on two nodes: the gate %.0f s, with publishing and deploying; a script that does one after the other %.0f s without, %.1f times as long\n", cells, gate[1], script, script/gate[1])
}

// oneAfterTheOther is one application's cycle.
func oneAfterTheOther(t *testing.T, node *fleet.Node, m *manifest.Manifest, chromium string) {
	t.Helper()
	rpc := node.Client()
	do := func(verb string) {
		t.Helper()
		if _, err := rpc.Do(t.Context(), verb, m.ID, false, nil); err != nil {
			t.Fatalf("%s of %s: %v", verb, m.ID, err)
		}
	}
	up := func() {
		t.Helper()
		every(t, m.ID+" to be up", func() error { return errors.Join(healthy(t, node, m), page(t, node, m, chromium)) })
	}
	down := func() {
		t.Helper()
		every(t, m.ID+" to be down", func() error {
			out, err := node.SSH.Run(t.Context(), "podman ps --quiet --filter label="+manifest.LabelApp+"="+m.ID)
			if err == nil && strings.TrimSpace(out) != "" {
				err = errors.New("it runs")
			}
			return err
		})
	}
	do("install")
	up() // and reachable
	do("stop")
	down()
	do("start")
	up()
	do("restart")
	up()
	do("uninstall")
	down()
	do("install")
	up()
	if _, err := node.SSH.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	up()
	if _, err := node.SSH.Run(t.Context(), "systemctl --user restart "+nodes.DaemonUnit); err != nil {
		t.Fatal(err)
	}
	if err := node.SSH.AwaitDaemon(t.Context()); err != nil {
		t.Fatal(err)
	}
	up()
	do("uninstall")
	down()
}

// every looks once a second until what it waits for is there.
func every(t *testing.T, what string, look func() error) {
	t.Helper()
	begin := time.Now()
	for {
		err := look()
		if err == nil {
			return
		}
		if time.Since(begin) > 10*recoveryTimeout {
			t.Fatalf("waited %s for %s: %v", 10*recoveryTimeout, what, err)
		}
		hold(t, time.Second)
	}
}

func healthy(t *testing.T, node *fleet.Node, m *manifest.Manifest) error {
	for _, c := range m.Containers {
		out, err := node.SSH.Run(t.Context(), "podman inspect --format '{{.State.Status}} {{.State.Health.Status}}' "+c.Name)
		if err != nil {
			return err
		}
		if s := strings.Fields(out); !slices.Equal(s, []string{"running", "healthy"}) {
			return fmt.Errorf("%s is %q", c.Name, s)
		}
	}
	return nil
}

// page looks at the application's page, where it has one, with a browser of its own.
func page(t *testing.T, node *fleet.Node, m *manifest.Manifest, chromium string) error {
	web, ok := m.Interfaces["web"]
	if !ok {
		return nil
	}
	profile, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		return err
	}
	for _, p := range m.WebPorts() {
		out, err := exec.CommandContext(t.Context(), chromium, "--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors", "--disable-background-networking", "--no-first-run",
			"--user-data-dir="+profile, "--dump-dom", fmt.Sprintf("https://%s:%d%s", node.Address, p.Host+manifest.ProxyOffset, web.Path)).Output()
		if err != nil {
			return err
		}
		if !strings.Contains(string(out), web.Expect.Title) {
			return fmt.Errorf("the page has no title %q", web.Expect.Title)
		}
	}
	return nil
}
