package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/subscription"
)

// browser is a session on the page.
type browser struct {
	access.Session
	This bool // the one that looks at the page
	End  button
}

// systemPage is how the node itself is.
type systemPage struct {
	frame
	standing
	About    About
	Kernel   string
	Catalog  catalogStatus
	Offered  int
	Folders  []folder
	Problem  string // why the folders cannot be read
	Browsers []browser
	Factor   access.FactorStatus
	Passkeys int
	Tokens   int
	Notify   notifyPart
	Users    usersPart
	Password passwordPart
	Refused  refusal
	Checks   []host.Finding // where they were asked for
	Checked  bool
}

// catalogStatus is what is followed, and how that is.
type catalogStatus struct {
	subscription.Status
	None    bool
	Problem string // why nothing can be followed
	Ends    string // when what is in force ends, and how far that is; empty where it does not
}

// folder is one of the owner's.
type folder struct {
	orchestrator.Folder
	Path string
}

// systemAt is the key of refusals on the page.
const systemAt = "/system"

func (s *Server) systemPage(f frame) systemPage {
	f.Here, f.Title = "system", f.t("System")
	p := systemPage{frame: f, standing: s.standing(f.tongue, s.Reconciler.Heard()), About: s.About, Kernel: runtime.GOOS + "/" + runtime.GOARCH, Refused: s.refusals.of(f.Own.ID, systemAt)}
	p.Notify, p.Users, p.Password.Code = s.notifyPart(f), s.usersPart(f), s.takesCode() && f.Own.User == ""
	p.Catalog.None = true
	if s.Subscription != nil {
		var err error
		p.Catalog.Status, err = s.Subscription.Status()
		if p.Catalog.None = errors.Is(err, subscription.ErrNone); err != nil && !p.Catalog.None {
			p.Catalog.Problem = err.Error()
		}
		p.Catalog.Ends = f.ends(p.Catalog.Expires)
	}
	p.Offered = len(s.Reconciler.Offer().IDs())
	folders, err := s.Reconciler.Folders()
	if err != nil {
		p.Problem = err.Error()
	}
	for _, f := range folders {
		p.Folders = append(p.Folders, folder{f, "/system/folders/" + url.PathEscape(f.Name) + "/remove"})
	}
	p.Factor, _ = s.Sessions.Factor.Status()  // its own page says why it cannot be read
	passkeys, _ := s.Sessions.Passkeys.List() // as its own page does of these
	tokens, _ := s.Sessions.Tokens.List()
	p.Passkeys, p.Tokens = len(passkeys), len(tokens)
	for _, b := range s.Sessions.List() {
		p.Browsers = append(p.Browsers, browser{b, b.ID == p.Own.ID, p.Button("/sessions/"+b.ID+"/end", p.t("Sign out"))})
	}
	return p
}

func (s *Server) system(w http.ResponseWriter, r *http.Request) {
	p := s.systemPage(s.frame(r, "", ""))
	p.Password.Changed = r.URL.Query().Get("password") == "changed"
	s.render(w, r, http.StatusOK, "system", p)
}

// checks looks at the node for what applications need of it. That takes a while, so it is not
// part of the page; without scripts, it is a page of its own.
func (s *Server) checks(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	p := s.systemPage(s.frame(r, "", ""))
	if p.Checked = true; s.Engine != nil {
		p.Checks = append(s.Engine.Doctor(ctx, s.About.DataDir), s.Reconciler.Findings(ctx, s.Sessions.Damaged())...)
		if v, err := s.Engine.Version(ctx); err == nil {
			p.Kernel += ", Podman " + v
		}
	}
	if swaps(r) {
		s.render(w, r, http.StatusOK, "checks", p)
		return
	}
	s.render(w, r, http.StatusOK, "system", p)
}

// changed goes back to the page, or shows why not.
func (s *Server) changed(w http.ResponseWriter, r *http.Request, verb string, err error) {
	own, _ := s.Guard.SignedIn(r)
	s.refusals.note(own.ID, systemAt, verb, err)
	if err != nil {
		s.render(w, r, http.StatusConflict, "system", s.systemPage(s.frame(r, "", "")))
		return
	}
	http.Redirect(w, r, "/system", http.StatusSeeOther)
}

// refresh asks the catalog's mirrors now.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request) {
	err := subscription.ErrNone
	if s.Subscription != nil {
		ctx, cancel := context.WithTimeout(r.Context(), askTime)
		defer cancel()
		_, err = s.Subscription.Refresh(ctx)
	}
	s.changed(w, r, "refresh", err)
}

func (s *Server) addFolder(w http.ResponseWriter, r *http.Request) {
	_, left, err := s.Reconciler.AddFolder(r.Context(), strings.TrimSpace(r.PostForm.Get("name")), strings.TrimSpace(r.PostForm.Get("dir")), r.PostForm.Get("all") != "", access.Who(r))
	if err == nil && left > 0 {
		err = refusing("the folder has its name; %d files in it could not be opened to applications, as they are not the daemon's user's", left)
	}
	s.changed(w, r, "folder", err)
}

func (s *Server) removeFolder(w http.ResponseWriter, r *http.Request) {
	s.changed(w, r, "folder", s.Reconciler.RemoveFolder(r.PathValue("name"), access.Who(r)))
}

// nodeHistory shows what was asked of the node itself: sign-ins, folders, repositories.
func (s *Server) nodeHistory(w http.ResponseWriter, r *http.Request) {
	data := struct {
		frame
		Asked   []state.Asked
		Problem string
	}{frame: s.frame(r, "system", in(r).t("History"))}
	var err error
	if data.Asked, err = s.Reconciler.History("", historyMost); err != nil {
		data.Problem = err.Error()
	}
	s.render(w, r, http.StatusOK, "node-history", data)
}

// ends says when a catalog ends, and how far that is.
func (l tongue) ends(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	if left := time.Until(at); left > 0 {
		return l.t("%[2]s, in %[1]d days", int(left.Hours()/24), l.day(at))
	}
	return l.t("%s: it has expired", l.day(at))
}
