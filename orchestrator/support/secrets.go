package support

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
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
	seen := map[known]bool{}
	for name, value := range values {
		lines := strings.Split(value, "\n") // a report has no lines that long: each is looked for
		for _, v := range append(lines, value) {
			// What PEM has around each key is no secret, and tells those of which the node knows nothing.
			if v = strings.TrimSpace(v); len(v) < shortest || strings.HasPrefix(v, "-----") && !strings.Contains(v, "\n") {
				continue
			}
			for _, form := range forms(v) {
				seen[known{form, name}] = true
			}
		}
	}
	all := slices.SortedFunc(maps.Keys(seen), func(a, b known) int { // the longest first, so that none is left in half
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

// forms are a value as it may stand in a log.
func forms(v string) []string {
	digits := hex.EncodeToString([]byte(v))
	all := []string{
		v, url.QueryEscape(v), url.PathEscape(v), digits, strings.ToUpper(digits),
		quoted(fmt.Sprintf("%q", v)), quoted(fmt.Sprintf("%+q", v)),
	}
	if js, err := json.Marshal(v); err == nil {
		all = append(all, quoted(string(js)), strings.ReplaceAll(quoted(string(js)), "/", `\/`), strings.ReplaceAll(quoted(fmt.Sprintf("%+q", v)), "/", `\/`))
	}
	for _, escaped := range all[1:3] {
		all = append(all, percent.ReplaceAllStringFunc(escaped, strings.ToLower))
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		// Of a value that a line break ends, the last group is another one.
		all = append(all, e.EncodeToString([]byte(v)), e.EncodeToString([]byte(v[:len(v)-len(v)%3])))
	}
	return all
}

var percent = regexp.MustCompile(`%[0-9A-F]{2}`)

// quoted is what stands between quotes.
func quoted(q string) string { return q[1 : len(q)-1] }

// value is what comes after the name of a secret: in quotes, which may be those of JSON within JSON, or a word.
const value = `("(?:[^"\\]|\\.)*"|'[^']*'|\\+"[^"]*"|[^\s,;&}\])]+)`

// looks are what secrets look like, and what is kept of them.
var looks = []struct {
	is   *regexp.Regexp
	kept string
}{
	{regexp.MustCompile(`archipelago_[A-Z2-7]{26}`), "[access token]"},
	{regexp.MustCompile(`(?i)\bAGE-SECRET-KEY-[A-Z0-9-]+`), "[age key]"},
	{regexp.MustCompile(`(?s)` + keyBegins.String() + `.*?(?:` + keyEnds.String() + `|\z)`), "[private key]"},
	{regexp.MustCompile(`\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*`), "[token]"}, // RFC 7519
	{regexp.MustCompile(`(?i)\b((?:set-)?cookie\\*"?'?\s*:\s*)("(?:[^"\\]|\\.)*"|[^"\n]+)`), "$1[left out]"},
	{regexp.MustCompile(`(?i)\b(session=)[^\s;,&]+`), "$1[left out]"},
	{regexp.MustCompile(`(?i)\b(bearer|basic|token)(\s+)[A-Za-z0-9+/=._~-]{8,}`), "$1$2[left out]"},
	{regexp.MustCompile(`(://)[^\s/@:]*:[^\s"'<>]+@`), "$1[left out]@"},
	{regexp.MustCompile(`(?i)\b((?:[a-z0-9]*[_.-])*[a-z0-9]*(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|(?:access|auth|encryption|master|private|secret|signing)[_-]?key|authorization|macaroon|credential|cookie|session[_-]?id|mnemonic|seed)s?(?:[_-](?:access[_-]key|base|hash|id|key|value))?\\*"?'?\s*[:=]\s*)` + value), "$1[left out]"},
	{regexp.MustCompile(`(?i)((?:^|\s)--?(?:[a-z0-9]+-)*(?:password|passwd|passphrase|secret|token|(?:access|api|private)-?key)\s+)` + value), "$1[left out]"},
	{regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}`), "[mail address]"},
}

// A private key has lines between these (RFC 7468); of that of a log, each is a line of its own.
var (
	keyBegins = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----`)
	keyEnds   = regexp.MustCompile(`-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----`)
	keyLine   = regexp.MustCompile(`^\s*[A-Za-z0-9+/=]+\s*$|[A-Za-z0-9+/=]{16,}\s*$`)
)

// withoutKeys are lines without those of private keys.
func withoutKeys(lines []host.LogLine) []host.LogLine {
	lines = slices.Clone(lines)
	within := false
	for i, l := range lines {
		ends := keyEnds.MatchString(l.Text)
		if within && (ends || keyLine.MatchString(l.Text)) {
			lines[i].Text = "[private key]"
		}
		within = !ends && (within || keyBegins.MatchString(l.Text))
	}
	return lines
}

var address = regexp.MustCompile(`(?:[0-9a-fA-F]{0,4}:){2,7}\d{1,3}(?:\.\d{1,3}){3}\b|\b\d{1,3}(?:\.\d{1,3}){3}\b|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}`)

// leaveOut is a text without secrets, and without addresses on the internet. Of a long one, it is
// the beginning: what the values that are known may reach into, and less of the rest, which takes longer.
func (s Secrets) leaveOut(text string) string {
	text = beginning(text, Looked)
	if s.replace != nil {
		text = s.replace.Replace(text)
	}
	text = beginning(text, 2*longest)
	for _, l := range looks {
		text = l.is.ReplaceAllString(text, l.kept)
	}
	return address.ReplaceAllStringFunc(text, withoutAddress)
}

// beginning cuts a text to n bytes, if possible between words: half a secret looks like none.
func beginning(text string, n int) string {
	if len(text) <= n {
		return text
	}
	if end := strings.LastIndexAny(text[:n], " \t\n\"',;&"); end > longest {
		n = end
	}
	return plain.Clip(text, n)
}

// withoutAddress is what looks like an address, without it where it is one on the internet; what
// is before a colon may be of the sentence, and so may the last colon.
func withoutAddress(at string) string {
	for from, found := at, true; found; _, from, found = strings.Cut(from, ":") {
		for _, rest := range []string{"", ":"} {
			ip, err := netip.ParseAddr(strings.TrimSuffix(from, rest))
			switch {
			case err != nil:
			case public(ip.Unmap()):
				return strings.TrimSuffix(at, from) + "[address]" + rest
			default:
				return at
			}
		}
	}
	return at
}

// public tells whether an address is one on the internet.
func public(ip netip.Addr) bool {
	if ip.Is6() {
		return (allocated.Contains(ip) || translated.Contains(ip)) && !documentation(ip)
	}
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !shared.Contains(ip) && !documentation(ip)
}

// Of IPv6, these are the addresses on the internet (RFC 4291), and what stands there for those of
// IPv4 (RFC 6052); others are names of programs more often, such as fs::bad.
var allocated, translated = netip.MustParsePrefix("2000::/3"), netip.MustParsePrefix("64:ff9b::/96")

// shared are the addresses that carriers and overlay networks use (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// documentation are addresses that are nobody's (RFC 5737, RFC 3849).
func documentation(ip netip.Addr) bool {
	return slices.ContainsFunc([]string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"}, func(p string) bool { return netip.MustParsePrefix(p).Contains(ip) })
}
