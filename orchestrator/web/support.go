package web

import (
	"net/http"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/subscription"
	"github.com/archipelago-cloud/archipelago/orchestrator/support"
)

// reportLife is how long the report that was shown can be downloaded.
const reportLife = 30 * time.Minute

// reports holds the report that was shown last, so that what is downloaded is what was read.
type reports struct {
	mu   sync.Mutex
	of   string // the session
	text string
	made time.Time
}

func (r *reports) keep(session, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of, r.text, r.made = session, text, time.Now()
}

// kept is the one that a session was shown; empty where it was none, or too long ago.
func (r *reports) kept(session string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of != session || time.Since(r.made) > reportLife {
		return ""
	}
	return r.text
}

// supportPage is what the owner would give to whoever helps.
type supportPage struct {
	frame
	Text    string
	Problem string // why there is none
}

func (s *Server) support(w http.ResponseWriter, r *http.Request) {
	p := supportPage{frame: s.frame(r, "system", in(r).t("Report for support"))}
	var err error
	p.Text, err = s.report(r)
	s.Reconciler.Audit(access.Who(r), "report for support", err)
	status := http.StatusOK
	if err != nil {
		s.Log.Error("the report for support", "error", err)
		p.Problem, status = err.Error(), http.StatusInternalServerError
	} else {
		s.reports.keep(p.Own.ID, p.Text)
	}
	s.render(w, r, status, "support", p)
}

func (s *Server) report(r *http.Request) (string, error) {
	if s.Engine == nil {
		return "", refusing("nothing of this node can be looked at")
	}
	catalog := subscription.ErrNone.Error()
	if s.Subscription != nil {
		catalog = s.Subscription.Said()
	}
	return s.Reconciler.Support(r.Context(), s.Engine, support.About(s.About.Name, s.About.Version, s.About.Digest, s.About.StartedAt, catalog), s.Sessions.Damaged())
}

// downloadReport gives what was shown, or goes back to where it is.
func (s *Server) downloadReport(w http.ResponseWriter, r *http.Request) {
	own, _ := s.Guard.SignedIn(r)
	text := s.reports.kept(own.ID)
	if text == "" {
		http.Redirect(w, r, "/system/support", http.StatusSeeOther)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="archipelago-support.txt"`)
	w.Header().Set("Cache-Control", "no-store")
	w.Write([]byte(text))
}
