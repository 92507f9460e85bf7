package web

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// usersPart is who else may use the node, on the page of the system.
type usersPart struct {
	Users   []userRow
	Problem string // why they cannot be read
	Roles   []access.Role
}

// userRow is a user, with what can be asked of it.
type userRow struct {
	access.User
	Set           string // the path of the form
	Reset, Remove button
	Apps          []shareRow
}

// shareRow is an application whose credentials a guest may see.
type shareRow struct {
	ID, Name string
	Shared   bool
}

func (s *Server) usersPart(f frame) usersPart {
	p := usersPart{Roles: access.Roles}
	all, err := s.Sessions.Users.List()
	if err != nil {
		p.Problem = err.Error()
	}
	installed, _ := s.Reconciler.Installed()
	for _, u := range all {
		path := "/system/users/" + url.PathEscape(u.Name)
		row := userRow{User: u, Set: path + "/set", Reset: f.Button(path+"/reset", f.t("Invite %s anew", u.Name)), Remove: f.Button(path+"/remove", f.t("Remove %s", u.Name))}
		for _, v := range installed {
			if m := v.Manifest; shows(m) {
				row.Apps = append(row.Apps, shareRow{m.ID, m.Name, slices.Contains(u.Shared, m.ID)})
			}
		}
		p.Users = append(p.Users, row)
	}
	return p
}

// shows tells whether an application has credentials to show.
func shows(m *manifest.Manifest) bool {
	return slices.ContainsFunc(m.Secrets, func(g manifest.GeneratedSecret) bool { return g.Shown })
}

func (s *Server) addUser(w http.ResponseWriter, r *http.Request) {
	name, role := strings.TrimSpace(r.PostForm.Get("name")), access.Role(r.PostForm.Get("role"))
	invitation, err := s.Sessions.Users.Add(name, role)
	s.Reconciler.Audit(access.Who(r), "add user "+name+" as "+string(role), err)
	s.invited(w, r, invitation, err)
}

// setUser says what a user may do, in all.
func (s *Server) setUser(w http.ResponseWriter, r *http.Request) {
	name, role, shared := r.PathValue("name"), access.Role(r.PostForm.Get("role")), r.PostForm["share"]
	var err error
	for _, id := range shared {
		_, unknown := s.Reconciler.App(id)
		err = errors.Join(err, unknown)
	}
	if err == nil {
		err = s.Sessions.Users.Set(name, role, shared)
	}
	s.Reconciler.Audit(access.Who(r), access.Setting(name, role, shared), err)
	s.changed(w, r, "user", err)
}

func (s *Server) resetUser(w http.ResponseWriter, r *http.Request) {
	invitation, err := s.Sessions.Users.Reset(r.PathValue("name"))
	s.Reconciler.Audit(access.Who(r), "reset user "+r.PathValue("name"), err)
	s.invited(w, r, invitation, err)
}

func (s *Server) removeUser(w http.ResponseWriter, r *http.Request) {
	err := s.Sessions.Users.Remove(r.PathValue("name"))
	s.Reconciler.Audit(access.Who(r), "remove user "+r.PathValue("name"), err)
	s.changed(w, r, "user", err)
}

// invited shows an invitation, once, and on no page that can be opened later.
func (s *Server) invited(w http.ResponseWriter, r *http.Request, i access.Invitation, err error) {
	if err != nil {
		s.changed(w, r, "user", err)
		return
	}
	s.render(w, r, http.StatusOK, "invited", struct {
		frame
		access.Invitation
		Link string
	}{s.frame(r, "system", in(r).t("Invitation")), i, "https://" + r.Host + i.Path()})
}

// joinPage is what somebody sees who has been invited.
type joinPage struct {
	frame
	Name, Code string // as they were typed, or came with the address
	Problem    template.HTML
	At         string // the field that it is about
}

func (s *Server) joinPage(w http.ResponseWriter, r *http.Request, status int, name, code string, problem template.HTML, at string) {
	s.render(w, r, status, "join", joinPage{frame: s.outside(r, in(r).t("Choose your password")), Name: name, Code: code, Problem: problem, At: at})
}

func (s *Server) joinForm(w http.ResponseWriter, r *http.Request) {
	if s.unclaimed() {
		http.Redirect(w, r, s.door(), http.StatusSeeOther)
		return
	}
	s.joinPage(w, r, http.StatusOK, r.URL.Query().Get("name"), r.URL.Query().Get("code"), "", "")
}

