package attest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// mergedDir writes a run that was merged from green ones of two shards.
func mergedDir(t *testing.T) string {
	t.Helper()
	cat := catalog.Catalog{}
	for _, id := range append(plan.Default().Catalog, "a") {
		cat[id] = &catalog.Entry{Manifest: &manifest.Manifest{ID: id, Version: "1"}}
	}
	dir := filepath.Join(t.TempDir(), "m")
	write := func(dir string, p *plan.Plan, results []reports.Result) {
		lines, err := reports.Encode(results)
		if err := errors.Join(err, reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p), reports.Write(dir, reports.ResultsFile, lines)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		p, err := plan.New(fmt.Sprintf("r%d", i+1), "v", plan.Request{Slice: plan.Slice{Number: i + 1, Of: 2}}, cat, []reports.Node{{Name: ".228", HostKey: fmt.Sprintf("k%d", i)}, {Name: ".198", HostKey: fmt.Sprintf("l%d", i)}})
		if err != nil {
			t.Fatal(err)
		}
		p.Subject = reports.Subject{Daemon: "d0", Manifests: map[string]string{}}
		for _, a := range p.Asked.Apps {
			p.Subject.Manifests[a] = a + "0"
		}
		p.Sessions = []plan.Session{{Started: ended.Add(-time.Hour), Finished: ended}}
		p.Shard.Host = fmt.Sprintf("runner%d", i+1)
		at := filepath.Join(dir, filepath.FromSlash(plan.ShardDir(i)))
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		results := passed(p)
		evidence(t, at, &results[0])
		write(at, p, results)
	}
	m, results, err := Merge(dir, "m", 2)
	if err != nil {
		t.Fatal(err)
	}
	m.Before = []reports.PastRun{{Run: "r0", Verdict: reports.Green}} // by the machines' ledgers
	write(dir, m, results)
	return dir
}

func TestAMergedRunIsSignedAndVerifiedLikeAnyOther(t *testing.T) {
	s := newSigner(t)
	dir := mergedDir(t)
	signRun(t, dir, s)
	r, err := Verify(t.Context(), dir, Trust{Keys: []sign.PublicKey{s.PublicKey}, Threshold: 1, MaxAge: time.Hour}, ended)
	if err != nil || r.Verdict != reports.Green || r.Smoke || len(r.Apps) != 4 {
		t.Fatalf("%+v, %v", r, err)
	}
	p := stated(t, dir)
	if len(p.Shards) != 2 || p.Shards[1].Machine != "shard-2" || p.Shards[1].Host != "runner2" || p.Shards[1].Run != "r2" || len(p.Shards[1].Plan) != 64 || len(p.Shards[1].Results) != 64 {
		t.Errorf("%+v", p.Shards)
	}
	if len(p.Nodes) != 4 || p.Nodes[2].Name != "shard-2/.228" || p.Nodes[2].HostKey != "k1" {
		t.Errorf("the attestation does not list all machines: %+v", p.Nodes)
	}
	if _, err := Sign(t.Context(), filepath.Join(dir, "shards", "1"), ended, s); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "only shard 1 of 2") {
		t.Errorf("a shard by itself: %v", err)
	}
}

// TestAMergedRunFollowsFromItsShards changes what was merged, or what it was merged from, each so
// that it is a run by itself.
func TestAMergedRunFollowsFromItsShards(t *testing.T) {
	edit := func(file, old, with string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			file := filepath.Join(dir, filepath.FromSlash(file))
			b, err := os.ReadFile(file)
			if err != nil || !bytes.Contains(b, []byte(old)) {
				t.Fatalf("no %s in %s, %v", old, file, err)
			}
			if err := os.WriteFile(file, bytes.Replace(b, []byte(old), []byte(with), 1), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	recode := func(file string, change func(*reports.Result)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			dir = filepath.Join(dir, filepath.FromSlash(file))
			results, err := reports.ReadResults(dir)
			if err != nil {
				t.Fatal(err)
			}
			change(&results[3])
			lines, err := reports.Encode(results)
			if err := errors.Join(err, os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*testing.T, string)
		why    string
	}{
		"the merged results":     {recode(".", func(r *reports.Result) { r.Seconds++ }), "do not follow from its shards"},
		"a shard's results":      {recode("shards/2", func(r *reports.Result) { r.Seconds++ }), "do not follow from its shards"},
		"the merged plan":        {edit("plan.json", `"host": "runner2"`, `"host": "runner3"`), "do not follow from its shards"},
		"the merged subject":     {edit("plan.json", `"a": "a0"`, `"a": "a1"`), "do not follow from its shards"},
		"a shard's plan":         {edit("shards/1/plan.json", `"host": "runner1"`, `"host": "runner3"`), "do not follow from its shards"},
		"what a shard tested":    {edit("shards/1/plan.json", `"daemon": "d0"`, `"daemon": "d1"`), "differs from run"},
		"a shard's evidence":     {edit("shards/1/evidence.txt", "seen", "none"), "was changed after it was collected"},
		"a shard that is gone":   {func(t *testing.T, dir string) { os.RemoveAll(filepath.Join(dir, "shards", "2")) }, "no such file"},
		"a shard's chain":        {edit("shards/1/results.jsonl", `"seconds":1`, `"seconds":2`), "damaged results"},
		"a shard's other node":   {recode("shards/1", func(r *reports.Result) { r.Node = ".229" }), "which the plan does not have"},
		"a name of a shard":      {edit("shards/1/plan.json", `"run": "r1"`, `"run": "../r1"`), "expected"},
		"fewer shards in a plan": {edit("plan.json", `"shards": [`, `"shards": [],"x": [`), "expected"},
	} {
		dir := mergedDir(t)
		c.change(t, dir)
		if _, _, err := Statement(dir); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Statement(mergedDir(t)); err != nil {
		t.Error(err)
	}
}
