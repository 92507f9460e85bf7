package web

import (
	"errors"
	"html/template"
	"net"
	"net/http"
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

const maxAnswer = 16 << 10 // of a browser that signs in by a passkey

// passkeysPage is which passkeys sign in, and how one is made.
type passkeysPage struct {
	frame
	Passkeys   []passkeyRow
	Unreadable string // why they cannot be read
	Where      string // the name for which this browser makes passkeys; empty where it makes none
	Named      string // the page's address by the node's name; empty where it is not known
	Code       bool   // the password takes one, too
	Options    string // what the browser is asked that makes one; empty where none is being made
	Name       string // of the one that is being made
	Problem    template.HTML
}

type passkeyRow struct {
	access.Passkey
	Elsewhere bool // it is for another name than this page's
	Remove    button
}

func (s *Server) passkeysPage(r *http.Request) passkeysPage {
	p := passkeysPage{frame: s.frame(r, "system", in(r).t("Passkeys")), Where: access.PasskeyHost(r), Code: s.takesCode()}
	all, err := s.Sessions.Passkeys.List()
	if err != nil {
		s.Log.Error("the passkeys", "error", err)
		p.Unreadable = err.Error()
	}
	for _, one := range all {
		p.Passkeys = append(p.Passkeys, passkeyRow{one, one.Host() != p.Where, p.Button("/system/passkeys/"+one.ID+"/remove", p.t("Remove %s", one.Name))})
	}
	if s.About.Name != "" && p.Where == "" {
		p.Named = "https://" + s.About.Name
		if _, port, err := net.SplitHostPort(r.Host); err == nil {
			p.Named += ":" + port
		}
		p.Named += "/system/passkeys"
	}
	return p
}

func (s *Server) passkeys(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "passkeys", s.passkeysPage(r))
}

// passkeyProblem shows the page again, and what is wrong.
func (s *Server) passkeyProblem(w http.ResponseWriter, r *http.Request, status int, problem template.HTML) {
	p := s.passkeysPage(r)
	p.Problem = problem
	s.render(w, r, status, "passkeys", p)
}

// beginPasskey asks for a passkey. It takes the password, and the code that goes with it: whoever
// finds a browser signed in must not be able to come back by a key of his own.
func (s *Server) beginPasskey(w http.ResponseWriter, r *http.Request) {
	if !s.proven(w, r, "passkey begin", r.PostForm.Get("code"), s.passkeyProblem) {
		return
	}
	own, _ := s.Guard.SignedIn(r)
	name := r.PostForm.Get("name")
	options, err := s.Sessions.Passkeys.Begin(own.ID, name, s.About.Name, r)
	s.Reconciler.Audit(access.Who(r), "passkey begin", err)
	if err != nil {
		s.passkeyProblem(w, r, http.StatusConflict, notDone(r, err))
		return
	}
	p := s.passkeysPage(r)
	p.Options, p.Name = string(options), name
	s.render(w, r, http.StatusOK, "passkeys", p)
}

// addPasskey has the one that was made sign in from now on.
func (s *Server) addPasskey(w http.ResponseWriter, r *http.Request) {
	own, _ := s.Guard.SignedIn(r)
	made, err := s.Sessions.Passkeys.Confirm(own.ID, r.PostForm.Get("answer"))
	s.Reconciler.Audit(access.Who(r), strings.TrimSpace("passkey add "+made.Name), err)
	if err != nil {
		s.passkeyProblem(w, r, http.StatusConflict, notDone(r, err))
		return
	}
	http.Redirect(w, r, "/system/passkeys", http.StatusSeeOther)
}

func (s *Server) removePasskey(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	err := s.Sessions.Passkeys.Remove(id)
	s.Reconciler.Audit(access.Who(r), "passkey remove "+id, err)
	if err != nil && !errors.Is(err, access.ErrNoPasskey) { // which another page has removed
		s.passkeyProblem(w, r, http.StatusConflict, notDone(r, err))
		return
	}
	http.Redirect(w, r, "/system/passkeys", http.StatusSeeOther)
}

// askPasskey gives the page of signing in what it asks the browser.
func (s *Server) askPasskey(w http.ResponseWriter, r *http.Request) {
	options, answered, err := s.Guard.AskPasskey(w, r)
	switch {
	case answered:
	case err != nil:
		http.Error(w, err.Error(), http.StatusConflict)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Write(options)
	}
}

// loginByPasskey signs in whoever answers it.
func (s *Server) loginByPasskey(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxAnswer)
	by, answered, err := s.Guard.SignInByPasskey(w, r, r.PostFormValue("answer"))
	switch {
	case answered:
	case err == nil:
		s.Reconciler.PasswordProven(access.From(r))
		s.Reconciler.Audit(access.Who(r), "sign in by the passkey "+by.Name, nil)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case errors.Is(err, access.ErrPasskey):
		s.Reconciler.Audit(access.Who(r), "sign in by a passkey", err)
		s.signInPage(w, r, http.StatusUnauthorized, in(r).t("That passkey does not sign in here, or it took too long. Try once more, or use the password."))
	default:
		s.Log.Error("signing in by a passkey", "error", err)
		s.signInPage(w, r, http.StatusInternalServerError, in(r).t("The passkey could not be checked; the daemon's log says why."))
	}
}
