package proxy

import (
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// byName serves each application at its own name. A connection is for the name that its
// handshake asked for: a browser that goes on to use it for another, because the
// certificate would allow that, is told to open one (421; RFC 9110, section 15.5.20).
func (s *Server) byName(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	app, domain, _ := strings.Cut(host, ".")
	webs, _ := s.Source.Webs()
	switch ports := webs[app]; {
	case net.ParseIP(host) == nil && (r.TLS == nil || !strings.EqualFold(r.TLS.ServerName, host)):
		s.noApplication(w, http.StatusMisdirectedRequest, "This connection was opened for another name.")
	case !strings.EqualFold(domain, s.Domain) || len(ports) == 0:
		s.noApplication(w, http.StatusNotFound, "No application has this name.")
	default:
		s.handler(app, ports[0]).ServeHTTP(w, r)
	}
}

// noApplication says where the applications are.
func (s *Server) noApplication(w http.ResponseWriter, status int, why string) {
	http.Error(w, fmt.Sprintf("%s The applications of this node: https://%s:%d/", why, s.Domain, manifest.DaemonTLSPort), status)
}
