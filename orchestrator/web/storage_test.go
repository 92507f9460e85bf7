package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// TestAVolumeIsMovedFromThePage has the page say where data is, begin a move, and say how it ended.
func TestAVolumeIsMovedFromThePage(t *testing.T) {
	m := &manifest.Manifest{ID: "photos", Name: "Photos", Version: "1", Containers: []manifest.Container{{Name: "photos", Volumes: []manifest.Volume{{Name: "library", Path: "/data"}}}}}
	store, of := recorded(t)
	s := of(catalog.Catalog{"photos": {Manifest: m}})
	n := &node{sessions: s.Sessions, pages: s}
	n.Server = httptest.NewTLSServer(s.Handler())
	t.Cleanup(n.Close)
	c, _ := n.owner(t)
	if _, page := get(t, c, n.URL+"/apps/photos"); strings.Contains(page, `id="storage"`) {
		t.Error("where the data is of what is not installed")
	}
	if _, err := store.Accept([]state.Desired{{App: "photos", Goal: state.Running, Manifest: m}}); err != nil {
		t.Fatal(err)
	}
	if err := store.PutData(state.Data{App: "photos", Version: "1", Volumes: []string{"library"}}); err != nil {
		t.Fatal(err)
	}
	_, page := get(t, c, n.URL+"/apps/photos")
	if !strings.Contains(page, "/photos/library</code>") || !strings.Contains(page, "Move it to another disk") || strings.Contains(page, "Move it back") {
		t.Errorf("the page:\n%s", page)
	}
	send := func(form url.Values) (int, string) {
		form.Set("form", tokenOf(t, c, n.URL+"/apps/photos/move"))
		return sent(t, c, n.URL, "/apps/photos/move", form)
	}
	for what, form := range map[string]url.Values{"no such volume": {"volume": {"else"}, "dir": {"/mnt/big"}}, "the whole path": {"volume": {"library"}, "dir": {"big"}}} {
		if status, page := send(form); status != http.StatusConflict || !strings.Contains(page, what) {
			t.Errorf("%s: status %d:\n%s", what, status, page)
		}
	}
	if l := s.jobs.list(); len(l) > 0 {
		t.Errorf("begun: %+v", l)
	}
	if status, page := send(url.Values{"volume": {"library"}, "dir": {" /not/there "}}); status != http.StatusOK {
		t.Errorf("status %d:\n%s", status, page)
	}
	s.jobs.running.Wait()
	if _, page := get(t, c, n.URL+"/apps/photos"); !strings.Contains(page, "Move of library: ") || !strings.Contains(page, "/not/there") {
		t.Errorf("it cannot be moved, and the page does not say so:\n%s", page)
	}
	if _, page := get(t, c, n.URL+"/backups"); strings.Contains(page, "Move of library") {
		t.Errorf("the move is on the page of backups:\n%s", page)
	}
	if err := s.jobs.begin(job{Verb: jobMove, App: "photos", Volume: "library", Dir: "/mnt/big"}, func(context.Context, func(backup.Step)) error { return nil }); err != nil {
		t.Fatal(err)
	}
	s.jobs.running.Wait()
	if err := store.UpdateData("photos", func(d state.Data) state.Data { return d.At("library", state.Place{Dir: "/mnt/big/photos/library"}) }); err != nil {
		t.Fatal(err)
	}
	if _, page := get(t, c, n.URL+"/apps/photos"); !strings.Contains(page, "Move of library: done ") || !strings.Contains(page, "<code>/mnt/big/photos/library</code>") || !strings.Contains(page, "Move it back") {
		t.Errorf("moved:\n%s", page)
	}
}
