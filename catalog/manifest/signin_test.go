package manifest

import (
	"reflect"
	"strings"
	"testing"
)

// signingIn is a manifest whose interface is this one.
func signingIn(in string) []byte {
	good := strings.Replace(valid, "[true]", "[/bin/true]", 1)
	return []byte(strings.Replace(good, "  web: {port: web, expect: {title: Pair, selector: form}}\n", in, 1))
}

func TestASignInIsRead(t *testing.T) {
	for text, want := range map[string]Interface{
		`  web: {port: web, login: {user: admin, secret: password, form: {user: "#u", password: "#p", submit: button}}, expect: {title: Pair, selector: form, signed_in: {selector: "#out", text: Sign out}, hosts: [tiles.example], tolerate: [{text: "/a.map: status 404", reason: upstream leaves it out}]}}
`: {Port: "web", Login: &Login{User: "admin", Secret: "password", Form: &LoginForm{"#u", "#p", "button"}},
			Expect: Expect{Title: "Pair", Selector: "form", SignedIn: &SignedIn{"#out", "Sign out"}, Hosts: []string{"tiles.example"}, Tolerate: []Toleration{{"/a.map: status 404", "upstream leaves it out"}}}},
		`  web: {port: web, login: {user: admin, secret: password, form: {password: "#p", submit: button}}, expect: {title: Pair, selector: form, signed_in: {selector: "#out"}}}
`: {Port: "web", Login: &Login{User: "admin", Secret: "password", Form: &LoginForm{Password: "#p", Submit: "button"}}, Expect: Expect{Title: "Pair", Selector: "form", SignedIn: &SignedIn{Selector: "#out"}}},
		`  web: {port: web, login: {user: admin, secret: password, basic: true}, expect: {title: Pair, selector: form, signed_in: {selector: "#out"}}}
`: {Port: "web", Login: &Login{User: "admin", Secret: "password", Basic: true}, Expect: Expect{Title: "Pair", Selector: "form", SignedIn: &SignedIn{Selector: "#out"}}},
	} {
		m, err := Parse("m.yaml", signingIn(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Interfaces["web"]; !reflect.DeepEqual(got, want) || !got.Login.InBrowser() {
			t.Errorf("%+v, expected %+v", got, want)
		}
	}
}

func TestASignInThatProvesNothingIsRefused(t *testing.T) {
	const form = `form: {user: "#u", password: "#p", submit: button}`
	web := func(login, expect string) string {
		return "  web:\n    port: web\n    login: {user: admin, secret: password" + login + "}\n    expect: {title: Pair, selector: form" + expect + "}\n"
	}
	for name, c := range map[string]struct{ in, want string }{
		"a form without its proof":    {web(", "+form, ""), "m.yaml:20:12: interfaces.web.login: a sign-in in the browser is proved by"},
		"basic without its proof":     {web(", basic: true", ""), "m.yaml:20:12: interfaces.web.login: a sign-in in the browser is proved by"},
		"a proof without a sign-in":   {web("", `, signed_in: {selector: "#out"}`), "m.yaml:21:54: interfaces.web.expect.signed_in: nobody signs in in the browser"},
		"both ways":                   {web(", basic: true, "+form, `, signed_in: {selector: "#out"}`), "m.yaml:20:51: interfaces.web.login.basic: the browser signs in by the form or"},
		"half a form":                 {web(`, form: {user: "#u", password: "#p"}`, `, signed_in: {selector: "#out"}`), "interfaces.web.login.form: missing property 'submit'"},
		"a proof without a selector":  {web(", "+form, `, signed_in: {text: Sign out}`), "interfaces.web.expect.signed_in: missing property 'selector'"},
		"an unknown way":              {web(", oauth: true", ""), "m.yaml:20:44: interfaces.web.login.oauth: unknown field"},
		"another interface than web":  {web("", "") + "  api: {port: web, login: {user: admin, secret: password, basic: true}}\n", `m.yaml:22:27: interfaces.api.login: the browser signs in at the http interface named "web" only`},
		"mqtt":                        {"  web: {port: web, protocol: mqtt, login: {user: admin, secret: password, basic: true}}\n", `the browser signs in at the http interface named "web" only`},
		"expectations of mqtt":        {"  web: {port: web, protocol: mqtt, expect: {hosts: [a.example]}}\n", "path and expect go with an http interface"},
		"a host with a scheme":        {web("", `, hosts: ["https://a.example"]`), "interfaces.web.expect.hosts[0]:"},
		"any host":                    {web("", `, hosts: ["*"]`), "interfaces.web.expect.hosts[0]:"},
		"a toleration without reason": {web("", `, tolerate: [{text: "/a.map: status 404"}]`), "interfaces.web.expect.tolerate[0]: missing property 'reason'"},
		"a toleration of anything":    {web("", `, tolerate: [{text: "status", reason: upstream does it}]`), "interfaces.web.expect.tolerate[0].text: minLength"},
		"a toleration twice":          {web("", `, tolerate: [{text: "/a.map: status 404", reason: upstream does it}, {text: "/a.map: status 404", reason: upstream does it}]`), "interfaces.web.expect.tolerate[1].text:"},
	} {
		if _, err := Parse("m.yaml", signingIn(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
	}
	canary := strings.Replace(string(signingIn(web("", ""))), "    login: {user: admin, secret: password}\n    write", "    login: {user: admin, secret: password, basic: true}\n    write", 1)
	if _, err := Parse("m.yaml", []byte(canary)); err == nil || !strings.Contains(err.Error(), "canary.http.login.basic: unknown field") {
		t.Errorf("a browser's sign-in of a canary: %v", err)
	}
	many := strings.Repeat(`{text: "/a.map: status 404", reason: upstream does it}, `, 9)
	if _, err := Parse("m.yaml", signingIn(web("", `, tolerate: [`+many+`]`))); err == nil || !strings.Contains(err.Error(), "interfaces.web.expect.tolerate: maxItems") {
		t.Errorf("nine tolerations: %v", err)
	}
}
