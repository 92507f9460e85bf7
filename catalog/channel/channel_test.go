package channel

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/proof"
	"github.com/archipelago-cloud/archipelago/catalog/prooftest"
	"github.com/archipelago-cloud/archipelago/catalog/publish"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

var validity = Validity{time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), 24 * time.Hour}

// applications are those of the repository, with every image pinned.
func applications(t *testing.T) catalog.Catalog {
	t.Helper()
	cat, err := catalog.Load("../apps")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range cat {
		for i := range e.Containers {
			e.Containers[i].Image = manifest.Image{Ref: "localhost:5000/" + e.Containers[i].Name, Digest: "sha256:" + strings.Repeat("0", 64)}
		}
	}
	return cat
}

// evidence is what a gate has signed of a green run over all entries of a catalog, with
// these waivers, by application.
func evidence(t *testing.T, d *document.Document, waivers map[string]*catalog.Waiver) *proof.Evidence {
	t.Helper()
	tested := *d
	tested.Created, tested.Entries = validity.Created, slices.Clone(d.Entries)
	for i, e := range tested.Entries {
		tested.Entries[i].Waiver = waivers[e.ID]
	}
	gate, err := sign.NewSigner("gate")
	if err != nil {
		t.Fatal(err)
	}
	e, err := prooftest.Evidence(prooftest.Statement(&tested), gate)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// generator is an engine that only takes unit files, or refuses them.
type generator struct {
	publish.Builder
	units   map[string]string
	refusal error
}

func (g *generator) Generate(_ context.Context, units map[string]string) (string, error) {
	g.units = units
	return "", g.refusal
}

func build(t *testing.T, g *generator, cat catalog.Catalog, before *document.Document) (*document.Document, error) {
	t.Helper()
	b := &Builder{Engine: g, Images: t.TempDir(), Registry: publish.Registry, Publisher: "archipelago",
		Units: func(m *manifest.Manifest) map[string]string { return map[string]string{m.ID + ".container": m.Version} }}
	return b.Build(t.Context(), cat, before, validity, io.Discard)
}

func TestBuild(t *testing.T) {
	cat := applications(t)
	g := &generator{}
	d, err := build(t, g, cat, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d.Channel != "feature" || d.Serial != 1 || !d.Created.Equal(validity.Created) || !d.Expires.Equal(validity.Created.Add(validity.Life)) {
		t.Errorf("%+v", d)
	}
	for _, id := range cat.IDs() {
		if e := d.Entry(id); e == nil || e.Publisher != "archipelago" || g.units[id+".container"] != cat[id].Version {
			t.Errorf("%s: %+v, units %v", id, e, slices.Collect(maps.Keys(g.units)))
		}
	}
	again, err := build(t, g, cat, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err1 := d.Encode()
	second, err2 := again.Encode()
	if err := errors.Join(err1, err2); err != nil || string(first) != string(second) {
		t.Errorf("the same input gave other bytes, %v", err)
	}

	// The next one holds these applications only, and what was revoked stays revoked.
	if d, err = Revoke(d, "radicale", d.Entry("radicale").Version, "it leaks", validity); err != nil {
		t.Fatal(err)
	}
	delete(cat, "radicale")
	delete(cat, "mosquitto")
	next, err := build(t, g, cat, d)
	if err != nil || next.Serial != 3 || len(next.Revoked) != 1 || next.Entry("radicale") != nil || next.Entry("mosquitto") != nil {
		t.Errorf("%+v, %v", next, err)
	}
	if _, err := build(t, g, applications(t), d); !errors.Is(err, document.ErrRefused) || !strings.Contains(err.Error(), "it leaks") {
		t.Errorf("a revoked version was built: %v", err)
	}

	g.refusal = errors.New("unsupported key")
	if _, err := build(t, g, cat, nil); !errors.Is(err, ErrInput) || !errors.Is(err, g.refusal) {
		t.Errorf("units that Podman refuses: %v", err)
	}
}

func TestPromote(t *testing.T) {
	feature, err := build(t, &generator{}, applications(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	red := errors.New("the run is red")
	waiver := &catalog.Waiver{Reason: "the theme is broken", Given: validity.Created, Until: validity.Created.AddDate(0, 1, 0)}
	green, excused := evidence(t, feature, nil), evidence(t, feature, map[string]*catalog.Waiver{"mosquitto": waiver})
	proves := func(e *document.Entry) (*catalog.Waiver, error) {
		switch e.ID {
		case "radicale":
			return nil, red
		case "mosquitto":
			return waiver, nil
		}
		return nil, nil
	}
	user, err := Promotion{From: feature, Channel: "user", Evidence: excused}.Promote([]string{"miniflux", "mosquitto"}, proves, validity)
	if err != nil {
		t.Fatal(err)
	}
	if user.Channel != "user" || user.Serial != 1 || len(user.Entries) != 2 || user.Entry("miniflux").SHA256 != feature.Entry("miniflux").SHA256 || user.Entry("mosquitto").Waiver != waiver {
		t.Errorf("%+v", user)
	}
	if feature.Entry("mosquitto").Waiver != nil {
		t.Error("the catalog before was changed")
	}
	all, err := Promotion{From: feature, To: user, Channel: "user", Evidence: green}.Promote([]string{"miniflux"}, proves, validity)
	if err != nil || all.Serial != 2 || len(all.Entries) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	// A waiver goes with a run: a later one that is green does not carry it on.
	clean := func(*document.Entry) (*catalog.Waiver, error) { return nil, nil }
	if beta, err := (Promotion{From: user, Channel: "beta", Evidence: green}).Promote([]string{"mosquitto"}, clean, validity); err != nil || beta.Entry("mosquitto").Waiver != nil {
		t.Errorf("%+v, %v", beta, err)
	}

	d, err := Promotion{From: feature, To: user, Channel: "user", Evidence: green}.Promote([]string{"miniflux", "radicale", "ghost"}, proves, validity)
	if d != nil || !errors.Is(err, red) || !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), "no entry of ghost") {
		t.Errorf("%+v, %v", d, err)
	}
	revoked, err := Revoke(user, "miniflux", user.Entry("miniflux").Version, "it leaks", validity)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Promotion{From: feature, To: revoked, Channel: "user", Evidence: green}).Promote([]string{"miniflux"}, proves, validity); !errors.Is(err, document.ErrRefused) {
		t.Errorf("a revoked version was promoted: %v", err)
	}
	if _, err := Revoke(revoked, "miniflux", feature.Entry("miniflux").Version, "again", validity); !errors.Is(err, ErrInput) {
		t.Errorf("a version was revoked twice: %v", err)
	}
}

func TestChannelsFollowEachOther(t *testing.T) {
	in := func(channel string) *document.Document {
		return document.Next(nil, channel, validity.Created, validity.Life)
	}
	for _, c := range []struct {
		p  Promotion
		ok bool
	}{
		{Promotion{From: in("feature"), Channel: "user"}, true},
		{Promotion{From: in("user"), Channel: "beta"}, true},
		{Promotion{From: in("user"), To: in("beta"), Channel: "beta"}, true},
		{Promotion{From: in("feature"), Channel: "beta"}, false},
		{Promotion{From: in("beta"), Channel: "user"}, false},
		{Promotion{From: in("user"), Channel: "user"}, false},
		{Promotion{From: in("user"), Channel: "feature"}, false},
		{Promotion{From: in("user"), Channel: "public"}, false},
		{Promotion{From: in("user"), To: in("user"), Channel: "beta"}, false},
	} {
		if err := c.p.Check(); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInput) {
			t.Errorf("%s to %s: %v", c.p.From.Channel, c.p.Channel, err)
		}
		if _, err := c.p.Promote(nil, nil, validity); (err == nil) != c.ok {
			t.Errorf("%s to %s was promoted: %v", c.p.From.Channel, c.p.Channel, err)
		}
	}
}

func TestNothingWithARequirementCycleIsBuiltOrPromoted(t *testing.T) {
	cat := applications(t)
	requires := func(id, other string) {
		m := *cat[id].Manifest
		m.Requires = []manifest.Requirement{{App: other}}
		cat[id] = &catalog.Entry{Manifest: &m}
	}
	requires("miniflux", "radicale")
	feature, err := build(t, &generator{}, cat, nil)
	if err != nil {
		t.Fatal(err)
	}
	clean := func(*document.Entry) (*catalog.Waiver, error) { return nil, nil }
	user, err := Promotion{From: feature, Channel: "user", Evidence: evidence(t, feature, nil)}.Promote([]string{"miniflux"}, clean, validity)
	if err != nil {
		t.Fatal(err)
	}

	requires("radicale", "miniflux")
	g := &generator{}
	if d, err := build(t, g, cat, nil); !errors.Is(err, ErrInput) || !errors.Is(err, catalog.ErrCycle) || !strings.Contains(err.Error(), "miniflux requires radicale requires miniflux") || g.units != nil {
		t.Errorf("built %v, units %v: %v", d, g.units, err)
	}

	// Each channel may be sound and the next one not, once both are in it.
	delete(cat, "miniflux")
	alone, err := build(t, g, cat, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := (Promotion{From: alone, To: user, Channel: "user", Evidence: evidence(t, alone, nil)}).Promote([]string{"radicale"}, clean, validity); d != nil || !errors.Is(err, catalog.ErrCycle) || !strings.Contains(err.Error(), "radicale requires miniflux requires radicale") {
		t.Errorf("promoted %v: %v", d, err)
	}
}

func TestAChannelTakesARenewedWaiverOnce(t *testing.T) {
	feature, err := build(t, &generator{}, applications(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	id := feature.Entries[0].ID
	var user *document.Document
	give := func(renewed int, renews *catalog.Waiver, steps ...string) *catalog.Waiver {
		w := &catalog.Waiver{Steps: steps, Renewed: renewed, Given: validity.Created, Until: validity.Created.AddDate(0, 1, 0)}
		if renews != nil {
			w.Renews = renews.Digest(id)
		}
		return w
	}
	stop, start := give(0, nil, "stop"), give(0, nil, "start")
	again := give(1, start, "start")
	for _, c := range []struct {
		name   string
		waiver *catalog.Waiver
		want   string // empty: it is taken
	}{
		{"the first", stop, ""},
		{"the same again", stop, "has released " + id + " by a waiver for stop already"},
		{"one for more", give(0, nil, "start", "stop"), "does not renew it"},
		{"one for another step", start, ""},
		{"one that renews another one", give(1, stop, "start"), "does not renew it"},
		{"that one renewed", again, ""},
		{"the one before renewed again", again, "a waiver can be renewed once"},
		{"and again", give(1, again, "start"), "a waiver can be renewed once"},
		{"and again, as it is", give(2, again, "start"), "has been renewed 2 times, and can be once"},
		{"none of all", give(0, nil, "start"), "a waiver can be renewed once"},
		{"none", nil, ""},
	} {
		run := evidence(t, feature, map[string]*catalog.Waiver{id: c.waiver})
		d, err := Promotion{From: feature, To: user, Channel: "user", Evidence: run}.Promote([]string{id}, func(*document.Entry) (*catalog.Waiver, error) { return c.waiver, nil }, validity)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			user = d
		}
	}
}
