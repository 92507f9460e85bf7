package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const pageBytes = 200 << 10

// full is a node whose catalog has ten thousand applications.
func full(t testing.TB) *Server {
	t.Helper()
	offered := catalog.Catalog{}
	categories := []string{"media", "network", "photos", ""}
	for i := range 10_000 {
		id := fmt.Sprintf("application-%05d", i)
		m := &manifest.Manifest{APIVersion: manifest.APIVersion, ID: id, Name: fmt.Sprintf("Application %05d", i), Version: "1.2.3",
			Containers: []manifest.Container{{Name: id, Ports: []manifest.Port{{Name: "web", Container: 80, Host: 20000 + i}}}},
			Listing: manifest.Listing{Category: categories[i%4], Tagline: "Does what the one before it does, and somewhat better than that " + fmt.Sprint(i),
				Description: strings.Repeat("Many words about it. ", 50), Icon: manifest.PictureDigest([]byte(id))}}
		offered[id] = &catalog.Entry{Manifest: m, Source: catalog.Source{From: catalog.FromCatalog, Document: "beta 7", SHA256: fmt.Sprintf("%064d", i)}}
	}
	return ofOneNode(t)(offered)
}

func ask(s *Server, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.store(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestAPageOfAStoreOfTenThousandIsSmall(t *testing.T) {
	s := full(t)
	for _, path := range []string{"/store", "/store?q=application+0042", "/store?q=better+media&category=media", "/store?page=278", "/store?page=99999", "/store?q=nothing+like+it"} {
		if size := ask(s, path).Body.Len(); size > pageBytes {
			t.Errorf("%s has %d bytes", path, size)
		}
	}
}

func TestTheStoreFindsByNameFirstAndIsPaged(t *testing.T) {
	s := full(t)
	page := ask(s, "/store?q=application+00042").Body.String()
	if strings.Count(page, `href="/apps/`) != 1 || !strings.Contains(page, `href="/apps/application-00042"`) {
		t.Errorf("one was looked for:\n%s", page)
	}
	first := ask(s, "/store?category=photos").Body.String()
	if !strings.Contains(first, "2,500 applications, page 1 of 70") || strings.Count(first, `href="/apps/`) != tilesAPage || !strings.Contains(first, `rel="next" href="/store?category=photos&amp;page=2"`) || strings.Contains(first, `rel="prev"`) {
		t.Errorf("the first page of a category:\n%s", first)
	}
	if page := ask(s, "/store?q=nothing+like+it").Body.String(); !strings.Contains(page, "Nothing is found") {
		t.Errorf("nothing:\n%s", page)
	}
	r := httptest.NewRequest(http.MethodGet, "/store?q=application+00042", nil)
	r.Header.Set("HX-Request", "true")
	r.Header.Set("HX-Target", "found")
	w := httptest.NewRecorder()
	if s.store(w, r); strings.Contains(w.Body.String(), "<html") || !strings.Contains(w.Body.String(), "application-00042") {
		t.Errorf("to htmx:\n%s", w.Body)
	}
}

func BenchmarkStore(b *testing.B) {
	s := full(b)
	for name, path := range map[string]string{"first": "/store", "search": "/store?q=better+0042"} {
		b.Run(name, func(b *testing.B) {
			ask(s, path)
			for b.Loop() {
				ask(s, path)
			}
		})
	}
}

// BenchmarkHome has nothing installed, whatever the catalog has.
func BenchmarkHome(b *testing.B) {
	s := full(b)
	f := frame{token: func(string) string { return "" }}
	for b.Loop() {
		s.homePage(f)
	}
}
