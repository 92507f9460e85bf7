package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

func artifact(name, digest string) Artifact {
	return Artifact{Name: name, SHA256: digest, info: &buildinfo.BuildInfo{GoVersion: "go1.26", Path: "example/cmd/" + strings.Split(name, "-")[0], Main: debug.Module{Path: "example"},
		Deps:     []*debug.Module{{Path: "example/dep", Version: "v1.2.3"}},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abcd"}, {Key: "vcs.time", Value: "2026-06-01T12:00:00Z"}, {Key: "GOARCH", Value: name[strings.LastIndex(name, "-")+1:]}}}}
}

// program says version 1, and nothing else.
func program(name string) []byte { return []byte("#!/bin/sh\necho " + name + " version 1\n") }

func sumOf(name string) string { return fmt.Sprintf("%x", sha256.Sum256(program(name))) }

// put writes programs that say version 1.
func put(t *testing.T, dir string, artifacts []Artifact) {
	t.Helper()
	for _, a := range artifacts {
		if err := os.WriteFile(filepath.Join(dir, a.Name), program(a.Name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// hex64 is a digest of its own for each program.
func hex64(s string) string { return strings.Repeat(s, 32) }

func TestAnArchitectureThatNoGateHasTestedIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	run := func(daemon string) *reports.Report {
		archy := map[string]string{sumOf("archipelago-linux-amd64"): sumOf("archy-linux-amd64"), sumOf("archipelago-linux-arm64"): sumOf("archy-linux-arm64")}[daemon]
		return &reports.Report{Subject: reports.Subject{Daemon: daemon, Installed: dist.Digests(), Commands: map[string]string{"archy": archy}}}
	}
	d0, d1 := sumOf("archipelago-linux-amd64"), sumOf("archipelago-linux-arm64")
	amd := []Artifact{artifact("archipelago-linux-amd64", d0), artifact("archy-linux-amd64", sumOf("archy-linux-amd64"))}
	arm := []Artifact{artifact("archipelago-linux-arm64", d1), artifact("archy-linux-arm64", sumOf("archy-linux-arm64"))}
	both := append(append([]Artifact(nil), amd...), arm...)
	for _, c := range []struct {
		name      string
		artifacts []Artifact
		runs      []*reports.Report
		refused   string // empty: all goes out
	}{
		{"without a run", amd, nil, "no run of the gate has tested archipelago-linux-amd64 (" + d0[:12] + "…)"},
		{"with another daemon's run", amd, []*reports.Report{run("another")}, "no run of the gate has tested archipelago-linux-amd64 (" + d0[:12] + "…)"},
		{"what was tested", amd, []*reports.Report{run(d0)}, ""},
		{"one of two was tested", both, []*reports.Report{run(d0)}, "architecture arm64: no run of the gate has tested archipelago-linux-arm64 (" + d1[:12] + "…); leave it out of ARCHES"},
		{"both were tested", both, []*reports.Report{run(d0), run(d1)}, ""},
		{"another archy", []Artifact{amd[0], artifact("archy-linux-amd64", hex64("c0"))}, []*reports.Report{run(d0)}, "used another archy (" + sumOf("archy-linux-amd64")[:12] + ") than archy-linux-amd64 (c0c0c0c0c0c0…)"},
		{"a command alone", append(append([]Artifact(nil), amd...), arm[1]), []*reports.Report{run(d0)}, "architecture arm64: archy-linux-arm64 has no daemon beside it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, to := t.TempDir(), filepath.Join(t.TempDir(), "published")
			put(t, dir, c.artifacts)
			err := Release(context.Background(), dir, to, c.artifacts, c.runs, "1", signer(t))
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

func signer(t *testing.T) *sign.Signer {
	t.Helper()
	s, err := sign.NewSigner("release")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatAReleaseSignsIsEveryFileThatItPublishes(t *testing.T) {
	daemon := []byte("#!/bin/sh\necho archipelago version 1\n")
	a := artifact(description.Daemon(runtime.GOARCH), fmt.Sprintf("%x", sha256.Sum256(daemon)))
	dir, to := t.TempDir(), t.TempDir() // an empty one is as good as none
	if err := os.WriteFile(filepath.Join(dir, a.Name), daemon, 0o755); err != nil {
		t.Fatal(err)
	}
	keys := []*sign.Signer{signer(t), signer(t)}
	run := &reports.Report{Subject: reports.Subject{Daemon: a.SHA256, Installed: dist.Digests()}}
	if err := Release(context.Background(), dir, to, []Artifact{a}, []*reports.Report{run}, "1", keys...); err != nil {
		t.Fatal(err)
	}
	for _, published := range []string{dir, to} {
		envelope, err := os.ReadFile(filepath.Join(published, description.File))
		if err != nil {
			t.Fatal(err)
		}
		d, err := description.Verify(context.Background(), envelope, []sign.PublicKey{keys[0].PublicKey, keys[1].PublicKey}, 2)
		if err != nil {
			t.Fatal(err)
		}
		if d.Version != "1" || d.Commit != "abcd" || d.Created.Format(time.RFC3339) != "2026-06-01T12:00:00Z" {
			t.Errorf("%+v", d)
		}
		files, err := os.ReadDir(published)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			digest, err := reports.FileDigest(filepath.Join(published, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if signed, ok := d.Files[f.Name()]; f.Name() != description.File && (!ok || signed != digest) {
				t.Errorf("%s has the digest %s; signed is %q", f.Name(), digest, signed)
			}
		}
		if len(d.Files) != len(files)-1 {
			t.Errorf("%d files are signed, and %d published", len(d.Files), len(files)-1)
		}
	}
}

func TestAReleaseThatNodesWouldRefuseIsNotSigned(t *testing.T) {
	d0 := hex64("d0")
	run := []*reports.Report{{Subject: reports.Subject{Daemon: d0, Installed: dist.Digests(), Commands: map[string]string{"archy": hex64("c0")}}}}
	name := description.Daemon(runtime.GOARCH)
	for _, c := range []struct {
		name, version, want string
		change              func(*Artifact)
	}{
		{"another version", "2", `and the release is to be version "2"`, func(*Artifact) {}},
		{"two commits", "1", "was built from commit abcd, and archy-linux-", func(a *Artifact) { a.info.Settings[0].Value = "ffff" }},
		{"no time", "1", "does not say when its commit was made", func(a *Artifact) { a.info.Settings[1].Value = "" }},
	} {
		all := []Artifact{artifact(name, d0), artifact("archy-linux-"+runtime.GOARCH, hex64("c0"))}
		c.change(&all[1])
		dir, to := t.TempDir(), filepath.Join(t.TempDir(), "published")
		put(t, dir, all)
		err := Release(context.Background(), dir, to, all, run, c.version, signer(t))
		if !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was published", c.name)
		}
	}
}

func TestMakeReleaseAsksForKeysBeforeItBuilds(t *testing.T) {
	for want, args := range map[string][]string{"TRUST=": {"KEYS=release.key"}, "KEYS=": {"TRUST=gate.key.pub"}} {
		out, err := exec.Command("make", append([]string{"-C", "../..", "-o", "build", "release", "VERSION=none", "GATE=false"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "GOARCH") {
			t.Errorf("%v: %v, %s", args, err, out)
		}
	}
}

func TestMakeReleaseBuildsTheArchitecturesThatAreAskedFor(t *testing.T) {
	for arches, want := range map[string]string{"": "for arch in amd64;", "ARCHES=amd64 arm64": "for arch in amd64 arm64;"} {
		args := []string{"-C", "../..", "-n", "release", "TRUST=gate.key.pub", "KEYS=release.key agent:ann", "VERSION=1"}
		if arches != "" {
			args = append(args, arches)
		}
		out, err := exec.Command("make", args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "--key 'release.key' --key 'agent:ann'") {
			t.Errorf("%s: %v, expected %q and both keys in\n%s", arches, err, want, out)
		}
	}
}

func TestOnlyFilesThatARunStandsBehindGoOut(t *testing.T) {
	all := []Artifact{artifact("archipelago-linux-amd64", "d0"), artifact("archy-linux-amd64", "c0")}
	run := func(change func(map[string]string)) *reports.Report {
		files := dist.Digests()
		change(files)
		return &reports.Report{Run: "r", Subject: reports.Subject{Daemon: "d0", Installed: files, Commands: map[string]string{"archy": "c0"}}}
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
		"an old run":  {func(files map[string]string) { clear(files) }, "does not say with which files, so no run stands behind README.md, archipelago-prober.service, archipelago.issue, archipelago.service, archipelago.sh, install.sh"},
		"a file less": {func(files map[string]string) { delete(files, "rollback.sh") }, "would publish: rollback.sh;"},
		"a file more": {func(files map[string]string) { files["other.sh"] = "00" }, "would publish: other.sh;"},
	} {
		if err := Tested(all, []*reports.Report{run(c.change)}); !errors.Is(err, attest.ErrAttestation) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "'gate run', then 'gate sign'") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAReleaseIsDescribedTheSameWayTwice(t *testing.T) {
	all := []Artifact{artifact("archipelago-linux-amd64", hex64("d0")), artifact("archy-linux-amd64", hex64("c0"))}
	key := signer(t)
	var before map[string][]byte
	for range 2 {
		files, err := Describe(context.Background(), all, map[string][]byte{"archy_1_amd64.deb": []byte("package")}, "1", key)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, f := range []string{SumsFile, ProvenanceFile, description.File, "archipelago-linux-amd64.cdx.json", "archy-linux-amd64.cdx.json", "install.sh", "archipelago.service"} {
			if len(files[f]) == 0 || strings.HasSuffix(f, ".json") && !json.Valid(files[f]) {
				t.Errorf("%s is not JSON, or missing", f)
			}
			text.Write(files[f])
		}
		for _, want := range []string{hex64("d0") + "  archipelago-linux-amd64\n", `"pkg:golang/example/dep@v1.2.3"`, `"gitCommit": "abcd"`, `"bomFormat": "CycloneDX"`, "  install.sh\n", "  archy_1_amd64.deb\n", "  rollback.sh\n", "  archipelago.service\n", "  archipelago-prober.service\n", "  podman-service.conf\n"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s is missing in %s", want, text.String())
			}
		}
		if before != nil && !maps.EqualFunc(before, files, bytes.Equal) {
			t.Error("the same programs were described otherwise")
		}
		before = files
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

func TestOnlyWhatOneBuildOfOneCommitMadeGoesOut(t *testing.T) {
	names := []string{"archipelago-linux-amd64", "archy-linux-amd64", "catalog-linux-amd64", "gate-linux-amd64"}
	for name, c := range map[string]struct {
		change func([]Artifact) []Artifact
		want   string
	}{
		"one build":          {func(a []Artifact) []Artifact { return a }, ""},
		"a leftover program": {func(a []Artifact) []Artifact { return append(a, artifact("archyd-linux-amd64", "x")) }, "archyd-linux-amd64 is none of what a release has"},
		"a copy of another":  {func(a []Artifact) []Artifact { a[1].info.Path = "example/cmd/gate"; return a }, "archy-linux-amd64 is example/cmd/gate for amd64"},
		"another machine's":  {func(a []Artifact) []Artifact { a[1].info.Settings[2].Value = "arm64"; return a }, "archy-linux-amd64 is example/cmd/archy for arm64"},
		"an earlier commit":  {func(a []Artifact) []Artifact { a[2].info.Settings[0].Value = "ffff"; return a }, "archipelago-linux-amd64 was built from commit abcd, and catalog-linux-amd64 from ffff; build them all again"},
	} {
		var all []Artifact
		for _, n := range names {
			all = append(all, artifact(n, "x"))
		}
		if err := oneBuild(c.change(all)); (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAReleaseAppearsWholeAndOnce(t *testing.T) {
	name := description.Daemon(runtime.GOARCH)
	all := []Artifact{artifact(name, sumOf(name))}
	run := []*reports.Report{{Subject: reports.Subject{Daemon: sumOf(name), Installed: dist.Digests()}}}
	dir, beside := t.TempDir(), t.TempDir()
	to := filepath.Join(beside, "1.0")
	put(t, dir, all)
	if err := Release(t.Context(), dir, to, all, run, "1", signer(t)); err != nil {
		t.Fatal(err)
	}
	sums := exec.Command("sha256sum", "--strict", "--check", "--quiet", SumsFile)
	sums.Dir = to
	if out, err := sums.CombinedOutput(); err != nil {
		t.Errorf("sha256sum -c: %v: %s", err, out)
	}
	listed, err := os.ReadFile(filepath.Join(to, SumsFile))
	there, dirErr := os.ReadDir(to)
	if err := errors.Join(err, dirErr); err != nil {
		t.Fatal(err)
	}
	for _, f := range there {
		if f.Name() != SumsFile && f.Name() != description.File && !strings.Contains(string(listed), "  "+f.Name()+"\n") {
			t.Errorf("%s does not name %s", SumsFile, f.Name())
		}
	}
	if err := Release(t.Context(), dir, to, all, run, "1", signer(t)); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "a release is published once") {
		t.Errorf("over another one: %v", err)
	}
	// A build in between: nothing appears, and nothing is left.
	if err := os.WriteFile(filepath.Join(dir, name), append(program(name), '#'), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Release(t.Context(), dir, filepath.Join(beside, "1.1"), all, run, "1", signer(t)); !errors.Is(err, plan.ErrUsage) || !strings.Contains(err.Error(), "was replaced while the release was made") {
		t.Errorf("another program than the one described: %v", err)
	}
	if left, err := os.ReadDir(beside); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestOneSourceGivesOneProgram builds archy from two copies of the source, in two directories.
func TestOneSourceGivesOneProgram(t *testing.T) {
	listed, err := exec.Command("git", "-C", "../..", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	var sums []string
	for _, name := range []string{"one", "a-longer-path/two"} {
		source := filepath.Join(t.TempDir(), name)
		for f := range strings.SplitSeq(strings.TrimSuffix(string(listed), "\x00"), "\x00") {
			b, err := os.ReadFile(filepath.Join("../..", f))
			if errors.Is(err, os.ErrNotExist) {
				continue // removed, and not yet committed
			}
			at := filepath.Join(source, f)
			if err := errors.Join(err, os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, b, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=1", "-o", filepath.Join(source, "out", "archy"), "./cmd/archy")
		build.Dir = source
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		sum, err := reports.FileDigest(filepath.Join(source, "out", "archy"))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, sum)
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds of one source differ: %s", sums)
	}
}
