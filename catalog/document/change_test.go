package document

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/proof"
)

func TestDocumentsFollowEachOther(t *testing.T) {
	w := newWorld(t)
	d := Next(w.doc, "feature", now, 24*time.Hour)
	if d.Serial != 8 || len(d.Entries) != len(w.doc.Entries) || !d.Expires.Equal(now.AddDate(0, 0, 1)) {
		t.Errorf("%+v", d)
	}
	e := *d.Entry("miniflux")
	if err := d.Revoke(Revocation{ID: "miniflux", Version: e.Version, Reason: "leaks", Since: now}); err != nil || d.Entry("miniflux") != nil {
		t.Fatal(err)
	}
	if err := d.Put(e); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "leaks") {
		t.Errorf("a revoked version came back: %v", err)
	}
	if err := d.Revoke(Revocation{ID: "miniflux", Version: e.Version, Reason: "again", Since: now}); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	if err := d.Revoke(Revocation{ID: "x", Version: "1", Reason: " "}); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	if w.doc.Entry("miniflux") == nil {
		t.Error("the document before was changed")
	}
	if _, err := d.Encode(); err != nil {
		t.Error(err)
	}
	e.Version = "9"
	if err := d.Put(e); err != nil || d.Entry("miniflux").Version != "9" {
		t.Error(err)
	}
}

