//go:build lab

package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/labtest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
)

const (
	turns   = 3
	answers = 3 * time.Minute
)

// way is one of running the same stack: the commands a person would type.
type way struct{ name, install, restart, uninstall string }

// TestAgainstComposeAndKubePlay runs the same stack of two, an application and its
// PostgreSQL, by the daemon, by podman-compose and by podman kube play, in turns.
// Every time is until the application answers over HTTP on the node, asked over SSH.
func TestAgainstComposeAndKubePlay(t *testing.T) {
	f, l := labtest.OneNode(t, root, filepath.Join(root, "catalog", "apps"))
	node := f.Nodes[0]
	var out bytes.Buffer
	if err := l.Exec(t.Context(), node.Name, &out, "{ command -v podman-compose && command -v catatonit; } >/dev/null || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends podman-compose catatonit; }"); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	m := f.Published["miniflux"].Manifest
	rpc := node.Client()
	for _, verb := range []string{"install", "uninstall"} { // images and secrets are there, for all
		if _, err := rpc.Do(t.Context(), verb, m.ID, verb == "uninstall", nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := node.SSH.Run(t.Context(), "systemctl --user enable -q podman-restart.service; mkdir -p ~/bench; umask 077; for s in db-password admin-password; do head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \\n' > ~/bench/$s; done; chmod 644 ~/bench/*password; chmod 755 ~/bench; cat > ~/bench/compose.yaml <<'END'\n"+compose(m)+"END\ncat > ~/bench/kube.yaml <<'END'\n"+kube(m)+"END\n"); err != nil {
		t.Fatal(err)
	}
	defer node.SSH.Run(context.WithoutCancel(t.Context()), "systemctl --user disable -q podman-restart.service; podman unshare rm -rf ~/bench; podman rm -af >/dev/null; podman volume prune -f >/dev/null; systemctl --user start "+nodes.DaemonUnit)
	others := []way{
		{"podman-compose", "cd ~/bench && podman-compose up -d", "cd ~/bench && podman-compose restart -t 10", "cd ~/bench && podman-compose down -v -t 10"},
		{"podman kube play", "podman kube play ~/bench/kube.yaml", "podman pod restart miniflux", "podman kube down --force ~/bench/kube.yaml"},
	}
	results := map[string]map[string][]float64{}
	record := func(name, what string, took float64) {
		if results[name] == nil {
			results[name] = map[string][]float64{}
		}
		results[name][what] = append(results[name][what], took)
	}
	port := m.Containers[1].Ports[0].Host
	timed := func(name, what string, act func() error) {
		t.Helper()
		begin := time.Now()
		if err := act(); err != nil {
			t.Fatalf("%s, %s: %v", name, what, err)
		}
		if err := serves(t.Context(), node, port); err != nil {
			t.Fatalf("%s, %s: %v", name, what, err)
		}
		record(name, what, time.Since(begin).Seconds())
	}
	reboot := func() error { _, err := node.SSH.Reboot(t.Context()); return err }
	for range turns {
		do := func(verb string) func() error {
			return func() error { _, err := rpc.Do(t.Context(), verb, m.ID, false, nil); return err }
		}
		timed("daemon", "install", do("install"))
		timed("daemon", "restart", do("restart"))
		timed("daemon", "reboot", reboot)
		if _, err := rpc.Do(t.Context(), "uninstall", m.ID, true, nil); err != nil {
			t.Fatal(err)
		}
		for _, w := range others {
			run := func(command string) func() error {
				return func() error { _, err := node.SSH.Run(t.Context(), command+" >/dev/null"); return err }
			}
			if err := run("systemctl --user stop " + nodes.DaemonUnit)(); err != nil {
				t.Fatal(err)
			}
			timed(w.name, "install", run(w.install))
			timed(w.name, "restart", run(w.restart))
			timed(w.name, "reboot", reboot)
			if err := run(w.uninstall)(); err != nil {
				t.Fatal(err)
			}
			if err := run("systemctl --user start " + nodes.DaemonUnit)(); err != nil {
				t.Fatal(err)
			}
			if err := node.SSH.AwaitDaemon(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	fmt.Printf("\nuntil %s answers, median of %d turns, seconds (ratio to the daemon)\n%-18s %16s %16s %16s\n", m.ID, turns, "", "install", "restart", "reboot")
	for _, name := range []string{"daemon", "podman-compose", "podman kube play"} {
		fmt.Printf("%-18s", name)
		for _, what := range []string{"install", "restart", "reboot"} {
			v := median(results[name][what])
			fmt.Printf(" %8.1f (%.2fx)", v, v/median(results["daemon"][what]))
		}
		fmt.Println()
	}
}

// serves waits until the application answers on the node.
func serves(ctx context.Context, node *fleet.Node, port int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answers, fmt.Errorf("waited %s for port %d to answer", answers, port))
	defer cancel()
	there := &http.Client{Transport: &http.Transport{DialContext: node.SSH.Dial, DisableKeepAlives: true}}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/healthcheck", port), nil)
		if err != nil {
			return err
		}
		if resp, err := there.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// compose is the stack as a compose file; secrets are files, as most have them.
func compose(m *manifest.Manifest) string {
	db, web := m.Containers[0], m.Containers[1]
	var env strings.Builder
	for k, v := range web.Environment {
		fmt.Fprintf(&env, "      %s: %q\n", k, v)
	}
	return fmt.Sprintf(`services:
  miniflux-db:
    image: %s
    user: "%s"
    restart: always
    volumes: ["db:/data:U", "./db-password:/run/secrets/db-password:ro"]
    tmpfs: ["/run/postgresql:mode=1777"]
  miniflux:
    image: %s
    user: "%s"
    restart: always
    depends_on: [miniflux-db]
    ports: ["%d:%d"]
    environment:
%s    volumes: ["./db-password:/run/secrets/db-password:ro", "./admin-password:/run/secrets/admin-password:ro"]
volumes:
  db: {}
`, db.Image.Pinned(), db.User, web.Image.Pinned(), web.User, web.Ports[0].Host, web.Ports[0].Container, env.String())
}

// kube is the stack as one pod.
func kube(m *manifest.Manifest) string {
	db, web := m.Containers[0], m.Containers[1]
	var env strings.Builder
	for k, v := range web.Environment {
		if k == "DATABASE_HOST" {
			v = "127.0.0.1" // the containers of a pod share their network
		}
		fmt.Fprintf(&env, "    - {name: %s, value: %q}\n", k, v)
	}
	uid, gid := db.IDs()
	webUID, webGID := web.IDs()
	home := "/home/archipelago/bench"
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: miniflux}
spec:
  restartPolicy: Always
  containers:
  - name: db
    image: %s
    securityContext: {runAsUser: %d, runAsGroup: %d}
    volumeMounts: [{name: db, mountPath: "/data:U"}, {name: dbpw, mountPath: /run/secrets/db-password}, {name: run, mountPath: /run/postgresql}]
  - name: web
    image: %s
    securityContext: {runAsUser: %d, runAsGroup: %d}
    ports: [{containerPort: %d, hostPort: %d}]
    env:
%s    volumeMounts: [{name: dbpw, mountPath: /run/secrets/db-password}, {name: adminpw, mountPath: /run/secrets/admin-password}]
  volumes:
  - {name: db, persistentVolumeClaim: {claimName: kube-db}}
  - {name: run, emptyDir: {}}
  - {name: dbpw, hostPath: {path: %s/db-password, type: File}}
  - {name: adminpw, hostPath: {path: %s/admin-password, type: File}}
`, db.Image.Pinned(), uid, gid, web.Image.Pinned(), webUID, webGID, web.Ports[0].Container, web.Ports[0].Host, env.String(), home, home)
}
