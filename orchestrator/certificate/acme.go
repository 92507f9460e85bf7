package certificate

import (
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

const alpnProto = acme.ALPNProto

// ACME has an authority that browsers know already sign for public names. It reaches the
// node at port 443 of the name (TLS-ALPN-01, RFC 8737), where the daemon's TLS port must
// answer.
type ACME struct {
	Names     []string
	Email     string // for the authority's warnings; may be empty
	Directory string // the authority's; empty for Let's Encrypt
}

// manager obtains and renews the certificates, and keeps them below the state directory.
// The authority's terms of service count as accepted by the owner who names a name.
func (c ACME) manager(dir string) *autocert.Manager {
	return &autocert.Manager{
		Prompt: autocert.AcceptTOS, Email: c.Email, HostPolicy: autocert.HostWhitelist(c.Names...),
		Cache:  autocert.DirCache(filepath.Join(dir, "acme")),
		Client: &acme.Client{DirectoryURL: c.Directory},
	}
}

// holds tells whether ACME is to be asked for a name; the node's own CA answers for all
// others, so that nobody can have the node ask for names of their own.
func (c ACME) holds(name string) bool {
	return slices.ContainsFunc(c.Names, func(n string) bool { return strings.EqualFold(n, name) })
}
