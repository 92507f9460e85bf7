package archipelago

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/verdict"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

var update = flag.Bool("update", false, "bring the last full run, and the catalog, into TESTING.md")

const (
	runsDir      = "out/gate"
	releaseDir   = "reports/release" // what is kept of the last full run
	coverageFile = releaseDir + "/coverage.json"
	coverageMark = "<!-- coverage: written by make docs from the last full run -->\n"
	coverageEnd  = "<!-- end of coverage -->\n"
)

func levelOf(step string) string {
	s, _ := matrix.FindStep(step)
	return s.Level
}

// recorded gives what is kept of the last full run, in a directory that has files as this one.
func recorded(dir string) (*reports.Coverage, error) {
	c := &reports.Coverage{}
	b, err := os.ReadFile(filepath.Join(dir, coverageFile))
	if errors.Is(err, fs.ErrNotExist) {
		// The boxes are there, and nothing has ticked them.
		c.Checklist = verdict.Judge(&plan.Plan{Policy: plan.Default()}, nil).Checklist
		for i := range c.Checklist {
			c.Checklist[i].Why = ""
		}
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(b, c)
	}
	return c, err
}

// keptOfRun are the files of a run that the repository keeps beside its coverage, as they are: what
// it says of itself, and its attestation, once it is signed.
var keptOfRun = []string{reports.SummaryFile, reports.SignedFile}

// newest gives what the newest full run among those in a directory shows, judged again from all
// that it keeps, and where it is; nil if there is none.
func newest(runs string) (shown *reports.Coverage, dir string, err error) {
	dirs, err := filepath.Glob(filepath.Join(runs, "*", reports.PlanFile))
	if err != nil {
		return nil, "", err
	}
	var last *reports.Report
	for _, file := range dirs {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, "", err
		}
		p, err := plan.Parse(b)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", file, err)
		}
		results, err := reports.ReadResults(filepath.Dir(file))
		if err == nil {
			err = p.Check(results)
		}
		if err != nil {
			return nil, "", err
		}
		if r := verdict.Judge(p, results); r.Full() && (last == nil || r.Started.After(last.Started)) {
			last, dir = r, filepath.Dir(file)
		}
	}
	if last == nil {
		return nil, "", nil
	}
	if last, _, err = attest.Statement(dir); err != nil {
		return nil, "", fmt.Errorf("%s: %w", dir, err)
	}
	manifests, err := published(dir, last)
	if err != nil {
		return nil, "", err
	}
	c := last.Covers(levelOf, manifests)
	c.Releases = c.Releases && verdict.Releasable(last, last.Finished) == nil
	return c, dir, nil
}

// published gives how the manifests were that a run had on its nodes, each machine of a merged one
// those that it tested.
func published(run string, r *reports.Report) (map[string]string, error) {
	dirs := map[string]string{}
	for i, s := range r.Shards {
		for _, app := range s.Apps {
			dirs[app] = filepath.FromSlash(plan.ShardDir(i))
		}
	}
	out := map[string]string{}
	for app, digest := range r.Subject.Manifests {
		file := filepath.Join(run, dirs[app], reports.ManifestsDir, app+".json")
		b, err := os.ReadFile(file)
		if err == nil && reports.Digest(b) != digest {
			err = fmt.Errorf("%s is not the manifest that the run tested", file)
		}
		if err == nil {
			out[app], err = written(b)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// written is the SHA-256 of a manifest without where its images are, which publishing fills in.
func written(canonical []byte) (string, error) {
	var m map[string]any
	if err := json.Unmarshal(canonical, &m); err != nil {
		return "", err
	}
	containers, _ := m["containers"].([]any)
	for _, c := range containers {
		if c, ok := c.(map[string]any); ok {
			delete(c, "image")
		}
	}
	b, err := json.Marshal(m)
	return reports.Digest(b), err
}

// offered are the applications of this repository, in the order of their directories.
func offered(dir string) (out []reports.Offered, err error) {
	for _, from := range []string{"catalog/apps", "catalog/field", "catalog/upstream"} {
		cat, err := catalog.Load(filepath.Join(dir, from))
		if err != nil {
			return nil, err
		}
		for _, id := range cat.IDs() {
			sum, err := written(cat[id].Canonical())
			if err != nil {
				return nil, err
			}
			out = append(out, reports.Offered{ID: id, Version: cat[id].Version, Dir: from, Written: sum})
		}
	}
	return out, nil
}

// covered gives TESTING.md with the coverage that is kept in its place.
func covered(dir string, offered []reports.Offered) (have, want string, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "TESTING.md"))
	if err != nil {
		return "", "", err
	}
	before, rest, begins := strings.Cut(string(b), coverageMark)
	_, after, ends := strings.Cut(rest, coverageEnd)
	if !begins || !ends {
		return "", "", errors.New("TESTING.md: expected one line " + coverageMark + " and after it one line " + coverageEnd)
	}
	c, err := recorded(dir)
	return string(b), before + coverageMark + c.Markdown(offered) + coverageEnd + after, err
}

// TestTestingSaysWhatTheLastFullRunCovered wants TESTING.md to say what is kept of the last full
// run, about the applications that there are now. With -update, as 'make docs' has it, a newer
// full run in out/gate takes that one's place, and TESTING.md is written.
func TestTestingSaysWhatTheLastFullRunCovered(t *testing.T) {
	now, err := offered(".")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := refresh(".", runsDir, now); err != nil {
			t.Fatal(err)
		}
	}
	have, want, err := covered(".", now)
	if err != nil || have != want {
		t.Errorf("the coverage in TESTING.md is not that of %s and the catalog; 'make docs' writes it (%v)", coverageFile, err)
	}
}

