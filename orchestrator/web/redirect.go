package web

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
)

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

// ToTLS sends browsers from the unencrypted port to the same page on the TLS port. The
// answer is 303, which has a browser ask again without what it sent: a password that came
// unencrypted is not used.
func ToTLS(port int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := url.URL{Scheme: "https", Path: r.URL.Path, RawQuery: r.URL.RawQuery}
		name := (&url.URL{Host: r.Host}).Hostname()
		if _, err := netip.ParseAddr(name); err != nil && !hostName.MatchString(name) {
			http.Error(w, in(r).t("The Host header names no host."), http.StatusBadRequest)
			return
		}
		u.Host = net.JoinHostPort(name, strconv.Itoa(port))
		http.Redirect(w, r, u.String(), http.StatusSeeOther)
	})
}
