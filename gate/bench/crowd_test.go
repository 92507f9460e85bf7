//go:build lab

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/labtest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

const (
	applications = 40
	clients      = 200
	idle         = 2 * time.Minute
	reading      = 20 * time.Second
	passes       = 30

	recoveryTimeout = time.Minute
)

// TestDaemonWithFortyApplications measures what the daemon costs a node: idle, for
// a pass over applications that are all as desired, and under two hundred readers.
func TestDaemonWithFortyApplications(t *testing.T) {
	dir := t.TempDir()
	for i := range applications {
		id := fmt.Sprintf("app%02d", i)
		if err := os.CopyFS(filepath.Join(dir, id, "image"), os.DirFS(filepath.Join(root, "gate", "faults", "fixture", "image"))); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, id, "image", "entrypoint"), 0o755); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("apiVersion: archipelago/v1\nid: %s\nname: App\nversion: \"1\"\ncontainers:\n  - {name: %s, image: {build: image}, user: \"1000:1000\", tmpfs: [/tmp], stop_timeout: 1s, ports: [{name: web, container: 8080, host: %d}], health: {exec: [/usr/bin/busybox, wget, -q, -O, /dev/null, \"http://127.0.0.1:8080/\"], http: {port: web, path: /}}}\n", id, id, 18000+i)
		if err := os.WriteFile(filepath.Join(dir, id, "manifest.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, _ := labtest.OneNode(t, root, dir)
	node := f.Nodes[0]
	rpc := node.Client()
	begin := time.Now()
	var ops []*api.Operation
	for i := range applications {
		op, err := rpc.Request(t.Context(), "install", fmt.Sprintf("app%02d", i), false)
		if err != nil {
			t.Fatal(err)
		}
		ops = append(ops, op)
	}
	for _, op := range ops {
		if _, err := rpc.Await(t.Context(), op, nil); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Printf("\n%d applications installed in %.0f s\n", applications, time.Since(begin).Seconds())

	hold(t, 10*time.Second) // for what the installations left to settle
	quiet := passesSoFar(t, node)
	cpu, _ := spent(t, node)
	checks := checksSoFar(t, node)
	slice, began := useOf(t, node), time.Now()
	hold(t, idle)
	used, lasted := useOf(t, node), time.Since(began)
	checks = checksSoFar(t, node) - checks
	after, rss := spent(t, node)
	fmt.Printf("idle: %.2f %% of a CPU, %.0f passes in %s, %.0f MiB resident\n", 100*(after-cpu).Seconds()/idle.Seconds(), passesSoFar(t, node)-quiet, idle, rss)
	ours, theirs := used.cpu-slice.cpu, used.applications-slice.applications
	fmt.Printf("idle, with health looked at every 30 s: %.2f %% of a CPU for everything of the node's user but the applications' own programs (%.2f %%), %d checks by Podman, %.1f KiB/s written by the daemon, the prober and Podman's service\n",
		100*(ours-theirs).Seconds()/lasted.Seconds(), 100*theirs.Seconds()/lasted.Seconds(), checks, (used.written-slice.written)/1024/lasted.Seconds())

	cpu, before := after, passesSoFar(t, node)
	for range passes {
		if _, err := node.SSH.Run(t.Context(), "systemctl --user kill --signal=HUP "+nodes.DaemonUnit); err != nil {
			t.Fatal(err)
		}
		hold(t, 200*time.Millisecond)
	}
	after, _ = spent(t, node)
	made := passesSoFar(t, node) - before
	fmt.Printf("a pass: %.1f ms of CPU (%.0f passes)\n", 1000*(after-cpu).Seconds()/made, made)

	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	stop := time.Now().Add(reading)
	for i := range clients {
		wg.Go(func() {
			hold(t, time.Duration(i)*time.Second/clients) // not all at the same instant
			c := node.Client()
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for time.Now().Before(stop) {
				begin := time.Now()
				if _, err := c.ListApps(t.Context(), connect.NewRequest(&api.ListAppsRequest{})); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				took = append(took, time.Since(begin))
				mu.Unlock()
				<-tick.C
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	fmt.Printf("%d clients that each list all once a second: median %.1f ms, p99 %.1f ms of %d answers\n", clients, ms(took[len(took)/2]), ms(took[len(took)*99/100]), len(took))

	if _, err := node.SSH.Run(t.Context(), "podman kill --all >/dev/null"); err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	for {
		r, err := rpc.ListApps(t.Context(), connect.NewRequest(&api.ListAppsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(r.Msg.Apps, func(a *api.App) bool { return a.State != api.State_STATE_RUNNING }) && r.Msg.ObservedAt.AsTime().After(begin) {
			break
		}
		hold(t, 100*time.Millisecond)
	}
	fmt.Printf("all %d killed at once: all serve again after %.0f s\n", applications, time.Since(begin).Seconds())

	// A different application each time: the daemon gives one up that ends again and again.
	var recovery []float64
	for i := range rounds {
		app := fmt.Sprintf("app%02d", i)
		if _, err := node.SSH.Run(t.Context(), "podman kill "+app+" >/dev/null"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for {
			out, err := node.SSH.Run(t.Context(), "podman inspect --format '{{.State.Status}}' "+app+" 2>/dev/null; true")
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(out) == "running" {
				break
			}
			if time.Since(begin) > recoveryTimeout {
				t.Fatalf("waited %s for %s, which was killed, to run again: it is %q", recoveryTimeout, app, strings.TrimSpace(out))
			}
		}
		recovery = append(recovery, time.Since(begin).Seconds())
	}
	fmt.Printf("a killed container runs again after %.2f s (median of %d)\n", median(recovery), rounds)

	begin = time.Now()
	if _, err := node.SSH.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	up := time.Since(begin)
	for {
		out, err := node.SSH.Run(t.Context(), "podman ps --filter health=healthy --quiet | wc -l")
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(out) == fmt.Sprint(applications) {
			break
		}
		if time.Since(begin) > 10*recoveryTimeout {
			t.Fatalf("waited %s for %d applications to be healthy after a reboot: %s are", 10*recoveryTimeout, applications, strings.TrimSpace(out))
		}
		hold(t, time.Second)
	}
	fmt.Printf("a reboot: %d applications healthy after %.0f s, of which %.0f s until SSH answered; %.0f CPU-s of the node's user\n", applications, time.Since(begin).Seconds(), up.Seconds(), useOf(t, node).cpu.Seconds())
}

// use is what a node's user, all of whose processes are in one slice, has used since the boot.
type use struct {
	cpu, applications time.Duration // of the slice, and in it of what runs in containers
	written           float64       // bytes, to disks
}

func useOf(t *testing.T, node *fleet.Node) (u use) {
	t.Helper()
	out, err := node.SSH.Run(t.Context(), `slice=/sys/fs/cgroup/user.slice/user-$(id -u).slice units=$slice/user@$(id -u).service/app.slice
sum() { awk -v key="$1" '$1 == key {n += $2} END {printf "%.0f\n", n}'; }
sum usage_usec <$slice/cpu.stat
cat $units/*.service/libpod-payload-*/cpu.stat 2>/dev/null | sum usage_usec
for s in archipelago archipelago-prober podman; do for p in $(cat $units/$s.service/cgroup.procs); do cat /proc/$p/io; done; done 2>/dev/null | sum write_bytes:`)
	if err != nil {
		t.Fatal(err)
	}
	var cpu, applications int64
	if _, err := fmt.Sscan(out, &cpu, &applications, &u.written); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	u.cpu, u.applications = time.Duration(cpu)*time.Microsecond, time.Duration(applications)*time.Microsecond
	return u
}

// checksSoFar are the health checks that Podman has run since the boot.
func checksSoFar(t *testing.T, node *fleet.Node) (n int) {
	t.Helper()
	out, err := node.SSH.Run(t.Context(), "journalctl --user -b --no-pager -o cat _COMM=podman | grep -c ' container health_status '; true")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(out, &n); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return n
}

// passesSoFar is what the daemon's own metrics count.
func passesSoFar(t *testing.T, node *fleet.Node) (n float64) {
	t.Helper()
	out, err := node.SSH.Run(t.Context(), fmt.Sprintf(`curl -fsS -H "Authorization: Bearer $(cat %s/%s/state/token)" http://127.0.0.1:%d/metrics`, nodes.DataDir, manifest.OwnDir, manifest.DaemonPort))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(out, "\narchipelago_pass_seconds_count ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatalf("no count of passes in the metrics: %v", err)
	}
	return n
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// hold lets time pass that is itself what is measured.
func hold(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("interrupted")
	}
}

// spent is the CPU time of the daemon so far, and its resident memory in MiB.
func spent(t *testing.T, node *fleet.Node) (cpu time.Duration, rss float64) {
	t.Helper()
	out, err := node.SSH.Run(t.Context(), "p=$(systemctl --user show -p MainPID --value "+nodes.DaemonUnit+"); awk '{print $14 + $15}' /proc/$p/stat; awk '/VmRSS/{print $2}' /proc/$p/status")
	if err != nil {
		t.Fatal(err)
	}
	var ticks, kib float64
	if _, err := fmt.Sscan(out, &ticks, &kib); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return time.Duration(ticks * float64(10*time.Millisecond)), kib / 1024 // USER_HZ is 100
}
