package support

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// shortest is how long a known value is at least that is looked for everywhere: a shorter one is
// part of too much else, and is left out where it has the name of a secret.
const shortest = 6

// Secrets are what a report leaves out.
type Secrets struct{ replace *strings.Replacer }

// Known are secrets whose values are known, by what stands in their place, and what can be told
// from a secret by how it looks.
func Known(values map[string]string) Secrets {
	type known struct{ value, name string }
	var all []known
	for name, value := range values {
		lines := strings.Split(value, "\n") // a report has no lines that long: each is looked for
		for _, v := range append(lines, strings.TrimSpace(value)) {
			if v = strings.TrimSpace(v); len(v) < shortest {
				continue
			}
			for _, form := range []string{v, url.QueryEscape(v), url.PathEscape(v), base64.StdEncoding.EncodeToString([]byte(v)), base64.RawURLEncoding.EncodeToString([]byte(v)), hex.EncodeToString([]byte(v)), quoted(v)} {
				all = append(all, known{form, name})
			}
		}
	}
	slices.SortFunc(all, func(a, b known) int { // the longest first, so that none is left in half
		if len(a.value) != len(b.value) {
			return len(b.value) - len(a.value)
		}
		return strings.Compare(a.value+a.name, b.value+b.name)
	})
	var pairs []string
	for _, k := range all {
		pairs = append(pairs, k.value, "["+k.name+"]")
	}
	return Secrets{strings.NewReplacer(pairs...)}
}

// quoted is a value as it stands in a string of JSON's or Go's.
func quoted(v string) string {
	q := fmt.Sprintf("%q", v)
	return q[1 : len(q)-1]
}

// looks are what secrets look like, and what is kept of them.
var looks = []struct {
	is   *regexp.Regexp
	kept string
}{
	{regexp.MustCompile(`archipelago_[A-Z2-7]{26}`), "[access token]"},
	{regexp.MustCompile(`(?i)\bAGE-SECRET-KEY-[A-Z0-9-]+`), "[age key]"},
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----.*`), "[private key]"},
	{regexp.MustCompile(`(?i)\b(bearer|basic|token)(\s+)[A-Za-z0-9+/=._~-]{8,}`), "$1$2[left out]"},
	{regexp.MustCompile(`(://)[^\s/@:]*:[^\s/@]+@`), "$1[left out]@"},
	{regexp.MustCompile(`(?i)\b((?:[a-z0-9]+[_-])*(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|apikey|private[_-]?key|macaroon|credentials?|cookie|session(?:[_-]?id)?|mnemonic|seed)s?"?'?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,;&}\])]+)`), "$1[left out]"},
	{regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}`), "[mail address]"},
}

var address = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}\b|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}`)

// leaveOut is a text without secrets, and without addresses on the internet.
func (s Secrets) leaveOut(text string) string {
	if s.replace != nil {
		text = s.replace.Replace(text)
	}
	for _, l := range looks {
		text = l.is.ReplaceAllString(text, l.kept)
	}
	return address.ReplaceAllStringFunc(text, func(at string) string {
		ip, err := netip.ParseAddr(at)
		rest := ""
		if err != nil { // a colon of the sentence's may follow
			rest = ":"
			ip, err = netip.ParseAddr(strings.TrimSuffix(at, rest))
		}
		if err != nil || !ip.IsGlobalUnicast() || ip.IsPrivate() || shared.Contains(ip) || documentation(ip) {
			return at
		}
		return "[address]" + rest
	})
}

// shared are the addresses that carriers and overlay networks use (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// documentation are addresses that are nobody's (RFC 5737, RFC 3849).
func documentation(ip netip.Addr) bool {
	return slices.ContainsFunc([]string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"}, func(p string) bool { return netip.MustParsePrefix(p).Contains(ip) })
}
