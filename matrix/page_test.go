package matrix

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const nodeAddress = "192.0.2.228"

// signedIn is a page on which the owner signed in, and its interface.
func signedIn() (Page, manifest.Interface) {
	return Page{Status: 200, Title: "My Page", Selector: true, SignedIn: true, Hosts: map[string]string{nodeAddress: "https://192.0.2.228:18900/"}},
		manifest.Interface{
			Login:  &manifest.Login{User: "owner", Secret: "key", Form: &manifest.LoginForm{User: "#user", Password: "#password", Submit: "button"}},
			Expect: manifest.Expect{Status: 200, Title: "Page", Selector: "#page", SignedIn: &manifest.SignedIn{Selector: "#owner"}},
		}
}

func asks(p *Page, address string) { p.ask(address, shorten(address)) }

func TestPageChecks(t *testing.T) {
	good, in := signedIn()
	if wrong, notes := checkPage("proxy", nodeAddress, &good, in); len(wrong) > 0 || len(notes) > 0 {
		t.Fatalf("red without a fault: %q, %q", wrong, notes)
	}
	basic := func(_ *Page, in *manifest.Interface) { in.Login = &manifest.Login{User: "owner", Basic: true} }
	for want, plant := range map[string]func(*Page, *manifest.Interface){
		"proxy: status 502, expected 200":                      func(p *Page, _ *manifest.Interface) { p.Status = 502 },
		"proxy: status 404, expected 2xx":                      func(p *Page, in *manifest.Interface) { p.Status, in.Expect.Status = 404, 0 },
		`proxy: the title is "Welcome"`:                        func(p *Page, _ *manifest.Interface) { p.Title = "Welcome" },
		`proxy: nothing visible matches "#page"`:               func(p *Page, _ *manifest.Interface) { p.Selector = false },
		"proxy: script error: boom":                            func(p *Page, _ *manifest.Interface) { p.Problems = []Problem{{scriptError, "boom"}} },
		"proxy: the page: /home: status 500":                   func(p *Page, _ *manifest.Interface) { p.Faults = []string{"the page: /home: status 500"} },
		`proxy: sign-in: "#owner" is visible before it`:        func(p *Page, _ *manifest.Interface) { p.Early = true },
		`proxy: sign-in: nothing visible matches "#owner"`:     func(p *Page, _ *manifest.Interface) { p.SignedIn = false },
		"proxy: without credentials, status 200, expected 401": func(p *Page, in *manifest.Interface) { basic(p, in); p.Stranger = 200 },
		"proxy: the page asks fonts.example, which is not":     func(p *Page, _ *manifest.Interface) { asks(p, "https://fonts.example/a.woff2") },
		"proxy: the page asks 192.0.2.198, which is not":       func(p *Page, _ *manifest.Interface) { asks(p, "http://192.0.2.198:18900/") },
		"proxy: the page asks push.example, which is not":      func(p *Page, _ *manifest.Interface) { asks(p, "wss://Push.example/feed") },
		"expect.hosts: https://fonts.example/a.woff2":          func(p *Page, _ *manifest.Interface) { asks(p, "https://fonts.example/a.woff2") },
		"proxy: the page asks more.example, which is not the no": func(p *Page, in *manifest.Interface) {
			in.Expect.Hosts = []string{"example"}
			asks(p, "https://more.example/")
		},
		"proxy: and 5 more": func(p *Page, _ *manifest.Interface) { p.More = 5 },
		`nothing visible matches "#owner" with "Sign out" within`: func(p *Page, in *manifest.Interface) {
			p.SignedIn, in.Expect.SignedIn = false, &manifest.SignedIn{Selector: "#owner", Text: "Sign out"}
		},
	} {
		p, in := signedIn()
		plant(&p, &in)
		if wrong, _ := checkPage("proxy", nodeAddress, &p, in); !strings.Contains(strings.Join(wrong, "; "), want) {
			t.Errorf("%q, expected %q", wrong, want)
		}
	}
	for name, plant := range map[string]func(*Page, *manifest.Interface){
		"a declared host": func(p *Page, in *manifest.Interface) {
			in.Expect.Hosts = []string{"fonts.example"}
			asks(p, "https://Fonts.example:8443/a.woff2")
		},
		"what is asked of nobody": func(p *Page, _ *manifest.Interface) {
			for _, u := range []string{"data:,x", "blob:https://fonts.example/1", "about:blank"} {
				asks(p, u)
			}
		},
		"another port of the node": func(p *Page, _ *manifest.Interface) { asks(p, "https://192.0.2.228:7443/") },
		"basic authentication":     func(p *Page, in *manifest.Interface) { basic(p, in); p.Stranger = 401 },
		"no sign-in": func(p *Page, in *manifest.Interface) {
			p.SignedIn, in.Login, in.Expect.SignedIn = false, &manifest.Login{User: "owner"}, nil
		},
	} {
		p, in := signedIn()
		plant(&p, &in)
		if wrong, _ := checkPage("proxy", nodeAddress, &p, in); len(wrong) > 0 {
			t.Errorf("%s is red: %q", name, wrong)
		}
	}
}

