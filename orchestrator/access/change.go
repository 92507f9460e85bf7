package access

import (
	"errors"
	"net/http"
	"strings"
)

// ErrPassword is returned for what is neither the owner's password nor the node's token.
var ErrPassword = errors.New("that is neither this node's password nor its access token")

// ChangePassword makes another password the owner's, for a browser that is signed in and
// whose user knows the one before with the code that goes with it, or the token: a browser that
// somebody has left open is not enough. First it asks judge of the new one (without spaces around
// it), so that one which is refused uses no code up; then it fails with ErrPassword, or ErrFactor.
// The user's sessions end with the password, and the browser's own begins anew. A user other than
// the first owner needs the password before alone, and without a code. answered and ErrRecovered
// are as for SignIn, and so is how often one address may be wrong.
func (g *Guard) ChangePassword(w http.ResponseWriter, r *http.Request, before, code, password string, judge func(password string) error) (answered bool, err error) {
	if err := judge(strings.TrimSpace(password)); err != nil {
		return false, err
	}
	if !long(strings.TrimSpace(password)) {
		return false, ErrLength
	}
	if own, _ := g.SignedIn(r); own.User != "" {
		return g.changeUser(w, r, own.User, before, strings.TrimSpace(password))
	}
	ok, answered, err := g.knows(w, r, before, code)
	switch {
	case ok:
	case !answered && err == nil:
		return false, ErrPassword
	default:
		return answered, err
	}
	line, failed := g.sessions.passwords.set(password, false)
	if failed != nil {
		return false, failed
	}
	setCookie(w, g.sessions.begin(r, g.sessions.credentialsWith(line)), sessionLife)
	return false, err
}
