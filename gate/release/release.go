// Package release owns what may go out on a verified run: which entries of a catalog it
// proves, which programs it has tested, and what is published beside them (checksums,
// bills of materials, provenance, the signed description).
package release

import (
	"bytes"
	"cmp"
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
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Files of a release beside its programs.
const (
	SumsFile       = "SHA256SUMS"
	ProvenanceFile = "provenance.json"
	bomSuffix      = ".cdx.json"
)

// daemonPrefix begins the name of the daemon's program, "archipelago-linux-amd64":
// what a node runs, and so what a gate must have tested.
const daemonPrefix = "archipelago-"

// Artifact is one program of a release.
type Artifact struct {
	Name   string // such as archipelago-linux-amd64
	SHA256 string
	info   *buildinfo.BuildInfo
}

// Artifacts gives the programs in a directory, by name. A program that was not built
// from a clean checkout is refused, because nobody could build it again; and so is one that the
// release step does not build there, or that is of another commit than the others: an earlier
// build has left it.
func Artifacts(dir string) ([]Artifact, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*-linux-*"))
	if err != nil {
		return nil, err
	}
	var out []Artifact
	var problems []error
	for _, f := range files {
		if strings.HasSuffix(f, ".json") {
			continue
		}
		a := Artifact{Name: filepath.Base(f)}
		if a.info, err = buildinfo.ReadFile(f); err != nil {
			problems = append(problems, fmt.Errorf("%w: %s: %w", plan.ErrUsage, f, err))
			continue
		}
		if setting(a.info, "vcs.revision") == "" || setting(a.info, "vcs.modified") == "true" {
			problems = append(problems, fmt.Errorf("%w: %s was not built from a clean checkout; commit first", plan.ErrUsage, f))
		}
		if setting(a.info, "CGO_ENABLED") != "0" {
			problems = append(problems, fmt.Errorf("%w: %s is not linked statically", plan.ErrUsage, f))
		}
		if a.SHA256, err = reports.FileDigest(f); err != nil {
			problems = append(problems, err)
		}
		out = append(out, a)
	}
	if len(files) == 0 {
		problems = append(problems, fmt.Errorf("%w: %s holds no programs; build them with 'make release'", plan.ErrUsage, dir))
	}
	return out, errors.Join(append(problems, oneBuild(out))...)
}

// commands are the programs of a release.
var commands = []string{"archipelago", "archy", "catalog", "gate"}

// oneBuild refuses programs that are not what one 'make release' builds of one commit.
func oneBuild(artifacts []Artifact) error {
	var problems []error
	for _, a := range artifacts {
		command, _, _ := strings.Cut(a.Name, "-linux-")
		switch {
		case !slices.Contains(commands, command):
			problems = append(problems, fmt.Errorf("%w: %s is none of what a release has (%s); remove it", plan.ErrUsage, a.Name, strings.Join(commands, ", ")))
		case filepath.Base(a.info.Path) != command || setting(a.info, "GOARCH") != a.arch():
			problems = append(problems, fmt.Errorf("%w: %s is %s for %s; build them all again", plan.ErrUsage, a.Name, a.info.Path, setting(a.info, "GOARCH")))
		}
		if one, other := setting(artifacts[0].info, "vcs.revision"), setting(a.info, "vcs.revision"); one != other {
			problems = append(problems, fmt.Errorf("%w: %s was built from commit %.12s, and %s from %.12s; build them all again", plan.ErrUsage, artifacts[0].Name, one, a.Name, other))
		}
	}
	return errors.Join(problems...)
}

func setting(info *buildinfo.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// Describe gives what goes with the programs of a release, by file name: the installer for
// owners, a bill of materials each (CycloneDX, of the modules that Go linked), checksums,
// the provenance (an in-toto statement, SLSA provenance v1), and the signed description of
// all of them, by which nodes take a daemon. packages go with them, by file name. The same
// programs, packages and keys give the same bytes.
func Describe(ctx context.Context, artifacts []Artifact, packages map[string][]byte, version string, signers ...*sign.Signer) (map[string][]byte, error) {
	files := dist.Release()
	maps.Copy(files, packages)
	for _, a := range artifacts {
		var bom bytes.Buffer
		enc := cdx.NewBOMEncoder(&bom, cdx.BOMFileFormatJSON).SetPretty(true)
		if err := enc.Encode(materials(a)); err != nil {
			return nil, fmt.Errorf("bill of materials of %s: %w", a.Name, err)
		}
		files[a.Name+bomSuffix] = bom.Bytes()
	}
	var err error
	if files[ProvenanceFile], err = Provenance(artifacts); err != nil {
		return nil, err
	}
	var sums strings.Builder
	for _, a := range artifacts {
		fmt.Fprintf(&sums, "%s  %s\n", a.SHA256, a.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(files[name]), name)
	}
	files[SumsFile] = []byte(sums.String())
	d := description.Description{Version: version, Files: map[string]string{}}
	for name, b := range files {
		d.Files[name] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	for _, a := range artifacts {
		d.Files[a.Name] = a.SHA256
		d.Commit = setting(a.info, "vcs.revision")
		if d.Created, err = time.Parse(time.RFC3339, setting(a.info, "vcs.time")); err != nil {
			return nil, fmt.Errorf("%w: %s does not say when its commit was made: %w", plan.ErrUsage, a.Name, err)
		}
	}
	if files[description.File], err = description.Sign(ctx, d, signers...); errors.Is(err, description.ErrInvalid) {
		return nil, fmt.Errorf("%w: %w", plan.ErrUsage, err)
	}
	return files, err
}

// says refuses a version that the programs do not say that this machine can run: a node
// would refuse them after they were published.
func says(ctx context.Context, dir string, artifacts []Artifact, version string) error {
	for _, a := range artifacts {
		if a.arch() != runtime.GOARCH {
			continue
		}
		out, err := exec.CommandContext(ctx, filepath.Join(dir, a.Name), "--version").Output()
		if err != nil {
			return fmt.Errorf("%w: %s does not say its version: %w", plan.ErrUsage, a.Name, err)
		}
		if words := strings.Fields(string(out)); len(words) == 0 || words[len(words)-1] != version {
			return fmt.Errorf("%w: %s says %q, and the release is to be version %q", plan.ErrUsage, a.Name, bytes.TrimSpace(out), version)
		}
	}
	return nil
}

func materials(a Artifact) *cdx.BOM {
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &cdx.Component{BOMRef: a.Name, Type: cdx.ComponentTypeApplication, Name: a.Name, Version: setting(a.info, "vcs.revision"),
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: a.SHA256}}}}
	parts := []cdx.Component{{BOMRef: "go", Type: cdx.ComponentTypePlatform, Name: "go", Version: a.info.GoVersion}}
	for _, m := range a.info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		url := "pkg:golang/" + m.Path + "@" + m.Version
		parts = append(parts, cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: url})
	}
	bom.Components = &parts
	return bom
}

