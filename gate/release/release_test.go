package release

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"os"
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

func TestOnlyADaemonThatWasTestedGoesOut(t *testing.T) {
	all := []Artifact{artifact("archipelago-linux-amd64", "d0"), artifact("archipelago-linux-arm64", "d1"), artifact("archy-linux-amd64", "c0")}
	names := func(as []Artifact) string {
		var out []string
		for _, a := range as {
			out = append(out, a.Name)
		}
		return strings.Join(out, " ")
	}
	run := func(daemon string) *reports.Report {
		return &reports.Report{Subject: reports.Subject{Daemon: daemon, Installed: dist.Digests()}}
	}
	out, err := Publishable(all, nil)
	if len(out) > 0 || !errors.Is(err, attest.ErrAttestation) {
		t.Errorf("without a run %s goes out: %v", names(out), err)
	}
	if out, err = Publishable(all, []*reports.Report{run("another")}); len(out) > 0 || !strings.Contains(err.Error(), "archipelago-linux-amd64") {
		t.Errorf("with another daemon's run %s goes out: %v", names(out), err)
	}
	if out, err = Publishable(all, []*reports.Report{run("d0")}); names(out) != "archipelago-linux-amd64 archy-linux-amd64" || !strings.Contains(err.Error(), "no run of the gate has tested archipelago-linux-arm64 (d1…)") {
		t.Errorf("%s, %v", names(out), err)
	}
	if out, err = Publishable(all, []*reports.Report{run("d0"), run("d1")}); len(out) != 3 || err != nil {
		t.Errorf("%s, %v", names(out), err)
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
		if out, err := Publishable(all, []*reports.Report{bad}); len(out) > 0 || !errors.Is(err, attest.ErrAttestation) || !strings.Contains(err.Error(), "other files than this gate would publish: "+name+";") {
			t.Errorf("another %s: %d go out, %v", name, len(out), err)
		}
		if out, err := Publishable(all, []*reports.Report{bad, same}); len(out) != 2 || err != nil {
			t.Errorf("another run is about this %s: %d go out, %v", name, len(out), err)
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
		if out, err := Publishable(all, []*reports.Report{run(c.change)}); len(out) > 0 || !errors.Is(err, attest.ErrAttestation) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "'gate run', then 'gate sign'") {
			t.Errorf("%s: %d go out, %v", name, len(out), err)
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
