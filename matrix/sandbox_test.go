package matrix

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"golang.org/x/net/websocket"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// tree gives a process and all that descend from it.
func tree(t *testing.T, root int) []int {
	t.Helper()
	parents := map[int]int{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		parent, _ := strconv.Atoi(fieldOf(pid, "PPid"))
		parents[pid] = parent
	}
	out := []int{root}
	for i := 0; i < len(out); i++ {
		for pid, parent := range parents {
			if parent == out[i] {
				out = append(out, pid)
			}
		}
	}
	return out
}

// status is a line of what the kernel says of a process; empty where that has ended.
func fieldOf(pid int, field string) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// namespace is the one that a process is in; empty where that has ended.
func namespace(t *testing.T, pid int, kind string) string {
	t.Helper()
	s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return s
}

// profileOf is the directory that a browser works in.
func profileOf(t *testing.T, pid int) string {
	t.Helper()
	started, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, profile, _ := strings.Cut(string(started), "--user-data-dir=")
	profile, _, _ = strings.Cut(profile, "\x00")
	return profile
}

// ended waits for processes to be gone.
func ended(t *testing.T, pids []int) {
	t.Helper()
	deadline := time.Now().Add(browserTimeout)
	for _, pid := range pids {
		for begun := fieldOf(pid, "Name"); begun != "" && !strings.HasPrefix(fieldOf(pid, "State"), "Z"); begun = fieldOf(pid, "Name") {
			if time.Now().After(deadline) {
				t.Fatalf("process %d (%s) is still there", pid, begun)
			}
		}
	}
}

func TestABrowserHasNoRightsOnThisMachine(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<title>here</title>") }))
	defer page.Close()
	b := browse(t, []string{addressOf(page)})
	if p, err := b.Visit(t.Context(), page.URL, manifest.Interface{}, ""); err != nil || p.Title != "here" || len(p.Problems) > 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	v, err := b.open(t.Context(), &Page{}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	pids := tree(t, chromedp.FromContext(b.root).Browser.Process().Pid)
	profile := profileOf(t, pids[0])
	if info, err := os.Stat(profile); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its profile: %v, %v", info, err)
	}
	if len(pids) < 4 {
		t.Errorf("only %d processes, with a page open", len(pids))
	}
	confined := 0
	for _, pid := range pids {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue // it has ended
		}
		for _, no := range []string{"--no-sandbox", "--remote-debugging-port"} {
			if strings.Contains(string(line), no) {
				t.Errorf("process %d runs with %s", pid, no)
			}
		}
		ids := strings.Fields(fieldOf(pid, "Uid") + " " + fieldOf(pid, "Gid") + " " + fieldOf(pid, "Groups"))
		if slices.Contains(ids, "0") {
			t.Errorf("process %d has the users and groups %v", pid, ids)
		}
		for _, kind := range []string{"net", "pid", "user"} {
			if namespace(t, pid, kind) == namespace(t, os.Getpid(), kind) {
				t.Errorf("process %d is in this one's %s namespace", pid, kind)
			}
		}
		if fieldOf(pid, "NoNewPrivs") == "0" {
			t.Errorf("process %d may gain privileges", pid)
		}
		if strings.Contains(string(line), "--type=renderer") && fieldOf(pid, "Seccomp") == "2" {
			confined++
		}
	}
	if confined == 0 {
		t.Error("no renderer is in Chromium's own sandbox")
	}
	if caps := fieldOf(pids[0], "CapEff"); strings.Trim(caps, "0") != "" {
		t.Errorf("the browser has the capabilities %s", caps)
	}
	b.Close()
	ended(t, pids)
	if _, err := os.Stat(profile); err == nil {
		t.Errorf("its profile %s is left", profile)
	}
}

// TestABrowserHasNoPageOfItsOwn wants no renderer but those of pages that are visited, and the
// browser to last without one.
func TestABrowserHasNoPageOfItsOwn(t *testing.T) {
	b := browse(t, nil)
	renderers := func() (n int) {
		for _, pid := range tree(t, chromedp.FromContext(b.root).Browser.Process().Pid) {
			if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(line), "--type=renderer") {
				n++
			}
		}
		return n
	}
	if targets, err := chromedp.CallBrowser(b.root, target.GetTargets, target.GetTargetsParams{}); err != nil || len(targets.TargetInfos) > 0 || renderers() > 0 {
		t.Errorf("%d renderers, %+v, %v", renderers(), targets, err)
	}
	for range 2 {
		v, err := b.open(t.Context(), &Page{}, "")
		if err != nil {
			t.Fatal(err)
		}
		if renderers() == 0 {
			t.Error("no renderer with a page open")
		}
		v.close()
	}
}

// A page reaches what it is of, WebSockets included, and no other service on the gate's
// own machine: those trust it.
func TestAPageReachesItsNodeAlone(t *testing.T) {
	var reached atomic.Int32
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer secret.Close()
	_, port, _ := strings.Cut(secret.Listener.Addr().String(), ":")
	handler := http.NewServeMux()
	handler.Handle("/socket", websocket.Handler(func(c *websocket.Conn) { io.Copy(c, c) }))
	handler.HandleFunc("/post", func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if string(b) != "mine" {
			t.Errorf("posted: %q", b)
		}
	})
	handler.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<title>x</title><script>
