package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
)

// The fields of forms.
const (
	fieldConsent = "consent" // one for each privilege
	fieldSetting = "set."    // and the setting's name
	fieldClear   = "clear."  // and a secret setting's name
	fieldPurge   = "purge"
	fieldTyped   = "typed" // the application's name, where its data is to go
	fieldFrom    = "from"  // the page to come back to
	fieldVersion = "version"
	fieldAgreed  = "agreed" // to what a way back leaves behind
)

// withForms are the operations whose forms hold what somebody has typed or ticked: a refusal
// is shown below it, and nothing else changes.
var withForms = []string{request.Install, request.Update, request.Rollback, request.Configure, request.Uninstall, jobMove}

// act asks for an operation on an application.
func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	id, verb := r.PathValue("id"), r.PathValue("verb")
	own, _ := s.Guard.SignedIn(r)
	err := s.ask(r, id, verb)
	s.refusals.note(own.ID, id, verb, err)
	s.notes.note()
	switch {
	case err == nil:
		s.done(w, r, id)
	case errors.Is(err, context.Canceled):
	case errors.Is(err, request.ErrUnknownApp):
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		s.refused(w, r, id)
	}
}

func (s *Server) ask(r *http.Request, id, verb string) error {
	req := request.Request{App: id, Verb: verb, Consent: r.PostForm[fieldConsent], Who: access.Who(r)}
	v, err := s.Reconciler.App(id)
	if err != nil {
		return err
	}
	switch verb {
	case jobMove:
		return s.move(r, id)
	case request.Install, request.Configure:
		req.Config = typed(v.Manifest, v.Config, r.PostForm)
	case request.Rollback:
		if req.Version = r.PostForm.Get(fieldVersion); r.PostForm.Get(fieldAgreed) == "" {
			err := refusing("to go back, tick that you know what becomes of what was written since")
			s.Reconciler.AuditOf(id, access.Who(r), verb, err)
			return err
		}
	case request.Uninstall:
		if req.Purge = r.PostForm.Get(fieldPurge) != ""; req.Purge && !named(v.Manifest, r.PostForm.Get(fieldTyped)) {
			err := refusing("to delete the data of %s for ever, type its name", v.Manifest.Name)
			s.Reconciler.AuditOf(id, access.Who(r), "uninstall --purge", err)
			return err
		}
	}
	_, err = s.Reconciler.Request(req)
	return err
}

// typed are the settings of a form that differ from what is there. A secret one that is
// left empty stays as it is, unless it is to be cleared.
func typed(m *manifest.Manifest, config map[string]string, form url.Values) map[string]string {
	changed := map[string]string{}
	for _, st := range m.Settings {
		values, sent := form[fieldSetting+st.Name]
		switch {
		case st.Secret && form.Get(fieldClear+st.Name) != "":
			changed[st.Name] = ""
		case !sent || st.Secret && values[0] == "":
		case st.Secret || values[0] != config[st.Name]:
			changed[st.Name] = values[0]
		}
	}
	return changed
}

// named tells whether what was typed is the application's name, as people read it.
func named(m *manifest.Manifest, typed string) bool {
	typed = strings.TrimSpace(typed)
	return slices.ContainsFunc([]string{m.Name, m.ID}, func(name string) bool { return strings.EqualFold(name, typed) })
}

// done goes back to the page that asked; of one that is live, that is where it is already.
func (s *Server) done(w http.ResponseWriter, r *http.Request, id string) {
	switch {
	case swaps(r) && r.PostForm.Get(fieldFrom) == "" && slices.Contains(withForms, r.PathValue("verb")):
		s.render(w, r, http.StatusOK, "accepted", nil)
		return
	case swaps(r):
		w.WriteHeader(http.StatusNoContent)
		return
	}
	to := "/apps/" + url.PathEscape(id)
	if r.PostForm.Get(fieldFrom) == "home" {
		to = "/"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// refused shows the page that asked once more, with why. A live page gets it as every other
// change, too.
func (s *Server) refused(w http.ResponseWriter, r *http.Request, id string) {
	if r.PostForm.Get(fieldFrom) == "home" {
		p := s.homePage(s.frame(r, "home", in(r).t("My Apps")))
		if swaps(r) {
			s.swap(w, r, http.StatusConflict, "#apps", "apps", p)
			return
		}
		s.render(w, r, http.StatusConflict, "home", p)
		return
	}
	p, err := s.appPage(s.frame(r, "", ""), id)
	verb := r.PathValue("verb")
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusConflict)
	case !swaps(r):
		for i, f := range p.Settings { // what was typed is not lost; a password has to be typed again
			if values, sent := r.PostForm[fieldSetting+f.Name]; sent && !f.Secret {
				p.Settings[i].Value = values[0]
			}
		}
		s.render(w, r, http.StatusConflict, "app", p)
	case slices.Contains(withForms, verb):
		s.render(w, r, http.StatusConflict, "refusal", p.Refused) // below its form
	default:
		s.swap(w, r, http.StatusConflict, "#live", "app-live", p)
	}
}

// swap puts what a template renders in the place of what an element holds.
func (s *Server) swap(w http.ResponseWriter, r *http.Request, status int, target, name string, data any) {
	w.Header().Set("HX-Retarget", target)
	w.Header().Set("HX-Reswap", "morph:innerHTML")
	s.render(w, r, status, name, data)
}
