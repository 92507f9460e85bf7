package web

import (
	"errors"
	"net/http"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// signedIn lets owners through, who may do everything.
func (s *Server) signedIn(next http.HandlerFunc) http.HandlerFunc {
	return s.signedInAs(s.forbidden, next)
}

// signedInAs has another answer for guests than for owners.
func (s *Server) signedInAs(guest, owner http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch own, ok := s.Guard.SignedIn(r); {
		case ok && own.Owner():
			owner(w, access.As(r, own))
			return
		case ok:
			guest(w, access.As(r, own))
			return
		}
		door := s.door()
		w.Header().Set("HX-Redirect", door) // for the page that is still open
		if r.Method == http.MethodGet && !swaps(r) && r.Header.Get("Sec-Fetch-Mode") == "navigate" || r.URL.Path == "/" {
			http.Redirect(w, r, door, http.StatusSeeOther)
			return
		}
		http.Error(w, in(r).t("Sign in first."), http.StatusUnauthorized)
	}
}

// form lets a form through that one of the session's own pages has sent: each carries a
// token for where it goes, besides what access.SameOrigin wants of it.
func (s *Server) form(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxAction)
		if err := r.ParseForm(); err != nil {
			http.Error(w, in(r).t("The form could not be read. Load the page again, and try once more."), http.StatusBadRequest)
			return
		}
		if !s.Guard.FromForm(r, r.PostForm.Get("form")) {
			http.Error(w, in(r).t("Refused: this form is not of your session. Load the page again, and try once more."), http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

func (s *Server) signInPage(w http.ResponseWriter, r *http.Request, status int, problem string) {
	s.render(w, r, status, "signin", struct {
		frame
		Problem   string
		Unclaimed bool
		Code      bool   // the first owner's password takes one, too
		Named     bool   // there are other users than the first owner
		Name      string // as it was typed; of a form that was read, as a page that is asked for reads none
		Passkey   bool   // there are some of the first owner's for the name of this page
	}{s.outside(r, in(r).t("Sign in")), problem, s.unclaimed(), s.takesCode(), s.hasUsers(), access.AsTyped(r.PostForm.Get("name")), !s.unclaimed() && s.Sessions.Passkeys.Of(access.PasskeyHost(r))})
}

// hasUsers tells whether others may sign in than the node's first owner.
func (s *Server) hasUsers() bool {
	all, err := s.Sessions.Users.List()
	return err != nil || len(all) > 0
}

// takesCode tells whether the password alone signs nobody in.
func (s *Server) takesCode() bool {
	status, _ := s.Sessions.Factor.Status() // one that cannot be read is on
	return status.On
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if name := access.AsTyped(r.PostFormValue("name")); name != "" {
		s.loginUser(w, r, name)
		return
	}
	ok, answered, err := s.Guard.SignIn(w, r, r.PostFormValue("token"), r.PostFormValue("code"))
	switch {
	case answered:
	case ok && errors.Is(err, access.ErrRecovered):
		s.Reconciler.PasswordProven(access.From(r))
		s.Reconciler.Audit(access.Who(r), "sign in by a recovery code, which is used up", nil)
		http.Redirect(w, r, "/system/factor", http.StatusSeeOther)
	case errors.Is(err, access.ErrFactor):
		s.Reconciler.Audit(access.Who(r), "sign in", s.wrong(r, err))
		s.signInPage(w, r, http.StatusUnauthorized, s.neither(r))
	case err != nil:
		s.Log.Error("signing in", "error", err)
		s.signInPage(w, r, http.StatusInternalServerError, in(r).t("The password could not be checked; the daemon's log says why."))
	case !ok:
		s.Reconciler.Audit(access.Who(r), "sign in", errors.New("neither the password nor the access token"))
		s.signInPage(w, r, http.StatusUnauthorized, s.neither(r))
	default:
		s.Reconciler.PasswordProven(access.From(r))
		s.Reconciler.Audit(access.Who(r), "sign in", nil)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

// neither says that nobody was signed in: where a code is taken, too, not which was wrong.
func (s *Server) neither(r *http.Request) string {
	if s.takesCode() {
		return in(r).t("That is neither this node's password with the code that goes with it, nor its access token.")
	}
	return in(r).t("That is neither this node's password nor its access token.")
}

// logout needs no token: it ends the own session, and nothing else.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	own, signedIn := s.Guard.SignedIn(r)
	err := s.Guard.SignOut(w, r)
	if signedIn {
		s.Reconciler.Audit(access.Who(access.As(r, own)), "sign out", err)
	}
	s.ended(w, r, "/", err)
}

// endSession signs a browser out: another, or this one.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	err := s.Sessions.End(id)
	s.Reconciler.Audit(access.Who(r), "end session "+id, err)
	if errors.Is(err, access.ErrNoSession) {
		err = nil // it has ended by itself, or by another page
	}
	to := "/system#browsers"
	if _, still := s.Guard.SignedIn(r); !still {
		to = "/"
	}
	s.ended(w, r, to, err)
}

// ended answers what has ended a session: by a page, which may be that of signing in.
func (s *Server) ended(w http.ResponseWriter, r *http.Request, to string, err error) {
	if err != nil {
		s.Log.Error("signing out", "error", err)
		http.Error(w, in(r).t("It was not possible to sign out for good; the daemon's log says why."), http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}
