package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/prooftest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// signedCatalog is a channel's document with one version of the pair in it.
func signedCatalog(t *testing.T, serial int64, version string, change func(*document.Document)) *document.Document {
	t.Helper()
	m, err := manifest.Parse("pair", fmt.Appendf(nil, `
apiVersion: archipelago/v1
id: pair
name: Pair
version: %q
containers:
  - name: pair
    image: {ref: localhost:5000/pair, digest: "sha256:%s"}
`, version, strings.Repeat("0", 64)))
	if err != nil {
		t.Fatal(err)
	}
	e, err := document.NewEntry(m, "test", "Faster.")
	if err != nil {
		t.Fatal(err)
	}
	d := &document.Document{Schema: document.Schema, Channel: "feature", Serial: serial, Created: time.Now(), Expires: time.Now().Add(time.Hour), Entries: []document.Entry{e}}
	if change != nil {
		change(d)
	}
	return d
}

func TestSignedCatalogIsWhatCanBeInstalled(t *testing.T) {
	synctest.Test(t, signedCatalogIsWhatCanBeInstalled)
}

func signedCatalogIsWhatCanBeInstalled(t *testing.T) {
	r := nodeWith(t, empty(), t.TempDir(), nil)
	set := func(d *document.Document) { r.SetCatalog(d) }
	app := func() view.View {
		v, err := r.App("pair")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	refused := func(verb, why string) {
		t.Helper()
		if _, err := r.Request(request.Request{App: "pair", Verb: verb}); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, expected a refusal that names %q", verb, err, why)
		}
	}

	set(signedCatalog(t, 1, "1", func(d *document.Document) { d.Entries[0].SHA256 = strings.Repeat("0", 64) }))
	refused("install", "other digests")
	if v := app(); v.State != view.NotInstalled || !strings.Contains(v.Error, "other digests") {
		t.Errorf("an entry that is refused is shown with its reason: %+v", v)
	}
	set(signedCatalog(t, 2, "1", func(d *document.Document) { d.Expires = time.Now() }))
	refused("install", "the catalog feature 2 expired")
	set(signedCatalog(t, 3, "1", func(d *document.Document) {
		d.Entries[0].Waiver = &catalog.Waiver{Steps: []string{"restart"}, Given: time.Now(), Until: time.Now().Add(time.Hour / 2), Tracker: "https://tracker.example/9"}
	}))
	if _, err := r.Offer().Entry("pair", time.Now()); err != nil {
		t.Errorf("before the waiver has ended: %v", err)
	}
	time.Sleep(time.Hour / 2)
	refused("install", "https://tracker.example/9")

	set(signedCatalog(t, 4, "1", nil))
	if err := ask(t, r, "install"); err != nil {
		t.Fatal(err)
	}
	if v := app(); v.State != view.Up || v.Source != "catalog feature 4" || v.Available != nil {
		t.Errorf("%+v", v)
	}
	set(signedCatalog(t, 5, "2", func(d *document.Document) {
		d.Revoked = []document.Revocation{{ID: "pair", Version: "1", Reason: "it leaks", Since: time.Now()}}
	}))
	if v := app(); v.Available == nil || v.Available.Version != "2" || v.Notes != "Faster." || v.Source != "catalog feature 4" || !strings.Contains(v.Note, "version 1 was revoked") || v.State != view.Up {
		t.Errorf("an update is available, and what runs is revoked: %+v", v)
	}
	set(signedCatalog(t, 6, "2", func(d *document.Document) { d.Expires = time.Now() }))
	refused("update", "the catalog feature 6 expired")
	if v := app(); v.Available != nil || v.State != view.Up || !strings.Contains(r.Offer().Frozen(time.Now()), "what is installed runs on") {
		t.Errorf("frozen: %+v", v)
	}
	// No entry any more, and no catalog any more: what is installed runs on.
	set(signedCatalog(t, 7, "2", func(d *document.Document) { d.Entries = nil }))
	refused("update", "not in the catalog any more")
	if err := ask(t, r, "restart"); err != nil || app().State != view.Up {
		t.Error(err, app().State)
	}
	set(nil)
	if v := app(); v.State != view.Up {
		t.Errorf("%+v", v)
	}
}

func TestUpdatesBeginByThemselvesOnceEach(t *testing.T) {
	synctest.Test(t, updatesBeginByThemselvesOnceEach)
}