// join gives somebody who has been invited a password.
func (s *Server) join(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	name, code := access.AsTyped(r.PostFormValue("name")), r.PostFormValue("code")
	var weak error
	answered, err := s.Guard.Join(w, r, name, code, r.PostFormValue("password"), func(password string) error {
		weak = s.judge(password, r.PostFormValue("again"), name)
		return weak
	})
	if answered {
		return
	}
	if err == nil {
		r = access.As(r, access.Session{User: name})
	}
	s.auditPassword(r, "take up an invitation"+s.known(name), err, weak != nil)
	l := in(r)
	switch {
	case err == nil:
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case errors.Is(err, access.ErrInvitation):
		s.joinPage(w, r, http.StatusUnauthorized, name, "", l.html("That is not the code of an invitation of this name, or it is used up or has ended. The owner of the node can invite you anew."), "code")
	case weak != nil || errors.Is(err, access.ErrLength):
		s.joinPage(w, r, http.StatusUnprocessableEntity, name, code, l.notTaken(weak), "password")
	default:
		s.Log.Error("taking up an invitation", "error", err)
		s.joinPage(w, r, http.StatusInternalServerError, name, code, l.html("The password could not be kept; the daemon's log says why."), "")
	}
}

// known is of whom something is that was typed with a name; what nobody is called may be a
// password, and is not put down.
func (s *Server) known(name string) string {
	if _, err := s.Sessions.Users.Get(name); err != nil {
		return ""
	}
	return " of " + name
}

// loginUser signs somebody in who is not the node's first owner.
func (s *Server) loginUser(w http.ResponseWriter, r *http.Request, name string) {
	ok, answered, err := s.Guard.SignInUser(w, r, name, r.PostFormValue("token"))
	switch {
	case answered:
	case err != nil:
		s.Log.Error("signing in", "error", err)
		s.signInPage(w, r, http.StatusInternalServerError, in(r).t("The password could not be checked; the daemon's log says why."))
	case !ok:
		s.Reconciler.Audit(access.Who(r), "sign in"+s.known(name), errors.New("not the name and the password of a user"))
		s.signInPage(w, r, http.StatusUnauthorized, in(r).t("That is not the name of a user with the password that goes with it."))
	default:
		s.Reconciler.Audit(access.Who(access.As(r, access.Session{User: name})), "sign in", nil)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

// forbidden answers a user whose role is not enough.
func (s *Server) forbidden(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && !swaps(r) {
		s.render(w, r, http.StatusForbidden, "forbidden", s.frame(r, "", in(r).t("Not for you")))
		return
	}
	http.Error(w, in(r).t("Only the owner of this node may do that."), http.StatusForbidden)
}

// first lets through whoever is the node's first owner: what is of that one's password is none of
// another owner's.
func (s *Server) first(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if own, ok := s.Guard.SignedIn(r); !ok || own.User != "" { // the session may have ended meanwhile
			s.forbidden(w, r)
			return
		}
		next(w, r)
	}
}

// guestPage is what a guest sees: what can be opened.
type guestPage struct {
	frame
	Apps []entry
}

// entry is an application that a guest may open, or whose credentials are shared.
type entry struct {
	ID, Name, Tagline, Icon, Letter, Open string
	Shared                                bool
}

func (s *Server) guestPage(f frame) guestPage {
	p := guestPage{frame: f}
	views, _ := s.Reconciler.Installed()
	for _, v := range views {
		if e, ok := s.entry(v, f); ok {
			p.Apps = append(p.Apps, e)
		}
	}
	return p
}

func (s *Server) entry(v view.View, f frame) (entry, bool) {
	c := s.card(v, f, "")
	e := entry{ID: c.ID, Name: c.Name, Tagline: c.Tagline, Icon: c.Icon, Letter: c.Letter, Open: c.Open, Shared: shows(v.Manifest) && s.Sessions.Users.Sees(f.Own, c.ID)}
	_, _, web := v.Manifest.Web()
	return e, web || e.Shared
}

func (s *Server) guestHome(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "guest", s.guestPage(s.frame(r, "home", in(r).t("Applications"))))
}

// guestEvents sends what can be opened whenever that has changed.
func (s *Server) guestEvents(w http.ResponseWriter, r *http.Request) {
	f := s.frame(r, "home", "")
	s.stream(w, r, "apps", f.audience(), func() ([]byte, error) { return s.execute(f.tongue, "guest-apps", s.guestPage(f)) })
}

// sharedCredentials shows a guest what signs in to an application, where its owner has shared it.
func (s *Server) sharedCredentials(w http.ResponseWriter, r *http.Request) {
	if own, _ := s.Guard.SignedIn(r); !s.Sessions.Users.Sees(own, r.PathValue("id")) {
		s.forbidden(w, r)
		return
	}
	s.credentials(w, r)
}

// accountPage is what a guest can say of itself.
type accountPage struct {
	frame
	Password passwordPart
}

func (s *Server) account(w http.ResponseWriter, r *http.Request) {
	s.accountPage(w, r, http.StatusOK, passwordPart{Changed: r.URL.Query().Get("password") == "changed"})
}

func (s *Server) accountPage(w http.ResponseWriter, r *http.Request, status int, p passwordPart) {
	s.render(w, r, status, "account", accountPage{s.frame(r, "account", in(r).t("Account")), p})
}
