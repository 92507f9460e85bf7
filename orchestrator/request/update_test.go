package request_test

import (
	"slices"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/offer"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

func TestUpdate(t *testing.T) {
	update := request.Request{App: "a", Verb: request.Update}
	agreed := func(to ...string) request.Request {
		return request.Request{App: "a", Verb: request.Update, Consent: to}
	}
	one, two := app("a"), app("a", version("2"))
	is := func(changes ...func(*state.Desired)) state.Records { return records(installed(one, changes...)) }
	decide(t, []decision{
		{name: "to what the catalog holds", records: is(), offer: disk(two), request: update, want: "a to 2"},
		{name: "to an older one that knows the data", records: records(installed(two)), offer: disk(one), request: update, want: "a to 1"},
		{name: "what is stopped stays so", records: is(goal(state.Stopped)), offer: disk(two), request: update, want: "a stopped to 2"},
		{name: "the same digest is no update", records: is(), offer: disk(app("a")), request: update, want: "a"},
		{name: "another digest is one, though it bears the same version", records: is(), offer: disk(app("a", setting("k"))), request: update, want: "a to 1"},
		{name: "the data's format is newer", records: records(installed(app("a", format(3)))), offer: disk(app("a", version("2"), format(2))), request: update, refused: request.ErrRefused, because: []string{"has format 3", "version 2 knows only 2"}},
		{name: "it requires one more", records: is(), offer: disk(app("a", version("2"), requires("b", "k=x")), app("b", setting("k"))), request: agreed(`changes the setting k of b to "x"`, "requires b, joins its network, and installs it where it is missing", "installs b, which may reach the internet", "installs b, which may run as root in its container b"), want: "b k=x, a to 2"},
		{name: "it requires one that is set otherwise", records: records(installed(one), installed(app("b", setting("k")), set("k=y"))), offer: disk(app("a", version("2"), requires("b", "k=x"))), request: update, refused: request.ErrRefused, because: []string{"archy configure b k=x"}},
		{name: "it collides", records: records(installed(one), installed(app("b", port(80)))), offer: disk(app("a", version("2"), port(80))), request: update, refused: request.ErrRefused, because: []string{"both use port 80"}},
		{name: "it does not take the settings", records: records(installed(app("a", setting("k")), set("k=x"))), offer: disk(two), request: update, refused: request.ErrRefused, because: []string{"k"}},
		{name: "it was adopted", records: is(func(d *state.Desired) { d.Adopted = map[string]string{"a": "old-a"} }), offer: disk(two), request: update, refused: request.ErrRefused, because: []string{"restart it first"}},
		{name: "its record holds no manifest", records: is(func(d *state.Desired) { d.Manifest = nil }), offer: disk(two), request: update, refused: request.ErrRefused, because: []string{"install it again"}},
		{name: "it is not offered any more", records: is(), offer: disk(), request: update, refused: request.ErrRefused, because: []string{"a is not in the catalog any more"}},
	})
}

// TestAnUpdateKnowsWhichDataWasThereBefore: a rollback deletes what only the new version made.
func TestAnUpdateKnowsWhichDataWasThereBefore(t *testing.T) {
	r := records(installed(app("a")))
	r.Data = map[string]state.Data{"a": {App: "a", Volumes: []string{"db", "given-up"}}}
	got, err := request.Decide(r, disk(app("a", version("2"))), host.Observation{}, now, request.Request{App: "a", Verb: request.Update})
	if err != nil || len(got) != 1 || !slices.Equal(got[0].Update.Had, []string{"db", "given-up"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAnUpdateThatNobodyAskedForOnlyGoesForward(t *testing.T) {
	of := func(m *manifest.Manifest, source string) state.Records {
		return records(installed(m, func(d *state.Desired) { d.Source = source }))
	}
	one, two := app("a"), app("a", version("2"))
	owner := request.Request{App: "a", Verb: request.Update}
	nobody := owner
	nobody.Automatic = true
	decide(t, []decision{
		{name: "to a newer one", records: of(one, "catalog feature 6"), offer: signed(t, nil, two), request: nobody, want: "a to 2"},
		{name: "to an older one", records: of(two, "catalog feature 6"), offer: signed(t, nil, one), request: nobody, refused: request.ErrRefused, because: []string{"version 1 of a, from catalog feature 7, is no step forward from 2, from catalog feature 6"}},
		{name: "to an older one, as its owner asks", records: of(two, "catalog feature 6"), offer: signed(t, nil, one), request: owner, want: "a to 1"},
		{name: "to an earlier document's", records: of(one, "catalog feature 8"), offer: signed(t, nil, two), request: nobody, refused: request.ErrRefused, because: []string{"no step forward"}},
		{name: "the same is no update", records: of(one, "catalog feature 8"), offer: signed(t, nil, one), request: nobody, want: "a"},
		{name: "to the disk's, even as its owner asks", records: of(one, "catalog feature 6"), offer: disk(two), request: owner, refused: request.ErrRefused, because: []string{"was installed from the catalog feature 6", "uninstall a and install it again"}},
		{name: "the disk's is the same", records: of(one, "catalog feature 6"), offer: disk(one), request: owner, want: "a"},
	})
}

func TestUpdateNeedsConsentToEveryNewPrivilege(t *testing.T) {
	const first, second = "publishes port 80/tcp of the node", "publishes port 81/tcp of the node"
	is, more := records(installed(app("a"))), disk(app("a", version("2"), port(80), port(81)))
	update := func(consent ...string) request.Request {
		return request.Request{App: "a", Verb: request.Update, Consent: consent}
	}
	decide(t, []decision{
		{name: "none is given", records: is, offer: more, request: update(), refused: request.ErrConsent, because: []string{first, second, "archy update a"}},
		{name: "one is missing", records: is, offer: more, request: update(first), refused: request.ErrConsent, because: []string{": " + second + ";"}},
		{name: "it is one of the refusals", records: is, offer: more, request: update(first), refused: request.ErrRefused},
		{name: "other words are none", records: is, offer: more, request: update(first, "publishes port 81"), refused: request.ErrConsent},
		{name: "all is given", records: is, offer: more, request: update(first, second), want: "a to 2"},
		{name: "more is given than is asked for", records: is, offer: more, request: update(first, second, "may fly"), want: "a to 2"},
		{name: "what it has is not asked for again", records: records(installed(app("a", port(80)))), offer: more, request: update(second), want: "a to 2"},
		{name: "to less there is nothing to agree", records: records(installed(app("a", port(80)))), offer: disk(app("a", version("2"))), request: update(), want: "a to 2"},
		{name: "what comes along is asked for too", records: is, offer: disk(app("a", version("2"), requires("b")), app("b", port(53), requires("c")), app("c", port(54))), request: update("requires b, joins its network, and installs it where it is missing", "installs b, which publishes port 53/tcp of the node"), refused: request.ErrConsent, because: []string{"installs c, which publishes port 54/tcp of the node"}},
		{name: "what is there is not", records: records(installed(app("a")), installed(app("b", port(53)))), offer: disk(app("a", version("2"), requires("b")), app("b", port(53))), request: update("requires b, joins its network, and installs it where it is missing"), want: "a to 2"},
		{name: "to install again changes nothing", records: is, offer: more, request: request.Request{App: "a", Verb: request.Install}, want: "a"},
	})
}

func TestUpdateIsStagedAndNumberedByTheStore(t *testing.T) {
	two := app("a", version("2"))
	rec := installed(app("a"), func(d *state.Desired) { d.Note = "rolled back" })
	got, err := request.Decide(records(rec), signed(t, nil, two), host.Observation{}, now, request.Request{App: "a", Verb: request.Update})
	if err != nil || len(got) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	u := got[0].Update
	if u == nil || u.Phase != state.Staged || u.Source != "catalog feature 7" || u.Generation != 0 || u.To.Version != "2" || got[0].Note != "" || got[0].Manifest.Version != "1" {
		t.Errorf("%+v, %+v", got[0], u)
	}
}

func TestCatalogThatMayNotBeTakenFrom(t *testing.T) {
	one, two := app("a"), app("a", version("2"))
	is := records(installed(one))
	later := now.Add(30 * time.Minute)
	waiver := func(until time.Time) func(*document.Document) {
		return func(d *document.Document) {
			d.Entries[0].Waiver = &catalog.Waiver{Steps: []string{"restart"}, Reason: "r", Tracker: "https://tracker.example/9", Given: now, Until: until}
		}
	}
	frozen := func(d *document.Document) { d.Created, d.Expires = now.Add(-time.Hour), now.Add(-time.Minute) }
	tampered := func(d *document.Document) { d.Entries[0].SHA256 = two.Digest()[:63] + "x" }
	revoked := func(d *document.Document) {
		d.Revoked = []document.Revocation{{ID: "a", Version: "2", Reason: "it leaks", Since: now}}
	}
	for _, verb := range []string{request.Install, request.Update} {
		of := records()
		if verb == request.Update {
			of = is
		}
		ask := request.Request{App: "a", Verb: verb}
		because := func(s string) []string { return []string{s} }
		decide(t, []decision{
			{name: verb + ": the catalog has expired", records: of, offer: signed(t, frozen, two), request: ask, refused: request.ErrRefused, because: because("the catalog feature 7 expired")},
			{name: verb + ": the entry is refused", records: of, offer: signed(t, tampered, two), request: ask, refused: request.ErrRefused, because: because("digest")},
			{name: verb + ": the version is revoked", records: of, offer: signed(t, revoked, two), request: ask, refused: request.ErrRefused, because: because("it leaks")},
		})
		// A waiver ends by itself: the same offer, a while later.
		o := signed(t, waiver(later), two)
		if got, err := request.Decide(of, o, host.Observation{}, later.Add(-time.Second), ask); err != nil || len(got) != 1 {
			t.Errorf("%s before the waiver has ended: %v, %v", verb, got, err)
		}
		if got, err := request.Decide(of, o, host.Observation{}, later, ask); err == nil || got != nil {
			t.Errorf("%s once the waiver has ended: %s", verb, says(got))
		}
	}
	// What is there already needs no catalog.
	decide(t, []decision{
		{name: "install again", records: is, offer: signed(t, frozen, two), request: request.Request{App: "a", Verb: request.Install}, want: "a"},
		{name: "restart", records: is, offer: signed(t, tampered, two), request: request.Request{App: "a", Verb: request.Restart}, want: "a"},
	})
	// Nor does what is on the node's disk.
	expired := &document.Document{Schema: document.Schema, Channel: "feature", Serial: 7}
	frozen(expired)
	o := offer.New(expired, catalog.Catalog{"a": {Manifest: one}}, nil, now)
	if got, err := request.Decide(records(), o, host.Observation{}, now, request.Request{App: "a", Verb: request.Install}); err != nil || says(got) != "a" {
		t.Errorf("%s, %v", says(got), err)
	}
	// What it would bring along is subject to the same.
	o = signed(t, frozen, app("b"))
	c := installed(app("a", requires("b")))
	if got, err := request.Decide(records(c), o, host.Observation{}, now, request.Request{App: "a", Verb: request.Install}); err == nil {
		t.Errorf("an expired catalog's came along: %s", says(got))
	}
}
