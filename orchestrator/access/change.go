package access

import (
	"errors"
	"net/http"
	"strings"
)

// ErrPassword is returned for what is neither the owner's password nor the node's token.
var ErrPassword = errors.New("that is neither this node's password nor its access token")

// ChangePassword makes another password the owner's, for a browser that is signed in and
// whose user knows the one before, or the token: a browser that somebody has left open is not
// enough. It fails with ErrPassword, or with what judge says of the new one (without spaces
// around it), which is asked only where the one before is right. All sessions end with the
// password, and the browser's own begins anew. answered is as for SignIn, and so is how often
// one address may be wrong.
func (g *Guard) ChangePassword(w http.ResponseWriter, r *http.Request, before, password string, judge func(password string) error) (answered bool, err error) {
	ok, answered, err := g.knows(w, r, before)
	switch {
	case answered || err != nil:
		return answered, err
	case !ok:
		return false, ErrPassword
	}
	if err := judge(strings.TrimSpace(password)); err != nil {
		return false, err
	}
	line, err := g.sessions.passwords.set(password, false)
	if err != nil {
		return false, err
	}
	setCookie(w, g.sessions.begin(r, g.sessions.credentialsWith(line)), sessionLife)
	return false, nil
}