func TestDiffShowsPrivilegesAndPortsFirst(t *testing.T) {
	w := newWorld(t)
	after := Next(w.doc, "feature", now, time.Hour)
	m, err := w.doc.Entry("miniflux").Parse()
	if err != nil {
		t.Fatal(err)
	}
	next := *m
	next.Version, next.Summary, next.Network.Internet = "2.3", "Other words", new(bool)
	next.Containers = append([]manifest.Container(nil), m.Containers...)
	web := &next.Containers[1]
	web.User = "0:0"
	web.Sysctls = map[string]int{"net.core.somaxconn": 4096}
	web.Files = []manifest.File{{Path: "/etc/miniflux.conf", Content: "# as ever\nadmin = yes\n", Mode: "0755"}}
	web.Secrets = append(append([]manifest.SecretMount(nil), web.Secrets...), manifest.SecretMount{Name: "db-password", Env: "PGPASSWORD"})
	web.Ports = append([]manifest.Port{{Name: "debug", Container: 6060, Host: 6060}}, web.Ports...)
	web.Image.Digest = "sha256:" + strings.Repeat("1", 64)
	e, err := NewEntry(&next, "archipelago", "Faster.")
	if err != nil {
		t.Fatal(err)
	}
	if err := after.Put(e); err != nil {
		t.Fatal(err)
	}
	if err := after.Revoke(Revocation{ID: "radicale", Version: w.doc.Entry("radicale").Version, Reason: "leaks", Since: now}); err != nil {
		t.Fatal(err)
	}
	got := Diff(w.doc, after)
	if len(got) != 2 || got[1].ID != "radicale" || got[1].Revoked != "leaks" || got[1].To != "" {
		t.Fatalf("%+v", got)
	}
	var lines []string
	for _, l := range got[0].Lines {
		lines = append(lines, fmt.Sprintf("%s %s %q %q", l.Kind, l.Path, l.Old, l.New))
	}
	want := []string{
		`privilege containers.miniflux.files./etc/miniflux.conf.content:1 "" "# as ever"`,
		`privilege containers.miniflux.files./etc/miniflux.conf.content:2 "" "admin = yes"`,
		`privilege containers.miniflux.files./etc/miniflux.conf.mode "" "0755"`,
		`privilege containers.miniflux.files./etc/miniflux.conf.path "" "/etc/miniflux.conf"`,
		`privilege containers.miniflux.secrets.db-password#2.env "" "PGPASSWORD"`,
		`privilege containers.miniflux.secrets.db-password#2.name "" "db-password"`,
		`privilege containers.miniflux.sysctls.net.core.somaxconn "" "4096"`,
		`privilege containers.miniflux.user "65534:65534" "0:0"`,
		`privilege network.internet "" "false"`,
		`port containers.miniflux.ports.debug.container "" "6060"`,
		`port containers.miniflux.ports.debug.host "" "6060"`,
		`port containers.miniflux.ports.debug.name "" "debug"`,
		fmt.Sprintf(`image containers.miniflux.image.digest %q %q`, digest, "sha256:"+strings.Repeat("1", 64)),
		`listing summary "Minimalist feed reader" "Other words"`,
		`other version "2.2.6.1" "2.3"`,
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nexpected\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if all := Diff(nil, w.doc); len(all) != len(w.doc.Entries) || all[0].From != "" {
		t.Errorf("%+v", all)
	}
}

// What stands around a manifest is shown where it alone is another: an owner reads by it why an
// application may be trusted.
func TestDiffSaysWhatStandsAroundAManifest(t *testing.T) {
	monday := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	waiver := &catalog.Waiver{Steps: []string{"restart"}, Reason: "slow", Tracker: "https://tracker.example/1", Until: monday}
	longer := *waiver
	longer.Until, longer.Renewed = monday.AddDate(0, 0, 7), 1
	ran := &proof.Proof{Attestation: "a0", Run: "r1", Daemon: "d0", Nodes: 2, Cycles: 40, Finished: monday, Promoted: monday}
	again, later := *ran, *ran
	again.Promoted = monday.AddDate(0, 0, 1)
	later.Attestation, later.Run, later.Cycles = "a1", "r2", 60
	entry := func(w *catalog.Waiver, p *proof.Proof) Entry {
		return Entry{ID: "page", Version: "1", Publisher: "archipelago", Manifest: []byte(`{"id":"page"}`), Waiver: w, Proof: p}
	}
	edited := func(edit func(*Entry)) Entry { e := entry(nil, nil); edit(&e); return e }
	for name, c := range map[string]struct {
		was, is Entry
		want    string // empty: nothing changes
	}{
		"nothing":         {entry(waiver, ran), entry(waiver, ran), ""},
		"waived":          {entry(nil, nil), entry(waiver, nil), "it has a waiver now: released although it is not green at restart, until 2026-06-01: slow (https://tracker.example/1)"},
		"not waived":      {entry(waiver, nil), entry(nil, nil), "it has no waiver any more; it was released although"},
		"waived longer":   {entry(waiver, nil), entry(&longer, nil), "it has another waiver: released although it is not green at restart, until 2026-06-08, renewed: slow (https://tracker.example/1); before: released"},
		"proven":          {entry(nil, nil), entry(nil, ran), "it is proven now: run r1: 40 green cycles on 2 nodes, ended 2026-06-01, daemon d0…, attestation a0…"},
		"not proven":      {entry(nil, ran), entry(nil, nil), "it is not proven any more; it was, by run r1"},
		"another proof":   {entry(nil, ran), entry(nil, &later), "it has another proof: run r2: 60 green cycles on 2 nodes, ended 2026-06-01, daemon d0…, attestation a1…; before: run r1"},
		"promoted again":  {entry(nil, ran), entry(nil, &again), "it was promoted again on the same proof, on 2026-06-02; before: on 2026-06-01"},
		"other publisher": {entry(nil, nil), edited(func(e *Entry) { e.Publisher = "mallory" }), `its publisher is "mallory"; before: "archipelago"`},
		"other notes":     {entry(nil, nil), edited(func(e *Entry) { e.Notes = "read this" }), `its notes are others; before: ""`},
	} {
		got := Diff(&Document{Entries: []Entry{c.was}}, &Document{Entries: []Entry{c.is}})
		switch {
		case c.want == "" && len(got) == 0:
		case c.want == "" || len(got) != 1 || len(got[0].Words) != 1 || !strings.HasPrefix(got[0].Words[0], c.want) || len(got[0].Lines) > 0:
			t.Errorf("%s: %+v, expected %q", name, got, c.want)
		}
	}
}

// Items of one name are told apart: a command that comes before another one of the same
// container is shown.
func TestDiffHidesNoItemBehindAnotherOfItsName(t *testing.T) {
	dump := `{"command":["pg_dumpall"],"container":"db"}`
	entry := func(hooks string) []Entry {
		return []Entry{{ID: "page", Version: "1", Manifest: []byte(`{"hooks":{"pre_update":[` + hooks + `]}}`)}}
	}
	got := Diff(&Document{Entries: entry(dump)}, &Document{Entries: entry(`{"command":["curl","x.example"],"container":"db"},` + dump)})
	shown := fmt.Sprintf("%+v", got)
	if !strings.Contains(shown, "curl") || !strings.Contains(shown, "x.example") {
		t.Errorf("%s", shown)
	}
}
