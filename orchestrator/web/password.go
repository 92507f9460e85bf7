package web

import (
	"errors"
	"html/template"
	"net/http"
	"strings"

	"github.com/archipelago-cloud/archipelago/internal/strength"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// passwordPart is the form of another password, on the page of the system.
type passwordPart struct {
	Problem template.HTML
	At      string // the field that it is about: "before" or "new"; empty where it is about none
	Changed bool
	Code    bool // the password takes one, too
}

// judge says why a new password of somebody's, who has a name or is the node's first owner, typed
// twice, is not taken.
func (s *Server) judge(password, again, name string) error {
	if password != strings.TrimSpace(again) {
		return refusing("the second one differs from it. Type the same twice")
	}
	known := strength.OfNode(s.About.Name)
	if name != "" {
		known = append(known, name)
	}
	return strength.Weak(password, known...)
}

// notTaken says why a password was not taken; without a reason, it is its length.
func (l tongue) notTaken(weak error) template.HTML {
	if weak == nil {
		return l.html("It is too short or too long: a password has 10 to 200 characters.")
	}
	return l.html("This password was not taken: %s.", l.why(weak))
}

// auditPassword puts down that a password was set, or why not: never what it is like.
func (s *Server) auditPassword(r *http.Request, what string, err error, weak bool) {
	if weak {
		err = access.ErrWeak
	}
	s.Reconciler.Audit(access.Who(r), what, err)
}

// changePassword gives somebody another password, which signs their other browsers out.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request) {
	var weak error
	own, _ := s.Guard.SignedIn(r)
	answered, err := s.Guard.ChangePassword(w, r, r.PostForm.Get("before"), r.PostForm.Get("code"), r.PostForm.Get("password"), func(password string) error {
		weak = s.judge(password, r.PostForm.Get("again"), own.User)
		return weak
	})
	if answered {
		return
	}
	switch {
	case errors.Is(err, access.ErrRecovered):
		err = nil
		s.auditPassword(r, "change password by a recovery code, which is used up", nil, false)
	case errors.Is(err, access.ErrFactor):
		s.auditPassword(r, "change password", s.wrong(r, err), false)
	default:
		s.auditPassword(r, "change password", err, weak != nil)
	}
	refused := func(status int, problem template.HTML, at string) {
		if !own.Owner() {
			s.accountPage(w, r, status, passwordPart{Problem: problem, At: at})
			return
		}
		p := s.systemPage(s.frame(r, "", ""))
		p.Password.Problem, p.Password.At = problem, at
		s.render(w, r, status, "system", p)
	}
	l := in(r)
	switch {
	case err == nil:
		if own.User == "" {
			s.Reconciler.PasswordChanged()
		}
		http.Redirect(w, r, settingsOf(own)+"?password=changed#password", http.StatusSeeOther)
	case errors.Is(err, access.ErrPassword) && own.User != "":
		refused(http.StatusUnauthorized, l.html("That is not your password."), "before")
	case errors.Is(err, access.ErrPassword) || errors.Is(err, access.ErrFactor):
		refused(http.StatusUnauthorized, template.HTML(template.HTMLEscapeString(s.neither(r))), "before")
	case weak != nil || errors.Is(err, access.ErrLength):
		refused(http.StatusUnprocessableEntity, l.notTaken(weak), "new")
	default:
		s.Log.Error("changing the password", "error", err)
		refused(http.StatusInternalServerError, l.html("The password could not be kept; the daemon's log says why."), "")
	}
}

// settingsOf is the page on which somebody changes what is their own.
func settingsOf(own access.Session) string {
	if own.Owner() {
		return "/system"
	}
	return "/account"
}
