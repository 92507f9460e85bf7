package ready

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// serving is a manifest of an application that answers on its port "rpc".
func serving(t *testing.T, h http.HandlerFunc) *manifest.Manifest {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return &manifest.Manifest{ID: "chain", Containers: []manifest.Container{{Name: "chain", Ports: []manifest.Port{{Name: "rpc", Host: port}, {Name: "none", Host: 1}}}}}
}

func TestReadinessFollowsNoRedirect(t *testing.T) {
	var elsewhere atomic.Bool
	m := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			elsewhere.Store(true)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})
	if got := askHTTP(t.Context(), m, &manifest.HTTPCondition{Port: "rpc", Path: "/"}); got != "/ answers with status 302" {
		t.Errorf("a redirect: %q", got)
	}
	if got := askHTTP(t.Context(), m, &manifest.HTTPCondition{Port: "rpc", Path: "/", Status: http.StatusFound}); got != "" {
		t.Errorf("a redirect that is expected: %q", got)
	}
	if elsewhere.Load() {
		t.Error("the daemon went where the application sent it")
	}
}

func TestReadinessReadsABoundedAnswer(t *testing.T) {
	endless := func(write func([]byte) (int, error)) {
		for piece := bytes.Repeat([]byte("x"), 64<<10); ; {
			if _, err := write(piece); err != nil {
				return
			}
		}
	}
	var read atomic.Int64
	m := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/header" {
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeader))
			return
		}
		io.WriteString(w, `{"state": "`)
		endless(func(b []byte) (int, error) {
			n, err := w.Write(b)
			read.Add(int64(n))
			return n, err
		})
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if got := askHTTP(ctx, m, &manifest.HTTPCondition{Port: "rpc", Path: "/", JSON: "state", Equals: "x"}); got != "/ does not answer with JSON" {
		t.Errorf("an endless answer: %.100q", got)
	}
	if n := read.Load(); n > 64*maxAnswer { // the bound, and what the kernel's buffers take
		t.Errorf("%d bytes were taken", n)
	}
	if got := askHTTP(ctx, m, &manifest.HTTPCondition{Port: "rpc", Path: "/header"}); got != "port rpc does not answer" {
		t.Errorf("a header of %d bytes: %q", 2*maxHeader, got)
	}
}

func TestConditionsOverHTTP(t *testing.T) {
	answer, status := "", http.StatusOK
	m := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	})
	json := &manifest.HTTPCondition{Port: "rpc", Path: "/", JSON: "chain.ibd", Equals: "false", Progress: "chain.blocks"}
	for _, c := range []struct {
		name      string
		condition *manifest.HTTPCondition
		status    int
		answer    string
		want      string
	}{
		{"status as expected", &manifest.HTTPCondition{Port: "rpc", Path: "/"}, 200, "", ""},
		{"another status as expected", &manifest.HTTPCondition{Port: "rpc", Path: "/", Status: 401}, 401, "", ""},
		{"wrong status", &manifest.HTTPCondition{Port: "rpc", Path: "/"}, 503, "", "/ answers with status 503"},
		{"nobody answers", &manifest.HTTPCondition{Port: "none", Path: "/"}, 200, "", "port none does not answer"},
		{"as it should be", json, 200, `{"chain": {"ibd": false}}`, ""},
		{"not yet, with progress", json, 200, `{"chain": {"ibd": true, "blocks": 41}}`, "chain.ibd is true (chain.blocks: 41)"},
		{"text that equals", &manifest.HTTPCondition{Port: "rpc", Path: "/", JSON: "s", Equals: "ok"}, 200, `{"s": "ok"}`, ""},
		{"missing", json, 200, `{"chain": {}}`, "chain.ibd is missing"},
		{"an object where a value should be", json, 200, `{"chain": {"ibd": {}}}`, "chain.ibd is missing"},
		{"a list on the way", json, 200, `{"chain": [1]}`, "chain.ibd is missing"},
		{"no JSON", json, 200, `<html>`, "/ does not answer with JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, answer = c.status, c.answer
			if got := askHTTP(t.Context(), m, c.condition); got != c.want {
				t.Errorf("%q, expected %q", got, c.want)
			}
		})
	}
}

// What is shown goes into messages of the RPC, which are text: one that is not would
// keep the whole list of applications from its owner.
func TestWhatIsShownIsText(t *testing.T) {
	for _, said := range []string{"\xff\xfe", "a" + strings.Repeat("é", 200)} {
		if got := firstLine(said, "nothing"); !utf8.ValidString(got) || len(got) > 200 {
			t.Errorf("%q: %q", said, got)
		}
	}
}
