package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
)

// notifyAt is the key of refusals that concern where notices go.
const notifyAt = "/system/notify"

// notifyPart is where notices go, on the page of the system.
type notifyPart struct {
	Targets []targetRow
	Problem string // why they cannot be read
	Refused refusal
	Forms   []string // of addresses
}

// targetRow is a target, with what can be asked of it.
type targetRow struct {
	notify.Target
	Buttons []button
}

func (s *Server) notifyPart(f frame) notifyPart {
	p := notifyPart{Refused: s.refusals.of(f.Own.ID, notifyAt), Forms: notify.Forms}
	all, err := s.Reconciler.Notices().Targets()
	if err != nil {
		p.Problem = err.Error()
	}
	for _, t := range all {
		path := "/system/notify/" + url.PathEscape(t.Name)
		p.Targets = append(p.Targets, targetRow{t, []button{f.Button(path+"/test", f.t("Test %s", t.Name)), f.Button(path+"/remove", f.t("Remove %s", t.Name))}})
	}
	return p
}

// notifyEvents sends where notices go, and how that goes, whenever it has changed.
func (s *Server) notifyEvents(w http.ResponseWriter, r *http.Request) {
	f := s.frame(r, "system", "")
	s.stream(w, r, "notify", f.audience(), func() ([]byte, error) { return s.execute(f.tongue, "targets", s.notifyPart(f)) })
}

func (s *Server) addTarget(w http.ResponseWriter, r *http.Request) {
	_, err := s.Reconciler.AddTarget(strings.TrimSpace(r.PostForm.Get("name")), r.PostForm.Get("address"), access.Who(r))
	s.notified(w, r, "add", err)
}

// testTarget sends a message there now, and says so if it is not taken.
func (s *Server) testTarget(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	s.notified(w, r, "test", s.Reconciler.Notices().Test(ctx, r.PathValue("name")))
}

func (s *Server) removeTarget(w http.ResponseWriter, r *http.Request) {
	s.notified(w, r, "remove", s.Reconciler.RemoveTarget(r.PathValue("name"), access.Who(r)))
}

// notified goes back to the page, or shows why not.
func (s *Server) notified(w http.ResponseWriter, r *http.Request, verb string, err error) {
	own, _ := s.Guard.SignedIn(r)
	s.refusals.note(own.ID, notifyAt, verb, err)
	s.notes.note()
	switch {
	case err == nil && swaps(r):
		w.WriteHeader(http.StatusNoContent)
	case err == nil:
		http.Redirect(w, r, "/system#notify", http.StatusSeeOther)
	case swaps(r):
		s.swap(w, r, http.StatusConflict, "#targets", "targets", s.notifyPart(s.frame(r, "system", "")))
	default:
		s.render(w, r, http.StatusConflict, "system", s.systemPage(s.frame(r, "", "")))
	}
}
