package perform_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// written gives the pair files: one with secrets in it, and one without.
func written(version string) *manifest.Manifest {
	m := pair(version)
	m.Settings = []manifest.Setting{{Name: "api-key", Secret: true}, {Name: "level", Default: "info"}}
	m.Containers[1].User = "100:102"
	m.Containers[1].Files = []manifest.File{
		{Path: "/etc/db.conf", Template: true, Content: "password={{secret:password}}\nkey={{secret:api-key}}\nlevel={{setting:level}}\nversion=" + version + "\n"},
		{Path: "/usr/bin/run", Content: "#!/bin/sh\n# {{secret:password}}\n", Mode: "0755"},
	}
	return m
}

// files are the names in the application's directory of them.
func (w *world) filesThere(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(quadlet.FilesDir(w.data, "pair"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// do carries out an action for a manifest with a node's settings.
func (w *world) do(t *testing.T, d state.Desired, verb plan.Verb, m *manifest.Manifest) {
	t.Helper()
	filled, err := m.With(d.Config, manifest.Node{})
	if err != nil {
		t.Fatal(err)
	}
	if out := w.Do(t.Context(), d, plan.Action{App: "pair", Verb: verb, Manifest: filled}); out.Err != nil {
		t.Fatalf("%s: %v", verb, out.Err)
	}
}

func TestPrepareWritesFilesWithTheirSecretsForTheContainersUser(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, func(d *state.Desired) { d.Manifest = written("1") })
	w.do(t, d, plan.Prepare, written("1"))
	values, err := w.secrets.All(pair("1"))
	if err != nil || len(w.files) != 2 {
		t.Fatal(w.files, err)
	}
	want := []host.File{
		{Content: "password=" + values["password"] + "\nkey=\nlevel=info\nversion=1\n", Mode: 0o600, UID: 100, GID: 102},
		{Content: "#!/bin/sh\n# {{secret:password}}\n", Mode: 0o755, UID: 100, GID: 102},
	}
	for i, f := range w.files {
		want[i].Name = f.Name
		if f != want[i] || !strings.HasPrefix(f.Name, "pair-db.") {
			t.Errorf("%+v, expected %+v", f, want[i])
		}
	}
	if calls := w.took(); strings.Index(calls, "files pair 2") < strings.Index(calls, "secret ") || strings.Index(calls, "files") > strings.Index(calls, "volumes") {
		t.Error(calls)
	}
}

// A file follows its settings and secrets by its name; the one before stays until no unit
// refers to it, which may be put back meanwhile.
func TestAFileFollowsItsSettings(t *testing.T) {
	w := newWorld(t)
	m := written("1")
	d := w.record(t, func(d *state.Desired) { d.Manifest = m })
	w.do(t, d, plan.Prepare, m)
	first := w.filesThere(t)
	for name, change := range map[string]func() (map[string]string, string){
		"a setting": func() (map[string]string, string) { return map[string]string{"level": "debug"}, "level=debug" },
		"a secret setting": func() (map[string]string, string) {
			ref, err := w.secrets.Keep("pair", "api-key", "hunter2")
			if err != nil {
				t.Fatal(err)
			}
			return map[string]string{"api-key": ref}, "key=hunter2"
		},
	} {
		config, want := change()
		d := w.record(t, func(d *state.Desired) { d.Manifest, d.Config = m, config })
		w.do(t, d, plan.Prepare, m)
		if !strings.Contains(w.files[0].Content, want) || slices.Contains(first, w.files[0].Name) {
			t.Errorf("%s: %+v", name, w.files[0])
		}
		if there := w.filesThere(t); len(there) != 3 || !slices.Contains(there, first[0]) || !slices.Contains(there, first[1]) {
			t.Errorf("%s: %q are there before the units are written, first %q", name, there, first)
		}
		w.do(t, d, plan.WriteUnits, m)
		if there := w.filesThere(t); len(there) != 2 || !slices.Contains(there, w.files[0].Name) {
			t.Errorf("%s: %q are there", name, there)
		}
		w.do(t, w.record(t, func(d *state.Desired) { d.Manifest = m }), plan.Prepare, m)
		w.do(t, w.now(t), plan.WriteUnits, m)
	}
}

// An update that is rolled back needs the files of the version before.
func TestAnUpdateKeepsTheFilesOfTheVersionBeforeUntilItIsCommitted(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, func(d *state.Desired) { d.Manifest = written("1") })
	w.do(t, d, plan.Prepare, written("1"))
	before := w.filesThere(t)
	d = w.record(t, func(d *state.Desired) {
		d.Manifest = written("1")
		d.Update = &state.Update{To: written("2"), Phase: state.Switched}
	})
	w.do(t, d, plan.Prepare, written("2"))
	w.do(t, d, plan.WriteUnits, written("2"))
	there := w.filesThere(t)
	for _, name := range before {
		if !slices.Contains(there, name) {
			t.Errorf("%s is gone, and the update may be rolled back", name)
		}
	}
	w.do(t, d, plan.Commit, written("2"))
	if there := w.filesThere(t); len(there) != 2 || !slices.Contains(there, w.files[0].Name) {
		t.Errorf("committed, and there are %q", there)
	}
}

func TestFilesOfAStoppedApplicationStay(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, func(d *state.Desired) { d.Manifest = written("1") })
	w.do(t, d, plan.Prepare, written("1"))
	before := w.filesThere(t)
	d = w.record(t, func(d *state.Desired) {
		d.Manifest, d.Goal, d.Config = written("1"), state.Stopped, map[string]string{"level": "debug"}
	})
	w.do(t, d, plan.WriteUnits, written("1"))
	if there := w.filesThere(t); !slices.Equal(there, before) {
		t.Errorf("%q, before %q: nothing has written others", there, before)
	}
}

