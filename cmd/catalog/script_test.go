package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/mirror"
	"github.com/archipelago-cloud/archipelago/catalog/publish"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/cmd/internal/script"
	"github.com/archipelago-cloud/archipelago/gate/attest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"catalog": main})
}

func TestScripts(t *testing.T) {
	apps, err := filepath.Abs("../../catalog/apps")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("ESC", "\x1b")
		return prepare(e, apps)
	}, Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": script.Status, "replace": replace, "presign": presign}})
}

// replace is the testscript command "replace FILE OLD NEW".
func replace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	before := ts.ReadFile(args[0])
	after := strings.ReplaceAll(before, args[1], args[2])
	if after == before {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(after), 0o644))
}

// presign is the testscript command "presign FILE KEY IDENTITY": it signs a catalog as it
// is, as was done before entries needed a proof.
func presign(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: presign FILE KEY IDENTITY")
	}
	ids, err := age.ParseIdentities(strings.NewReader(ts.ReadFile(args[2])))
	ts.Check(err)
	key, err := sign.OpenSigner([]byte(ts.ReadFile(args[1])), ids...)
	ts.Check(err)
	envelope, err := sign.Sign(context.Background(), document.PayloadType, []byte(ts.ReadFile(args[0])), key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), envelope, 0o644))
}

// localImages gives a catalog of an application whose images are in the gate's own registry.
func localImages(of *manifest.Manifest) ([]byte, error) {
	m := *of
	m.Containers = append([]manifest.Container(nil), m.Containers...)
	for i := range m.Containers {
		m.Containers[i].Image.Ref = publish.Registry + "/" + m.Containers[i].Name
	}
	entry, err := document.NewEntry(&m, "archipelago", "")
	if err != nil {
		return nil, err
	}
	d := document.Next(nil, "feature", time.Now(), 24*time.Hour)
	if err := d.Put(entry); err != nil {
		return nil, err
	}
	return d.Encode()
}

// prepare makes what a script needs but cannot make without an engine and two nodes: a
// catalog as 'catalog build --registry' leaves it (feature.json), and as it does without
// (local.json, of miniflux), their pictures in built/pictures, and runs of the gate over it: green/
// and weak/, of one cycle, signed by gate.key; stranger/, by another; red/, which cannot be
// signed; and waived/, whose failures of radicale a waiver by one.key excuses.
// $RECIPIENT and id.txt are an age identity.
func prepare(e *testscript.Env, apps string) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	e.Setenv("RECIPIENT", id.Recipient().String())
	gateKey, err := sign.NewSigner("gate")
	if err != nil {
		return err
	}
	sealed, err := gateKey.Seal(id.Recipient())
	if err != nil {
		return err
	}
	oneKey, err := sign.NewSigner("one")
	if err != nil {
		return err
	}
	oneSealed, err := oneKey.Seal(id.Recipient())
	if err != nil {
		return err
	}
	cat, err := catalog.Load(apps)
	if err != nil {
		return err
	}
	pictures, err := cat.Pictures()
	if err == nil {
		err = mirror.WritePictures(filepath.Join(e.WorkDir, "built"), pictures)
	}
	if err != nil {
		return err
	}
	pinned := catalog.Catalog{}
	d := document.Next(nil, "feature", time.Now(), 24*time.Hour)
	for _, app := range cat.IDs() {
		m := *cat[app].Manifest
		m.Containers = append([]manifest.Container(nil), m.Containers...)
		for i := range m.Containers {
			m.Containers[i].Image = manifest.Image{Ref: "registry.example/" + m.Containers[i].Name, Digest: "sha256:" + strings.Repeat("0", 64)}
		}
		pinned[app] = &catalog.Entry{Manifest: &m}
		entry, err := document.NewEntry(&m, "archipelago", "Faster.")
		if err != nil {
			return err
		}
		if err := d.Put(entry); err != nil {
			return err
		}
	}
	local, err := localImages(pinned["miniflux"].Manifest)
	if err != nil {
		return err
	}
	body, err := d.Encode()
	if err != nil {
		return err
	}
	release, err := description.Sign(e.T().(testing.TB).Context(), description.Description{Version: "1.0.0", Created: d.Created, Commit: "ab", Files: map[string]string{"install.sh": strings.Repeat("0", 64)}}, gateKey)
	if err != nil {
		return err
	}
	for name, b := range map[string][]byte{"release.dsse.json": release, "id.txt": []byte(id.String() + "\n"), "gate.key": sealed, "one.key": oneSealed, "one.key.pub": []byte(oneKey.String() + "\n"), "gate.key.pub": []byte(gateKey.String() + "\n"), "feature.json": body, "local.json": local} {
		if err := os.WriteFile(filepath.Join(e.WorkDir, name), b, 0o600); err != nil {
			return err
		}
	}
	for _, run := range []string{"green", "weak", "red", "stranger", "waived"} {
		dir := filepath.Join(e.WorkDir, run)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		policy := plan.Default()
		if run == "weak" {
			policy.Cycles = 1
		}
		p, err := plan.New(run, "test", plan.Request{Policy: policy}, pinned, []reports.Node{{Name: ".228", HostKey: "a"}, {Name: ".198", HostKey: "b"}})
		if err != nil {
			return err
		}
		p.Identify(strings.Repeat("d", 64), pinned)
		now := time.Now().UTC()
		p.Sessions = []plan.Session{{Started: now.Add(-time.Hour), Finished: now}}
		if err := reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p); err != nil {
			return err
		}
		seen := filepath.Join(dir, "evidence.txt")
		if err := os.WriteFile(seen, []byte("seen"), 0o644); err != nil {
			return err
		}
		sum, err := reports.FileDigest(seen)
		if err != nil {
			return err
		}
		var results []reports.Result
		for _, c := range p.Cells() {
			r := reports.Result{Cell: c, Status: reports.Passed, Seconds: 1, At: now}
			if (run == "red" || run == "waived") && c == (reports.Cell{App: "radicale", Node: ".198", Cycle: 7, Step: "restart"}) {
				r.Status, r.Reason, r.Evidence, r.Digests = reports.Failed, "planted", []string{"evidence.txt"}, map[string]string{"evidence.txt": sum}
			}
			results = append(results, r)
		}
		lines, err := reports.Encode(results)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, reports.ResultsFile), lines, 0o644); err != nil {
			return err
		}
		by := gateKey
		switch run {
		case "stranger":
			if by, err = sign.NewSigner(run); err != nil {
				return err
			}
		case "waived":
			w := reports.Waived{App: "radicale", Waiver: catalog.Waiver{Steps: []string{"restart"}, Reason: "planted", Tracker: "https://tracker.example/1", Until: now.AddDate(0, 1, 0)}}
			if _, err := attest.Waive(e.T().(testing.TB).Context(), dir, w, "", now, oneKey); err != nil {
				return err
			}
		}
		envelope, err := attest.Sign(e.T().(testing.TB).Context(), dir, now, by)
		if run == "red" {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, reports.SignedFile), envelope, 0o644); err != nil {
			return err
		}
	}
	return mergedRun(e, pinned, gateKey)
}

