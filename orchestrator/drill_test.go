package orchestrator

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

const paged = `apiVersion: archipelago/v1
id: pair
name: Pair
version: "1"
containers:
  - name: pair
    image: {ref: "registry.example/pair", digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
    volumes: [{name: db, path: /data}]
    secrets: [{name: password, path: /run/secrets/password}]
    health: {exec: [ready]}
    ports: [{name: web, container: 80, host: 8080}]
generated_secrets: [{name: password}]
interfaces: {web: {port: web, expect: {title: Pair, selector: form}}}
canary: {exec: {container: pair, write: [put, "{{canary}}"], read: [get]}}
`

// drilling is a daemon on what is in dir; end ends it.
func drilling(t *testing.T, h *fakeHost, dir string) (r *Reconciler, end func()) {
	t.Helper()
	m, err := manifest.Parse("m.yaml", []byte(paged))
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(dir + "/state")
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(dir + "/secrets")
	if err != nil {
		t.Fatal(err)
	}
	r = New(disks{h}, store, sec, catalog.Catalog{"pair": {Manifest: m}}, dir+"/data", slog.New(slog.NewTextHandler(io.Discard, nil)))
	r.backups.Space = func(string) (disk.Space, error) { return disk.Space{Free: 1 << 40}, nil }
	r.drills.Steady = time.Millisecond
	r.backups.Recall()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	end = func() { cancel(); <-done }
	t.Cleanup(end)
	return r, end
}

// drills are what there is of any drill on a node.
func (h *fakeHost) drills(dir string) (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.obs.Files {
		all = append(all, "unit "+name)
	}
	for name := range h.obs.Containers {
		all = append(all, "container "+name)
	}
	for name := range h.secrets {
		all = append(all, "secret "+name)
	}
	all = slices.DeleteFunc(all, func(name string) bool { return !strings.Contains(name, "drill_") })
	for _, glob := range []string{"drill.json", "files/drill_*", "snapshots/*"} {
		files, _ := filepath.Glob(filepath.Join(dir, "data", manifest.OwnDir, glob))
		all = append(all, files...)
	}
	slices.Sort(all)
	return all
}

func unwell(all []host.Finding) (wrong []host.Finding) {
	return slices.DeleteFunc(slices.Clone(all), func(f host.Finding) bool { return f.OK })
}

func gauge(t *testing.T, r *Reconciler, name string) float64 {
	t.Helper()
	families, err := r.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}

// TestADrillRunsBesideTheApplication, which does not notice; it is seen everywhere how that
// went; and a cut leaves nothing of it for long.
func TestADrillRunsBesideTheApplication(t *testing.T) {
	h, dir := empty(), t.TempDir()
	h.restic = restictest.New(t)
	r, end := drilling(t, h, dir)
	if err := ask(t, r, "install"); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(dir, "data", "pair", "db", "file")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.AddRepository(t.Context(), repository.Added{Name: "disk", URL: filepath.Join(t.TempDir(), "backups")}, "test"); err != nil {
		t.Fatal(err)
	}
	silent := func(backup.Step) {}
	if _, err := r.backups.BackUp(t.Context(), "pair", "disk", "test", silent); err != nil {
		t.Fatal(err)
	}
	was := h.obs.Containers["pair"].ID
	looked := false
	h.paging = func() {
		looked = true
		if wrong := unwell(r.Findings(t.Context(), nil)); len(wrong) > 0 {
			t.Errorf("while a drill is under way: %+v", wrong)
		}
		if have := h.drills(dir); len(have) != 6 { // two units, a container, a secret, the copy, the record
			t.Errorf("of the drill there are %q", have)
		}
		if h.secrets["pair.password"] == "" || h.secrets["pair.password"] != h.secrets["drill_pair.password"] {
			t.Error("the secret is another one")
		}
	}
	trial, err := r.backups.Prove(t.Context(), "pair", "disk", "test", silent)
	if err != nil || !looked || !strings.Contains(trial.Seen, `/ answers with status 200 and the title "Pair"`) {
		t.Fatalf("%+v, %v", trial, err)
	}
	if left := h.drills(dir); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
	v, err := r.App("pair")
	if b, readErr := os.ReadFile(mine); err != nil || readErr != nil || string(b) != "mine" || v.State != view.Up || h.obs.Containers["pair"].ID != was {
		t.Errorf("%q, %+v, %v, %v", b, v, err, readErr)
	}
	if age := gauge(t, r, "archipelago_backup_started_age_seconds"); v.Backup.Started.IsZero() || age < 0 || age > 600 {
		t.Errorf("%+v, %v", v.Backup, age)
	}

	// One that does not come up.
	h.mu.Lock()
	h.starting = func(context.Context) error { return context.DeadlineExceeded }
	h.mu.Unlock()
	if _, err := r.backups.Prove(t.Context(), "pair", "disk", "test", silent); err == nil {
		t.Error("it is green")
	}
	h.mu.Lock()
	h.starting = nil
	h.mu.Unlock()
	v, err = r.App("pair")
	if wrong := unwell(r.Findings(t.Context(), nil)); err != nil || !strings.Contains(v.Note, "could not be restored on trial: pair does not come up from it") || gauge(t, r, "archipelago_backup_problem") != 1 || len(wrong) != 1 || !strings.Contains(wrong[0].Detail, "does not come up") {
		t.Errorf("%q, %v, %+v", v.Note, err, wrong)
	}
	if left := h.drills(dir); len(left) > 0 {
		t.Errorf("left are %q", left)
	}

	// The power is cut, and the next daemon finds what is left.
	h.paging = func() { h.set(errCut) }
	if _, err := r.backups.Prove(t.Context(), "pair", "disk", "test", silent); err == nil {
		t.Error("a page that nobody could ask for")
	}
	end()
	left := h.drills(dir)
	if len(left) != 6 {
		t.Errorf("the cut left %q", left)
	}
	h.set(nil)
	h.paging = nil
	r, _ = drilling(t, h, dir)
	for deadline := time.Now().Add(20 * time.Second); len(left) > 0 && time.Now().Before(deadline); {
		_, changed := r.operations.Watch("pair")
		if left = h.drills(dir); len(left) > 0 {
			select {
			case <-changed:
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	if len(left) > 0 {
		t.Errorf("the next daemon leaves %q", left)
	}
	if _, err := os.Stat(perform.Snapshots(dir + "/data")); err != nil {
		t.Error(err)
	}
}

// TestADrillThatStaysIsNamed by doctor.
func TestADrillThatStaysIsNamed(t *testing.T) {
	dir := t.TempDir()
	r := nodeWith(t, empty(), dir, nil)
	// What is there when the daemon starts, it removes itself.
	for deadline := time.Now().Add(20 * time.Second); !r.swept.Load(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited 20 s for the daemon to have swept")
		}
	}
	if f := r.drilled(); !f.OK {
		t.Errorf("%+v", f)
	}
	own := filepath.Join(dir, "data", manifest.OwnDir)
	if err := os.MkdirAll(own, 0o700); err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{`{"app": "drill_pair"}`: "the trial of a backup of pair has not been removed", `{"app": "pair"}`: `names "pair", which is no drill; remove it`, `{`: "remove it"} {
		if err := os.WriteFile(filepath.Join(own, "drill.json"), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if f := r.drilled(); f.OK || !strings.Contains(f.Detail, want) {
			t.Errorf("%+v, expected %q", f, want)
		}
	}
}
