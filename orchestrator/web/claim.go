package web

import (
	"errors"
	"html/template"
	"net/http"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// claimPage is what a node shows that has no owner.
type claimPage struct {
	frame
	Code    string // as it was typed, or came with the address that the node printed
	Problem template.HTML
	At      string // the field that it is about
	Node    string
	Clock   string
}

// unclaimed tells whether the node is still to be claimed.
func (s *Server) unclaimed() bool { return s.Claim != nil && s.Claim.Open() }

// door is where whoever is not signed in is led.
func (s *Server) door() string {
	if s.unclaimed() {
		return "/claim"
	}
	return "/login"
}

func (s *Server) claimPage(w http.ResponseWriter, r *http.Request, status int, code string, problem template.HTML, at string) {
	l := in(r)
	s.render(w, r, status, "claim", claimPage{
		frame: s.outside(r, l.t("Make this node yours")),
		Code:  access.Spaced(code), Problem: problem, At: at, Node: s.About.Name, Clock: l.date(time.Now()) + time.Now().Format(" MST"),
	})
}

func (s *Server) claimForm(w http.ResponseWriter, r *http.Request) {
	if !s.unclaimed() {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	s.claimPage(w, r, http.StatusOK, r.URL.Query().Get("code"), "", "")
}

// claim makes whoever has read the code at the node its owner. The node must be asked by a
// name of its own: a page of somebody else's, whose name is made to lead here, cannot ask.
func (s *Server) claim(w http.ResponseWriter, r *http.Request) {
	if s.Claim == nil {
		http.NotFound(w, r)
		return
	}
	if s.Named != nil && !s.Named(hostOf(r)) {
		// Not put down, as nothing of another page's is: it costs whoever asks nothing.
		http.Error(w, in(r).t("Refused: this node has another name. Open the address that 'archipelago claim' prints on the node."), http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	code, password := r.PostFormValue("code"), r.PostFormValue("password")
	var weak error
	answered, err := s.Guard.Claim(w, r, s.Claim, code, password, func(password string) error {
		weak = s.judge(password, r.PostFormValue("again"), "")
		return weak
	})
	if answered {
		return
	}
	s.auditPassword(r, "claim", err, weak != nil)
	l := in(r)
	switch {
	case err == nil:
		s.Reconciler.PasswordChanged()
		http.Redirect(w, r, "/sheet", http.StatusSeeOther)
	case errors.Is(err, access.ErrClaimed):
		s.signInPage(w, r, http.StatusConflict, l.t("This node has an owner already. If it is not you, its console tells: 'archipelago claim'."))
	case errors.Is(err, access.ErrCode):
		s.claimPage(w, r, http.StatusUnauthorized, "", l.html("That is not this node's code. It changes whenever the daemon starts; 'archipelago claim' prints it on the node."), "code")
	case weak != nil || errors.Is(err, access.ErrLength):
		s.claimPage(w, r, http.StatusUnprocessableEntity, code, l.notTaken(weak), "password")
	default:
		s.Log.Error("claiming the node", "error", err)
		s.claimPage(w, r, http.StatusInternalServerError, code, l.html("The password could not be kept; the daemon's log says why."), "")
	}
}

// sheet is what an owner prints and keeps. It holds nothing that opens the node.
func (s *Server) sheet(w http.ResponseWriter, r *http.Request) {
	data := struct {
		frame
		About       About
		Addresses   []string
		Fingerprint string
		Today       string
		Empty       bool
		Steps       []step
	}{frame: s.frame(r, "system", in(r).t("Recovery sheet")), About: s.About, Fingerprint: grouped(s.About.Fingerprint), Today: in(r).day(time.Now())}
	if s.About.Addresses != nil {
		data.Addresses = s.About.Addresses()
	}
	installed, _ := s.Reconciler.Installed()
	data.Empty, data.Steps = len(installed) == 0, s.firstSteps(data.tongue, len(installed))
	s.render(w, r, http.StatusOK, "sheet", data)
}
