package proxy

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
)

// asked sends a request through the proxy, and gives the request as the application got it.
func asked(t *testing.T, header http.Header) http.Header {
	t.Helper()
	var got http.Header
	p := behind(t, &source{}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() }))
	req, err := http.NewRequest(http.MethodGet, p.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := p.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return got
}

func TestNoApplicationGetsTheDaemonsCookies(t *testing.T) {
	for sent, want := range map[string][]string{
		"__Host-archipelago-session=secret":                                              nil,
		"archipelago-session=secret":                                                     nil,
		"archipelago-session-2=secret":                                                   nil,
		"a=1; __Host-archipelago-session=secret; b=2":                                    {"a=1; b=2"},
		"__Host-archipelago-session=secret;a=1":                                          {"a=1"},
		"a=1;archipelago-session=secret":                                                 {"a=1"},
		"a=1; __HOST-Archipelago-Session=secret; __host-archipelago-session = secret ;b": {"a=1;b"},
		`a="x y"; my-archipelago-session=1; b=archipelago-session=1`:                     {`a="x y"; my-archipelago-session=1; b=archipelago-session=1`},
	} {
		if got := asked(t, http.Header{"Cookie": {sent}})["Cookie"]; !reflect.DeepEqual(got, want) {
			t.Errorf("of %q the application got %q, expected %q", sent, got, want)
		}
	}
	lines := http.Header{"Cookie": {"a=1", "__Host-archipelago-session=secret", "b=2"}}
	if keepFromApplication(lines, token); !reflect.DeepEqual(lines["Cookie"], []string{"a=1", "b=2"}) {
		t.Errorf("of three lines the application got %q", lines["Cookie"])
	}
}

// What an application signs its own users in with is not the daemon's to take away.
func TestNoApplicationGetsTheDaemonsTokensButItsOwnCredentialsPass(t *testing.T) {
	for sent, passes := range map[string]bool{
		"Bearer " + token:                false,
		"bearer " + token:                false,
		"BEARER  " + token + " ":         false,
		"Bearer archipelago_KNQXG":       false, // of a program's
		"bearer  archipelago_KNQXG ":     false,
		"Bearer another":                 true,
		"Bearer my-archipelago_KNQXG":    true,
		"Bearer " + token + "x":          true,
		"Basic YXJjaGlwZWxhZ286c2VjcmV0": true,
		"Digest username=\"a\"":          true,
	} {
		got := asked(t, http.Header{"Authorization": {sent}}).Get("Authorization")
		if passes != (got != "") {
			t.Errorf("of %q the application got %q", sent, got)
		}
	}
}

// Applications trust what the proxy says of who asks: with a list of addresses that may, for
// instance.
func TestNobodySaysInTheProxysPlaceWhoAsks(t *testing.T) {
	got := asked(t, http.Header{"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"elsewhere"}, "Forwarded": {"for=10.0.0.1"}})
	if got.Get("X-Forwarded-For") != "127.0.0.1" || got.Get("X-Forwarded-Proto") != "https" || got.Get("X-Forwarded-Host") == "elsewhere" || got.Get("Forwarded") != "" {
		t.Errorf("the application got %v", got)
	}
}

func TestApplicationCannotSetTheDaemonsCookiesNorDecideForTheHost(t *testing.T) {
	own := []string{"a=1; Path=/", "session=2; Domain=node.local"}
	p := behind(t, &source{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Set-Cookie"] = append([]string{"__Host-archipelago-session=x; Secure; Path=/", " archipelago-session=x", "__HOST-archipelago-session=x", "=__Host-archipelago-session=x; Secure; Path=/", " = archipelago-session=x"}, own...)
		for _, name := range wholeHost {
			h.Set(name, "x")
		}
		h.Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		h.Set("Content-Security-Policy", "default-src 'self'")
		io.WriteString(w, "page")
	}))
	check := func(when string, h http.Header) {
		t.Helper()
		if !reflect.DeepEqual(h["Set-Cookie"], own) {
			t.Errorf("%s sets the cookies %q, expected %q", when, h["Set-Cookie"], own)
		}
		for _, name := range wholeHost {
			if h.Get(name) != "" {
				t.Errorf("%s has %s", when, name)
			}
		}
	}
	early := 0
	trace := &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
		early++
		check("the early answer", http.Header(h))
		return nil
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, p.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	check("the answer", resp.Header)
	if early != 1 || resp.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("%d early answers, and the headers %v", early, resp.Header)
	}
}

func TestAnAnswersHeaderIsBounded(t *testing.T) {
	proxied := behind(t, &source{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			w.Header().Set("X-Large", strings.Repeat("a", 2*maxHeader))
		}
	}))
	for path, want := range map[string]int{"/": http.StatusOK, "/large": http.StatusBadGateway} {
		resp, err := proxied.Client().Get(proxied.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}
