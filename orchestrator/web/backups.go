package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// backupsPage is where backups go, how old they are, and what is being done with them.
type backupsPage struct {
	frame
	standing
	Repositories []stored
	Problem      string // why the repositories cannot be read
	Apps         []kept
	Jobs         []jobRow
	Refused      refusal
	Key          string // of a repository, where its owner has asked for it
	KeyOf        string
}

// stored is a repository.
type stored struct {
	*repository.Repository
	Problem  string
	Schedule string
	Keeps    string
	Checked  time.Time
	Path     string // of its page
}

// kept is an application and its backups.
type kept struct {
	ID, Name string
	Backup   view.Backup
	Said     string
	Buttons  []button
}

// jobRow is a job, and the form that goes on with it where the owner has to agree to something.
type jobRow struct {
	job
	Doing, Path, Token string
}

// backupsAt is the key of refusals that concern no application.
const backupsAt = "/backups"

func (s *Server) backupsPage(f frame) backupsPage {
	p := backupsPage{frame: f, standing: s.standing(f.tongue, s.Reconciler.Heard()), Refused: s.refusals.of(f.Own.ID, backupsAt)}
	all, err := s.Reconciler.Repositories()
	if err != nil {
		p.Problem = err.Error()
	}
	for _, r := range all {
		p.Repositories = append(p.Repositories, s.stored(f.tongue, r))
	}
	views, _ := s.Reconciler.Installed()
	for _, v := range views {
		if v.Goal == state.Absent || v.Goal == "" {
			continue
		}
		k := kept{ID: v.Manifest.ID, Name: v.Manifest.Name, Backup: v.Backup, Said: f.backedUp(v.Backup)}
		k.Buttons = s.backUpTo(f, k.ID, all)
		if name := v.Backup.Repository; name != "" && !v.Backup.Made.IsZero() {
			path := "/apps/" + url.PathEscape(k.ID) + "/" + jobProve
			k.Buttons = append(k.Buttons, button{Path: path, Label: f.t("Restore on trial"), Icon: "shield-check", Token: f.token(path), From: "backups", Fields: map[string]string{"repository": name}})
		}
		p.Apps = append(p.Apps, k)
	}
	for _, j := range s.jobs.list() {
		if j.Verb == jobMove { // its application's page shows it
			continue
		}
		row := jobRow{job: j, Doing: f.doing(j)}
		if len(j.Asked) > 0 {
			row.Path = "/backups/" + url.PathEscape(j.Repository) + "/restore"
			row.Token = f.token(row.Path)
		}
		p.Jobs = append(p.Jobs, row)
	}
	return p
}

// backUpTo are the forms that back an application up, in each repository that can be used.
func (s *Server) backUpTo(f frame, app string, all []*repository.Repository) (out []button) {
	path := "/apps/" + url.PathEscape(app) + "/" + jobBackup
	for _, r := range all {
		if r.Problem == "" {
			out = append(out, button{Path: path, Label: f.t("Back up to %s", r.Name), Icon: "archive", Token: f.token(path), From: "backups", Fields: map[string]string{"repository": r.Name}})
		}
	}
	return out
}

func (s *Server) stored(l tongue, r *repository.Repository) stored {
	h := s.Reconciler.Backups().Health(r.Name)
	keep := r.Settings.Rule()
	out := stored{Repository: r, Problem: cmp.Or(r.Problem, h.Problem), Checked: h.Checked, Path: "/backups/" + url.PathEscape(r.Name), Schedule: l.t("only when somebody asks")}
	if every := r.Settings.Every(); every > 0 {
		out.Schedule = l.t("every %d hours", int(every.Hours()))
		if r.Settings.Window != "" {
			out.Schedule += ", " + l.t("at %s", r.Settings.Window)
		}
	}
	var keeps []string
	for _, k := range []struct {
		n    int
		said string
	}{{keep.Last, l.t("%d last", keep.Last)}, {keep.Daily, l.t("%d days", keep.Daily)}, {keep.Weekly, l.t("%d weeks", keep.Weekly)}, {keep.Monthly, l.t("%d months", keep.Monthly)}} {
		if k.n > 0 {
			keeps = append(keeps, k.said)
		}
	}
	out.Keeps = strings.Join(keeps, ", ")
	return out
}

