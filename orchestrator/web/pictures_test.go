package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

const (
	onDisk   = `<svg xmlns="http://www.w3.org/2000/svg"><circle r="1"/></svg>`
	onMirror = `<svg xmlns="http://www.w3.org/2000/svg"><circle r="2"/></svg>`
)

// shown is a page of two applications: the icon of one is on the disk, that of the other is
// where Pictures looks.
func shown(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "icon.svg")
	if err := os.WriteFile(file, []byte(onDisk), 0o600); err != nil {
		t.Fatal(err)
	}
	app := func(id string, l manifest.Listing, beside map[string]string) *catalog.Entry {
		return &catalog.Entry{Manifest: &manifest.Manifest{ID: id, Name: id, Version: "1", Summary: "A summary", Containers: []manifest.Container{{Name: id}}, Listing: l, Beside: beside}}
	}
	one := manifest.Listing{Icon: manifest.PictureDigest([]byte(onDisk)), Category: "news", Tagline: `<b>"Feeds"`, Description: "Reads **feeds**.", Website: "https://feeds.example/", License: "MIT", Languages: []string{"en", "de"}}
	cat := catalog.Catalog{"one": app("one", one, map[string]string{one.Icon: file}), "two": app("two", manifest.Listing{Icon: manifest.PictureDigest([]byte(onMirror)), Description: "<script>alert(1)</script>"}, nil)}
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	n := &node{sessions: access.OpenSessions(dir, "sesame", access.NewPasswords(dir), log), dir: dir}
	pictures := func(context.Context, *manifest.Listing, string) ([]byte, string, error) {
		return []byte(onMirror), "image/svg+xml", nil // whatever it is asked for
	}
	n.Server = httptest.NewTLSServer((&Server{Reconciler: orchestrator.New(nil, store, sec, cat, "/d", log), Guard: access.NewGuard(n.sessions), Sessions: n.sessions, Pictures: pictures, Log: log}).Handler())
	t.Cleanup(n.Close)
	return n
}

func TestCardsShowIconAndTagline(t *testing.T) {
	n := shown(t)
	c, _ := n.owner(t)
	_, page := get(t, c, n.URL+"/")
	for _, want := range []string{
		`src="/apps/one/pictures/` + manifest.PictureFile(manifest.PictureDigest([]byte(onDisk))) + `"`,
		`<p>&lt;b&gt;&#34;Feeds&#34;</p>`, `<p>A summary</p>`, `<a href="/apps/one">one</a>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	_, about := get(t, c, n.URL+"/apps/one")
	for _, want := range []string{"<p>Reads <strong>feeds</strong>.</p>", `<dd><a href="/store?category=news">news</a></dd>`, `href="https://feeds.example/"`, "<dd>MIT</dd>", "<dd>en, de</dd>"} {
		if !strings.Contains(about, want) {
			t.Errorf("no %s in\n%s", want, about)
		}
	}
	if n := strings.Count(about, "<script"); n != strings.Count(about, `<script src="/static/`) {
		t.Errorf("the page of an application has a script of its own:\n%s", about)
	}
	if _, about := get(t, c, n.URL+"/apps/two"); strings.Contains(about, "alert(1)") {
		t.Errorf("what is no description is shown:\n%s", about)
	}
	if status, _ := get(t, c, n.URL+"/apps/ghost"); status != http.StatusNotFound {
		t.Error(status)
	}
}

func TestPicturesAreServedAsWhatDoesNothing(t *testing.T) {
	n := shown(t)
	c, _ := n.owner(t)
	path := func(app, picture string) string {
		return n.URL + picturePath(app, manifest.PictureDigest([]byte(picture)))
	}
	for app, want := range map[string]string{"one": onDisk, "two": onMirror} {
		r, err := c.Get(path(app, want))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || string(b) != want {
			t.Errorf("%s: %s %q, %v", app, r.Status, b, err)
		}
		for name, value := range map[string]string{"Content-Type": "image/svg+xml", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'"} {
			if got := r.Header.Get(name); got != value {
				t.Errorf("%s: %s is %q, expected %q", app, name, got, value)
			}
		}
	}
	// What the application's manifest does not name is not there, whoever has it.
	for _, address := range []string{path("one", onMirror), path("ghost", onDisk), n.URL + "/apps/one/pictures/..%2f..%2fetc", n.URL + "/apps/one/pictures/"} {
		if status, _ := get(t, c, address); status != http.StatusNotFound {
			t.Errorf("%s: %d", address, status)
		}
	}
	for _, address := range []string{path("one", onDisk), n.URL + "/apps/one"} {
		if status, _ := get(t, n.visitor(t), address); status != http.StatusUnauthorized {
			t.Errorf("%s, without a session: %d", address, status)
		}
	}
}
