package subscription

import (
	"errors"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/proof"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

// heldBack is why the newest document in force offers no mosquitto; nil if it does.
func (w *world) heldBack() error {
	w.t.Helper()
	d := w.docs[len(w.docs)-1]
	merged, refused := d.Merge(nil, catalog.Catalog{}, w.clock)
	if (merged["mosquitto"] != nil) == (refused["mosquitto"] != nil) {
		w.t.Fatalf("offered %v, refused %v", merged, refused)
	}
	return refused["mosquitto"]
}

// TestAnEntryWithoutProofIsHeldBack: the catalog's keys have signed it, and still what no
// gate has tested is not offered, on a node that has nothing but what it has downloaded.
func TestAnEntryWithoutProofIsHeldBack(t *testing.T) {
	w := newWorld(t)
	w.follow()
	if err := w.heldBack(); err != nil {
		t.Fatal("a proven one:", err)
	}
	stranger, err := sign.NewSigner("stranger")
	if err != nil {
		t.Fatal(err)
	}
	expires := w.clock.AddDate(0, 0, 7)
	gate := w.gate
	for _, c := range []struct {
		name string
		gate *sign.Signer
		want string
	}{
		{"none", nil, "carries no proof"},
		{"that of another gate", stranger, "not by the gates of root 1"},
	} {
		w.gate = c.gate
		serial := w.serial() + 1
		w.files["/beta.json"] = w.document("beta", serial, expires, w.keys[0])
		if changed, err := w.sub.Refresh(t.Context()); err != nil || !changed || w.serial() != serial {
			t.Fatalf("%s: the other entries are of use: %v, %v", c.name, changed, err)
		}
		check := func(when string) {
			t.Helper()
			if err := w.heldBack(); !errors.Is(err, proof.ErrUnproven) || !errors.Is(err, document.ErrRefused) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"mosquitto"`) {
				t.Errorf("%s, %s: %v", c.name, when, err)
			}
		}
		check("from the mirror")
		w.open()
		check("offline, after a restart")
	}
	w.gate = gate
}

// TestAGateIsTrustedByTheNewestRoot: a gate that the root does not name any more proves
// nothing, and one that it names proves what is in force already.
func TestAGateIsTrustedByTheNewestRoot(t *testing.T) {
	w := newWorld(t)
	gate := w.gate
	w.gate = nil
	first := w.root(1, 1, w.keys[:1], w.keys[0])
	w.gate = gate
	if err := w.sub.Follow(Config{Channel: "beta", Mirrors: []string{w.mirror.URL}}, first); err != nil {
		t.Fatal(err)
	}
	w.publish(7)
	refresh := func() {
		t.Helper()
		if changed, err := w.sub.Refresh(t.Context()); err != nil || !changed {
			t.Fatal(changed, err)
		}
	}
	refresh()
	if err := w.heldBack(); err == nil || !strings.Contains(err.Error(), "root 1 names no gate") {
		t.Error("under a root from before gates had a role:", err)
	}
	w.files["/root/2.json"] = w.root(2, 1, w.keys[:1], w.keys[0])
	refresh()
	if err := w.heldBack(); err != nil {
		t.Error("once a root names the gate:", err)
	}
	if changed, err := w.sub.Refresh(t.Context()); err != nil || changed {
		t.Error("nothing is new:", changed, err)
	}
	var err error
	if w.gate, err = sign.NewSigner("another"); err != nil {
		t.Fatal(err)
	}
	w.files["/root/3.json"] = w.root(3, 1, w.keys[:1], w.keys[0])
	refresh()
	if err := w.heldBack(); !errors.Is(err, proof.ErrUnproven) {
		t.Error("once its key was taken out:", err)
	}
}

// TestARemovedKeyKeepsNothingInForce: a mirror that has the new root, and no catalog that is
// valid under it, keeps neither a removed key nor a removed gate in force.
func TestARemovedKeyKeepsNothingInForce(t *testing.T) {
	gaps := map[string]func(w *world){
		"no catalog":       func(w *world) { delete(w.files, "/beta.json") },
		"the old catalog":  func(*world) {},
		"a broken catalog": func(w *world) { w.files["/beta.json"] = []byte("x") },
	}
	for name, gap := range gaps {
		w := newWorld(t)
		w.follow()
		w.files["/root/2.json"] = w.root(2, 1, w.keys[:2], w.keys[1])
		gap(w)
		if changed, err := w.sub.Refresh(t.Context()); err == nil || !changed || w.docs[len(w.docs)-1] != nil || w.serial() != 0 {
			t.Errorf("a removed catalog key, %s: %v, %v, serial %d", name, changed, err, w.serial())
		}
		if s, _ := w.sub.Status(); !strings.Contains(s.Error, "not valid under root 2") {
			t.Errorf("%s: %+v", name, s)
		}
		if changed, _ := w.sub.Refresh(t.Context()); changed {
			t.Errorf("%s: it is said once", name)
		}
		w.files["/beta.json"] = w.document("beta", 8, w.clock.AddDate(0, 0, 7), w.keys[1])
		if changed, err := w.sub.Refresh(t.Context()); err != nil || !changed || w.serial() != 8 {
			t.Errorf("%s, then a newer catalog: %v, %v", name, changed, err)
		}
	}
	for name, gap := range gaps {
		w := newWorld(t)
		w.follow()
		var err error
		if w.gate, err = sign.NewSigner("another"); err != nil {
			t.Fatal(err)
		}
		w.files["/root/2.json"] = w.root(2, 1, w.keys[:1], w.keys[0])
		gap(w)
		w.sub.Refresh(t.Context())
		if err := w.heldBack(); !errors.Is(err, proof.ErrUnproven) {
			t.Errorf("a removed gate, %s: %v", name, err)
		}
		if w.serial() != 7 {
			t.Errorf("%s: the catalog itself holds: serial %d", name, w.serial())
		}
	}
}
