package channel

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/proof"
)

func clean(*document.Entry) (*catalog.Waiver, error) { return nil, nil }

// edited is the first channel's catalog with one application changed.
func edited(t *testing.T, id string, change func(*manifest.Manifest)) *document.Document {
	t.Helper()
	cat := applications(t)
	m := *cat[id].Manifest
	m.Containers = slices.Clone(m.Containers)
	change(&m)
	cat[id] = &catalog.Entry{Manifest: &m}
	d, err := build(t, &generator{}, cat, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestAnEntryMovesOnlyWithItsOwnProof: the run that proves it is in the next channel's
// catalog, and one over another manifest proves nothing, whoever says that it does.
func TestAnEntryMovesOnlyWithItsOwnProof(t *testing.T) {
	feature, err := build(t, &generator{}, applications(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	run := evidence(t, feature, nil)
	user, err := Promotion{From: feature, Channel: "user", Evidence: run}.Promote([]string{"radicale", "mosquitto"}, clean, validity)
	if err != nil {
		t.Fatal(err)
	}
	p := user.Entry("radicale").Proof
	if p == nil || p.Attestation != run.Digest || p.Cycles != 40 || p.Cells != 360 || p.Nodes != 2 || p.Promoted != validity.Created || user.Attestations[run.Digest] != string(run.Envelope) {
		t.Errorf("%+v, attestations %d", p, len(user.Attestations))
	}
	if feature.Entry("radicale").Proof != nil {
		t.Error("the catalog before was changed")
	}

	other := edited(t, "radicale", func(m *manifest.Manifest) { m.Summary = "another" })
	_, err = Promotion{From: feature, Channel: "user", Evidence: evidence(t, other, nil)}.Promote([]string{"radicale"}, clean, validity)
	if !errors.Is(err, proof.ErrUnproven) || !strings.Contains(err.Error(), "tested another manifest of radicale") {
		t.Error("a proof for another manifest:", err)
	}
	if _, err = (Promotion{From: feature, Channel: "user"}).Promote([]string{"radicale"}, clean, validity); !errors.Is(err, proof.ErrUnproven) || !strings.Contains(err.Error(), "catalog promote radicale") {
		t.Error("no proof at all:", err)
	}

	// A later run takes the place of the one before, which goes once nothing rests on it.
	again := evidence(t, feature, map[string]*catalog.Waiver{"miniflux": {Reason: "a run of its own", Given: validity.Created}})
	next, err := Promotion{From: feature, To: user, Channel: "user", Evidence: again}.Promote([]string{"radicale"}, clean, validity)
	if err != nil || len(next.Attestations) != 2 || next.Entry("mosquitto").Proof.Attestation != run.Digest {
		t.Errorf("%v, %d attestations", err, len(next.Attestations))
	}
	next, err = Promotion{From: feature, To: next, Channel: "user", Evidence: again}.Promote([]string{"mosquitto"}, clean, validity)
	if err != nil || len(next.Attestations) != 1 || len(user.Attestations) != 1 {
		t.Errorf("%v, %d attestations", err, len(next.Attestations))
	}
}

func TestAChannelDoesNotGoBack(t *testing.T) {
	version := func(v string) *document.Document {
		return edited(t, "radicale", func(m *manifest.Manifest) { m.Version = v })
	}
	newer := version("3.10.0")
	user, err := Promotion{From: newer, Channel: "user", Evidence: evidence(t, newer, nil)}.Promote([]string{"radicale"}, clean, validity)
	if err != nil {
		t.Fatal(err)
	}
	if user, err = Revoke(user, "mosquitto", "1", "it leaks", validity); err != nil {
		t.Fatal(err)
	}
	for v, ok := range map[string]bool{"3.9.0": false, "3.10.0-rc1": false, "3.10.0": true, "3.10.1": true, "2026.01.2": true} {
		from := version(v)
		d, err := Promotion{From: from, To: user, Channel: "user", Evidence: evidence(t, from, nil)}.Promote([]string{"radicale"}, clean, validity)
		if (err == nil) != ok || err != nil && (!errors.Is(err, ErrInput) || !strings.Contains(err.Error(), "catalog revoke radicale 3.10.0")) {
			t.Errorf("%s: %v", v, err)
		}
		if err == nil && d.Revocation("mosquitto", "1") == nil {
			t.Errorf("%s: the channel has forgotten what it revoked", v)
		}
	}
}

// TestEntriesThatUseOnePortDoNotMove: each channel may be sound, and the next one not.
func TestEntriesThatUseOnePortDoNotMove(t *testing.T) {
	feature, err := build(t, &generator{}, applications(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	user, err := Promotion{From: feature, Channel: "user", Evidence: evidence(t, feature, nil)}.Promote([]string{"miniflux"}, clean, validity)
	if err != nil {
		t.Fatal(err)
	}
	m, err := feature.Entry("miniflux").Parse()
	if err != nil {
		t.Fatal(err)
	}
	taken := m.NodePorts()[0]
	cat := applications(t)
	delete(cat, "miniflux")
	r := *cat["radicale"].Manifest
	r.Containers = slices.Clone(r.Containers)
	r.Containers[0].Ports = slices.Clone(r.Containers[0].Ports)
	r.Containers[0].Ports[0].Host = taken.Number
	cat["radicale"] = &catalog.Entry{Manifest: &r}
	from, err := build(t, &generator{}, cat, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Promotion{From: from, To: user, Channel: "user", Evidence: evidence(t, from, nil)}.Promote([]string{"radicale"}, clean, validity)
	if !errors.Is(err, document.ErrRefused) || !strings.Contains(err.Error(), "miniflux and radicale both use port") {
		t.Error(err)
	}
}
