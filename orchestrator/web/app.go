package web

import (
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// appPage is all of one application: what it is, how it is, and what can be done.
type appPage struct {
	frame
	standing
	App     card
	Path    string // of the page
	Stage   string // what the page's forms are for; another one needs another page
	Listing manifest.Listing
	HTML    template.HTML
	Shots   []string // paths of the screenshots
	Origin  string   // where it is from, in words
	By      string   // its publisher
	Proof   string   // what a gate's run showed of it
	Waiver  string

	Goal     state.Goal
	Members  []member
	Ways     []way
	Settings []field
	Offered  *manifest.Manifest // what an installation or an update would bring; nil where there is none
	Notes    string             // of that release
	Consent  []string           // what the owner is asked to agree to for it
	May      []string           // what it may do besides
	Needs    []string           // what it takes of the node; empty where nothing is offered
	Plan     []planned          // what an installation brings along
	Blocked  string             // why it would be refused now
	Declined bool               // the update did not come up here before
	Held     bool               // its owner has gone back from the update
	Previous *view.Previous     // the version that can be gone back to; nil where there is none
	Backup   view.Backup
	BackUp   []button // to each repository
	Secrets  bool     // there are some to show
	Charts   []chart  // what it has used of the node
	Volumes  []orchestrator.Volume
	Move     *moving // the last move of one of them; nil where there was none lately

	Refused refusal
}

// member is a container of the application.
type member struct {
	Name, State, Health string
	There               bool
	Since               time.Time
}

// way is one way in, from the network.
type way struct{ What, Address, Note string }

// planned is an application that comes along.
type planned struct{ Name, ID, Version string }

// field is a setting in a form.
type field struct {
	manifest.Setting
	Value    string
	Set      bool     // of a secret one: it has a value
	Restarts []string // containers that a change restarts
}

func (s *Server) appPage(f frame, id string) (*appPage, error) {
	v, err := s.Reconciler.App(id)
	if err != nil {
		return nil, err
	}
	m := v.Manifest
	f.Title, f.Here = cmp.Or(m.Name, m.ID), "home"
	p := &appPage{frame: f, standing: s.standing(f.tongue, s.Reconciler.Heard()), App: s.card(v, f, ""), Path: "/apps/" + url.PathEscape(id),
		Listing: m.Listing, HTML: template.HTML(m.HTML()), // of a subset, and safe whoever wrote it
		Goal: v.Goal, Notes: v.Notes, Declined: v.Declined, Held: v.Held, Previous: v.Previous, Backup: v.Backup, Refused: s.refusals.of(f.Own.ID, id)}
	p.App.Refusal = refusal{} // it is shown below
	if !p.App.Installed {
		p.Here = "store"
	}
	for _, digest := range m.Screenshots {
		if path := picturePath(id, digest); path != "" {
			p.Shots = append(p.Shots, path)
		}
	}
	for _, c := range v.Containers {
		if p.Goal != "" {
			p.Members = append(p.Members, member{c.Name, cmp.Or(f.word(c.State), f.t("not there")), f.word(c.Health), c.State != "", c.StartedAt})
		}
	}
	if v.Goal == state.Running || v.Goal == state.Stopped {
		p.Ways, p.Secrets = s.ways(f, m), slices.ContainsFunc(m.Secrets, func(g manifest.GeneratedSecret) bool { return g.Shown })
	}
	if repositories, err := s.Reconciler.Repositories(); err == nil && len(p.Ways)+len(p.Members) > 0 {
		p.BackUp = s.backUpTo(f, id, repositories)
	}
	if p.App.Installed {
		if points, err := s.Reconciler.Usage(id); err == nil {
			p.Charts = charts(f.tongue, points, s.now())
		}
	}
	p.Volumes, p.Move = s.Reconciler.Volumes(id), s.moved(f, id)
	s.offered(p, v)
	for _, st := range m.Settings {
		p.Settings = append(p.Settings, field{Setting: st, Value: v.Config[st.Name], Set: st.Secret && v.Config[st.Name] != "", Restarts: restarts(m, v.Config, st)})
	}
	p.Stage = p.stage(v)
	return p, nil
}

// offered fills in what an installation or an update would bring.
func (s *Server) offered(p *appPage, v view.View) {
	o := s.Reconciler.Offer()
	if e, err := o.Entry(v.Manifest.ID, time.Now()); err == nil {
		p.By = e.Publisher
		p.Proof = e.Proof
		p.Origin = p.origin(e.Source)
		if e.Waiver != nil {
			p.Waiver = e.Waiver.String()
		}
	}
	if v.Source != "" {
		p.Origin = p.origin(catalog.ParseSource(v.Source))
	}
	ask := request.Request{App: v.Manifest.ID, Consent: v.NewPrivileges}
	switch {
	case (v.Goal == "" || v.Goal == state.Absent) && v.State == view.NotInstalled:
		p.Offered, ask.Verb = v.Manifest, request.Install
		p.Blocked = v.Error
	case v.Available != nil && v.Goal != state.Absent && v.State != view.Updating:
		p.Offered, ask.Verb = v.Available, request.Update
	default:
		return
	}
	p.Consent = v.NewPrivileges
	p.May = slices.DeleteFunc(p.Offered.Privileges(), func(w string) bool { return slices.Contains(p.Consent, w) })
	p.Needs = p.needs(p.Offered)
	decided, err := s.Reconciler.Preview(ask)
	if err != nil {
		p.Blocked = cmp.Or(p.Blocked, err.Error())
		return
	}
	for _, d := range decided[:len(decided)-1] {
		if d.Manifest != nil {
			p.Plan = append(p.Plan, planned{d.Manifest.Name, d.App, d.Manifest.Version})
		}
	}
}

// RefusedBelow tells whether the refusal is shown below a form of the page.
func (p *appPage) RefusedBelow() bool { return slices.Contains(withForms, p.Refused.Verb) }

// needs are what an application takes of the node.
func (l tongue) needs(m *manifest.Manifest) (all []string) {
	open := slices.ContainsFunc(m.Containers, func(c manifest.Container) bool { return m.MemoryOf(c) == "" })
	switch sum := m.Memory(); {
	case open && sum > 0:
		all = append(all, l.t("It may use %s of memory, and some of its containers as much as there is", l.size(sum)))
	case open:
		all = append(all, l.t("It may use as much memory as there is"))
	default:
		all = append(all, l.t("It may use up to %s of memory", l.size(sum)))
	}
	volumes := map[string]bool{}
	for _, c := range m.Containers {
		for _, v := range c.Volumes {
			volumes[v.Name] = true
		}
	}
	if len(volumes) > 0 {
		all = append(all, l.t("It keeps data on this node, which stays when it is uninstalled"))
	}
	return all
}

// stage names what the page's forms rest on.
func (p *appPage) stage(v view.View) string {
	offered := ""
	if p.Offered != nil {
		offered = p.Offered.Version
	}
	stage := append([]string{string(v.Goal), v.Manifest.Version, offered, strconv.FormatBool(v.State == view.Updating), p.Blocked}, p.Consent...)
	if b := v.Previous; b != nil {
		stage = append(append(stage, "back", b.Version, b.Refused), b.NewPrivileges...)
	}
	for _, v := range p.Volumes {
		stage = append(stage, v.Name, v.Dir)
	}
	return strings.Join(stage, "|")
}

// origin says in words where a manifest is from.
func (l tongue) origin(s catalog.Source) string {
	switch s.From {
	case catalog.FromCatalog:
		channel, serial, _ := strings.Cut(s.Document, " ")
		return l.t("the signed catalog, channel %s, number %s", channel, serial)
	case catalog.FromBoth:
		return l.t("this node's disk, with an image of the signed catalog %s", s.Document)
	case catalog.FromDisk:
		return l.t("this node's disk: nobody has signed it")
	}
	return ""
}

// ways are the addresses by which the application is reached.
func (s *Server) ways(f frame, m *manifest.Manifest) (all []way) {
	web, _, hasWeb := m.Web()
	for _, name := range slices.Sorted(maps.Keys(m.Interfaces)) {
		i := m.Interfaces[name]
		port, ok := m.Port(i.Port)
		if !ok {
			continue
		}
		if i.Protocol == "" || i.Protocol == "http" {
			all = append(all, way{name, fmt.Sprintf("https://%s%s", net.JoinHostPort(f.Host, strconv.Itoa(port.Host+manifest.ProxyOffset)), i.Path), f.t("in a browser")})
			if hasWeb && reflect.DeepEqual(i, web) && s.About.Name != "" {
				all = append(all, way{name, fmt.Sprintf("https://%s.%s:%d%s", m.ID, s.About.Name, manifest.ByNamePort, i.Path), f.t("by name, where your network carries .local")})
			}
			continue
		}
		all = append(all, way{name, net.JoinHostPort(f.Host, strconv.Itoa(port.Host)), i.Protocol})
	}
	return all
}

// restarts are the containers that are made anew when a setting changes.
func restarts(m *manifest.Manifest, config map[string]string, st manifest.Setting) (names []string) {
	now := map[string]string{}
	for k, v := range config {
		if !m.Secret(k) {
			now[k] = v
		}
	}
	other := maps.Clone(now)
	switch {
	case st.Secret:
		other[st.Name] = strings.Repeat("x", manifest.SecretRefLength)
	case len(st.Values) > 0:
		i := slices.IndexFunc(st.Values, func(v string) bool { return v != now[st.Name] })
		if i < 0 {
			return nil
		}
		other[st.Name] = st.Values[i]
	default:
		other[st.Name] = now[st.Name] + "1"
	}
	before, err := m.With(now, manifest.Node{})
	after, errAfter := m.With(other, manifest.Node{})
	if errors.Join(err, errAfter) != nil {
		return nil
	}
	for i := range before.Containers {
		if !reflect.DeepEqual(before.Containers[i], after.Containers[i]) {
			names = append(names, before.Containers[i].Name)
		}
	}
	return names
}

func (s *Server) app(w http.ResponseWriter, r *http.Request) {
	p, err := s.appPage(s.frame(r, "", ""), r.PathValue("id"))
	switch {
	case err != nil:
		s.missing(w, r, err)
	case swaps(r) && r.Header.Get("HX-Target") == "page":
		s.render(w, r, http.StatusOK, "app-page", p)
	default:
		s.render(w, r, http.StatusOK, "app", p)
	}
}

// missing says that the application or the repository is not there, or why it cannot be shown.
func (s *Server) missing(w http.ResponseWriter, r *http.Request, err error) {
	l := in(r)
	said := l.en(err.Error())
	switch {
	case errors.Is(err, request.ErrUnknownApp):
		said = l.html(`%s is neither installed on this node nor in its store. <a href="/store">Look in the store.</a>`, r.PathValue("id"))
	case errors.Is(err, repository.ErrUnknown):
		said = l.html(`This node has no repository %s for backups. <a href="/backups">Look where they go.</a>`, r.PathValue("name"))
	}
	s.render(w, r, http.StatusNotFound, "missing", struct {
		frame
		Said template.HTML
	}{s.frame(r, "", l.t("Not here")), said})
}

// appEvents sends how the application is whenever that has changed; where the page's forms
// are not for that any more, it says so, and the page loads anew.
func (s *Server) appEvents(w http.ResponseWriter, r *http.Request) {
	id, f := r.PathValue("id"), s.frame(r, "", "")
	stage := r.URL.Query().Get("stage")
	s.stream(w, r, "app", f.audience()+" "+id+" "+stage, func() ([]byte, error) {
		p, err := s.appPage(f, id)
		if errors.Is(err, request.ErrUnknownApp) {
			return s.execute(f.tongue, "gone", nil)
		}
		if err != nil {
			return nil, err
		}
		if p.Stage != stage {
			return s.execute(f.tongue, "app-anew", p)
		}
		return s.execute(f.tongue, "app-told", p)
	})
}

// credentials shows what signs its owner in to an application; hidden until asked for, and
// on no other page.
func (s *Server) credentials(w http.ResponseWriter, r *http.Request) {
	p, err := s.appPage(s.frame(r, "", ""), r.PathValue("id"))
	if err != nil {
		s.missing(w, r, err)
		return
	}
	type credential struct{ User, Name, Value string }
	data := struct {
		*appPage
		Credentials []credential
		Problem     string
	}{appPage: p}
	v, err := s.Reconciler.App(p.App.ID)
	var shown map[string]string
	if err == nil {
		shown, err = s.Reconciler.Credentials(p.App.ID)
	}
	if err != nil {
		data.Problem = err.Error()
	} else {
		users := map[string]string{}
		for _, i := range v.Manifest.Interfaces {
			if i.Login != nil {
				users[i.Login.Secret] = i.Login.User
			}
		}
		for _, name := range slices.Sorted(maps.Keys(shown)) {
			data.Credentials = append(data.Credentials, credential{users[name], name, shown[name]})
		}
	}
	s.render(w, r, http.StatusOK, "credentials", data)
}

// historyMost is how many requests a page shows.
const historyMost = 100

// history shows what was asked of the application, and what of that was refused.
func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	p, err := s.appPage(s.frame(r, "", ""), r.PathValue("id"))
	if err != nil {
		s.missing(w, r, err)
		return
	}
	data := struct {
		*appPage
		Asked   []state.Asked
		Problem string
	}{appPage: p}
	if data.Asked, err = s.Reconciler.History(p.App.ID, historyMost); err != nil {
		data.Problem = err.Error()
	}
	s.render(w, r, http.StatusOK, "history", data)
}