func (s *Server) backupsHome(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "backups", s.backupsPage(s.frame(r, "backups", in(r).t("Backups"))))
}

func (s *Server) backupsEvents(w http.ResponseWriter, r *http.Request) {
	f := s.frame(r, "backups", in(r).t("Backups"))
	s.stream(w, r, "backups", f.audience(), func() ([]byte, error) { return s.execute(f.tongue, "backups-live", s.backupsPage(f)) })
}

// begun answers what was to begin a job: by the page of backups, and why it was refused.
func (s *Server) begun(w http.ResponseWriter, r *http.Request, verb string, err error) {
	own, _ := s.Guard.SignedIn(r)
	s.refusals.note(own.ID, backupsAt, verb, err)
	s.notes.note()
	switch {
	case err == nil && swaps(r):
		w.WriteHeader(http.StatusNoContent)
	case err == nil:
		http.Redirect(w, r, "/backups", http.StatusSeeOther)
	case swaps(r):
		s.swap(w, r, http.StatusConflict, "#backups", "backups-live", s.backupsPage(s.frame(r, "backups", in(r).t("Backups"))))
	default:
		s.render(w, r, http.StatusConflict, "backups", s.backupsPage(s.frame(r, "backups", in(r).t("Backups"))))
	}
}

// backUp and prove begin a backup of an application, and a restoration of its newest on trial.
func (s *Server) backUp(w http.ResponseWriter, r *http.Request) {
	j := job{Verb: jobBackup, App: r.PathValue("id"), Repository: r.PostForm.Get("repository")}
	who := access.Who(r)
	s.begun(w, r, j.Verb, s.jobs.begin(j, func(ctx context.Context, tell func(backup.Step)) error {
		_, err := s.Reconciler.Backups().BackUp(ctx, j.App, j.Repository, who, tell)
		return err
	}))
}

func (s *Server) prove(w http.ResponseWriter, r *http.Request) {
	j := job{Verb: jobProve, App: r.PathValue("id"), Repository: r.PostForm.Get("repository")}
	who := access.Who(r)
	s.begun(w, r, j.Verb, s.jobs.begin(j, func(ctx context.Context, tell func(backup.Step)) error {
		_, err := s.Reconciler.Backups().Prove(ctx, j.App, j.Repository, who, tell)
		return err
	}))
}

// restore begins to bring an application back from a snapshot.
func (s *Server) restore(w http.ResponseWriter, r *http.Request) {
	j := job{Verb: jobRestore, App: r.PostForm.Get("app"), Repository: r.PathValue("name"), Snapshot: r.PostForm.Get("snapshot")}
	who, consent := access.Who(r), r.PostForm[fieldConsent]
	s.begun(w, r, j.Verb, s.jobs.begin(j, func(ctx context.Context, tell func(backup.Step)) error {
		_, err := s.Reconciler.Backups().RestoreSnapshot(ctx, j.App, j.Repository, j.Snapshot, who, consent, tell)
		return err
	}))
}

// repositoryPage is one repository, with what is in it.
type repositoryPage struct {
	frame
	Of        stored
	Snapshots []shot
	Problem   string // why they cannot be listed
	Refused   refusal
}

// shot is a snapshot, and whether it can be restored.
type shot struct {
	repository.Snapshot
	Restore *button
}

func (s *Server) repositoryPage(f frame, name string) (*repositoryPage, error) {
	all, err := s.Reconciler.Repositories()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(r *repository.Repository) bool { return r.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w %q", repository.ErrUnknown, name)
	}
	f.Here, f.Title = "backups", name
	return &repositoryPage{frame: f, Of: s.stored(f.tongue, all[i]), Refused: s.refusals.of(f.Own.ID, "/backups/"+name)}, nil
}

func (s *Server) repository(w http.ResponseWriter, r *http.Request) {
	s.showRepository(w, r, http.StatusOK)
}

