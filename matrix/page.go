package matrix

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const (
	unauthorized = http.StatusUnauthorized

	maxProblems = 1000 // that are kept of a page
	maxListed   = 20   // that are listed
	maxText     = 300  // bytes of a problem's text
)

// unneeded begins the note of a toleration that nothing needed.
const unneeded = "warning: nothing needed the toleration of "

// Page is what a browser saw at an address.
type Page struct {
	Status   int    // of the document
	Stranger int    // the same without credentials, where the sign-in is by basic authentication
	Title    string // before a sign-in by a form
	Selector bool   // the selector became visible
	Early    bool   // what only a signed-in owner sees was visible before the sign-in
	SignedIn bool   // it was after it

	Disturbed bool // requests failed because this machine's network changed

	Faults   []string          // of the page itself, and of its sign-in
	Problems []Problem         // of what it loads and runs, the first maxProblems
	More     int               // those that came after them
	Hosts    map[string]string // all that were asked, each with the first URL, shortened
	PNG      []byte
}

// Problem is one thing that went wrong on a page, in at most maxText bytes.
type Problem struct{ Kind, Text string }

func (p Problem) String() string { return p.Kind + ": " + p.Text }

// ask records that the page asked for something, which a report shows so. What is not
// asked of the network has no host.
func (p *Page) ask(address, shown string) {
	u, err := url.Parse(address)
	if err != nil || !slices.Contains([]string{"http", "https", "ws", "wss"}, u.Scheme) {
		return
	}
	host := strings.ToLower(u.Hostname())
	if p.Hosts[host] == "" && len(p.Hosts) < maxProblems {
		p.Hosts[host] = shown
	}
}

// checkPage compares what a browser saw with what the manifest promises. Notes are what
// a reader must know of the tolerations.
func checkPage(where, node string, p *Page, in manifest.Interface) (wrong, notes []string) {
	want := in.Expect
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, f := range p.Faults {
		say("%s", f)
	}
	if !accepted(p.Status, want.Status) {
		say("status %d, expected %s", p.Status, expected(want.Status))
	}
	if !strings.Contains(p.Title, want.Title) {
		say("the title is %q, expected one with %q", shorten(p.Title), want.Title)
	}
	if want.Selector != "" && !p.Selector {
		say("nothing visible matches %q within %s", want.Selector, pageTimeout)
	}
	wrong = append(wrong, checkSignIn(p, in)...)
	for _, host := range slices.Sorted(maps.Keys(p.Hosts)) {
		if host != strings.ToLower(node) && !slices.Contains(want.Hosts, host) {
			say("the page asks %s, which is not the node and not in expect.hosts: %s", host, p.Hosts[host])
		}
	}
	left, notes := tolerate(p.Problems, want.Tolerate)
	for _, problem := range left {
		say("%s", problem)
	}
	more := p.More
	if len(wrong) > maxListed {
		more += len(wrong) - maxListed
		wrong = wrong[:maxListed]
	}
	for i := range wrong {
		wrong[i] = where + ": " + wrong[i]
	}
	if more > 0 {
		wrong = append(wrong, fmt.Sprintf("%s: and %d more", where, more))
	}
	return wrong, notes
}

// tolerate gives the problems that are left, and says how often each toleration was used.
// A script that fails is no one's to tolerate.
func tolerate(problems []Problem, tolerations []manifest.Toleration) (left []Problem, notes []string) {
	used := make([]int, len(tolerations))
	for _, p := range problems {
		i := slices.IndexFunc(tolerations, func(t manifest.Toleration) bool {
			return p.Kind != scriptError && strings.Contains(p.Text, t.Text)
		})
		if i < 0 {
			left = append(left, p)
			continue
		}
		used[i]++
	}
	for i, t := range tolerations {
		switch used[i] {
		case 0:
			notes = append(notes, fmt.Sprintf(unneeded+"%q", t.Text))
		case 1:
			notes = append(notes, fmt.Sprintf("tolerated once: %q (%s)", t.Text, t.Reason))
		default:
			notes = append(notes, fmt.Sprintf("tolerated %d times: %q (%s)", used[i], t.Text, t.Reason))
		}
	}
	return left, notes
}

func status(of string, status int64) string { return fmt.Sprintf("%s: status %d", of, status) }

// shorten keeps a text in one line of at most maxText bytes: of a longer one, the
// beginning and the end, where the status of a request is.
func shorten(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	if len(s) <= maxText {
		return s
	}
	const mark, end = "…", 60
	head, tail := s[:maxText-len(mark)-end], s[len(s)-end:]
	return strings.ToValidUTF8(head, "") + mark + strings.ToValidUTF8(tail, "")
}
