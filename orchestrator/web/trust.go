package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"strings"
)

//go:embed trust.html
var trustHTML string

// ownStyle names the one style of a page that stands alone, for its policy.
func ownStyle(page string) string {
	_, rest, _ := strings.Cut(page, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// grouped is a fingerprint in groups that people can compare.
func grouped(fingerprint string) string {
	var groups []string
	for i := 0; i+4 <= len(fingerprint); i += 4 {
		groups = append(groups, fingerprint[i:i+4])
	}
	return strings.Join(groups, " ")
}

// Trust serves the certificate of the node's CA at /ca.crt, and at /trust a page that says
// how to have a device trust it. Both are for everyone: they hold no secret.
func Trust(host, fingerprint string, pem []byte) http.Handler {
	pages := make([]bytes.Buffer, len(spoken))
	var err error
	for l := range pages {
		page := template.Must(template.New("trust").Funcs(tongue(l).funcs()).Parse(trustHTML))
		err = errors.Join(err, page.Execute(&pages[l], struct{ Host, Fingerprint string }{host, grouped(fingerprint)}))
	}
	style := ownStyle(trustHTML)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ca.crt", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-x509-ca-cert")
		w.Write(pem)
	})
	mux.HandleFunc("GET /trust", func(w http.ResponseWriter, r *http.Request) {
		varies(w)
		if err != nil {
			http.Error(w, in(r).t("The page could not be rendered."), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; img-src data:; style-src "+style+"; frame-ancestors 'none'; form-action 'none'; base-uri 'none'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(pages[in(r)].Bytes())
	})
	return headers(mux)
}