async function attempts() {
  const post = (to, body) => fetch(to, {method: "POST", mode: "no-cors", body}).then(() => "reached", () => "refused");
  let said = [];
  for (const host of ["127.0.0.1", "localhost", "[::1]", "127.0.0.2", "0.0.0.0", "%[2]s"]) said.push(await post("http://" + host + ":%[1]s/", "x"));
  said.push(await new Promise(done => { const s = new WebSocket("ws://127.0.0.1:%[1]s/"); s.onopen = () => done("reached"); s.onerror = () => done("refused"); }));
  said.push(await post("/post", "mine"));
  said.push(await new Promise(done => { const s = new WebSocket("ws://" + location.host + "/socket"); s.onopen = () => s.send("echoed"); s.onmessage = m => done(m.data); s.onerror = () => done("no socket"); }));
  said.push(String(navigator.onLine));
  document.title = said.join(" ");
  const p = document.createElement("p"); p.id = "done"; p.textContent = "done"; document.body.append(p);
}
onload = attempts;
</script><body>`, port, host(t))
	})
	page := httptest.NewServer(handler)
	defer page.Close()
	b := browse(t, []string{addressOf(page)})
	p, err := b.Visit(t.Context(), page.URL, manifest.Interface{Expect: manifest.Expect{Selector: "#done"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("refused ", 7) + "reached echoed true"; p.Title != want {
		t.Errorf("the page says %q, expected %q", p.Title, want)
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("another service on this machine was reached %d times", n)
	}
	for _, there := range []string{"http://127.0.0.1:" + port, "http://localhost:" + port} {
		if !slices.ContainsFunc(p.Problems, func(q Problem) bool { return strings.Contains(q.String(), "failed request: "+there) }) {
			t.Errorf("no witness of the request to %s: %q", there, p.Problems)
		}
	}
}

// host is this machine's own name for itself.
func host(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestABrowserReadsNoPrivateFile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the browser is the user who runs the gate")
	}
	file := filepath.Join(t.TempDir(), "secret.html")
	if err := os.WriteFile(file, []byte("<title>secret</title>"), 0o600); err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(file); d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b := browse(t, nil)
	if p, err := b.Visit(t.Context(), "file://"+file, manifest.Interface{}, ""); err != nil || len(p.Faults) == 0 || strings.Contains(p.Title, "secret") {
		t.Errorf("%+v, %v", p, err)
	}
}

const startsBrowser = "MATRIX_TEST_STARTS_BROWSER"

// A gate that is killed leaves no browser behind.
func TestABrowserEndsWithItsGate(t *testing.T) {
	if os.Getenv(startsBrowser) != "" {
		b := browse(t, nil)
		fmt.Println(chromedp.FromContext(b.root).Browser.Process().Pid)
		select {} // until it is killed
	}
	browse(t, nil).Close()
	gate := exec.Command(os.Args[0], "-test.run=^TestABrowserEndsWithItsGate$", "-test.timeout=2m")
	gate.Env = append(os.Environ(), startsBrowser+"=1")
	out, err := gate.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, scanned := fmt.Fscanln(out, &pid)
	var pids []int
	if scanned == nil {
		pids = tree(t, pid)
		profile := profileOf(t, pid)
		t.Cleanup(func() { os.RemoveAll(profile) }) // a gate that is killed leaves it
	}
	gate.Process.Kill()
	gate.Wait()
	if scanned != nil || len(pids) < 2 {
		t.Fatalf("%v: processes %v", scanned, pids)
	}
	ended(t, pids)
}

// Where it cannot be confined, a browser is not run.
func TestAMachineThatCannotConfineABrowserSaysWhatItNeeds(t *testing.T) {
	dir := t.TempDir()
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\necho 'No usable sandbox!' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "chromium-headless-shell"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	_, err := StartBrowser(t.Context(), nil)
	if !errors.Is(err, ErrBrowser) || !strings.Contains(err.Error(), "user.max_user_namespaces") {
		t.Errorf("%v", err)
	}
}

func TestABrowserReachesTheNodesOfItsShard(t *testing.T) {
	s := &Shard{
		Node:     nodes.Node{Address: "192.0.2.1"},
		Apps:     []*manifest.Manifest{{Containers: []manifest.Container{{Ports: []manifest.Port{{Name: "web", Host: 8082}, {Name: "dns", Host: 53, Protocol: "udp"}}}}, Interfaces: map[string]manifest.Interface{"web": {Port: "web"}}}},
		Fixtures: []*manifest.Manifest{{Containers: []manifest.Container{{Ports: []manifest.Port{{Name: "mqtt", Host: 1883}}}}}},
	}
	if got, want := fmt.Sprint(s.reach()), "[192.0.2.1:7443 192.0.2.1:8082 192.0.2.1:18082 192.0.2.1:1883]"; got != want {
		t.Errorf("%s, expected %s", got, want)
	}
}
