package matrix

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

// served is a node's proxy, and the authority that its certificate is of. It is made for
// 127.0.0.1 and example.com.
func served(t *testing.T, h http.Handler) (*httptest.Server, nodes.Authority) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	var a nodes.Authority
	if err := a.UnmarshalText(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})); err != nil {
		t.Fatal(err)
	}
	return s, a
}

func TestACertificateThatDoesNotHoldIsRed(t *testing.T) {
	s, own := served(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	there := strings.TrimPrefix(s.URL, "https://")
	for _, c := range []struct {
		name    string
		trusted nodes.Authority
		url     string
		want    string // in what is wrong; empty: nothing is
	}{
		{"the node's, for the address", own, s.URL, ""},
		{"the node's, for the name", own, "https://example.com:8443/", ""},
		{"the node's, for another name", own, "https://feeds.node-1.local:8443/", "not feeds.node-1.local"},
		{"another authority's", nodes.Authority{}, s.URL, "unknown authority"},
	} {
		wrong := strings.Join(checkStatus(t.Context(), "proxy", pinned(c.trusted, there), c.url, 0), "; ")
		if c.want == "" && wrong != "" || !strings.Contains(wrong, c.want) {
			t.Errorf("%s: %q, expected %q", c.name, wrong, c.want)
		}
	}
}

func TestAnotherStatusThanThePagesIsRed(t *testing.T) {
	s, own := served(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	if wrong := checkStatus(t.Context(), "by name", pinned(own, ""), s.URL, http.StatusUnauthorized); len(wrong) > 0 {
		t.Errorf("red without a fault: %q", wrong)
	}
	for status, want := range map[int]string{http.StatusOK: "status 401, expected 200", 0: "status 401, expected 2xx"} {
		if wrong := strings.Join(checkStatus(t.Context(), "by name", pinned(own, ""), s.URL, status), "; "); !strings.HasPrefix(wrong, "by name: ") || !strings.Contains(wrong, want) {
			t.Errorf("%q, expected %q", wrong, want)
		}
	}
}

func TestAScriptThatIsNotServedAsProvidedIsRed(t *testing.T) {
	s, own := served(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		io.WriteString(w, "window.x = 1;")
	}))
	if wrong := checkScript(t.Context(), pinned(own, ""), s.URL+"/x.js", manifest.ProviderScript{Path: "/x.js", Source: "window.x = 1;"}); len(wrong) > 0 {
		t.Errorf("red without a fault: %q", wrong)
	}
	if wrong := checkScript(t.Context(), pinned(own, ""), s.URL+"/x.js", manifest.ProviderScript{Path: "/x.js", Source: "window.x = 2;"}); len(wrong) == 0 {
		t.Error("green although another script is served")
	}
}

// A page may say what it likes, as often as it likes: little of it is kept.
func TestAPageThatComplainsWithoutEndIsBounded(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `<title></title><p id="x">x</p><script>
document.title = "t".repeat(1 << 20);
for (let i = 0; i < 3000; i++) console.error("\x1b[2J" + "e".repeat(1000));
</script>`)
	}))
	defer page.Close()
	in := manifest.Interface{Expect: manifest.Expect{Title: "y", Selector: "#x"}}
	p, err := browse(t, []string{addressOf(page)}).Visit(t.Context(), page.URL, in, "")
	if err != nil {
		t.Fatal(err)
	}
	wrong, _ := checkPage("proxy", "127.0.0.1", p, in)
	said := Verdict(wrong)
	if said == nil || len(said.Error()) > reports.MaxText || !strings.Contains(said.Error(), "console error: ") || !strings.Contains(said.Error(), "more") {
		t.Errorf("%d problems, and %d bytes in all: %.300v", len(p.Problems), len(said.Error()), said)
	}
}

// An application answers with something; whatever else takes the connection does not.
func TestAPortAnswersByWhatItSays(t *testing.T) {
	for name, c := range map[string]struct {
		there func(net.Conn)
		want  bool
	}{
		"an application":     {func(c net.Conn) { c.Read(make([]byte, 1<<10)); io.WriteString(c, "H"); c.Close() }, true},
		"a forwarder":        {func(c net.Conn) { c.Close() }, false},
		"one that says none": {func(c net.Conn) { io.Copy(io.Discard, c) }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			go c.there(there)
			begin := time.Now()
			if got := answersHTTP(here); got != c.want {
				t.Errorf("%s answers: %v, expected %v", name, got, c.want)
			}
			if took := time.Since(begin); took > answerTimeout {
				t.Errorf("%s: it took %s", name, took)
			}
			synctest.Wait()
		})
	}
}

func TestAServersOwnFailureNeverPasses(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504, 599} {
		s, own := served(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		for _, want := range []int{0, 200, status} { // even where the manifest wants it
			if wrong := checkStatus(t.Context(), "proxy", pinned(own, ""), s.URL, want); len(wrong) != 1 {
				t.Errorf("status %d, wanted %d: %q", status, want, wrong)
			}
		}
	}
	for status, want := range map[int]int{200: 0, 204: 0, 401: 401, 404: 404} {
		if !accepted(status, want) {
			t.Errorf("status %d, wanted %d, is red", status, want)
		}
	}
}

// TestEveryPageIsServed has an interface that speaks HTTP beside the one that My Apps links to.
func TestEveryPageIsServed(t *testing.T) {
	s, own := served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/admin" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	port := manifest.Port{Name: "p", Container: 80, Host: s.Listener.Addr().(*net.TCPAddr).Port - manifest.ProxyOffset}
	app := func(admin manifest.Interface) *manifest.Manifest {
		admin.Port = "p"
		return &manifest.Manifest{ID: "a", Containers: []manifest.Container{{Name: "a", Ports: []manifest.Port{port}}},
			Interfaces: map[string]manifest.Interface{"web": {Port: "p", Path: "/gone"}, "wire": {Port: "p", Protocol: "tcp"}, "admin": admin}}
	}
	for want, admin := range map[string]manifest.Interface{
		"":                            {Path: "/admin"},
		"status 404, expected 2xx":    {Path: "/", Protocol: "http"},
		"status 200, expected 401":    {Path: "/admin", Expect: manifest.Expect{Status: 401}},
		"the admin interface: https:": {},
	} {
		wrong := strings.Join(checkOthers(t.Context(), app(admin), "127.0.0.1", pinned(own, "")), "; ")
		if want == "" && wrong != "" || !strings.Contains(wrong, want) {
			t.Errorf("%q, expected %q", wrong, want)
		}
	}
}