func (s *Server) showRepository(w http.ResponseWriter, r *http.Request, status int) {
	p, err := s.repositoryPage(s.frame(r, "", ""), r.PathValue("name"))
	if err != nil {
		s.missing(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	shots, err := s.Reconciler.Snapshots(ctx, p.Of.Name, "")
	if err != nil {
		p.Problem = err.Error()
	}
	views, _ := s.Reconciler.Installed()
	for _, one := range shots {
		sh := shot{Snapshot: one}
		if !slices.ContainsFunc(views, func(v view.View) bool { return v.Manifest.ID == one.App }) {
			b := p.Button(p.Of.Path+"/restore", p.t("Restore"))
			b.Icon, b.Fields = "history", map[string]string{"app": one.App, "snapshot": one.ID}
			sh.Restore = &b
		}
		p.Snapshots = append(p.Snapshots, sh)
	}
	s.render(w, r, status, "repository", p)
}

// addRepository gives a repository a name, and shows its recovery key.
func (s *Server) addRepository(w http.ResponseWriter, r *http.Request) {
	a := repository.Added{Name: strings.TrimSpace(r.PostForm.Get("name")), URL: strings.TrimSpace(r.PostForm.Get("url")), Key: strings.TrimSpace(r.PostForm.Get("key"))}
	err := error(nil)
	for line := range strings.Lines(r.PostForm.Get("environment")) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if !ok {
			err = refusing("what reaches the repository: expected NAME=VALUE in each line")
			break
		}
		if a.Environment == nil {
			a.Environment = map[string]string{}
		}
		a.Environment[strings.TrimSpace(name)] = value
	}
	var key string
	if err == nil {
		_, key, err = s.Reconciler.AddRepository(r.Context(), a, access.Who(r))
	}
	s.keyOr(w, r, a.Name, "add", key, err)
}

// showKey shows what opens a repository when the node is gone; that is in the audit log.
func (s *Server) showKey(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	key, err := s.Reconciler.RecoveryKey(name, access.Who(r))
	s.keyOr(w, r, name, "key", key, err)
}

// removeRepository forgets a repository, and shows its key once more.
func (s *Server) removeRepository(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if r.PostForm.Get(fieldTyped) != name {
		err := refusing("to have the node forget it, type its name")
		s.Reconciler.Audit(access.Who(r), "repository remove "+name, err)
		s.keyOr(w, r, name, "remove", "", err)
		return
	}
	key, err := s.Reconciler.RemoveRepository(name, access.Who(r))
	s.keyOr(w, r, name, "remove", key, err)
}

// keyOr shows a recovery key on the page of backups, or why there is none.
func (s *Server) keyOr(w http.ResponseWriter, r *http.Request, name, verb, key string, err error) {
	own, _ := s.Guard.SignedIn(r)
	s.refusals.note(own.ID, backupsAt, verb, err)
	s.notes.note()
	p := s.backupsPage(s.frame(r, "backups", in(r).t("Backups")))
	status := http.StatusOK
	if err != nil {
		status = http.StatusConflict
	} else {
		p.Key, p.KeyOf = key, name
	}
	s.render(w, r, status, "backups", p)
}

// setRepository changes when backups are made, and which are kept.
func (s *Server) setRepository(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	var to repository.Settings
	var err error
	for field, into := range map[string]*int{"hours": &to.Hours, "last": &to.Keep.Last, "days": &to.Keep.Daily, "weeks": &to.Keep.Weekly, "months": &to.Keep.Monthly} {
		typed := strings.TrimSpace(r.PostForm.Get(field))
		n, wrong := strconv.Atoi(typed)
		if *into = n; wrong != nil {
			err = refusing("a number is expected in each field, and '%s' is none", typed)
		}
	}
	to.Window = strings.TrimSpace(r.PostForm.Get("window"))
	if err == nil {
		_, err = s.Reconciler.SetRepository(name, to, access.Who(r))
	}
	own, _ := s.Guard.SignedIn(r)
	s.refusals.note(own.ID, "/backups/"+name, "set", err)
	if err != nil {
		s.showRepository(w, r, http.StatusConflict)
		return
	}
	http.Redirect(w, r, "/backups/"+url.PathEscape(name), http.StatusSeeOther)
}
