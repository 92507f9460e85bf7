package release

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// deb builds a package of these files.
func deb(t *testing.T, file string, files map[string]string) {
	t.Helper()
	tree := t.TempDir()
	all := map[string]string{"DEBIAN/control": "Package: archipelago\nVersion: 1\nArchitecture: all\nMaintainer: none\nDescription: none\n"}
	maps.Copy(all, files)
	for name, body := range all {
		name = filepath.Join(tree, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(body), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("dpkg-deb", "--build", "--root-owner-group", tree, file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestPackagesOfOtherProgramsStayWhereTheyAre(t *testing.T) {
	daemon := description.Daemon(runtime.GOARCH)
	artifacts := []Artifact{artifact(daemon, sumOf(daemon))}
	run := []*reports.Report{{Subject: reports.Subject{Daemon: sumOf(daemon), Installed: dist.Digests()}}}
	const lib = "usr/lib/archipelago/"
	good := map[string]string{lib + "archipelago": string(program(daemon)), lib + "node.sh": string(dist.NodeScript()), "usr/share/doc/archipelago/copyright": "of all"}
	with := func(name, body string) map[string]string {
		files := maps.Clone(good)
		files[name] = body
		return files
	}
	for name, c := range map[string]struct {
		files map[string]string
		arch  string
		want  string // empty: it goes out
	}{
		"the release's":           {good, runtime.GOARCH, ""},
		"another daemon":          {with(lib+"archipelago", "other"), runtime.GOARCH, "usr/lib/archipelago/archipelago in it"},
		"an edited script":        {with(lib+"node.sh", "exit 0"), runtime.GOARCH, "node.sh in it"},
		"a program more":          {with("usr/bin/extra", "x"), runtime.GOARCH, "usr/bin/extra in it"},
		"another machine's":       {good, "riscv64", "archipelago in it"},
		"nothing that runs in it": {map[string]string{"usr/share/doc/x": "x"}, runtime.GOARCH, "it has no program"},
		"no package":              {nil, runtime.GOARCH, "dpkg-deb"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, to := t.TempDir(), filepath.Join(t.TempDir(), "1")
			put(t, dir, artifacts)
			file := "archipelago_1_" + c.arch + ".deb"
			if c.files == nil {
				if err := os.WriteFile(filepath.Join(dir, file), []byte("text"), 0o644); err != nil {
					t.Fatal(err)
				}
			} else {
				deb(t, filepath.Join(dir, file), c.files)
			}
			err := Release(t.Context(), dir, to, artifacts, run, "1", signer(t))
			if c.want != "" {
				if _, there := os.Stat(to); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), c.want) || there == nil {
					t.Errorf("%v, expected %q; published: %v", err, c.want, there == nil)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			sums, err := os.ReadFile(filepath.Join(to, SumsFile))
			if err != nil || !strings.Contains(string(sums), "  "+file+"\n") {
				t.Errorf("%v, no %s in\n%s", err, file, sums)
			}
			envelope, err := os.ReadFile(filepath.Join(to, description.File))
			if err != nil {
				t.Fatal(err)
			}
			if d, err := description.Peek(envelope); err != nil || d.Files[file] == "" {
				t.Errorf("%v: it is not signed: %v", err, d)
			}
			if _, err := os.Stat(filepath.Join(to, file)); err != nil {
				t.Error(err)
			}
		})
	}
}
