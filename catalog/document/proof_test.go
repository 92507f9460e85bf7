package document_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/proof"
	"github.com/archipelago-cloud/archipelago/catalog/prooftest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

var monday = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// published is a catalog of channel beta with one proven entry, the keys of its publisher
// and of two gates, and the root that names them.
type published struct {
	t         *testing.T
	publisher *sign.Signer
	gates     []*sign.Signer
	policy    *root.Policy
	doc       *document.Document
}

func publish(t *testing.T) *published {
	t.Helper()
	p := &published{t: t, policy: &root.Policy{Version: 1}}
	for range 3 {
		s, err := sign.NewSigner("key")
		if err != nil {
			t.Fatal(err)
		}
		p.gates = append(p.gates, s)
	}
	p.publisher, p.gates = p.gates[2], p.gates[:2]
	p.policy.Catalog = root.Role{Keys: []sign.PublicKey{p.publisher.PublicKey}, Threshold: 1}
	p.policy.Gate = root.Role{Keys: []sign.PublicKey{p.gates[0].PublicKey, p.gates[1].PublicKey}, Threshold: 2}
	p.doc = document.Next(nil, "beta", monday, 14*24*time.Hour)
	e, err := document.NewEntry(feeds("2.1.0", "100:100"), "example", "")
	if err != nil {
		t.Fatal(err)
	}
	p.doc.Entries = []document.Entry{e}
	return p
}

// offered is why a node that has received the document does not offer feeds; nil if it does.
func (p *published) offered() error {
	p.t.Helper()
	envelope, err := document.Sign(p.t.Context(), p.doc, p.publisher)
	if err != nil {
		p.t.Fatal(err)
	}
	d, err := document.Verify(p.t.Context(), envelope, p.policy, document.Expectation{Channel: "beta", Now: monday})
	if err != nil {
		p.t.Fatal(err)
	}
	merged, refused := d.Merge(nil, nil, monday)
	if (merged["feeds"] == nil) == (refused["feeds"] == nil) {
		p.t.Fatal(merged, refused)
	}
	if said := d.Proven(p.t.Context(), p.policy); (said == nil) != (refused["feeds"] == nil) {
		p.t.Errorf("publisher %v, node %v", said, refused["feeds"])
	}
	if e := merged["feeds"]; e != nil && e.Proof != d.Entry("feeds").Proof.String() {
		p.t.Errorf("the node says of its proof: %q", e.Proof)
	}
	return refused["feeds"]
}

