package attest

import (
	"bytes"
	"errors"
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

var ended = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// release is a plan of everything that a release demands, and of a and b.
func release(t *testing.T) *plan.Plan {
	t.Helper()
	cat := catalog.Catalog{}
	for _, id := range append(plan.Default().Catalog, "a", "b") {
		cat[id] = &catalog.Entry{Manifest: &manifest.Manifest{ID: id, Version: "1"}}
	}
	p, err := plan.New("run", "v", plan.Request{}, cat, []reports.Node{{Name: ".228"}, {Name: ".198"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// passed gives a passed result for every cell of a plan.
func passed(p *plan.Plan) []reports.Result {
	var out []reports.Result
	cells := p.Cells()
	for i, c := range cells {
		out = append(out, reports.Result{Cell: c, Status: reports.Passed, Seconds: 1, At: ended.Add(time.Duration(i-len(cells)) * time.Millisecond)})
	}
	return out
}

// runDir writes a run as the gate leaves it.
func runDir(t *testing.T, change func(*plan.Plan, []reports.Result) []reports.Result) string {
	t.Helper()
	p := release(t)
	p.Subject = reports.Subject{Daemon: "d0", Manifests: map[string]string{"a": "a0", "b": "b0"}}
	p.Nodes = []reports.Node{{Name: ".228", HostKey: "k1"}, {Name: ".198", HostKey: "k2"}}
	p.Sessions = []plan.Session{{Started: ended.Add(-time.Hour), Finished: ended}}
	results := passed(p)
	if change != nil {
		results = change(p, results)
	}
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p.Judge.Policy = plan.PolicyDigest(p.Policy)
	for i := range results {
		if results[i].Status == reports.Failed && results[i].Evidence == nil {
			evidence(t, dir, &results[i])
		}
	}
	if err := reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p); err != nil {
		t.Fatal(err)
	}
	lines, err := reports.Encode(results) // not by the store, which syncs each
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// evidence keeps a file of evidence for a result.
func evidence(t *testing.T, dir string, r *reports.Result) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "evidence.txt"), []byte("seen"), 0o644); err != nil {
		t.Fatal(err)
	}
	sum, err := reports.FileDigest(filepath.Join(dir, "evidence.txt"))
	if err != nil {
		t.Fatal(err)
	}
	r.Evidence, r.Digests = []string{"evidence.txt"}, map[string]string{"evidence.txt": sum}
}

func newSigner(t *testing.T) *sign.Signer {
	t.Helper()
	s, err := sign.NewSigner("gate")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOnlyAReleaseIsSigned(t *testing.T) {
	s := newSigner(t)
	for name, c := range map[string]struct {
		change func(*plan.Plan, []reports.Result) []reports.Result
		why    string
	}{
		"one red cell": {func(_ *plan.Plan, r []reports.Result) []reports.Result {
			r[5].Status, r[5].Reason = reports.Failed, "planted"
			return r
		}, "planted"},
		"one cell that was not run": {func(_ *plan.Plan, r []reports.Result) []reports.Result { return r[:len(r)-1] }, "is not-run"},
		"fewer cycles": {func(p *plan.Plan, _ []reports.Result) []reports.Result {
			p.Asked.Cycles = 19
			return passed(p)
		}, "SMOKE (19 of 20 cycles)"},
		"a step less": {func(p *plan.Plan, _ []reports.Result) []reports.Result {
			p.Asked.Steps = p.Asked.Steps[:8]
			return passed(p)
		}, "SMOKE (without step"},
		"an app less": {func(p *plan.Plan, _ []reports.Result) []reports.Result {
			p.Asked.Apps = p.Asked.Apps[:1]
			return passed(p)
		}, "SMOKE (without app"},
		"one node": {func(p *plan.Plan, _ []reports.Result) []reports.Result {
			p.Asked.Nodes = p.Asked.Nodes[:1]
			return passed(p)
		}, "SMOKE (no second node"},
		"one machine under two names": {func(p *plan.Plan, r []reports.Result) []reports.Result {
			p.Nodes[1].HostKey = p.Nodes[0].HostKey
			return r
		}, "one machine under two names"},
		"a node that is not recorded": {func(p *plan.Plan, r []reports.Result) []reports.Result { p.Nodes = p.Nodes[:1]; return r }, "node .198 is not recorded"},
		"a node without a host key":   {func(p *plan.Plan, r []reports.Result) []reports.Result { p.Nodes[1].HostKey = ""; return r }, "node .198 is not recorded with its SSH host key"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Sign(t.Context(), runDir(t, c.change), ended, s); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestSignedRunHoldsOnlyAsItIs(t *testing.T) {
	s, other := newSigner(t), newSigner(t)
	signed := func(t *testing.T) string {
		dir := runDir(t, nil)
		e, err := Sign(t.Context(), dir, ended, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, reports.SignedFile), e, 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	verify := func(t *testing.T, dir string, at time.Time, keys ...sign.PublicKey) error {
		_, err := Verify(t.Context(), dir, Trust{Keys: keys, Threshold: 1, MaxAge: 24 * time.Hour}, at)
		return err
	}
	dir := signed(t)
	if err := verify(t, dir, ended.Add(time.Hour), s.PublicKey); err != nil {
		t.Fatalf("as it was signed: %v", err)
	}
	if err := verify(t, dir, ended.Add(time.Hour), other.PublicKey); !errors.Is(err, sign.ErrUntrusted) {
		t.Errorf("another key: %v", err)
	}
	if err := verify(t, dir, ended.Add(25*time.Hour), s.PublicKey); err == nil || !strings.Contains(err.Error(), "old") {
		t.Errorf("replayed from an older run: %v", err)
	}
	if err := verify(t, dir, ended.Add(-48*time.Hour), s.PublicKey); err == nil || !strings.Contains(err.Error(), "future") {
		t.Errorf("from the future: %v", err)
	}
	for name, c := range map[string]struct{ file, old, new string }{
		"an edited result":                 {reports.ResultsFile, `"seconds":1`, `"seconds":2`},
		"a failure made a pass afterwards": {reports.ResultsFile, `"status":"passed"`, `"status":"failed"`},
		"another daemon":                   {reports.PlanFile, `"d0"`, `"d1"`},
		"another manifest":                 {reports.PlanFile, `"a0"`, `"a1"`},
		"fewer cycles":                     {reports.PlanFile, `"cycles": 20`, `"cycles": 19`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := signed(t)
			file := filepath.Join(dir, c.file)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			edited := bytes.Replace(b, []byte(c.old), []byte(c.new), 1)
			if bytes.Equal(edited, b) {
				t.Fatalf("%s holds no %s", c.file, c.old)
			}
			if err := os.WriteFile(file, edited, 0o644); err != nil {
				t.Fatal(err)
			}
			want := "not the one that follows"
			if c.file == reports.ResultsFile {
				want = "damaged results"
			}
			if err := verify(t, dir, ended.Add(time.Hour), s.PublicKey); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("an attestation of another run", func(t *testing.T) {
		theirs := runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result { p.Run = "another"; return r })
		e, err := os.ReadFile(filepath.Join(dir, reports.SignedFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(theirs, reports.SignedFile), e, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := verify(t, theirs, ended.Add(time.Hour), s.PublicKey); !errors.Is(err, ErrAttestation) {
			t.Errorf("%v", err)
		}
	})
	t.Run("a signature over a statement that does not follow", func(t *testing.T) {
		dir := runDir(t, nil)
		_, b, err := Statement(dir)
		if err != nil {
			t.Fatal(err)
		}
		forged := bytes.Replace(b, []byte(`"d0"`), []byte(`"d1"`), 1)
		e, err := sign.Sign(t.Context(), statementType, forged, s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, reports.SignedFile), e, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := verify(t, dir, ended.Add(time.Hour), s.PublicKey); !errors.Is(err, ErrAttestation) {
			t.Errorf("%v", err)
		}
	})
}

func TestAVerifierDemandsItsOwnPolicy(t *testing.T) {
	s := newSigner(t)
	lax := func(p *plan.Plan, _ []reports.Result) []reports.Result {
		p.Policy.Cycles, p.Asked.Cycles = 2, 2
		return passed(p)
	}
	signed := func(change func(*plan.Plan, []reports.Result) []reports.Result) string {
		dir := runDir(t, change)
		e, err := Sign(t.Context(), dir, ended, s)
		if err != nil {
			t.Fatalf("it is what its own policy demands: %v", err)
		}
		if !bytes.Contains(e, []byte("payload")) {
			t.Fatalf("%s", e)
		}
		if err := os.WriteFile(filepath.Join(dir, reports.SignedFile), e, 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	trust := Trust{Keys: []sign.PublicKey{s.PublicKey}, Threshold: 1, MaxAge: 24 * time.Hour}
	dir := signed(lax)
	r, err := Verify(t.Context(), dir, trust, ended)
	if !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "under a weaker policy than is demanded here: 2 of 20 cycles") {
		t.Errorf("by the default policy: %+v, %v", r, err)
	}
	trust.Policy = plan.Default()
	trust.Policy.Cycles = 2
	if r, err = Verify(t.Context(), dir, trust, ended); err != nil || r.Policy.Cycles != 2 {
		t.Errorf("by the policy that it was planned under: %+v, %v", r, err)
	}
	if r, err = Verify(t.Context(), signed(nil), trust, ended); err != nil || r.Policy.Cycles != 20 {
		t.Errorf("a run that shows more: %+v, %v", r, err)
	}
	trust.Policy = reports.Policy{}
	some := signed(func(p *plan.Plan, _ []reports.Result) []reports.Result {
		p.Policy.Catalog = nil
		p.Policy.Apps, p.Asked.Apps, p.Release = []string{"a"}, []string{"a"}, []string{"a"}
		return passed(p)
	})
	if _, err = Verify(t.Context(), some, trust, ended); err == nil || !strings.Contains(err.Error(), "not all apps of the catalog, only a") {
		t.Errorf("a policy for some applications: %v", err)
	}
}

func TestTheStatementHoldsThePolicy(t *testing.T) {
	_, s, err := Statement(runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result {
		p.Policy.Roles = []string{"attic", "cellar"}
		return r
	}))
	if err != nil {
		t.Fatal(err)
	}
	var got statement
	if err := sign.Decode(s, maxAttestation, &got); err != nil {
		t.Fatal(err)
	}
	if p := got.Predicate.Policy; p.Cycles != 20 || len(p.Nodes) != 2 || len(p.Steps) != 9 || len(p.Apps) != 5 || p.Roles[1] != "cellar" {
		t.Errorf("%+v", p)
	}
}

func TestTheStatementSaysAnotherPolicyAndTheFilesInstalled(t *testing.T) {
	said := func(change func(*plan.Plan)) string {
		_, s, err := Statement(runDir(t, func(p *plan.Plan, _ []reports.Result) []reports.Result { change(p); return passed(p) }))
		if err != nil {
			t.Fatal(err)
		}
		return string(s)
	}
	weak := said(func(p *plan.Plan) {
		p.Policy.Cycles, p.Asked.Cycles = 1, 1
		p.Subject.Installed = map[string]string{"install.sh": "f0"}
	})
	for _, want := range []string{`"smoke": false`, "\"anotherPolicy\": [\n      \"1 of 20 cycles\"\n", `"name": "file/install.sh"`} {
		if !strings.Contains(weak, want) {
			t.Errorf("no %s in %s", want, weak)
		}
	}
	// What was signed before either was recorded must still follow, byte for byte.
	if old := said(func(*plan.Plan) {}); strings.Contains(old, "anotherPolicy") || strings.Contains(old, "file/") {
		t.Error(old)
	}
}

func TestAWaiverExcusesWhatItNamesUntilItEnds(t *testing.T) {
	gateKey, person, other := newSigner(t), newSigner(t), newSigner(t)
	red := func(t *testing.T) string {
		return runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result {
			for i := range r {
				if r[i].App == "a" && r[i].Step == "ui-reachable" && r[i].Cycle == 3 {
					r[i].Status, r[i].Reason = reports.Failed, "planted"
				}
			}
			return r
		})
	}
	w := reports.Waived{App: "a", Waiver: catalog.Waiver{Steps: []string{"ui-reachable"}, Reason: "cosmetic", Tracker: "https://tracker.example/1", Until: ended.Add(48 * time.Hour)}}
	trust := Trust{Keys: []sign.PublicKey{gateKey.PublicKey}, Threshold: 1, Waivers: []sign.PublicKey{person.PublicKey}, WaiverThreshold: 1, MaxAge: 30 * 24 * time.Hour}
	dir := red(t)
	if _, err := Sign(t.Context(), dir, ended, gateKey); err == nil || !strings.Contains(err.Error(), "a on .228, cycle 3, ui-reachable is failed: planted") {
		t.Errorf("the cell that stands in the way is not named: %v", err)
	}
	if _, err := Verify(t.Context(), dir, trust, ended); err == nil || !strings.Contains(err.Error(), "cycle 3, ui-reachable is failed") {
		t.Errorf("not of an unsigned run either: %v", err)
	}
	if _, err := Waive(t.Context(), dir, w, "", ended, person); err != nil {
		t.Fatal(err)
	}
	e, err := Sign(t.Context(), dir, ended, gateKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, reports.SignedFile), e, 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(t.Context(), dir, trust, ended.Add(time.Hour))
	if err != nil || r.Verdict != reports.Red || len(r.Waivers) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	_, s, err := Statement(dir)
	if err != nil || !bytes.Contains(s, []byte(`"result": "WARNED"`)) || !bytes.Contains(s, []byte(`"warnedTests": [`)) {
		t.Errorf("%s, %v", s, err)
	}
	if _, err := Verify(t.Context(), dir, trust, ended.Add(49*time.Hour)); err == nil || !strings.Contains(err.Error(), "ended on 2026-01-04") {
		t.Errorf("an expired waiver does not block: %v", err)
	}
	nobody, another := trust, trust
	nobody.Waivers = nil
	another.Waivers = []sign.PublicKey{other.PublicKey}
	for name, trust := range map[string]Trust{"nobody may excuse": nobody, "somebody else may": another} {
		if _, err := Verify(t.Context(), dir, trust, ended.Add(time.Hour)); !errors.Is(err, ErrAttestation) {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(dir, reports.WaiversDir, "a.dsse.json")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), dir, trust, ended.Add(time.Hour)); err == nil {
		t.Error("without its waiver the run still holds")
	}
	for name, bad := range map[string]reports.Waived{
		"another step":    {App: "a", Waiver: catalog.Waiver{Steps: []string{"restart"}, Reason: "r", Tracker: "https://t.example", Until: w.Until}},
		"another app":     {App: "b", Waiver: catalog.Waiver{Steps: w.Steps, Reason: "r", Tracker: "https://t.example", Until: w.Until}},
		"ended":           {App: "a", Waiver: catalog.Waiver{Steps: w.Steps, Reason: "r", Tracker: "https://t.example", Until: ended}},
		"no reason":       {App: "a", Waiver: catalog.Waiver{Steps: w.Steps, Reason: " ", Tracker: "https://t.example", Until: w.Until}},
		"no tracker":      {App: "a", Waiver: catalog.Waiver{Steps: w.Steps, Reason: "r", Tracker: "soon", Until: w.Until}},
		"no end":          {App: "a", Waiver: catalog.Waiver{Steps: w.Steps, Reason: "r", Tracker: "https://t.example"}},
		"an unknown step": {App: "a", Waiver: catalog.Waiver{Steps: []string{"fly"}, Reason: "r", Tracker: "https://t.example", Until: w.Until}},
		"an unknown app":  {App: "c", Waiver: catalog.Waiver{Steps: w.Steps, Reason: "r", Tracker: "https://t.example", Until: w.Until}},
	} {
		dir := red(t)
		_, err := Waive(t.Context(), dir, bad, "", ended, person)
		if err == nil {
			_, err = Sign(t.Context(), dir, ended, gateKey)
		}
		if !errors.Is(err, ErrAttestation) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
