package release

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

func artifact(name, digest string) Artifact {
	return Artifact{Name: name, SHA256: digest, info: &buildinfo.BuildInfo{GoVersion: "go1.26", Path: "example/cmd", Main: debug.Module{Path: "example"},
		Deps:     []*debug.Module{{Path: "example/dep", Version: "v1.2.3"}},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "GOARCH", Value: "amd64"}}}}
}

func TestAnArchitectureThatNoGateHasTestedIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	run := func(daemon string) *reports.Report {
		return &reports.Report{Subject: reports.Subject{Daemon: daemon, Installed: dist.Digests()}}
	}
	amd := []Artifact{artifact("archipelago-linux-amd64", "d0"), artifact("archy-linux-amd64", "c0")}
	arm := []Artifact{artifact("archipelago-linux-arm64", "d1"), artifact("archy-linux-arm64", "c1")}
	both := append(append([]Artifact(nil), amd...), arm...)
	for _, c := range []struct {
		name      string
		artifacts []Artifact
		runs      []*reports.Report
		refused   string // empty: all goes out
	}{
		{"without a run", amd, nil, "no run of the gate has tested archipelago-linux-amd64 (d0…)"},
		{"with another daemon's run", amd, []*reports.Report{run("another")}, "no run of the gate has tested archipelago-linux-amd64 (d0…)"},
		{"what was tested", amd, []*reports.Report{run("d0")}, ""},
		{"one of two was tested", both, []*reports.Report{run("d0")}, "architecture arm64: no run of the gate has tested archipelago-linux-arm64 (d1…); leave it out of ARCHES"},
		{"both were tested", both, []*reports.Report{run("d0"), run("d1")}, ""},
		{"a command alone", append(append([]Artifact(nil), amd...), arm[1]), []*reports.Report{run("d0")}, "architecture arm64: archy-linux-arm64 has no daemon beside it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, to := t.TempDir(), filepath.Join(t.TempDir(), "published")
			for _, a := range c.artifacts {
				if err := os.WriteFile(filepath.Join(dir, a.Name), nil, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			err := Release(dir, to, c.artifacts, c.runs)
			built, readErr := os.ReadDir(dir)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if c.refused != "" {
				if !errors.Is(err, attest.ErrAttestation) || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("%v, expected %s", err, c.refused)
				}
				if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) || len(built) != len(c.artifacts) {
					t.Errorf("something was written: %v, %v", built, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range c.artifacts {
				if _, err := os.Stat(filepath.Join(to, a.Name)); err != nil {
					t.Error(err)
				}
			}
			if _, err := os.Stat(filepath.Join(to, SumsFile)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMakeReleaseBuildsTheArchitecturesThatAreAskedFor(t *testing.T) {
	for arches, want := range map[string]string{"": "for arch in amd64;", "ARCHES=amd64 arm64": "for arch in amd64 arm64;"} {
		args := []string{"-C", "../..", "-n", "release", "TRUST=gate.key.pub", "VERSION=1"}
		if arches != "" {
			args = append(args, arches)
		}
		out, err := exec.Command("make", args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, expected %q in\n%s", arches, err, want, out)
		}
	}
}

func TestOnlyFilesThatARunStandsBehindGoOut(t *testing.T) {
	all := []Artifact{artifact("archipelago-linux-amd64", "d0"), artifact("archy-linux-amd64", "c0")}
	run := func(change func(map[string]string)) *reports.Report {
		files := dist.Digests()
		change(files)
		return &reports.Report{Run: "r", Subject: reports.Subject{Daemon: "d0", Installed: files}}
	}
	same := run(func(map[string]string) {})
	for name := range dist.Release() {
		bad := run(func(files map[string]string) { files[name] = "00" })
		if err := Tested(all, []*reports.Report{bad}); !errors.Is(err, attest.ErrAttestation) || !strings.Contains(err.Error(), "other files than this gate would publish: "+name+";") {
			t.Errorf("another %s: %v", name, err)
		}
		if err := Tested(all, []*reports.Report{bad, same}); err != nil {
			t.Errorf("another run is about this %s: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		change func(map[string]string)
		want   string
	}{
		"an old run":  {func(files map[string]string) { clear(files) }, "does not say with which files, so no run stands behind README.md, archipelago.service, install.sh"},
		"a file less": {func(files map[string]string) { delete(files, "rollback.sh") }, "would publish: rollback.sh;"},
		"a file more": {func(files map[string]string) { files["other.sh"] = "00" }, "would publish: other.sh;"},
	} {
		if err := Tested(all, []*reports.Report{run(c.change)}); !errors.Is(err, attest.ErrAttestation) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "'gate run', then 'gate sign'") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAReleaseIsDescribedTheSameWayTwice(t *testing.T) {
	all := []Artifact{artifact("archipelago-linux-amd64", "d0"), artifact("archy-linux-amd64", "c0")}
	var before string
	for range 2 {
		dir := t.TempDir()
		if err := Describe(dir, all); err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, f := range []string{SumsFile, ProvenanceFile, "archipelago-linux-amd64.cdx.json", "archy-linux-amd64.cdx.json", "install.sh", "archipelago.service"} {
			b, err := os.ReadFile(filepath.Join(dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(f, ".json") && !json.Valid(b) {
				t.Errorf("%s is not JSON", f)
			}
			text.Write(b)
		}
		for _, want := range []string{"d0  archipelago-linux-amd64\n", `"pkg:golang/example/dep@v1.2.3"`, `"gitCommit": "abc"`, `"bomFormat": "CycloneDX"`, "  install.sh\n", "  rollback.sh\n", "  archipelago.service\n", "  podman-service.conf\n"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s is missing in %s", want, text.String())
			}
		}
		if before != "" && before != text.String() {
			t.Error("the same programs were described otherwise")
		}
		before = text.String()
	}
}

func TestOnlyCleanStaticProgramsAreArtifacts(t *testing.T) {
	dir := t.TempDir()
	if _, err := Artifacts(dir); !errors.Is(err, plan.ErrUsage) {
		t.Errorf("an empty directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "archy-linux-amd64"), []byte("text"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Artifacts(dir); !errors.Is(err, plan.ErrUsage) {
		t.Errorf("a text: %v", err)
	}
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "archy-linux-amd64"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Artifacts(dir); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "not built from a clean checkout") {
		t.Errorf("a program of no commit: %v", err)
	}
}