// TestNothingIsOfferedWithoutValidProof: the publisher's keys have signed all of these.
func TestNothingIsOfferedWithoutValidProof(t *testing.T) {
	waiver := &catalog.Waiver{Steps: []string{"stop"}, Reason: "it is slow", Tracker: "https://tracker.example/1", Given: monday, Until: monday.AddDate(0, 1, 0)}
	run := func(change func(*proof.Statement), by ...int) func(*published) {
		return func(p *published) {
			s := prooftest.Statement(p.doc)
			if change != nil {
				change(s)
			}
			var gates []*sign.Signer
			for _, i := range by {
				gates = append(gates, p.gates[i])
			}
			envelope, err := prooftest.Sign(s, gates...)
			if err != nil {
				t.Fatal(err)
			}
			was := p.doc.Entries[0].Proof.Attestation
			e, err := prooftest.Evidence(s, gates...)
			digest := was
			if err == nil {
				digest = e.Digest
			}
			p.doc.Entries[0].Proof.Attestation = digest
			p.doc.Attestations = map[string]string{digest: string(envelope)}
		}
	}
	entry := func(change func(*document.Entry)) func(*published) {
		return func(p *published) { change(&p.doc.Entries[0]) }
	}
	counts := func(change func(*proof.Proof)) func(*published) {
		return entry(func(e *document.Entry) { change(e.Proof) })
	}
	for name, c := range map[string]struct {
		change func(*published)
		want   string // empty: it is offered
	}{
		"as the gates signed it":        {func(*published) {}, ""},
		"none":                          {entry(func(e *document.Entry) { e.Proof = nil }), "carries no proof"},
		"no attestation":                {func(p *published) { p.doc.Attestations = nil }, "does not hold its attestation"},
		"a schema from before proofs":   {func(p *published) { p.doc.Schema, p.doc.Entries[0].Proof, p.doc.Attestations = 1, nil, nil }, "carries no proof"},
		"one gate of two":               {run(nil, 0), "not by the gates of root 1"},
		"one gate twice":                {run(nil, 0, 0), "not by the gates of root 1"},
		"the publisher's key":           {func(p *published) { p.gates = []*sign.Signer{p.publisher, p.publisher}; run(nil, 0)(p) }, "not by the gates"},
		"a root that names no gate":     {func(p *published) { p.policy.Gate = root.Role{} }, "names no gate"},
		"a gate that is removed":        {func(p *published) { p.policy.Gate.Keys = p.policy.Gate.Keys[:1] }, "not by the gates"},
		"more cells":                    {counts(func(p *proof.Proof) { p.Cells++ }), "not what the attestation of run test says"},
		"more cycles":                   {counts(func(p *proof.Proof) { p.Cycles++ }), "not what the attestation"},
		"more nodes":                    {counts(func(p *proof.Proof) { p.Nodes++ }), "not what the attestation"},
		"another daemon":                {counts(func(p *proof.Proof) { p.Daemon = strings.Repeat("e", 64) }), "not what the attestation"},
		"another end":                   {counts(func(p *proof.Proof) { p.Finished = p.Finished.Add(time.Second) }), "not what the attestation"},
		"another run":                   {counts(func(p *proof.Proof) { p.Run = "other" }), "not what the attestation"},
		"promoted too late":             {counts(func(p *proof.Proof) { p.Promoted = p.Promoted.AddDate(0, 0, 15) }), "at most 336h0m0s is allowed"},
		"promoted before the run":       {counts(func(p *proof.Proof) { p.Promoted = p.Promoted.AddDate(0, 0, -1) }), "after feeds was promoted"},
		"promoted after the catalog":    {counts(func(p *proof.Proof) { p.Promoted = p.Promoted.AddDate(0, 0, 1) }), "after the catalog was made"},
		"a waiver of no gate":           {entry(func(e *document.Entry) { e.Waiver = waiver }), "knows no such waiver"},
		"no count":                      {run(func(s *proof.Statement) { s.Predicate.Cells = nil }, 0, 1), "does not say how much"},
		"a red run":                     {run(func(s *proof.Statement) { s.Predicate.Result = "FAILED" }, 0, 1), "FAILED"},
		"a smoke":                       {run(func(s *proof.Statement) { s.Predicate.Smoke = true }, 0, 1), "SMOKE"},
		"red at the application":        {run(func(s *proof.Statement) { s.Predicate.PassedTests, s.Predicate.FailedTests = nil, []string{"feeds"} }, 0, 1), "is not green at feeds"},
		"green and red":                 {run(func(s *proof.Statement) { s.Predicate.FailedTests = []string{"feeds"} }, 0, 1), "is not green at feeds"},
		"excused, without a waiver":     {run(func(s *proof.Statement) { s.Predicate.PassedTests, s.Predicate.WarnedTests = nil, []string{"feeds"} }, 0, 1), "carries no waiver"},
		"another manifest":              {run(func(s *proof.Statement) { s.Subject[1].Digest["sha256"] = "x" }, 0, 1), "tested another manifest of feeds"},
		"another image":                 {run(func(s *proof.Statement) { s.Subject[2].Digest["sha256"] = "x" }, 0, 1), "tested another image of feeds"},
		"another application":           {run(func(s *proof.Statement) { s.Subject[1].Name = "manifest/other" }, 0, 1), "did not test feeds"},
		"a subject twice":               {run(func(s *proof.Statement) { s.Subject = append(s.Subject, s.Subject[1]) }, 0, 1), "names manifest/feeds twice"},
		"a statement of something else": {run(func(s *proof.Statement) { s.PredicateType = "https://slsa.dev/provenance/v1" }, 0, 1), "not of a test result"},
		"another statement of the gates": {func(p *published) {
			d := p.doc.Entries[0].Proof.Attestation
			run(func(s *proof.Statement) { s.Predicate.Run = "other" }, 0, 1)(p)
			moved(p, d)
		}, "has another digest"},
	} {
		t.Run(name, func(t *testing.T) {
			p := publish(t)
			if err := prooftest.Prove(p.doc, p.gates...); err != nil {
				t.Fatal(err)
			}
			c.change(p)
			err := p.offered()
			if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, proof.ErrUnproven) || !errors.Is(err, document.ErrRefused) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, expected one that names %q", err, c.want)
			}
		})
	}
}

// moved files the only attestation under another digest.
func moved(p *published, digest string) {
	for _, envelope := range p.doc.Attestations {
		p.doc.Attestations = map[string]string{digest: envelope}
	}
	p.doc.Entries[0].Proof.Attestation = digest
}

