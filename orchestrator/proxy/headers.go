package proxy

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// daemonCookie tells whether a cookie's name is one of the daemon's. A browser sends
// cookies to every port of a host, so My Apps' session arrives at each application's.
// Upper and lower case count the same, as in the prefix (RFC 6265bis, section 4.1.3). A
// cookie without a name counts by its value: a browser sends "=name=value" back as
// "name=value".
func daemonCookie(pair string) bool {
	name := strings.ToLower(strings.TrimLeft(pair, "= \t"))
	return strings.HasPrefix(name, "archipelago-session") || strings.HasPrefix(name, "__host-archipelago")
}

// keepFromApplication takes out of a request what only the daemon may see: its cookies,
// its token, and those that it made for programs. All other credentials are the application's
// own, which it signs its users in with: Basic authentication and bearer tokens of its making
// pass.
func keepFromApplication(h http.Header, token string) {
	var lines []string
	for _, line := range h["Cookie"] {
		pairs := strings.Split(line, ";")
		kept := slices.DeleteFunc(pairs, daemonCookie)
		if len(kept) > 0 {
			lines = append(lines, strings.TrimSpace(strings.Join(kept, ";")))
		}
	}
	replace(h, "Cookie", lines)
	replace(h, "Authorization", slices.DeleteFunc(h["Authorization"], func(value string) bool {
		scheme, given, _ := strings.Cut(strings.TrimSpace(value), " ")
		given = strings.TrimSpace(given)
		return strings.EqualFold(scheme, "Bearer") && (strings.HasPrefix(given, access.TokenPrefix) || subtle.ConstantTimeCompare([]byte(given), []byte(token)) == 1)
	}))
}

// wholeHost are headers with which an application would decide for the whole host, and so
// for My Apps and every other application on it.
var wholeHost = []string{
	"Strict-Transport-Security", // binds the host name, on all ports, to TLS
	"Public-Key-Pins",           // binds it to keys
	"Clear-Site-Data",           // signs the owner out: cookies belong to the host
	"Alt-Svc",                   // sends the browser elsewhere for this origin, past the proxy
}

// keepFromBrowser takes out of a response what an application has no say in: the daemon's
// cookies, and what holds for the whole host.
func keepFromBrowser(h http.Header) {
	replace(h, "Set-Cookie", slices.DeleteFunc(h["Set-Cookie"], daemonCookie))
	for _, name := range wholeHost {
		h.Del(name)
	}
}

// replace sets a header's values; where there are none, there is no header.
func replace(h http.Header, name string, values []string) {
	if len(values) == 0 {
		delete(h, name)
		return
	}
	h[name] = values
}

// early writes responses that come before the final one (1xx), which the reverse proxy
// passes on by itself, without what is kept from browsers.
type early struct{ http.ResponseWriter }

func (w early) WriteHeader(status int) {
	keepFromBrowser(w.Header())
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w early) Unwrap() http.ResponseWriter { return w.ResponseWriter }
