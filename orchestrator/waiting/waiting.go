// Package waiting serves the page that stands in for an application until it is
// ready. It says what is waited for, and reloads itself.
package waiting

import (
	"html/template"
	"net/http"
	"strings"
)

const again = "3" // seconds until the page asks again

var page = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{{.Again}}"><title>{{.Name}} is not ready yet</title><link rel="icon" href="data:,">
<style>body{font:16px system-ui,sans-serif;max-width:36rem;margin:20vh auto;padding:0 1rem;color:#222;background:#fafafa}</style></head>
<body><h1 id="archipelago-waiting">{{.Name}} is not ready yet</h1><p role="status">{{.Reason}}</p>
<p>This page asks again every {{.Again}} seconds and gives way to {{.Name}} as soon as it is ready.</p></body></html>
`))

// Write answers one request with the page, or with plain text where no page is
// wanted. The status is 503, so that no program takes it for the application.
func Write(w http.ResponseWriter, r *http.Request, name, reason string) {
	h := w.Header()
	h.Set("Retry-After", again)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, name+" is not ready yet: "+reason, http.StatusServiceUnavailable)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:")
	w.WriteHeader(http.StatusServiceUnavailable)
	page.Execute(w, struct{ Name, Reason, Again string }{name, reason, again})
}
