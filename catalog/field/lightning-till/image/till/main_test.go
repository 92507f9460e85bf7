package main

import (
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var anInvoice = strings.Repeat("ab", 32)

// node answers as lnd does, and notes what it was asked for. Each macaroon permits what lnd's
// of that name does.
func node(t *testing.T, asked *[]string) *lnd {
	t.Helper()
	now := time.Now().Unix()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		macaroon, err := hex.DecodeString(r.Header.Get("Grpc-Metadata-macaroon"))
		if err != nil {
			t.Error(err)
		}
		switch string(macaroon) + " " + r.Method + " " + r.URL.Path {
		case "readonly GET /v1/getinfo":
			fmt.Fprint(w, `{"alias": "mine", "block_height": 104, "synced_to_chain": true}`)
		case "invoice GET /v1/invoices":
			fmt.Fprintf(w, `{"invoices": [{"memo": "old", "value": "7", "state": "OPEN", "creation_date": "1", "expiry": "60"}, {"memo": "<b>", "value": "8", "state": "SETTLED", "creation_date": "%d", "expiry": "60"}]}`, now)
		case "invoice GET /v1/invoice/" + anInvoice:
			fmt.Fprintf(w, `{"memo": "tea", "value": "9", "state": "OPEN", "creation_date": "%d", "expiry": "60", "payment_request": "lnsb90n1"}`, now)
		case "invoice POST /v1/invoices":
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			*asked = append(*asked, strings.TrimSpace(string(b)))
			sum, _ := hex.DecodeString(anInvoice)
			json.NewEncoder(w).Encode(map[string]any{"r_hash": sum})
		default:
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"message": "permission denied"}`)
		}
	}))
	t.Cleanup(s.Close)
	l := &lnd{rest: s.URL, dir: t.TempDir()}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	files := map[string][]byte{"tls.cert": certificate, "current/readonly.macaroon": []byte("readonly"), "current/invoice.macaroon": []byte("invoice")}
	if err := os.Mkdir(filepath.Join(l.dir, "current"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(l.dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func get(t *testing.T, l *lnd, path, password string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.SetBasicAuth("owner", password)
	w := httptest.NewRecorder()
	handler(l, "open sesame").ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestTheOwnerSeesWhatWasPaidAndNobodyElse(t *testing.T) {
	l := node(t, nil)
	_, body := get(t, l, "/", "open sesame")
	for _, want := range []string{"mine is ready", "&lt;b&gt;<td>8<td>paid", "old<td>7<td>expired"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	if strings.Index(body, "&lt;b&gt;") > strings.Index(body, "old") || strings.Contains(body, `role="alert"`) {
		t.Errorf("the newest is not the first, or there is a problem: %s", body)
	}
	for _, path := range []string{"/", "/invoice/" + anInvoice} {
		if code, body := get(t, l, path, "another"); code != http.StatusUnauthorized || strings.Contains(body, "tea") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if _, body := get(t, l, "/status", ""); !strings.Contains(body, `"synced":true`) {
		t.Error(body)
	}
}

func TestAnInvoiceThatCanBePaidHasACode(t *testing.T) {
	l := node(t, nil)
	_, body := get(t, l, "/invoice/"+anInvoice, "open sesame")
	for _, want := range []string{"9 sat, tea: not paid yet", `<path fill="#fff"`, `href="lightning:lnsb90n1"`, `http-equiv="refresh"`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	if _, body := get(t, l, "/invoice/..", "open sesame"); strings.Contains(body, `id="state"`) {
		t.Error(body)
	}
	if _, body := get(t, l, "/invoice/"+strings.Repeat("0", 64), "open sesame"); !strings.Contains(body, "permission denied") {
		t.Error(body)
	}
}

func TestOnlyTheOwnersOwnFormAsks(t *testing.T) {
	var asked []string
	l := node(t, &asked)
	for _, c := range []struct {
		sat, memo, password, site string
		code                      int
	}{
		{"1000", "tea", "another", "same-origin", http.StatusUnauthorized},
		{"1000", "tea", "open sesame", "cross-site", http.StatusForbidden},
		{"0", "tea", "open sesame", "same-origin", http.StatusBadRequest},
		{"100000001", "tea", "open sesame", "same-origin", http.StatusBadRequest},
		{"1e3", "tea", "open sesame", "same-origin", http.StatusBadRequest},
		{"1000", strings.Repeat("x", maxMemo+1), "open sesame", "same-origin", http.StatusBadRequest},
		{"1000", " tea ", "open sesame", "same-origin", http.StatusSeeOther},
	} {
		r := httptest.NewRequest(http.MethodPost, "/invoices", strings.NewReader(url.Values{"sat": {c.sat}, "memo": {c.memo}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", c.site)
		r.SetBasicAuth("owner", c.password)
		w := httptest.NewRecorder()
		before := len(asked)
		handler(l, "open sesame").ServeHTTP(w, r)
		if made := len(asked) > before; w.Code != c.code || made != (c.code == http.StatusSeeOther) {
			t.Errorf("%+v: %d %s, asked %v", c, w.Code, w.Body, asked)
		}
		if c.code == http.StatusSeeOther && w.Header().Get("Location") != "invoice/"+anInvoice {
			t.Error(w.Header())
		}
	}
	if len(asked) != 1 || asked[0] != `{"expiry":"3600","memo":"tea","value":"1000"}` {
		t.Error(asked)
	}
}
