package access

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestOnlyTheOwnPageChangesSomething(t *testing.T) {
	const own, node = "https://node.local:7443", "node.local:7443"
	for _, c := range []struct {
		what, method, host string
		origin, site       []string
		plain, passes      bool
	}{
		{"the page", "POST", node, []string{own}, []string{"same-origin"}, false, true},
		{"the page, in an older browser", "POST", node, []string{own}, nil, false, true},
		{"the page, at an address", "POST", "[2001:db8::1]:7443", []string{"https://[2001:db8::1]:7443"}, nil, false, true},
		{"the page, at a name in capitals", "POST", "Node.local:7443", []string{own}, nil, false, true},
		{"the page, not encrypted", "POST", "node.local:7070", []string{"http://node.local:7070"}, nil, true, true},
		{"neither header: a replay", "POST", node, nil, nil, false, false},
		{"Sec-Fetch-Site alone", "POST", node, nil, []string{"same-origin"}, false, false},
		{"an application's port", "POST", node, []string{"https://node.local:18080"}, []string{"same-site"}, false, false},
		{"an application's name", "POST", node, []string{"https://feeds.node.local:8443"}, []string{"same-site"}, false, false},
		{"another scheme", "POST", node, []string{"http://node.local:7443"}, nil, false, false},
		{"another scheme, not encrypted", "POST", node, []string{own}, nil, true, false},
		{"no port", "POST", node, []string{"https://node.local"}, nil, false, false},
		{"an opaque origin", "POST", node, []string{"null"}, nil, false, false},
		{"an empty origin", "POST", node, []string{""}, nil, false, false},
		{"two origins", "POST", node, []string{own, "https://evil.example"}, nil, false, false},
		{"two origins in one", "POST", node, []string{own + ", https://evil.example"}, nil, false, false},
		{"the origin as a beginning", "POST", node, []string{own + "0"}, nil, false, false},
		{"headers that contradict each other", "POST", node, []string{own}, []string{"cross-site"}, false, false},
		{"a navigation by hand", "POST", node, []string{own}, []string{"none"}, false, false},
		{"two sites", "POST", node, []string{own}, []string{"same-origin", "cross-site"}, false, false},
		{"another method", "DELETE", node, []string{"https://evil.example"}, nil, false, false},
		{"a preflight", "OPTIONS", node, []string{"https://evil.example"}, nil, false, false},
		{"reading", "GET", node, nil, nil, false, true},
		{"a link from elsewhere", "GET", node, nil, []string{"cross-site"}, false, true},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		r.Host = c.host
		if !c.plain {
			r.TLS = &tls.ConnectionState{}
		}
		if c.origin != nil {
			r.Header["Origin"] = c.origin
		}
		if c.site != nil {
			r.Header["Sec-Fetch-Site"] = c.site
		}
		w, passed := httptest.NewRecorder(), false
		new(Guard).SameOrigin(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true })).ServeHTTP(w, r)
		if passed != c.passes || (!passed && (w.Code != http.StatusForbidden || w.Body.Len() == 0)) {
			t.Errorf("%s: passed %v, status %d", c.what, passed, w.Code)
		}
	}
}
