package web

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"strings"
)

//go:embed trust.html
var trustHTML string

// Trust serves the certificate of the node's CA at /ca.crt, and at /trust a page that says
// how to have a device trust it. Both are for everyone: they hold no secret.
func Trust(host, fingerprint string, pem []byte) http.Handler {
	var page bytes.Buffer
	// In groups that people can compare.
	var groups []string
	for i := 0; i+4 <= len(fingerprint); i += 4 {
		groups = append(groups, fingerprint[i:i+4])
	}
	err := template.Must(template.New("").Parse(trustHTML)).Execute(&page, map[string]any{"Host": host, "Fingerprint": strings.Join(groups, " ")})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ca.crt", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-x509-ca-cert")
		w.Write(pem)
	})
	mux.HandleFunc("GET /trust", func(w http.ResponseWriter, _ *http.Request) {
		if err != nil {
			http.Error(w, "The page could not be rendered.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page.Bytes())
	})
	return headers(mux)
}
