package main

import (
	"encoding/json"
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

// node answers as one of regtest does, with an index or without.
func node(t *testing.T, index bool) *client {
	hash := strings.Repeat("ab", 32)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "rpc" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var q struct{ Method string }
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		answers := map[string]string{
			"getblockchaininfo": `{"chain": "regtest", "blocks": 7, "headers": 7, "bestblockhash": "` + hash + `"}`,
			"getblock":          fmt.Sprintf(`{"hash": %q, "height": 7, "time": %d, "tx": [%[1]q]}`, hash, time.Now().Unix()),
			"getpeerinfo":       `[{"addr": "192.0.2.1:8333", "subver": "<b>", "inbound": true}]`,
			"getmempoolinfo":    `{"size": 2, "bytes": 300}`,
		}
		if index {
			answers["getrawtransaction"] = `{"txid": "` + hash + `"}`
		}
		if a, ok := answers[q.Method]; ok {
			fmt.Fprintf(w, `{"result": %s, "error": null}`, a)
			return
		}
		fmt.Fprint(w, `{"result": null, "error": {"code": -5, "message": "nothing of that kind"}}`)
	}))
	t.Cleanup(s.Close)
	return &client{s.URL, "archipelago", "rpc", s.Client()}
}

func notes(t *testing.T) *labels {
	t.Helper()
	l, err := openLabels(filepath.Join(t.TempDir(), "labels"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func get(t *testing.T, c *client, path, password string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if password != "" {
		r.SetBasicAuth("owner", password)
	}
	w := httptest.NewRecorder()
	handler(c, notes(t), "open sesame").ServeHTTP(w, r)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

func TestThePageIsTheOwnersAlone(t *testing.T) {
	for _, path := range []string{"/", "/labels.jsonl"} {
		for _, password := range []string{"", "open", "open sesame "} {
			if code, body := get(t, node(t, true), path, password); code != http.StatusUnauthorized || strings.Contains(body, "192.0.2.1") {
				t.Errorf("%q: %d %s", password, code, body)
			}
		}
	}
}

func TestThePageSaysWhatTheNodeSays(t *testing.T) {
	code, body := get(t, node(t, true), "/", "open sesame")
	for _, want := range []string{`id="height">7<`, `id="synced">yes<`, `id="txindex">yes<`, "2 transactions, 300 bytes", "192.0.2.1:8333", "&lt;b&gt;"} {
		if !strings.Contains(body, want) {
			t.Errorf("status %d, and no %s in %s", code, want, body)
		}
	}
	if _, body = get(t, node(t, false), "/", "open sesame"); !strings.Contains(body, `id="txindex">no`) {
		t.Error("a node without an index of transactions is said to have one")
	}
}

func TestWhatCannotBeHadIsSaid(t *testing.T) {
	refused := node(t, true)
	refused.password = "another"
	if code, body := get(t, refused, "/", "open sesame"); code != http.StatusOK || !strings.Contains(body, "refuses the password") || strings.Contains(body, `id="height"`) {
		t.Errorf("%d %s", code, body)
	}
	if _, body := get(t, refused, "/status", ""); !strings.Contains(body, `"reachable":false`) {
		t.Error(body)
	}
	if _, body := get(t, node(t, true), "/?q=%3Cscript%3E", "open sesame"); !strings.Contains(body, "expected the height") || strings.Contains(body, "<script") {
		t.Error(body)
	}
}

func TestLabelsAreTheOwnersAndOutliveTheProgram(t *testing.T) {
	l, id := notes(t), strings.Repeat("ab", 32)
	post := func(of, text, password, site string) (int, string) {
		r := httptest.NewRequest(http.MethodPost, "/labels", strings.NewReader(url.Values{"of": {of}, "label": {text}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", site)
		r.SetBasicAuth("owner", password)
		w := httptest.NewRecorder()
		handler(node(t, true), l, "open sesame").ServeHTTP(w, r)
		return w.Code, w.Header().Get("Location")
	}
	for _, refused := range []struct {
		of, text, password, site string
		code                     int
	}{
		{id, "mine", "another", "same-origin", http.StatusUnauthorized},
		{id, "mine", "open sesame", "cross-site", http.StatusForbidden},
		{id, "mine", "open sesame", "same-site", http.StatusForbidden},
		{"7", "mine", "open sesame", "same-origin", http.StatusBadRequest},
		{id, "two\nlines", "open sesame", "same-origin", http.StatusBadRequest},
		{id, strings.Repeat("x", maxLabel+1), "open sesame", "same-origin", http.StatusBadRequest},
	} {
		if code, _ := post(refused.of, refused.text, refused.password, refused.site); code != refused.code || len(l.lines()) > 0 {
			t.Errorf("%+v: %d %s", refused, code, l.lines())
		}
	}
	if code, to := post(id, "rent \"July\"", "open sesame", "same-origin"); code != http.StatusSeeOther || to != "./?q="+id {
		t.Errorf("%d %s", code, to)
	}
	again, err := openLabels(l.file)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.get(id); got != `rent "July"` || string(again.lines()) != `{"type":"tx","ref":"`+id+`","label":"rent \"July\""}`+"\n" {
		t.Errorf("%q, %s", got, again.lines())
	}
	if post(id, " ", "open sesame", "none"); len(l.lines()) > 0 {
		t.Errorf("an empty label is kept: %s", l.lines())
	}
	if err := os.WriteFile(l.file, []byte("{\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openLabels(l.file); err == nil {
		t.Error("a broken file is taken for an empty one, and would be written over")
	}
}
