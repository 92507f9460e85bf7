//go:build lab

package bench

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/labtest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

const (
	root   = "../.."
	rounds = 5
)

var operations = []string{"install", "stop", "start", "restart", "uninstall"}

// TestLifecycleAgainstBareSystemctl takes turns: a lifecycle through the daemon,
// then the same units by hand.
func TestLifecycleAgainstBareSystemctl(t *testing.T) {
	f, _ := labtest.OneNode(t, root, filepath.Join(root, "catalog", "apps"))
	node := f.Nodes[0]
	for _, app := range []string{"mosquitto", "miniflux"} {
		m := f.Published[app].Manifest
		daemon, bare := map[string][]float64{}, map[string][]float64{}
		daemonCPU, bareCPU := map[string][]float64{}, map[string][]float64{}
		rpc := node.Client()
		// Images and volumes are there before the first measured round, for both.
		for _, verb := range []string{"install", "uninstall"} {
			if _, err := rpc.Do(t.Context(), verb, app, false, nil); err != nil {
				t.Fatal(err)
			}
		}
		for range rounds {
			for _, op := range operations {
				took, cpu := costOf(t, node, func() error { _, err := rpc.Do(t.Context(), op, app, false, nil); return err })
				daemon[op], daemonCPU[op] = append(daemon[op], took), append(daemonCPU[op], cpu)
			}
			scripts := byHand(m)
			if _, err := node.SSH.Run(t.Context(), "systemctl --user stop "+nodes.DaemonUnit); err != nil {
				t.Fatal(err)
			}
			for _, op := range operations {
				took, cpu := costOf(t, node, func() error { _, err := node.SSH.Run(t.Context(), scripts[op]); return err })
				bare[op], bareCPU[op] = append(bare[op], took), append(bareCPU[op], cpu)
			}
			if _, err := node.SSH.Run(t.Context(), "systemctl --user start "+nodes.DaemonUnit); err != nil {
				t.Fatal(err)
			}
			if err := node.SSH.AwaitDaemon(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Printf("\n%s, median of %d rounds\n%-10s %8s %8s %7s %8s %8s %7s\n", app, rounds, "", "daemon s", "bare s", "ratio", "CPU-s", "CPU-s", "ratio")
		var all, allBare, allCPU, allBareCPU float64
		for _, op := range operations {
			d, b, dc, bc := median(daemon[op]), median(bare[op]), median(daemonCPU[op]), median(bareCPU[op])
			all, allBare, allCPU, allBareCPU = all+d, allBare+b, allCPU+dc, allBareCPU+bc
			fmt.Printf("%-10s %8.2f %8.2f %6.2fx %8.2f %8.2f %6.2fx\n", op, d, b, d/b, dc, bc, dc/bc)
		}
		fmt.Printf("%-10s %8.2f %8.2f %6.2fx %8.2f %8.2f %6.2fx\n", "lifecycle", all, allBare, all/allBare, allCPU, allBareCPU, allCPU/allBareCPU)
	}
}

// costOf is how long an operation took, and what it cost the node's user until a second after it:
// CPU-seconds, without those of asking.
func costOf(t *testing.T, node *fleet.Node, do func() error) (took, cpu float64) {
	t.Helper()
	first := useOf(t, node)
	before := useOf(t, node)
	asking := before.cpu - first.cpu
	begin := time.Now()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	took = time.Since(begin).Seconds()
	hold(t, time.Second) // what ends after the answer is part of the cost
	return took, (useOf(t, node).cpu - before.cpu - asking).Seconds()
}

// byHand are the same operations as a person would type them, with the very units
// that the daemon renders.
func byHand(m *manifest.Manifest) map[string]string {
	u := quadlet.Render(m, nodes.DataDir, true)
	var write, names, secrets strings.Builder
	for name, body := range u.Files {
		fmt.Fprintf(&write, "printf %%s %s > ~/.config/containers/systemd/%s; ", nodes.Quote(body), name)
		fmt.Fprintf(&names, " ~/.config/containers/systemd/%s", name)
	}
	for _, s := range m.Secrets {
		fmt.Fprintf(&secrets, "podman secret create --replace %s %s/_daemon/secrets/%s/%s >/dev/null; ", quadlet.SecretName(m.ID, s.Name), nodes.DataDir, m.ID, s.Name)
	}
	var start, stop []string
	for _, c := range m.Ordered() {
		start = append(start, quadlet.Service(c.Name))
	}
	stop = slices.Clone(start)
	slices.Reverse(stop)
	up, down := "systemctl --user start "+strings.Join(start, " "), "systemctl --user stop "+strings.Join(stop, " ")+"; systemctl --user reset-failed"
	return map[string]string{
		"install":   "set -e; " + secrets.String() + write.String() + "systemctl --user daemon-reload; " + up,
		"stop":      down,
		"start":     up,
		"restart":   down + "; " + up,
		"uninstall": down + "; systemctl --user stop " + quadlet.Service(quadlet.Network(m.ID)+"-network") + "; rm -f" + names.String() + "; systemctl --user daemon-reload; podman network rm -f " + quadlet.Network(m.ID) + " >/dev/null; for s in $(podman secret ls --format '{{.Name}}'); do case $s in " + m.ID + ".*) podman secret rm $s >/dev/null;; esac; done",
	}
}

func median(s []float64) float64 {
	s = slices.Clone(s)
	slices.Sort(s)
	return s[len(s)/2]
}
