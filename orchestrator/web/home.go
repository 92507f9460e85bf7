package web

import (
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// suggested is how many applications an empty node is offered at once.
const suggested = 12

// standing is how far what is shown holds.
type standing struct {
	Stale  template.HTML // why it is not of now; empty where it is
	At     string        // of when it is then; empty where nothing is known
	Age    string
	Frozen string // that nothing new is taken from the signed catalog, and why
}

func (s *Server) standing(l tongue, h orchestrator.Hearing) standing {
	st := standing{Stale: l.en(h.Stale), Frozen: s.Reconciler.Offer().Frozen(time.Now())}
	if !h.Silent.IsZero() {
		st.Stale = l.html("it was asked at %s", h.Silent.Local().Format("15:04:05")) // a count of seconds would be another each second
	}
	if st.Stale != "" && !h.At.IsZero() {
		st.At, st.Age = l.second(h.At), l.ago(h.At)
	}
	return st
}

// homePage is what the owner has, and how it is.
type homePage struct {
	frame
	standing
	Apps      []card
	Attention []matter
	Said      string // for those who hear the page
	Strip     []fact
	Steps     []step // that a new owner does first
	Suggested []card // where nothing is installed
	Offered   int    // applications in the store
}

// matter is one thing that the owner should look at.
type matter struct{ Name, Link, What string }

func (s *Server) homePage(f frame) homePage {
	views, hearing := s.Reconciler.Installed()
	p := homePage{frame: f, standing: s.standing(f.tongue, hearing)}
	running := 0
	var newest time.Time
	for _, v := range views {
		c := s.card(v, f, "home")
		p.Apps = append(p.Apps, c)
		if v.State == view.Up {
			running++
		}
		if v.Backup.Made.After(newest) {
			newest = v.Backup.Made
		}
	}
	p.Attention = matters(s.Reconciler.Attention(views, hearing))
	p.Offered = len(s.Reconciler.Offer().Search("", ""))
	if len(views) == 0 {
		for _, id := range s.Reconciler.Offer().Search("", "") {
			if len(p.Suggested) == suggested {
				break
			}
			if v, err := s.Reconciler.App(id); err == nil {
				p.Suggested = append(p.Suggested, s.card(v, f, "home"))
			}
		}
	} else {
		p.Said = f.t("%d of %d applications run.", running, len(views))
		if p.Stale != "" {
			p.Said = f.t("The engine does not answer; when it was last heard, %d of %d applications ran.", running, len(views))
		}
		if names := subjects(p.Attention); names != "" {
			p.Said += " " + f.t("Wants your attention: %s.", names)
		}
	}
	p.Steps = s.firstSteps(f.tongue, len(views))
	p.Strip = s.strip(f.tongue, p.Apps, newest)
	return p
}

// matters are the conditions of which notices are made, but those that a banner above them
// shows already.
func matters(all []notify.Condition) (out []matter) {
	for _, c := range all {
		m := matter{c.Subject, "/system", c.What}
		switch {
		case c.Kind == notify.Engine, c.Kind == notify.Frozen:
			continue
		case c.App != "":
			m.Link = "/apps/" + url.PathEscape(c.App)
		case c.Kind == notify.Repository:
			m.Link = "/backups"
		case c.Kind == notify.Password:
			m.Link = "/system#password"
		}
		if c.Text != "" {
			m.What += ": " + c.Text
		}
		out = append(out, m)
	}
	return out
}

// subjects names what matters are of, each once.
func subjects(all []matter) string {
	var names []string
	for _, m := range all {
		if !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	return strings.Join(names, ", ")
}

func (s *Server) home(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "home", s.homePage(s.frame(r, "home", in(r).t("My Apps"))))
}

// homeEvents sends what is on the page whenever it has changed.
func (s *Server) homeEvents(w http.ResponseWriter, r *http.Request) {
	f := s.frame(r, "home", in(r).t("My Apps"))
	s.stream(w, r, "apps", f.audience(), func() ([]byte, error) { return s.execute(f.tongue, "apps", s.homePage(f)) })
}
