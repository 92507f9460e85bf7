package web

import (
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// tokensPage is which tokens open the node to programs, and how one is made.
type tokensPage struct {
	frame
	Tokens     []tokenRow
	Unreadable string // why they cannot be read
	Scopes     []access.Scope
	Days       int          // for how long one is made, where nothing else is said
	Made       access.Token // the one that was made just now
	Secret     string       // its secret; empty where none was made
	Code       bool         // the password takes one, too
	Problem    template.HTML
}

type tokenRow struct {
	access.Token
	Ended  bool
	Remove button
}

const tokenDays = 90

func (s *Server) tokensPage(r *http.Request) tokensPage {
	p := tokensPage{frame: s.frame(r, "system", in(r).t("Access tokens")), Scopes: access.Scopes, Days: tokenDays, Code: s.takesCode()}
	all, err := s.Sessions.Tokens.List()
	if err != nil {
		s.Log.Error("the access tokens", "error", err)
		p.Unreadable = err.Error()
	}
	for _, one := range all {
		p.Tokens = append(p.Tokens, tokenRow{one, s.Sessions.Tokens.Ended(one), p.Button("/system/tokens/"+one.Name+"/remove", p.t("Remove %s", one.Name))})
	}
	return p
}

func (s *Server) tokens(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "tokens", s.tokensPage(r))
}

// tokenProblem shows the page again, and what is wrong.
func (s *Server) tokenProblem(w http.ResponseWriter, r *http.Request, status int, problem template.HTML) {
	p := s.tokensPage(r)
	p.Problem = problem
	s.render(w, r, status, "tokens", p)
}

// addToken makes a token and shows its secret, once. It takes the password, and the code that goes
// with it: whoever finds a browser signed in must not be able to come back by a token of his own.
func (s *Server) addToken(w http.ResponseWriter, r *http.Request) {
	name, scope := strings.TrimSpace(r.PostForm.Get("name")), access.Scope(r.PostForm.Get("scope"))
	days, _ := strconv.Atoi(strings.TrimSpace(r.PostForm.Get("days"))) // what is no number is 0, and refused
	asked := access.Making(name, scope)
	if err := s.Sessions.Tokens.Admits(name, scope, days); err != nil { // before a code is used up for it
		s.Reconciler.Audit(access.Who(r), asked, err)
		s.tokenProblem(w, r, http.StatusConflict, notDone(r, err))
		return
	}
	if !s.proven(w, r, asked, r.PostForm.Get("code"), s.tokenProblem) {
		return
	}
	made, secret, err := s.Sessions.Tokens.Add(name, scope, days)
	s.Reconciler.Audit(access.Who(r), asked, err)
	if err != nil {
		s.tokenProblem(w, r, http.StatusConflict, notDone(r, err))
		return
	}
	p := s.tokensPage(r)
	p.Made, p.Secret = made, secret
	s.render(w, r, http.StatusOK, "tokens", p)
}

func (s *Server) removeToken(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	err := s.Sessions.Tokens.Remove(name)
	s.Reconciler.Audit(access.Who(r), "remove token "+name, err)
	if err != nil && !errors.Is(err, access.ErrToken) { // which another page has removed
		s.tokenProblem(w, r, http.StatusConflict, notDone(r, err))
		return
	}
	http.Redirect(w, r, "/system/tokens", http.StatusSeeOther)
}