// TestEveryAlteredByteOfAnAttestationIsFound, although the publisher signs what is altered.
func TestEveryAlteredByteOfAnAttestationIsFound(t *testing.T) {
	p := publish(t)
	p.policy.Gate.Threshold = 1
	if err := prooftest.Prove(p.doc, p.gates[0]); err != nil {
		t.Fatal(err)
	}
	digest := p.doc.Entries[0].Proof.Attestation
	good := []byte(p.doc.Attestations[digest])
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		p.doc.Attestations[digest] = string(bad)
		switch err := p.doc.Proven(context.Background(), p.policy); {
		case err == nil && !keyID(good, i):
			t.Fatalf("byte %d: %q became %q", i, good[i], bad[i])
		case err != nil && !errors.Is(err, proof.ErrUnproven):
			t.Fatal(err)
		}
	}
}

// keyID tells whether a byte is in the value of "keyid", which DSSE leaves unsigned: it is
// a hint, and keys are tried whatever it says.
func keyID(envelope []byte, i int) bool {
	at := bytes.Index(envelope, []byte(`"keyid":"`)) + len(`"keyid":"`)
	return i >= at && i < at+64
}

// TestAWaiverIsPartOfTheProof: what is excused is offered with exactly the waiver that the
// gate has seen.
func TestAWaiverIsPartOfTheProof(t *testing.T) {
	p := publish(t)
	p.doc.Entries[0].Waiver = &catalog.Waiver{Steps: []string{"stop"}, Reason: "it is slow", Tracker: "https://tracker.example/1", Given: monday, Until: monday.AddDate(0, 1, 0)}
	if err := prooftest.Prove(p.doc, p.gates...); err != nil {
		t.Fatal(err)
	}
	if err := p.offered(); err != nil {
		t.Error(err)
	}
	longer := *p.doc.Entries[0].Waiver
	longer.Until = longer.Until.AddDate(0, 1, 0)
	p.doc.Entries[0].Waiver = &longer
	if err := p.offered(); !errors.Is(err, proof.ErrUnproven) {
		t.Error("a waiver that was made longer:", err)
	}
	// Nor one that is too long, although a gate has seen it.
	for name, given := range map[string]time.Time{"too long": monday.AddDate(0, -3, 0), "of no time": {}} {
		p := publish(t)
		if err := prooftest.Prove(p.doc, p.gates...); err != nil {
			t.Fatal(err)
		}
		p.doc.Entries[0].Waiver = &catalog.Waiver{Steps: []string{"stop"}, Reason: "it is slow", Tracker: "https://tracker.example/1", Given: given, Until: monday.AddDate(0, 1, 0)}
		s := prooftest.Statement(p.doc)
		envelope, err := prooftest.Sign(s, p.gates...)
		if err != nil {
			t.Fatal(err)
		}
		e, err := prooftest.Evidence(s, p.gates...)
		if err != nil {
			t.Fatal(err)
		}
		p.doc.Entries[0].Proof.Attestation = e.Digest
		p.doc.Attestations = map[string]string{e.Digest: string(envelope)}
		if err := p.offered(); !errors.Is(err, proof.ErrUnproven) || !strings.Contains(err.Error(), "is excused at feeds, and cannot be: the waiver for stop") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestImagesAloneAreNotProven, on a node that has the manifest that they go into.
func TestImagesAloneAreNotProven(t *testing.T) {
	p := publish(t)
	e := &p.doc.Entries[0]
	e.Manifest, e.SHA256, e.BLAKE3, e.Version = nil, "", "", ""
	envelope, err := document.Sign(t.Context(), p.doc, p.publisher)
	if err != nil {
		t.Fatal(err)
	}
	d, err := document.Verify(t.Context(), envelope, p.policy, document.Expectation{Now: monday})
	if err != nil {
		t.Fatal(err)
	}
	disk := catalog.Catalog{"feeds": {Manifest: feeds("2.0.0", "100:100")}}
	if merged, refused := d.Merge(disk, nil, monday); len(merged) > 0 || !errors.Is(refused["feeds"], proof.ErrUnproven) || !strings.Contains(refused["feeds"].Error(), "publish its whole manifest") {
		t.Error(merged, refused)
	}
}

// TestNobodyOffersWhatNobodyVerified: a document that did not come through Verify proves
// nothing, whatever it holds.
func TestNobodyOffersWhatNobodyVerified(t *testing.T) {
	p := publish(t)
	if err := prooftest.Prove(p.doc, p.gates...); err != nil {
		t.Fatal(err)
	}
	if merged, refused := p.doc.Merge(nil, nil, monday); len(merged) > 0 || !errors.Is(refused["feeds"], proof.ErrUnproven) {
		t.Error(slices.Collect(maps.Keys(merged)), refused)
	}
}
