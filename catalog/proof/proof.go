// Package proof reads what a gate has signed about a run, and says what that proves of one
// application. It needs nothing but the signed bytes and the gates' keys: a node, which
// has neither the run nor a network, comes to the same answer as the publisher.
package proof

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

const (
	// PayloadType is in-toto's payload type for DSSE
	// (https://github.com/in-toto/attestation/blob/main/spec/v1/envelope.md).
	PayloadType = "application/vnd.in-toto+json"
	// PredicateType is that of a test result
	// (https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md).
	PredicateType = "https://in-toto.io/attestation/test-result/v0.1"
	// MaxSize bounds an attestation, in bytes.
	MaxSize = 16 << 20
	// MaxAge is how old a run may be when an entry is promoted on it.
	MaxAge = 14 * 24 * time.Hour

	statementType = "https://in-toto.io/Statement/v1"
	clockSkew     = time.Hour // between the machine of a gate and that of a publisher
)

// ErrUnproven is wrapped when nothing valid says that a gate has tested something.
var ErrUnproven = errors.New("not proven")

// Proof is what a gate's run showed of an entry. It is in the entry, so that the catalog's
// signatures cover it, and equals what the attestation says.
type Proof struct {
	Attestation string    `json:"attestation"` // SHA-256 of the gate's statement, in hex
	Run         string    `json:"run"`
	Daemon      string    `json:"daemon"`   // SHA-256 of the one that the run tested
	Nodes       int       `json:"nodes"`    // of the run; of a merged one, those that tested the application
	Cycles      int       `json:"cycles"`   // of the application that were green, one for each node
	Cells       int       `json:"cells"`    // of the application in the run that passed
	Finished    time.Time `json:"finished"` // the run; in UTC, to the second
	Promoted    time.Time `json:"promoted"` // the entry, on this run
}

// Same tells whether two proofs say the same of the same run, whenever they were used.
func (p Proof) Same(o Proof) bool {
	same := p.Finished.Equal(o.Finished)
	p.Finished, p.Promoted, o.Finished, o.Promoted = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return same && p == o
}

// String says what the proof rests on: "run R: 40 green cycles on 2 nodes, ended 2026-01-31, daemon
// abcdef123456…, attestation abcdef123456…".
func (p Proof) String() string {
	return fmt.Sprintf("run %s: %d green cycles on %d nodes, ended %s, daemon %.12s…, attestation %.12s…", p.Run, p.Cycles, p.Nodes, p.Finished.Format(time.DateOnly), p.Daemon, p.Attestation)
}

// Statement is the part of a gate's in-toto statement that a catalog rests on.
type Statement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Predicate `json:"predicate"`
}

// Subject is one tested thing: archipelago (the daemon), manifest/APP or image/CONTAINER.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Predicate is what a run showed.
type Predicate struct {
	Result        string           `json:"result"` // PASSED, or WARNED where waivers excuse what failed
	PassedTests   []string         `json:"passedTests,omitempty"`
	WarnedTests   []string         `json:"warnedTests,omitempty"`
	FailedTests   []string         `json:"failedTests,omitempty"`
	Smoke         bool             `json:"smoke"`
	AnotherPolicy []string         `json:"anotherPolicy,omitempty"` // what the built-in one demands beyond the run's
	Nodes         []struct{}       `json:"nodes"`
	Shards        []Shard          `json:"shards,omitempty"` // of a merged run: who tested which applications
	Waivers       []Waived         `json:"waivers,omitempty"`
	Run           string           `json:"run"`
	Finished      time.Time        `json:"finished"`
	Oldest        time.Time        `json:"oldestResult"` // that counts: the run is as old as that, whenever it was resumed
	Proofs        map[string]Tally `json:"proofs"`       // cycles, by application
	Cells         map[string]int   `json:"cells"`        // that passed, by application
}

// Shard is the part of a merged run that one machine did.
type Shard struct {
	Apps  []string `json:"apps"`
	Nodes []string `json:"nodes"`
}

// nodes are how many tested an application.
func (p *Predicate) nodes(app string) int {
	if len(p.Shards) == 0 {
		return len(p.Nodes)
	}
	for _, s := range p.Shards {
		if slices.Contains(s.Apps, app) {
			return len(s.Nodes)
		}
	}
	return 0
}

// Tally counts cycles.
type Tally struct {
	Green int `json:"green"`
}

// Waived is a waiver for one manifest of an application.
type Waived struct {
	App      string `json:"app"`
	Manifest string `json:"manifest"` // SHA-256, in hex
	catalog.Waiver
}

// Evidence is a statement that gates have signed.
type Evidence struct {
	Digest    string // SHA-256 of the statement, in hex: more signatures do not change it
	Envelope  []byte
	statement Statement
	subjects  map[string]string   // SHA-256 of what was tested, by name
	verdicts  map[string][]string // of each application, which is exactly one
}

const green, excused, red = "green", "excused", "red"

