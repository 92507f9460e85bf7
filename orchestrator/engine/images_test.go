package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestAnImageIsRemovedByItsNameAndNeverByForce(t *testing.T) {
	for status, want := range map[int]string{http.StatusOK: "", http.StatusNotFound: "", http.StatusConflict: "in use by a container"} {
		e := serving(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/_ping") {
				w.Header().Set("Libpod-API-Version", "5.4.2")
				return
			}
			if r.Method != http.MethodDelete || !strings.HasSuffix(r.URL.EscapedPath(), "/images/localhost:5000%2Fchain@sha256:1") || r.URL.Query().Get("force") != "false" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			if status == http.StatusOK {
				w.Write([]byte(`{"Untagged":["localhost:5000/chain@sha256:1"]}`))
				return
			}
			fmt.Fprintf(w, `{"cause":"in use by a container","message":"in use by a container","response":%d}`, status)
		})
		err := e.RemoveImage(t.Context(), "localhost:5000/chain@sha256:1")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d: %v, expected %q", status, err, want)
		}
	}
}
