package web

import (
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

func TestACardSaysHowOldTheBackupIs(t *testing.T) {
	v := view.View{Manifest: &manifest.Manifest{ID: "one", Name: "One"}, Backup: view.Backup{Made: time.Date(2026, 5, 1, 3, 0, 0, 0, time.Local), Size: 20<<20 + 1, Repository: "disk", Proven: time.Date(2026, 4, 30, 3, 0, 0, 0, time.Local)}}
	if got, want := english.backedUp(v.Backup), "Backed up 2026-05-01 03:00 in disk, 21 MiB; restored on trial 2026-04-30"; got != want {
		t.Errorf("%q, expected %q", got, want)
	}
	v.Backup.DataOnly = "it requires chain"
	if got := english.backedUp(v.Backup); !strings.HasSuffix(got, "; restored on trial 2026-04-30, data only: it requires chain") {
		t.Errorf("%q", got)
	}
	v.Backup.DataOnly, v.Backup.Started = "", v.Backup.Proven
	if got := english.backedUp(v.Backup); !strings.HasSuffix(got, "; restored on trial 2026-04-30, and started from it") {
		t.Errorf("%q", got)
	}
	s := ofOneNode(t)(catalog.Catalog{})
	f := frame{token: func(string) string { return "" }}
	page, err := s.execute(english, "apps", homePage{frame: f, Apps: []card{s.card(v, f, ""), {ID: "two", Name: "Two"}}})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(page), "Backed up"); n != 1 || !strings.Contains(string(page), "Backed up 2026-05-01 03:00 in disk, 21 MiB") {
		t.Errorf("%d in %s", n, page)
	}
}
