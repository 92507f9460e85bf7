package request_test

import (
	"slices"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// from says what an application was updated from.
func from(m *manifest.Manifest) func(*state.Desired) {
	return func(d *state.Desired) {
		d.Previous = &state.Previous{Manifest: m, Source: "catalog feature 5", Taken: now, Since: now}
	}
}

func TestRollback(t *testing.T) {
	back := request.Request{App: "a", Verb: request.Rollback}
	to := func(version string, consent ...string) request.Request {
		return request.Request{App: "a", Verb: request.Rollback, Version: version, Consent: consent}
	}
	nobody := back
	nobody.Automatic = true
	one, two := app("a"), app("a", version("2"))
	is := func(changes ...func(*state.Desired)) state.Records {
		return records(installed(two, append([]func(*state.Desired){from(one)}, changes...)...))
	}
	revoked := func(d *document.Document) {
		d.Revoked = []document.Revocation{{ID: "a", Version: "1", Reason: "it leaks", Since: now}}
	}
	expired := func(d *document.Document) { d.Expires = now }
	const opens = "publishes port 80/tcp of the node"
	decide(t, []decision{
		{name: "to the version before", records: is(), offer: disk(two), request: back, want: "a to 1"},
		{name: "to the one that its owner has read", records: is(), offer: disk(two), request: to("1"), want: "a to 1"},
		{name: "what is stopped stays so", records: is(goal(state.Stopped)), offer: disk(two), request: back, want: "a stopped to 1"},
		{name: "whatever the catalog has", records: is(), offer: disk(app("a", version("3"))), request: back, want: "a to 1"},
		{name: "the catalog has expired", records: is(), offer: signed(t, expired, two), request: back, want: "a to 1"},
		{name: "its data goes back, too, and so does its format", records: records(installed(app("a", version("2"), format(3)), from(one))), offer: disk(two), request: back, want: "a to 1"},
		{name: "the last one that was updated to is another", records: is(), offer: disk(two), request: to("0.9"), refused: request.ErrRefused, because: []string{"is 1, not 0.9"}},
		{name: "it has not been updated", records: records(installed(two)), offer: disk(two), request: back, refused: request.ErrRefused, because: []string{"no earlier version of a is kept", "7 days"}},
		{name: "it is not installed", records: records(), offer: disk(two), request: back, refused: request.ErrNotInstalled},
		{name: "it is being updated", records: is(updatingTo(app("a", version("3")))), offer: disk(two), request: back, refused: request.ErrRefused, because: []string{"being updated to 3"}},
		{name: "nobody has asked", records: is(), offer: disk(two), request: nobody, refused: request.ErrRefused, because: []string{"only the owner of a goes back"}},
		{name: "what was revoked", records: is(), offer: signed(t, revoked, two), request: back, refused: request.ErrRefused, because: []string{"a does not go back", "version 1 was revoked", "it leaks"}},
		{name: "it does not take the settings", records: records(installed(app("a", version("2"), setting("k")), set("k=x"), from(one))), offer: disk(two), request: back, refused: request.ErrRefused, because: []string{"k"}},
		{name: "it collides with what has come since", records: records(installed(two, from(app("a", port(80)))), installed(app("b", port(80)))), offer: disk(two), request: to("1", opens), refused: request.ErrRefused, because: []string{"both use port 80"}},
		{name: "it may do what the newer one does not", records: records(installed(two, from(app("a", port(80))))), offer: disk(two), request: back, refused: request.ErrConsent, because: []string{opens, "archy rollback a"}},
		{name: "its owner agrees to that", records: records(installed(two, from(app("a", port(80))))), offer: disk(two), request: to("1", opens), want: "a to 1"},
	})
}

// TestARollbackIsAnUpdateThatKeepsWhatItLeaves: under another name than that which is kept.
func TestARollbackIsAnUpdateThatKeepsWhatItLeaves(t *testing.T) {
	r := records(installed(app("a", version("2")), from(app("a")), func(d *state.Desired) { d.Note = "before" }))
	r.Data = map[string]state.Data{"a": {App: "a", Volumes: []string{"db", "new"}}}
	got, err := request.Decide(r, disk(app("a", version("2"))), host.Observation{}, now, request.Request{App: "a", Verb: request.Rollback})
	if err != nil || len(got) != 1 || got[0].Update == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	u := got[0].Update
	if !u.Back || u.Phase != state.Staged || u.Source != "catalog feature 5" || !slices.Equal(u.Had, []string{"db", "new"}) || u.Copy == got[0].Previous.Copy || got[0].Note != "" || got[0].Manifest.Version != "2" {
		t.Errorf("%+v, %+v", got[0], u)
	}
	// The next update keeps the copy of the one before until it is done.
	got, err = request.Decide(r, disk(app("a", version("3"))), host.Observation{}, now, request.Request{App: "a", Verb: request.Update})
	if err != nil || len(got) != 1 || got[0].Update.Copy == got[0].Previous.Copy || got[0].Update.Back {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhatItsOwnerHasGoneBackFromDoesNotComeAgainByItself(t *testing.T) {
	one, two := app("a"), app("a", version("2"))
	of := func(held *manifest.Manifest) state.Records {
		return records(installed(one, func(d *state.Desired) { d.Source, d.Held = "catalog feature 6", held.Digest() }))
	}
	owner := request.Request{App: "a", Verb: request.Update}
	nobody := owner
	nobody.Automatic = true
	decide(t, []decision{
		{name: "by itself", records: of(two), offer: signed(t, nil, two), request: nobody, refused: request.ErrRefused, because: []string{"gone back from version 2"}},
		{name: "as its owner asks", records: of(two), offer: signed(t, nil, two), request: owner, want: "a to 2"},
		{name: "a newer one, by itself", records: of(two), offer: signed(t, nil, app("a", version("3"))), request: nobody, want: "a to 3"},
	})
}