func TestATolerationCoversOneProblemOfUpstreamsAndIsSaid(t *testing.T) {
	missing := Problem{failedRequest, "/app.js.map: status 404"}
	tolerations := []manifest.Toleration{{Text: "/app.js.map: status 404", Reason: "upstream ships no maps"}, {Text: "no such thing", Reason: "upstream's"}}
	look := func(plant func(*Page)) (wrong, notes []string) {
		p, in := signedIn()
		in.Expect.Tolerate = tolerations
		plant(&p)
		return checkPage("proxy", nodeAddress, &p, in)
	}
	wrong, notes := look(func(p *Page) { p.Problems = []Problem{missing, missing} })
	if len(wrong) > 0 || !slices.Equal(notes, []string{`tolerated 2 times: "/app.js.map: status 404" (upstream ships no maps)`, unneeded + `"no such thing"`}) {
		t.Errorf("%q, %q", wrong, notes)
	}
	_, in := signedIn()
	for name, plant := range map[string]func(*Page){
		"another problem":       func(p *Page) { p.Problems = []Problem{missing, {consoleError, "boom"}} },
		"another status":        func(p *Page) { p.Problems = []Problem{{failedRequest, "/app.js.map: status 500"}} },
		"a script error":        func(p *Page) { p.Problems = []Problem{{scriptError, missing.Text}} },
		"the page's own status": func(p *Page) { p.Status = 404 },
		"the page itself":       func(p *Page) { p.Faults = []string{"the page: " + missing.Text} },
		"the title":             func(p *Page) { p.Title = missing.Text },
		"the selector":          func(p *Page) { p.Selector = false },
		"the sign-in":           func(p *Page) { p.SignedIn = false },
		"another host":          func(p *Page) { asks(p, "https://fonts.example"+missing.Text) },
		"what was not kept":     func(p *Page) { p.Problems, p.More = slices.Repeat([]Problem{missing}, maxProblems), 1 },
	} {
		if wrong, _ := look(plant); len(wrong) == 0 {
			t.Errorf("green, in spite of %s, %+v", name, in.Expect)
		}
	}
}

func TestWhatIsSaidOfAPageIsBounded(t *testing.T) {
	p, in := signedIn()
	p.Title = strings.Repeat("t", 5000)
	in.Expect.Title = "Page"
	asks(&p, "https://fonts.example/"+strings.Repeat("x", 5000))
	for i := range 50 {
		p.Problems = append(p.Problems, Problem{consoleError, shorten(fmt.Sprintf("%d%s", i, strings.Repeat("é", 5000)))})
	}
	wrong, _ := checkPage("proxy", nodeAddress, &p, in)
	if len(wrong) != maxListed+1 || wrong[maxListed] != "proxy: and 32 more" {
		t.Errorf("%d are listed, the last of them %q", len(wrong), wrong[len(wrong)-1])
	}
	for _, w := range wrong {
		if len(w) > maxText+120 { // with the words around the text
			t.Errorf("%d bytes: %s", len(w), w)
		}
	}
	for in, want := range map[string]string{"a\nb\x00c": "a b c", "\xff": "�", strings.Repeat("x", maxText): strings.Repeat("x", maxText)} {
		if got := shorten(in); got != want {
			t.Errorf("%q is shown as %q", in, got)
		}
	}
	if long := shorten("https://a.example/" + strings.Repeat("é", 900) + ": status 404"); len(long) > maxText || !strings.HasSuffix(long, ": status 404") {
		t.Errorf("%d bytes: %s", len(long), long)
	}
}
