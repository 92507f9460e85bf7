package access

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
)

// FormToken is what a form that is sent to path has to carry in the browser that a request
// comes from: only who knows the session's secret can make it, and each form has another. It
// is empty without a session, and stays the same as long as the session.
func (g *Guard) FormToken(r *http.Request, path string) string {
	g.sessions.mu.Lock()
	defer g.sessions.mu.Unlock()
	own := g.sessions.find(r)
	if own.ID == "" {
		return ""
	}
	for _, c := range r.CookiesNamed(cookie) { // an application may have set others
		if k := g.sessions.byID(own.ID); k != nil && k.Secret == digest(c.Value) {
			mac := hmac.New(sha256.New, []byte(c.Value))
			mac.Write([]byte("form " + path))
			return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
		}
	}
	return ""
}

// FromForm tells whether a form's token is that of the form which this session's pages send
// to where the request goes.
func (g *Guard) FromForm(r *http.Request, token string) bool {
	want := g.FormToken(r, r.URL.Path)
	return want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(token)) == 1
}
