package ready

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func TestConditionsOverHTTP(t *testing.T) {
	answer, status := "", http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest.Manifest{ID: "chain", Containers: []manifest.Container{{Name: "chain", Ports: []manifest.Port{{Name: "rpc", Host: port}, {Name: "none", Host: 1}}}}}
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