// Provenance is the statement of how the programs were built
// (https://slsa.dev/spec/v1.0/provenance).
func Provenance(artifacts []Artifact) ([]byte, error) {
	type resource struct {
		URI    string            `json:"uri"`
		Digest map[string]string `json:"digest,omitempty"`
	}
	type predicate struct {
		BuildDefinition struct {
			BuildType            string                       `json:"buildType"`
			ExternalParameters   map[string]map[string]string `json:"externalParameters"`
			ResolvedDependencies []resource                   `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Builder struct {
				ID string `json:"id"`
			} `json:"builder"`
		} `json:"runDetails"`
	}
	s := struct {
		Type          string          `json:"_type"`
		Subject       []attest.Target `json:"subject"`
		PredicateType string          `json:"predicateType"`
		Predicate     predicate       `json:"predicate"`
	}{Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1"}
	d := &s.Predicate.BuildDefinition
	d.BuildType = "https://pkg.go.dev/cmd/go#hdr-Compile_packages_and_dependencies"
	d.ExternalParameters = map[string]map[string]string{}
	s.Predicate.RunDetails.Builder.ID = "make release"
	seen := map[string]bool{}
	add := func(uri string, digest map[string]string) {
		if !seen[uri] {
			seen[uri] = true
			d.ResolvedDependencies = append(d.ResolvedDependencies, resource{uri, digest})
		}
	}
	for _, a := range artifacts {
		s.Subject = append(s.Subject, attest.Target{Name: a.Name, Digest: map[string]string{"sha256": a.SHA256}})
		flags := map[string]string{"package": a.info.Path}
		for _, k := range []string{"GOOS", "GOARCH", "GOAMD64", "GOARM64", "CGO_ENABLED", "-trimpath", "-ldflags", "-tags"} {
			if v := setting(a.info, k); v != "" {
				flags[k] = v
			}
		}
		d.ExternalParameters[a.Name] = flags
		add("git+https://"+a.info.Main.Path, map[string]string{"gitCommit": setting(a.info, "vcs.revision")})
		add("https://go.dev/dl/#"+a.info.GoVersion, nil)
	}
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// Release describes the programs in a directory as those of a version, signs that, and
// publishes everything as another directory, none if that is empty: whole, or not at all.
// Unless all of them may go out, nothing is written.
func Release(ctx context.Context, dir, to string, artifacts []Artifact, runs []*reports.Report, version string, signers ...*sign.Signer) error {
	if err := errors.Join(oneBuild(artifacts), Tested(artifacts, runs), says(ctx, dir, artifacts, version)); err != nil {
		return err
	}
	if there, err := os.ReadDir(to); to != "" && err == nil && len(there) > 0 {
		return fmt.Errorf("%w: --to %s: it holds %s already; a release is published once: name another directory, or remove that one", plan.ErrUsage, to, there[0].Name())
	}
	packages, err := Packages(dir, artifacts)
	if err != nil {
		return err
	}
	files, err := Describe(ctx, artifacts, packages, version, signers...)
	if err != nil {
		return err
	}
	if err := write(dir, files); err != nil || to == "" {
		return err
	}
	return publish(dir, to, artifacts, files)
}

// Tested refuses programs of an architecture whose daemon no verified run has tested,
// digest for digest, with the very files that Release writes beside it: what was asked
// for goes out whole or not at all. The error names every such architecture.
func Tested(artifacts []Artifact, runs []*reports.Report) error {
	daemons := map[string]*Artifact{}
	for i, a := range artifacts {
		if strings.HasPrefix(a.Name, daemonPrefix) {
			daemons[a.arch()] = &artifacts[i]
		}
	}
	refused := map[string]error{}
	for _, a := range artifacts {
		d := daemons[a.arch()]
		why := fmt.Errorf("%s has no daemon beside it that a run of the gate could have tested", a.Name)
		if d != nil {
			why = untested(d, runs)
		}
		if strings.HasPrefix(a.Name, "archy-") && d != nil && why == nil {
			why = anotherArchy(d, a, runs)
		}
		if why != nil {
			refused[a.arch()] = fmt.Errorf("%w: architecture %s: %w", attest.ErrAttestation, a.arch(), why)
		}
	}
	var problems []error
	for _, arch := range slices.Sorted(maps.Keys(refused)) {
		problems = append(problems, refused[arch])
	}
	return errors.Join(problems...)
}

// anotherArchy says why no run that tested a daemon asked it through this archy.
func anotherArchy(d *Artifact, a Artifact, runs []*reports.Report) error {
	var used string
	for _, r := range runs {
		if r.Subject.Daemon != d.SHA256 {
			continue
		}
		if used = r.Subject.Commands["archy"]; used == a.SHA256 {
			return nil
		}
	}
	return fmt.Errorf("the run that tested %s used another archy (%.12s) than %s (%.12s…), so they are no tested set; build both from the commit of the run, with 'make release'", d.Name, cmp.Or(used, "none"), a.Name, a.SHA256)
}

// arch is the architecture at the end of the program's name.
func (a Artifact) arch() string { return a.Name[strings.LastIndex(a.Name, "-")+1:] }

// untested says why no run stands behind a daemon; nil where one does.
func untested(d *Artifact, runs []*reports.Report) error {
	why := fmt.Errorf("no run of the gate has tested %s (%.12s…); leave it out of ARCHES, or test it", d.Name, d.SHA256)
	for _, r := range runs {
		if r.Subject.Daemon != d.SHA256 {
			continue
		}
		if why = sameFiles(r, d.Name); why == nil {
			return nil
		}
	}
	return why
}

// sameFiles says why a run that has tested a daemon does not stand behind the files that
// this gate would publish with it.
func sameFiles(r *reports.Report, daemon string) error {
	published, tested := dist.Digests(), r.Subject.Installed
	names := slices.Sorted(maps.Keys(published))
	const remedy = "make a run of that daemon with this gate ('gate run', then 'gate sign') and name it with --run"
	if len(tested) == 0 {
		return fmt.Errorf("run %s tested %s, but does not say with which files, so no run stands behind %s; %s", r.Run, daemon, strings.Join(names, ", "), remedy)
	}
	for name := range tested {
		if _, ok := published[name]; !ok {
			names = append(names, name)
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return tested[name] == published[name] })
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return fmt.Errorf("run %s tested %s with other files than this gate would publish: %s; publish with the gate of that run, or %s", r.Run, daemon, strings.Join(names, ", "), remedy)
}