// mergedRun writes a run that was merged from those of two shards.
func mergedRun(e *testscript.Env, pinned catalog.Catalog, by *sign.Signer) error {
	dir, now := filepath.Join(e.WorkDir, "merged"), time.Now().UTC()
	write := func(dir string, p *plan.Plan, results []reports.Result) error {
		lines, err := reports.Encode(results)
		return errors.Join(err, reports.WriteJSON(filepath.Join(dir, reports.PlanFile), p), reports.Write(dir, reports.ResultsFile, lines))
	}
	for i := range 2 {
		p, err := plan.New(fmt.Sprint("shard", i), "test", plan.Request{Slice: plan.Slice{Number: i + 1, Of: 2}}, pinned, []reports.Node{{Name: ".228", HostKey: "a"}, {Name: ".198", HostKey: "b"}})
		if err != nil {
			return err
		}
		p.Identify(strings.Repeat("d", 64), pinned)
		p.Judge.Policy = plan.PolicyDigest(p.Policy)
		p.Sessions = []plan.Session{{Started: now.Add(-time.Hour), Finished: now}}
		var results []reports.Result
		for _, c := range p.Cells() {
			results = append(results, reports.Result{Cell: c, Status: reports.Passed, Seconds: 1, At: now})
		}
		at := filepath.Join(dir, filepath.FromSlash(plan.ShardDir(i)))
		if err := errors.Join(os.MkdirAll(at, 0o755), write(at, p, results)); err != nil {
			return err
		}
	}
	m, results, err := attest.Merge(dir, "merged", 2)
	if err != nil {
		return err
	}
	if err := write(dir, m, results); err != nil {
		return err
	}
	envelope, err := attest.Sign(e.T().(testing.TB).Context(), dir, now, by)
	return errors.Join(err, os.WriteFile(filepath.Join(dir, reports.SignedFile), envelope, 0o644))
}

func TestCallsInDocumentsAreTaken(t *testing.T) { script.Documented(t, "../..", command) }
