package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnyoneCanGetTheCAAndReadHowToTrustIt(t *testing.T) {
	h := Trust("box<", strings.Repeat("0123456789abcdef", 4), []byte("PEM"))
	ask := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	if w := ask("/ca.crt"); w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/x-x509-ca-cert" || w.Body.String() != "PEM" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	w := ask("/trust")
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, want := range []string{"box&lt;", "0123 4567 89ab cdef 0123 4567 89ab cdef 0123 4567 89ab cdef 0123 4567 89ab cdef", "/ca.crt", "archipelago fingerprint", "Android", "iPhone", "macOS", "Windows", "Linux", "Firefox"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	if page, err := (&Server{pages: parsed()}).execute(english, "signin", struct {
		frame
		Problem   string
		Unclaimed bool
		Code      bool
		Named     bool
		Passkey   bool
	}{}); err != nil || !strings.Contains(string(page), `href="/trust"`) {
		t.Error("the sign-in page does not lead there")
	}
}

func TestPagesOfTheUnencryptedPortAreRedirectedToTLS(t *testing.T) {
	h := ToTLS(7443)
	for host, want := range map[string]string{
		"box.local:7070":        "https://box.local:7443/apps?x=1",
		"127.0.0.1:7070":        "https://127.0.0.1:7443/apps?x=1",
		"[::1]:7070":            "https://[::1]:7443/apps?x=1",
		"box":                   "https://box:7443/apps?x=1",
		"evil.example/@box":     "",
		"user@box":              "",
		"box\"><script>":        "",
		"":                      "",
		"box\r\nSet-Cookie: a=": "",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r := httptest.NewRequest(method, "/apps?x=1", nil)
			r.Host = host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			status := http.StatusSeeOther
			if want == "" {
				status = http.StatusBadRequest
			}
			if w.Code != status || w.Header().Get("Location") != want {
				t.Errorf("%s %q: %d, to %q", method, host, w.Code, w.Header().Get("Location"))
			}
		}
	}
	r := httptest.NewRequest(http.MethodGet, "//evil.example/", nil)
	r.Host = "box:7070"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if got := w.Header().Get("Location"); !strings.HasPrefix(got, "https://box:7443/") {
		t.Errorf("to %q", got)
	}
}
