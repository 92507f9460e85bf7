package certificate

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// ErrName is wrapped where a name is none, or is one that the CA may not sign for.
var ErrName = errors.New("no certificate can be made for")

const label = `[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?`

var dnsName = regexp.MustCompile(`^` + label + `(\.` + label + `)*$`)

func isName(name string) bool { return len(name) <= 253 && dnsName.MatchString(name) }

// check reports all names that are none.
func (n Names) check() error {
	var problems []error
	for _, name := range n.Extra {
		if _, err := netip.ParseAddr(name); err != nil && !isName(name) {
			problems = append(problems, fmt.Errorf("%w %q: it is neither a DNS name nor an address", ErrName, name))
		}
	}
	for _, name := range n.ACME.Names {
		if _, err := netip.ParseAddr(name); err == nil || !isName(name) || !strings.Contains(name, ".") || within(name, private) {
			problems = append(problems, fmt.Errorf("%w %q by ACME: it is no public DNS name", ErrName, name))
		}
	}
	return errors.Join(problems...)
}

// Local is a host's name on its local network: "box.local" of "box.example.org"; empty
// where the host's name cannot be in the DNS.
func Local(host string) string {
	first, _, _ := strings.Cut(strings.ToLower(host), ".")
	if !isName(first) {
		return ""
	}
	return first + ".local"
}

// all are the names in a certificate. Applications have names below the node's.
func (n Names) all() []string {
	names := []string{"localhost"}
	if local := Local(n.Host); local != "" {
		names = append(names, local, "*."+local)
	}
	if isName(n.Host) && !strings.EqualFold(n.Host, "localhost") {
		names = append(names, n.Host)
	}
	return append(names, n.Extra...)
}

// Named tells whether the node goes by a name or an address: there is a certificate for it.
func (a *Authority) Named(host string) bool {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return slices.ContainsFunc(append(a.names.all(), a.names.ACME.Names...), func(name string) bool {
		return strings.EqualFold(name, strings.TrimSuffix(host, "."))
	})
}

// mayCertify tells whether the CA's constraints let it sign for a name: one name beyond
// them would make clients reject the whole certificate.
func (a *Authority) mayCertify(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return within(strings.TrimPrefix(name, "*."), a.ca.PermittedDNSDomains)
}

// within tells whether a name is one of domains, or below one.
func within(name string, domains []string) bool {
	for _, d := range domains {
		if strings.EqualFold(name, d) || strings.HasSuffix(strings.ToLower(name), "."+strings.ToLower(d)) {
			return true
		}
	}
	return false
}