func updatesBeginByThemselvesOnceEach(t *testing.T) {
	h := empty()
	r := nodeWith(t, h, t.TempDir(), nil)
	set := func(d *document.Document) { r.SetCatalog(d) }
	set(signedCatalog(t, 1, "1", nil))
	if err := ask(t, r, "install"); err != nil {
		t.Fatal(err)
	}
	await := func(what string, done func(view.View) bool) {
		t.Helper()
		// Until nothing is under way: a new version runs before its units are those of
		// an application that starts with the machine.
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if v, err := r.App("pair"); err != nil || !done(v) {
			t.Fatalf("waited 10 s for %s: %+v, %v", what, v, err)
		}
	}
	rollout := func(allowed bool) { r.Rollout(canceled(t), func(time.Time) bool { return allowed }) }

	set(signedCatalog(t, 2, "2", nil))
	rollout(false)
	if v, _ := r.App("pair"); v.Manifest.Version != "1" || v.State == view.Updating {
		t.Errorf("it was updated outside the window: %+v", v)
	}
	rollout(true)
	await("version 2", func(v view.View) bool {
		return v.Manifest.Version == "2" && v.State == view.Up && v.Source == "catalog feature 2"
	})

	h.mu.Lock()
	h.fail["image"] = errors.New("planted")
	h.mu.Unlock()
	set(signedCatalog(t, 3, "3", nil))
	rollout(true)
	await("the update to fail", func(v view.View) bool { return v.Declined && v.State == view.Up })
	gen := func() uint64 { v, _ := r.App("pair"); return v.Generation }
	before := gen()
	rollout(true)
	if gen() != before {
		t.Error("a version that did not come up was tried again by itself")
	}
	h.mu.Lock()
	h.fail["image"] = nil
	h.mu.Unlock()
	set(signedCatalog(t, 4, "4", nil))
	rollout(true)
	await("version 4", func(v view.View) bool { return v.Manifest.Version == "4" && v.State == view.Up && !v.Declined })
}

// TestWhatCameFromTheCatalogIsNotReplacedByTheDisk: the disk has an older version, and the
// catalog is lost, revokes what is installed, holds it back or goes back itself.
func TestWhatCameFromTheCatalogIsNotReplacedByTheDisk(t *testing.T) {
	revoked := func(d *document.Document) {
		d.Entries = nil
		d.Revoked = []document.Revocation{{ID: "pair", Version: "2", Reason: "it leaks", Since: time.Now()}}
	}
	for name, c := range map[string]struct {
		serial         int64
		version        string
		change         func(*document.Document)
		note, refusal  string
		owner, goesFor bool
	}{
		"it is lost":                          {0, "", nil, "was installed from the catalog feature 2, which does not offer it now", "not replaced by version 1 from disk", false, false},
		"it revokes what is installed":        {3, "2", revoked, "version 2 was revoked", "not replaced by version 1 from disk", false, false},
		"it has it no more":                   {3, "2", func(d *document.Document) { d.Entries = nil }, "which does not offer it now", "not replaced by version 1 from disk", false, false},
		"it holds it back":                    {3, "2", func(d *document.Document) { d.Entries[0].SHA256 = strings.Repeat("0", 64) }, "", "other digests", false, false},
		"it goes back":                        {3, "1", nil, "version 1, which catalog feature 3 offers, is older", "", true, false},
		"an earlier document has a newer one": {1, "3", nil, "", "", true, false},
		"it goes forward":                     {3, "3", nil, "", "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, _ := signedCatalog(t, 9, "1", nil).Merge(nil, nil, time.Now())
				disk["pair"].Source = catalog.Source{From: catalog.FromDisk}
				r := nodeWith(t, empty(), t.TempDir(), nil)
				r.disk = disk
				r.SetCatalog(signedCatalog(t, 2, "2", nil))
				if err := ask(t, r, "install"); err != nil {
					t.Fatal(err)
				}
				if c.serial == 0 {
					r.SetCatalog(nil)
				} else {
					r.SetCatalog(signedCatalog(t, c.serial, c.version, c.change))
				}
				r.Rollout(canceled(t), func(time.Time) bool { return true })
				time.Sleep(time.Minute)
				v, err := r.App("pair")
				if forward := v.Manifest.Version == "3"; err != nil || v.State != view.Up || forward != c.goesFor || !forward && v.Manifest.Version != "2" {
					t.Errorf("by itself: %s of %q, %s, %v", v.Manifest.Version, v.Source, v.State, err)
				}
				if !strings.Contains(v.Note, c.note) {
					t.Errorf("its owner reads %q, expected %q", v.Note, c.note)
				}
				_, err = r.Request(request.Request{App: "pair", Verb: request.Update})
				if (err == nil) != c.owner || err != nil && (!errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), c.refusal)) {
					t.Errorf("by its owner: %v, expected %q", err, c.refusal)
				}
			})
		})
	}
}