// Open reads an attestation that as many of the root's gates have signed as it demands.
func Open(ctx context.Context, envelope []byte, p *root.Policy) (*Evidence, error) {
	if len(p.Gate.Keys) == 0 {
		return nil, fmt.Errorf("%w: root %d names no gate whose word counts; add its key with 'catalog root --from … --gate-key …'", ErrUnproven, p.Version)
	}
	payload, err := sign.Verify(ctx, envelope, MaxSize, PayloadType, p.Gate.Keys, p.Gate.Threshold)
	if err != nil {
		return nil, fmt.Errorf("%w: the attestation is not by the gates of root %d: %w", ErrUnproven, p.Version, err)
	}
	sum := sha256.Sum256(payload)
	e := &Evidence{Digest: hex.EncodeToString(sum[:]), Envelope: envelope, subjects: map[string]string{}, verdicts: map[string][]string{}}
	// What a later gate says besides is not this program's to judge: a name twice is.
	if err := jsonv2.Unmarshal(payload, &e.statement); err != nil {
		return nil, fmt.Errorf("%w: the attestation cannot be read: %w", ErrUnproven, err)
	}
	s := &e.statement
	if s.Type != statementType || s.PredicateType != PredicateType {
		return nil, fmt.Errorf("%w: it is a statement %q, %q, not of a test result", ErrUnproven, s.Type, s.PredicateType)
	}
	for _, t := range s.Subject {
		if _, twice := e.subjects[t.Name]; twice {
			return nil, fmt.Errorf("%w: the attestation names %s twice", ErrUnproven, t.Name)
		}
		e.subjects[t.Name] = t.Digest["sha256"]
	}
	for verdict, apps := range map[string][]string{green: s.Predicate.PassedTests, excused: s.Predicate.WarnedTests, red: s.Predicate.FailedTests} {
		for _, app := range apps {
			e.verdicts[app] = append(e.verdicts[app], verdict)
		}
	}
	switch p := &s.Predicate; {
	case p.Smoke:
		return nil, fmt.Errorf("%w: run %s is a SMOKE, which can release nothing", ErrUnproven, p.Run)
	case p.Result != "PASSED" && p.Result != "WARNED":
		return nil, fmt.Errorf("%w: run %s is %s", ErrUnproven, p.Run, p.Result)
	}
	return e, nil
}

// AnotherPolicy is what the built-in release policy demands beyond that of the run.
func (e *Evidence) AnotherPolicy() []string { return e.statement.Predicate.AnotherPolicy }

// Tested is what an entry of a catalog says of itself.
type Tested struct {
	App      string
	Manifest string            // SHA-256 of its canonical form, in hex
	Images   map[string]string // by container, "NAME@sha256:HEX"
	Waiver   *catalog.Waiver
}

// Of gives the proof of an entry that is promoted at a time. The run must have tested
// exactly its manifest and images, with a green verdict, or with the very waiver that the
// entry carries, and must not be older than MaxAge then.
func (e *Evidence) Of(t Tested, promoted time.Time) (Proof, error) {
	p := &e.statement.Predicate
	fail := func(format string, args ...any) (Proof, error) {
		return Proof{}, fmt.Errorf("%w: run %s %w", ErrUnproven, p.Run, fmt.Errorf(format, args...))
	}
	tested, ok := e.subjects["manifest/"+t.App]
	switch {
	case !ok:
		return fail("did not test %s", t.App)
	case tested != t.Manifest:
		return fail("tested another manifest of %s (%.12s…) than the entry's (%.12s…)", t.App, tested, t.Manifest)
	case len(t.Images) == 0:
		return fail("cannot prove %s: the entry names no images", t.App)
	}
	for c, image := range t.Images {
		if _, digest, _ := strings.Cut(image, "@sha256:"); digest == "" || e.subjects["image/"+c] != digest {
			return fail("tested another image of %s (%.12s…) than the entry's (%.12s…)", c, e.subjects["image/"+c], digest)
		}
	}
	verdict := ""
	if said := e.verdicts[t.App]; len(said) == 1 {
		verdict = said[0]
	}
	switch {
	case verdict != green && verdict != excused:
		return fail("is not green at %s", t.App)
	case verdict == excused && t.Waiver == nil:
		return fail("is not green at %s, and the entry carries no waiver", t.App)
	case t.Waiver != nil && !slices.ContainsFunc(p.Waivers, func(w Waived) bool {
		return w.App == t.App && w.Manifest == t.Manifest && w.Equal(*t.Waiver)
	}):
		return fail("knows no such waiver for %s as the entry carries", t.App)
	case t.Waiver.Check() != nil:
		return fail("is excused at %s, and cannot be: %w", t.App, t.Waiver.Check())
	}
	out := Proof{Attestation: e.Digest, Run: p.Run, Daemon: e.subjects["archipelago"], Nodes: p.nodes(t.App), Cycles: p.Proofs[t.App].Green, Cells: p.Cells[t.App],
		Finished: p.Finished.UTC().Truncate(time.Second), Promoted: promoted.UTC().Truncate(time.Second)}
	oldest := out.Finished
	if !p.Oldest.IsZero() && p.Oldest.Before(oldest) {
		oldest = p.Oldest
	}
	switch age := out.Promoted.Sub(oldest); {
	case verdict == green && (out.Nodes < 1 || out.Cycles < 1 || out.Cells < 1):
		return fail("does not say how much of %s it tested: %d nodes, %d cycles, %d cells; sign it with this version's gate", t.App, out.Nodes, out.Cycles, out.Cells)
	case out.Promoted.Before(out.Finished.Add(-clockSkew)):
		return fail("ended on %s, after %s was promoted on %s", out.Finished.Format(time.RFC3339), t.App, out.Promoted.Format(time.RFC3339))
	case age > MaxAge:
		return fail("was %s old when %s was promoted; at most %s is allowed", age.Round(time.Hour), t.App, MaxAge)
	}
	return out, nil
}
