package main

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnAddressIsReadBack(t *testing.T) {
	certificate, macaroon := []byte{0xfb, 0xff, 0xfe, 1}, []byte("may do all ~~~")
	u, err := url.Parse(connectURL("[2001:db8::1]:10009", certificate, macaroon))
	if err != nil {
		t.Fatal(err)
	}
	c, err := base64.RawURLEncoding.DecodeString(u.Query().Get("cert"))
	m, err2 := base64.RawURLEncoding.DecodeString(u.Query().Get("macaroon"))
	if u.Scheme != "lndconnect" || u.Hostname() != "2001:db8::1" || u.Port() != "10009" || err != nil || err2 != nil || string(c) != string(certificate) || string(m) != string(macaroon) {
		t.Errorf("%v: %x %q, %v %v", u, c, m, err, err2)
	}
}

func TestADrawingHasALightMargin(t *testing.T) {
	svg, err := drawing(strings.Repeat("lndconnect", 100))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(svg), "M4 4h1v1h-1z") || strings.Contains(string(svg), "M3 ") || strings.Contains(string(svg), " 3h1v1") {
		t.Error("the first module does not stand right behind the margin")
	}
}

func TestPagesAreTheOwnersAloneAndSayWhatIsMissing(t *testing.T) {
	h := handler(&lnd{rest: "https://127.0.0.1:1", dir: t.TempDir()}, "open sesame")
	for path, want := range map[string]string{"/": "lnd has not started yet", "/connect": "lnd has no wallet yet"} {
		for password, code := range map[string]int{"": http.StatusUnauthorized, "another": http.StatusUnauthorized, "open sesame": http.StatusOK} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.SetBasicAuth("owner", password)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != code || (code == http.StatusOK) != strings.Contains(w.Body.String(), want) {
				t.Errorf("%s with %q: %d %s", path, password, w.Code, w.Body)
			}
		}
	}
}

func TestTheMacaroonIsThatOfTheCurrentNetwork(t *testing.T) {
	dir := t.TempDir()
	for _, network := range []string{"regtest", "mainnet"} {
		if err := os.Mkdir(filepath.Join(dir, network), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, network, "admin.macaroon"), []byte(network), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("mainnet", filepath.Join(dir, "current")); err != nil {
		t.Fatal(err)
	}
	if b, err := macaroon(dir, "admin"); err != nil || string(b) != "mainnet" {
		t.Errorf("%q, %v", b, err)
	}
}
