package web

import (
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"sync"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// Memory keeps something over a restart of the daemon.
type Memory interface {
	Remember(name string, v any) error
	Recall(name string, v any) error
}

const stepsFile = "steps.json"

// steps is how far the list of what a new owner does first has come, where nothing else
// on the node says so.
type steps struct {
	mu   sync.Mutex
	read bool
	kept keptSteps
}

type keptSteps struct {
	Away    bool `json:"away"`    // all was done once, or the owner has put the list away
	Fetched bool `json:"fetched"` // somebody has fetched the certificate by which devices trust the node
}

// step is one thing that a new owner does first.
type step struct {
	Said, Link, Icon string
	Note             template.HTML
	Done             bool
}

func (s *Server) stepsKept() keptSteps {
	s.steps.mu.Lock()
	defer s.steps.mu.Unlock()
	if !s.steps.read && s.Memory != nil {
		if err := s.Memory.Recall(stepsFile, &s.steps.kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.Log.Error("the list of first steps begins anew", "error", err)
		}
	}
	s.steps.read = true
	return s.steps.kept
}

// keepSteps changes what is kept of them; one that is not written holds until the daemon ends.
func (s *Server) keepSteps(change func(*keptSteps)) {
	before := s.stepsKept()
	s.steps.mu.Lock()
	defer s.steps.mu.Unlock()
	change(&s.steps.kept)
	if s.steps.kept == before || s.Memory == nil {
		return
	}
	if err := s.Memory.Remember(stepsFile, s.steps.kept); err != nil {
		s.Log.Error("keeping how far the list of first steps is", "error", err)
	}
}

// firstSteps are those of an owner who has so many applications, each done where the node
// has what it is about; none once all were done, or the list was put away.
func (s *Server) firstSteps(l tongue, installed int) []step {
	kept := s.stepsKept()
	if kept.Away {
		return nil
	}
	repositories, _ := s.Reconciler.Repositories() // what cannot be read, their own pages say
	targets, _ := s.Reconciler.Notices().Targets()
	install := step{Said: l.t("Install your first application"), Link: "/store", Icon: "store", Note: l.html("from the store, or from its suggestions on Home"), Done: installed > 0}
	if len(s.Reconciler.Offer().IDs()) == 0 {
		install.Note = l.html(`The store is empty. <a href="/system">Follow a channel of the catalog</a>: beta is what everybody gets, user has it earlier, for machines that its publisher looks after, and feature has what nothing vouches for yet.`)
	}
	all := []step{
		install,
		{Said: l.t("Say where backups go"), Link: "/backups", Icon: "archive", Note: l.html("another disk, another machine, or S3"), Done: len(repositories) > 0},
		{Said: l.t("Have notices sent to you"), Link: "/system#notify", Icon: "bell", Note: l.html("on your phone, by mail or in a chat, when something fails, fills or is overdue"), Done: len(targets) > 0},
		{Said: l.t("Have your devices trust this node"), Link: "/trust", Icon: "shield-check", Note: l.html("their browsers stop warning; it is ticked once the certificate was downloaded"), Done: kept.Fetched},
	}
	for _, one := range all {
		if !one.Done {
			return all
		}
	}
	s.keepSteps(func(k *keptSteps) { k.Away = true })
	return nil
}

// putStepsAway takes the list off the pages, for all browsers.
func (s *Server) putStepsAway(w http.ResponseWriter, r *http.Request) {
	s.keepSteps(func(k *keptSteps) { k.Away = true })
	s.Reconciler.Audit(access.Who(r), "put first steps away", nil)
	s.notes.note()
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// Fetches has the list know that somebody fetches the certificate which next serves.
func (s *Server) Fetches(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && !s.stepsKept().Fetched {
			s.keepSteps(func(k *keptSteps) { k.Fetched = true })
			s.notes.note()
		}
		next.ServeHTTP(w, r)
	})
}
