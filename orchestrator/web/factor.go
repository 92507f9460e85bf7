package web

import (
	"cmp"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	qr "github.com/piglig/go-qr"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// factorPage is the second factor of signing in, and how it is set up.
type factorPage struct {
	frame
	access.FactorStatus
	Unreadable string       // why it cannot be read
	Plain      string       // the secret that is being set up; empty for none
	Secret     string       // that is being set up, in groups of four; empty for none
	Picture    template.URL // of it, for an authenticator: the address of a QR code
	Link       string       // the same, for an authenticator on this device
	Recovery   []string     // the codes, this once
	Anew       bool         // those before are void
	Problem    template.HTML
}

// factorPage shows the secret that is being set up, where it is given.
func (s *Server) factorPage(r *http.Request, secret string) factorPage {
	p := factorPage{frame: s.frame(r, "system", in(r).t("Second factor"))}
	var err error
	if p.FactorStatus, err = s.Sessions.Factor.Status(); err != nil {
		s.Log.Error("the second factor", "error", err)
		p.Unreadable = err.Error()
	}
	if p.On || secret == "" {
		return p
	}
	p.Plain, p.Secret, p.Link = secret, access.Grouped(secret), s.enrolment(secret)
	if code, err := qr.EncodeText(p.Link, qr.Medium); err != nil {
		s.Log.Error("the QR code of the second factor", "error", err)
	} else if svg, err := code.ToSVGBytes(qr.NewQrCodeImgConfig(4, 2)); err != nil {
		s.Log.Error("the QR code of the second factor", "error", err)
	} else {
		p.Picture = template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(svg))
	}
	return p
}

// enrolment is how an authenticator takes a secret over (Google Authenticator's Key Uri Format,
// which all of them read).
func (s *Server) enrolment(secret string) string {
	name := cmp.Or(s.About.Name, "node")
	return "otpauth://totp/Archipelago:" + url.PathEscape(name) + "?issuer=Archipelago&secret=" + secret
}

func (s *Server) factor(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "factor", s.factorPage(r, ""))
}

// factorProblem shows the page again, and what is wrong.
func (s *Server) factorProblem(w http.ResponseWriter, r *http.Request, status int, problem template.HTML) {
	p := s.factorPage(r, "")
	p.Problem = problem
	s.render(w, r, status, "factor", p)
}

// beginFactor makes a secret. It takes the password: whoever finds a browser signed in must not
// be able to keep its owner out.
func (s *Server) beginFactor(w http.ResponseWriter, r *http.Request) {
	if s.takesCode() { // the form of a page that is older: without a code, its password would be somebody else's
		s.factorProblem(w, r, http.StatusConflict, notDone(r, access.ErrHasFactor))
		return
	}
	if !s.proven(w, r, "second factor begin", "", s.factorProblem) {
		return
	}
	own, _ := s.Guard.SignedIn(r)
	secret, err := s.Sessions.Factor.Begin(own.ID)
	s.Reconciler.Audit(access.Who(r), "second factor begin", err)
	if err != nil {
		s.factorProblem(w, r, http.StatusConflict, notDone(r, err))
		return
	}
	s.render(w, r, http.StatusOK, "factor", s.factorPage(r, secret)) // once, and on no page that can be opened later
}

// confirmFactor has it count from now on, and shows the recovery codes.
func (s *Server) confirmFactor(w http.ResponseWriter, r *http.Request) {
	own, _ := s.Guard.SignedIn(r)
	secret := r.PostForm.Get("secret")
	recovery, err := s.Sessions.Factor.Confirm(own.ID, secret, r.PostForm.Get("code"))
	s.Reconciler.Audit(access.Who(r), "second factor on", err)
	switch {
	case errors.Is(err, access.ErrFactor):
		p := s.factorPage(r, secret)
		p.Problem = in(r).html("That is not the code that belongs to this secret now. The clocks of this node and of the authenticator may differ: they must not by more than half a minute.")
		s.render(w, r, http.StatusConflict, "factor", p)
	case err != nil:
		s.factorProblem(w, r, http.StatusConflict, notDone(r, err))
	default:
		p := s.factorPage(r, "")
		p.Recovery = recovery
		s.render(w, r, http.StatusOK, "factor", p)
	}
}

// renewCodes makes recovery codes anew, for whoever knows the password and has a code.
func (s *Server) renewCodes(w http.ResponseWriter, r *http.Request) {
	if !s.proven(w, r, "recovery codes anew", r.PostForm.Get("code"), s.factorProblem) {
		return
	}
	recovery, err := s.Sessions.Factor.Renew()
	s.Reconciler.Audit(access.Who(r), "recovery codes anew", err)
	if err != nil {
		s.factorProblem(w, r, http.StatusConflict, notDone(r, err))
		return
	}
	p := s.factorPage(r, "")
	p.Recovery, p.Anew = recovery, true
	s.render(w, r, http.StatusOK, "factor", p)
}

// endFactor takes the password and a code: whoever finds a browser signed in must not be able
// to take it off.
func (s *Server) endFactor(w http.ResponseWriter, r *http.Request) {
	if !s.proven(w, r, "second factor off", r.PostForm.Get("code"), s.factorProblem) {
		return
	}
	err := s.Sessions.Factor.Off()
	s.Reconciler.Audit(access.Who(r), "second factor off", err)
	if err != nil && !errors.Is(err, access.ErrNoFactor) {
		s.factorProblem(w, r, http.StatusConflict, notDone(r, err))
		return
	}
	http.Redirect(w, r, "/system/factor", http.StatusSeeOther)
}

// notDone says on the page of a form why it was refused.
func notDone(r *http.Request, err error) template.HTML {
	return in(r).html("Not done: %s", in(r).en(err.Error()))
}

// proven tells whether a form holds the password, and the code that goes with it; where not, it
// has answered, by problem where the page is to be shown again.
func (s *Server) proven(w http.ResponseWriter, r *http.Request, asked, code string, problem func(w http.ResponseWriter, r *http.Request, status int, what template.HTML)) bool {
	ok, answered, err := s.Guard.Prove(w, r, r.PostForm.Get("password"), code)
	switch {
	case answered:
	case ok:
		s.Reconciler.PasswordProven(access.From(r))
		if errors.Is(err, access.ErrRecovered) {
			s.Reconciler.Audit(access.Who(r), asked+" by a recovery code, which is used up", nil)
		}
		return true
	case err == nil || errors.Is(err, access.ErrFactor):
		s.Reconciler.Audit(access.Who(r), asked, s.wrong(r, err))
		problem(w, r, http.StatusConflict, in(r).html("That is not the password, or not the code that goes with it."))
	default:
		s.Log.Error("checking the password", "error", err)
		problem(w, r, http.StatusInternalServerError, in(r).html("The password could not be checked; the daemon's log says why."))
	}
	return false
}

// wrong says in the audit log what was wrong of what was typed: a wrong code beside the right
// password, somebody knows the password, which is worth a notice, too.
func (s *Server) wrong(r *http.Request, err error) error {
	if errors.Is(err, access.ErrFactor) {
		s.Reconciler.PasswordKnown(access.From(r))
		return errors.New("the password was right, and the code beside it was not: " + strings.TrimPrefix(err.Error(), access.ErrFactor.Error()+": "))
	}
	return errors.New("not the password")
}
