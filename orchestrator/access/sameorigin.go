package access

import (
	"net/http"
	"strings"
)

// SameOrigin refuses what would change something unless the daemon's own page asks for
// it. Cookies ignore ports, so that a page of an application on this host has the
// owner's browser send the session along: only Origin, which browsers state with every
// such request and no page can alter, tells the two apart. Without it, a request may be
// one that somebody replays, and is refused. (http.CrossOriginProtection lets it pass.)
func (g *Guard) SameOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead && !fromOwnPage(r) {
			http.Error(w, g.said(r, notThisPage), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func fromOwnPage(r *http.Request) bool {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	stated := r.Header["Origin"]
	if len(stated) != 1 || !strings.EqualFold(stated[0], scheme+"://"+r.Host) {
		return false
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "same-origin" {
			return false
		}
	}
	return true
}
