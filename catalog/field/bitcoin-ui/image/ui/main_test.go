package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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

func get(t *testing.T, c *client, path, password string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if password != "" {
		r.SetBasicAuth("owner", password)
	}
	w := httptest.NewRecorder()
	handler(c, "open sesame").ServeHTTP(w, r)
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

func TestThePageIsTheOwnersAlone(t *testing.T) {
	for _, password := range []string{"", "open", "open sesame "} {
		if code, body := get(t, node(t, true), "/", password); code != http.StatusUnauthorized || strings.Contains(body, "192.0.2.1") {
			t.Errorf("%q: %d %s", password, code, body)
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
