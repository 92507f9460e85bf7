package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// node answers as btcd on simnet does, with an index of addresses or without. It knows the
// addresses paid and unpaid.
func node(t *testing.T, index bool) *client {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "rpc" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var q struct {
			Method string
			Params []any
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		result, refusal := "null", "null"
		switch q.Method {
		case "getblockcount":
			result = "104"
		case "getblockchaininfo":
			result = `{"chain": "simnet"}`
		case "validateaddress":
			result = fmt.Sprintf(`{"isvalid": %v}`, q.Params[0] == "paid" || q.Params[0] == "unpaid")
		case "searchrawtransactions":
			switch {
			case !index:
				refusal = `{"code": -1, "message": "Address index must be enabled (--addrindex)"}`
			case q.Params[0] != "paid":
				refusal = `{"code": -5, "message": "nothing of that kind"}`
			default:
				result = `[{"txid": "bb", "vin": [{"prevOut": {"value": 50}}], "vout": [{"value": 20.1}, {"value": 0.00000001}]},
					{"txid": "aa", "confirmations": 101, "time": 1, "vin": [], "vout": [{"value": 50}]}]`
			}
		}
		fmt.Fprintf(w, `{"result": %s, "error": %s}`, result, refusal)
	}))
	t.Cleanup(s.Close)
	return &client{s.URL, "archipelago", "rpc", s.Client()}
}

func nothingWatched(t *testing.T) *watched {
	t.Helper()
	l, err := openWatched(filepath.Join(t.TempDir(), "addresses"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ask makes a request as the owner, if the password is right; form is posted.
func ask(t *testing.T, c *client, l *watched, path, password, site string, form url.Values) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if form != nil {
		r = httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", site)
	}
	r.SetBasicAuth("owner", password)
	w := httptest.NewRecorder()
	handler(c, l, "open sesame").ServeHTTP(w, r)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

func TestWhatAnAddressHoldsIsTheSumOfItsMovements(t *testing.T) {
	_, body := ask(t, node(t, true), nothingWatched(t), "/?q=paid", "open sesame", "", nil)
	for _, want := range []string{`id="addressindex">yes<`, `id="holds">50.00000000 BTC<`, "-29.89999999 BTC", "1970-01-01 00:00:01", "waits for a block"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	if _, body := ask(t, node(t, true), nothingWatched(t), "/?q=unpaid", "open sesame", "", nil); !strings.Contains(body, `id="holds">0.00000000 BTC<`) || strings.Contains(body, `role="alert"`) {
		t.Error(body)
	}
	if _, body := ask(t, node(t, true), nothingWatched(t), "/?q=%3Cb%3E", "open sesame", "", nil); !strings.Contains(body, "is no address on this network") || strings.Contains(body, "<b>") {
		t.Error(body)
	}
}

func TestANodeWithoutTheIndexIsNotReady(t *testing.T) {
	for index, want := range map[bool]string{true: `"indexed":true`, false: `"indexed":false`} {
		if _, body := ask(t, node(t, index), nothingWatched(t), "/status", "", "", nil); !strings.Contains(body, want) || !strings.Contains(body, `"height":104`) {
			t.Errorf("%v: %s", index, body)
		}
	}
	if _, body := ask(t, node(t, false), nothingWatched(t), "/", "open sesame", "", nil); !strings.Contains(body, `id="addressindex">no, set addrindex`) {
		t.Error(body)
	}
	refused := node(t, true)
	refused.password = "another"
	if _, body := ask(t, refused, nothingWatched(t), "/status", "", "", nil); !strings.Contains(body, `"indexed":false`) {
		t.Error(body)
	}
}

func TestWatchedAddressesAreTheOwnersAndOutliveTheProgram(t *testing.T) {
	c, l := node(t, true), nothingWatched(t)
	for _, path := range []string{"/", "/addresses.jsonl"} {
		if code, body := ask(t, c, l, path, "another", "", nil); code != http.StatusUnauthorized || strings.Contains(body, "height") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, refused := range []struct {
		address, label, password, site string
		code                           int
	}{
		{"paid", "rent", "another", "same-origin", http.StatusUnauthorized},
		{"paid", "rent", "open sesame", "cross-site", http.StatusForbidden},
		{"elsewhere", "rent", "open sesame", "same-origin", http.StatusBadRequest},
		{"paid", strings.Repeat("x", maxLabel+1), "open sesame", "same-origin", http.StatusBadRequest},
	} {
		code, body := ask(t, c, l, "/addresses", refused.password, refused.site, url.Values{"address": {refused.address}, "label": {refused.label}})
		if code != refused.code || len(l.lines()) > 0 {
			t.Errorf("%+v: %d %s", refused, code, body)
		}
	}
	if code, body := ask(t, c, l, "/addresses", "open sesame", "same-origin", url.Values{"address": {"paid"}, "label": {"rent"}}); code != http.StatusSeeOther {
		t.Errorf("%d %s", code, body)
	}
	again, err := openWatched(l.file)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(again.lines()); got != `{"type":"addr","ref":"paid","label":"rent"}`+"\n" {
		t.Error(got)
	}
	if _, body := ask(t, c, again, "/", "open sesame", "", nil); !strings.Contains(body, `<td>rent<td><a href="?q=paid">paid</a><td>50.00000000 BTC`) {
		t.Error(body)
	}
}