// TestTheDiskIsReadAgainWithoutARestart: its manifests are offered at once, those of the
// signed catalog and its refusals stay, and what is installed runs on.
func TestTheDiskIsReadAgainWithoutARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := func(ids ...string) catalog.Catalog {
			disk := catalog.Catalog{}
			for _, id := range ids {
				m, err := manifest.Parse(id, fmt.Appendf(nil, "apiVersion: archipelago/v1\nid: %s\nname: Own\nversion: \"9\"\ncontainers: [{name: %[1]s, image: {build: image}}]\n", id))
				if err != nil {
					t.Fatal(err)
				}
				disk[id] = &catalog.Entry{Manifest: m}
			}
			return disk
		}
		r := nodeWith(t, empty(), t.TempDir(), on("old"))
		r.SetCatalog(signedCatalog(t, 1, "1", nil))
		r.SetDisk(on("pair", "own"))
		if m, source := r.Offer().Manifest("pair"); m == nil || m.Version != "1" || source != "catalog feature 1" {
			t.Errorf("the signed one is replaced by %v from %q", m, source)
		}
		if m, source := r.Offer().Manifest("own"); m == nil || source != "disk" || r.Offer().Digest("own") != m.Digest() {
			t.Errorf("the disk's is %v from %q", m, source)
		}
		if r.Offer().Knows("old") {
			t.Error("what is not on disk any more is offered")
		}
		if err := ask(t, r, "install"); err != nil {
			t.Fatal(err)
		}
		r.SetDisk(nil)
		if v, err := r.App("pair"); err != nil || v.State != view.Up || r.Offer().Knows("own") {
			t.Errorf("without a disk: %+v, %v", v, err)
		}
		r.SetCatalog(signedCatalog(t, 2, "1", func(d *document.Document) { d.Entries[0].SHA256 = strings.Repeat("0", 64) }))
		r.SetDisk(on("pair"))
		if _, err := r.Offer().Entry("pair", time.Now()); err == nil || !strings.Contains(err.Error(), "other digests") {
			t.Errorf("the disk's takes the place of a refused one: %v", err)
		}
		r.SetCatalog(nil)
		if m, _ := r.Offer().Manifest("pair"); m == nil || m.Version != "9" {
			t.Errorf("a later merge forgets the disk: %v", m)
		}
	})
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestWhatIsInstalledOutlivesItsProof: an entry whose proof does not hold is said to the
// owner, nothing is installed from it, and what runs goes on.
func TestWhatIsInstalledOutlivesItsProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := nodeWith(t, empty(), t.TempDir(), nil)
		key, err := sign.NewSigner("key")
		if err != nil {
			t.Fatal(err)
		}
		role := root.Role{Keys: []sign.PublicKey{key.PublicKey}, Threshold: 1}
		policy := &root.Policy{Version: 1, Catalog: role, Gate: role}
		received := func(serial int64, version string, proven bool) *document.Document {
			d := signedCatalog(t, serial, version, func(d *document.Document) { d.Channel = "beta" })
			if proven {
				err = prooftest.Prove(d, key)
			}
			envelope, signErr := document.Sign(t.Context(), d, key)
			d, verifyErr := document.Verify(t.Context(), envelope, policy, document.Expectation{Now: time.Now()})
			if err := errors.Join(err, signErr, verifyErr); err != nil {
				t.Fatal(err)
			}
			return d
		}
		app := func() view.View {
			v, err := r.App("pair")
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		r.SetCatalog(received(1, "1", false))
		if _, err := r.Request(request.Request{App: "pair", Verb: "install"}); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "carries no proof that a gate has tested it") {
			t.Error("installed without proof:", err)
		}
		r.SetCatalog(received(2, "1", true))
		if err := ask(t, r, "install"); err != nil {
			t.Fatal(err)
		}
		if v := app(); v.State != view.Up {
			t.Fatalf("%+v", v)
		}
		r.SetCatalog(received(3, "2", false))
		time.Sleep(time.Minute)
		if v := app(); v.State != view.Up || v.Available != nil || !strings.Contains(r.Offer().Refused()["pair"], "carries no proof") {
			t.Errorf("%+v, refused %v", v, r.Offer().Refused())
		}
		if _, err := r.Request(request.Request{App: "pair", Verb: "update"}); !errors.Is(err, request.ErrRefused) {
			t.Error("updated without proof:", err)
		}
		if err := errors.Join(ask(t, r, "stop"), ask(t, r, "start")); err != nil {
			t.Error("its owner cannot use what is installed:", err)
		}
	})
}