// refresh keeps the newest full run, unless what is kept is newer, and writes TESTING.md.
func refresh(dir, runs string, now []reports.Offered) error {
	kept, err := recorded(dir)
	if err != nil {
		return err
	}
	fresh, run, err := newest(runs)
	if err != nil {
		return err
	}
	if fresh != nil && !fresh.Started.Before(kept.Started) {
		if err := keep(filepath.Join(dir, releaseDir), run); err != nil {
			return err
		}
		if err := reports.WriteJSON(filepath.Join(dir, coverageFile), fresh); err != nil {
			return err
		}
	}
	have, want, err := covered(dir, now)
	if err != nil || have == want {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "TESTING.md"), []byte(want), 0o644)
}

// keep copies what is kept of a run as it is. What that run lacks is not left from another one.
func keep(dir, run string) error {
	for _, name := range keptOfRun {
		b, err := os.ReadFile(filepath.Join(run, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		case err == nil:
			err = reports.Write(dir, name, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestTheLastFullRunIsWhatIsWritten has runs that are none: a smoke, an older one, one cut short.
func TestTheLastFullRunIsWhatIsWritten(t *testing.T) {
	dir, runs := t.TempDir(), t.TempDir()
	apps := plan.Default().Catalog
	manifest := []byte(`{"containers":[{"image":{"ref":"r/x"},"name":"x"}],"id":"x"}`)
	same, err := written([]byte(`{"id":"x","containers":[{"name":"x","image":{"build":"image"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	now := []reports.Offered{{ID: apps[0], Version: "1", Dir: "catalog/apps", Written: same}, {ID: "b", Version: "1", Dir: "catalog/field"}}
	put(t, dir+"/TESTING.md", "Before.\n"+coverageMark+"| old |\n"+coverageEnd+"After.\n")
	run := func(name string, day, cycles int, edit func([]reports.Result) []reports.Result) {
		t.Helper()
		policy := plan.Default()
		p := &plan.Plan{Run: name, Policy: policy, Release: apps, Versions: map[string]string{}, Subject: reports.Subject{Daemon: "d0", Manifests: map[string]string{}},
			Asked: reports.Policy{Cycles: cycles, Nodes: policy.Nodes, Steps: matrix.StepNames(), Apps: apps}, Sessions: []plan.Session{{Started: time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)}}}
		for i, node := range policy.Nodes {
			p.Nodes = append(p.Nodes, reports.Node{Name: node, Kind: reports.Lab, HostKey: "ssh-ed25519 " + string(rune('A'+i))})
		}
		for _, app := range apps {
			p.Versions[app], p.Subject.Manifests[app] = "1", reports.Digest(manifest)
			if err := reports.Write(filepath.Join(runs, name), filepath.Join(reports.ManifestsDir, app+".json"), manifest); err != nil {
				t.Fatal(err)
			}
		}
		var results []reports.Result
		for _, c := range p.Cells() {
			results = append(results, reports.Result{Cell: c, Status: reports.Passed})
		}
		lines, err := reports.Encode(edit(results))
		if err := errors.Join(err, reports.WriteJSON(filepath.Join(runs, name, reports.PlanFile), p), reports.Write(filepath.Join(runs, name), reports.ResultsFile, lines),
			reports.Write(filepath.Join(runs, name), reports.SummaryFile, []byte("of "+name)), reports.Write(filepath.Join(runs, name), reports.SignedFile, []byte("signed"))); err != nil {
			t.Fatal(err)
		}
	}
	whole := func(r []reports.Result) []reports.Result { return r }
	says := func(want string) {
		t.Helper()
		if err := refresh(dir, runs, now); err != nil {
			t.Fatal(err)
		}
		got := get(t, dir+"/TESTING.md")
		if !strings.Contains(got, want) || !strings.HasPrefix(got, "Before.\n"+coverageMark) || !strings.HasSuffix(got, coverageEnd+"After.\n") || strings.Contains(got, "old") {
			t.Errorf("lacks %q:\n%s", want, got)
		}
		if have, want, err := covered(dir, now); err != nil || have != want {
			t.Errorf("what was just written is stale: %v", err)
		}
	}
	says("No full run has been recorded.")
	if n := strings.Count(get(t, dir+"/TESTING.md"), "- [ ]"); n != 8 {
		t.Errorf("%d boxes of 8", n)
	}
	run("smoke", 9, 1, whole)
	run("cut", 9, 20, func(r []reports.Result) []reports.Result { return r[1:] })
	says("No full run has been recorded.")
	run("red-and-cut", 9, 20, func(r []reports.Result) []reports.Result {
		r[2].Status, r[2].Reason = reports.Failed, "planted"
		return r[:9]
	})
	says("No full run has been recorded.")
	run("red", 2, 20, func(r []reports.Result) []reports.Result {
		r[2].Status, r[2].Reason = reports.Failed, "planted"
		return r
	})
	says("| " + apps[0] + " | 1 | `catalog/apps` | ✓ | ✗ 239 of 240 | ✓ 40 | ✓ 80 | ✓ | – | – |\n| b | 1 | `catalog/field` | ✓ | – | – | – | ✓ | – | – |\n")
	run("older", 1, 20, whole)
	says("Run red of 2026-01-02, red")
	if get(t, filepath.Join(dir, releaseDir, reports.SummaryFile)) != "of red" || get(t, filepath.Join(dir, releaseDir, reports.SignedFile)) != "signed" {
		t.Error("the summary and the attestation of the run are not kept")
	}
	run("newer", 3, 20, whole)
	if err := os.Remove(filepath.Join(runs, "newer", reports.SignedFile)); err != nil {
		t.Fatal(err)
	}
	says("Run newer of 2026-01-03, green")
	if _, err := os.Stat(filepath.Join(dir, releaseDir, reports.SignedFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an attestation of another run is kept: %v", err)
	}
	says("| " + apps[0] + " | 1 | `catalog/apps` | ✓ | ✓ 240 | ✓ 40 | ✓ 80 | ✓ | ✓ | ✓ |\n")
	for name, spoil := range map[string]func(dir string) error{
		"results with evidence that is gone": func(dir string) error {
			results, err := reports.ReadResults(dir)
			if err != nil {
				return err
			}
			results[0].Evidence, results[0].Digests = []string{"e.txt"}, map[string]string{"e.txt": "00"}
			lines, err := reports.Encode(results)
			return errors.Join(err, reports.Write(dir, reports.ResultsFile, lines))
		},
		"another manifest": func(dir string) error {
			return reports.Write(dir, filepath.Join(reports.ManifestsDir, apps[0]+".json"), []byte("{}"))
		},
		"no manifest": func(dir string) error { return os.RemoveAll(filepath.Join(dir, reports.ManifestsDir)) },
	} {
		run("spoilt", 4, 20, whole)
		if err := spoil(filepath.Join(runs, "spoilt")); err != nil {
			t.Fatal(err)
		}
		if err := refresh(dir, runs, now); err == nil {
			t.Errorf("%s: it is covered", name)
		}
		if err := os.RemoveAll(filepath.Join(runs, "spoilt")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(runs, "newer")); err != nil { // what is kept stays
		t.Fatal(err)
	}
	says("Run newer of 2026-01-03, green")

	now[0].Written = "another"
	if have, want, err := covered(dir, now); err != nil || have == want || strings.Contains(want, "240") {
		t.Errorf("another manifest of an application leaves it up to date: %v", err)
	}
	now[0].Version, now[0].Written = "2", same
	if have, want, err := covered(dir, now); err != nil || have == want {
		t.Errorf("a new version of an application leaves it up to date: %v", err)
	}
	put(t, dir+"/TESTING.md", "no marks\n")
	if err := refresh(dir, runs, now); err == nil {
		t.Error("it was written where the marks are not")
	}
}