func TestAStartWritesFilesAgainThatAreGone(t *testing.T) {
	w := newWorld(t)
	d := w.record(t, func(d *state.Desired) { d.Manifest = written("1") })
	w.do(t, d, plan.Prepare, written("1"))
	w.took()
	w.do(t, d, plan.Start, written("1"))
	if calls := w.took(); strings.Contains(calls, "files") {
		t.Errorf("they are there, and yet %s", calls)
	}
	name := w.files[0].Name
	if err := os.Remove(filepath.Join(quadlet.FilesDir(w.data, "pair"), name)); err != nil {
		t.Fatal(err)
	}
	w.do(t, d, plan.Start, written("1"))
	if calls := w.took(); !slices.Contains(w.filesThere(t), name) || strings.Index(calls, "files") > strings.Index(calls, "start") {
		t.Errorf("%q are there after %s", w.filesThere(t), calls)
	}
}

func TestNoFileIsLeftOfWhatIsRemoved(t *testing.T) {
	for _, verb := range []plan.Verb{plan.RemoveAll, plan.Purge} {
		w := newWorld(t)
		d := w.record(t, func(d *state.Desired) { d.Manifest = written("1") })
		w.do(t, d, plan.Prepare, written("1"))
		d = w.record(t, func(d *state.Desired) { d.Manifest, d.Goal, d.Purge = written("1"), state.Absent, verb == plan.Purge })
		w.do(t, d, verb, written("1"))
		if _, err := os.Lstat(quadlet.FilesDir(w.data, "pair")); !os.IsNotExist(err) {
			t.Errorf("%s left the directory: %v, with %q", verb, err, w.filesThere(t))
		}
	}
}

// A credential of another application is in the file, and none of the application's own in the
// engine; one that was never made is not made here.
func TestAFileHasTheCredentialOfAnotherApplication(t *testing.T) {
	w := newWorld(t)
	chain := &manifest.Manifest{ID: "chain", Exports: map[string]manifest.Export{"rpc": {Port: 1, Credentials: map[string]string{"password": "rpc-password"}}}, Secrets: []manifest.GeneratedSecret{{Name: "rpc-password"}}}
	m := pair("1")
	m.Requires = []manifest.Requirement{{App: "chain", Uses: []string{"rpc"}}}
	main, _ := m.Container("pair")
	main.Files = []manifest.File{{Path: "/etc/rpc", Template: true, Content: "{{app:chain.rpc.password}}"}}
	d := w.record(t, func(d *state.Desired) { d.Manifest = m })
	filled, err := m.With(nil, manifest.Node{Apps: map[string]*manifest.Manifest{"chain": chain}})
	if err != nil {
		t.Fatal(err)
	}
	prepare := plan.Action{App: "pair", Verb: plan.Prepare, Manifest: filled}
	if out := w.Do(t.Context(), d, prepare); !errors.Is(out.Err, secrets.ErrLost) {
		t.Errorf("prepared without it: %v", out.Err)
	}
	made, err := w.secrets.Ensure(chain, false)
	if err != nil {
		t.Fatal(err)
	}
	w.took()
	if out := w.Do(t.Context(), d, prepare); out.Err != nil {
		t.Fatal(out.Err)
	}
	if len(w.files) != 1 || w.files[0].Content != made["rpc-password"] || w.files[0].Mode != 0o600 {
		t.Errorf("%+v", w.files)
	}
	if calls := w.took(); strings.Contains(calls, "chain") || strings.Contains(calls, "rpc-password") {
		t.Error(calls)
	}
}
