package web

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// card is one application in a list of them.
type card struct {
	ID, Name, Version, Tagline, Category, Source string
	Icon, Letter                                 string // the icon's path; without one, the letter in its place
	State, Class                                 string
	Doing, Error, Note, Backup                   string
	Update                                       string // version that it may be updated to
	Open                                         string
	Buttons                                      []button
	Refusal                                      refusal
	Installed, Attention                         bool
	Past                                         bool // the state is that of when the engine was last heard
}

func (s *Server) card(v view.View, f frame, from string) card {
	m := v.Manifest
	c := card{
		ID: m.ID, Name: m.Name, Version: m.Version, Tagline: cmp.Or(m.Tagline, m.Summary), Category: m.Category, Source: v.Source,
		Icon: picturePath(m.ID, m.Icon), Letter: letter(m.Name),
		State: string(v.State), Class: strings.ReplaceAll(string(v.State), " ", "-"), Doing: v.Doing, Error: v.Error, Note: v.Note,
		Backup: f.backedUp(v.Backup), Open: address(v, f.Host), Installed: v.State != view.NotInstalled,
		Refusal: s.refusals.of(f.Own.ID, m.ID),
	}
	c.Past = c.Installed && s.Reconciler.Heard().Stale != ""
	c.Attention = v.Error != "" || v.State == view.Failed || v.State == view.Unhealthy || v.Backup.Problem != ""
	if v.Available != nil && v.Goal != state.Absent && v.State != view.Updating && !v.Backward {
		c.Update = v.Available.Version
	}
	for _, b := range buttons(f.tongue, v) {
		b.Path = "/apps/" + url.PathEscape(m.ID) + "/" + b.Path
		b.Token, b.From = f.token(b.Path), from
		if b.ID != "" {
			b.ID += m.ID
		}
		c.Buttons = append(c.Buttons, b)
	}
	return c
}

// buttons are what may be asked for at once, without a question; Path is the verb.
func buttons(l tongue, v view.View) (all []button) {
	start := button{Path: request.Start, Label: l.t("Start"), Icon: "play", ID: "switch-"}
	switch {
	case v.Goal == "" && v.State == view.NotInstalled && v.Error == "":
		if len(v.NewPrivileges) == 0 && len(v.Manifest.Settings) == 0 {
			all = append(all, button{Path: request.Install, Label: l.t("Install"), Icon: "download", Class: "primary"})
		}
	case v.Goal == state.Running:
		if v.State == view.Failed {
			again := start
			again.Label, again.Class, again.ID = l.t("Try again"), "primary", "again-"
			all = append(all, again)
		}
		all = append(all, button{Path: request.Restart, Label: l.t("Restart"), Icon: "rotate-cw"}, button{Path: request.Stop, Label: l.t("Stop"), Icon: "square", ID: "switch-"})
	case v.Goal == state.Stopped:
		start.Class = "primary"
		all = append(all, start)
	}
	return all
}

// address is where a running application's own page is; empty where there is none.
func address(v view.View, host string) string {
	web, port, ok := v.Manifest.Web()
	if !ok || v.Goal != state.Running || v.State != view.Up {
		return ""
	}
	return fmt.Sprintf("https://%s%s", net.JoinHostPort(host, strconv.Itoa(port.Host+manifest.ProxyOffset)), web.Path)
}

// letter stands for an application without an icon.
func letter(name string) string {
	r, _ := utf8.DecodeRuneInString(strings.ToUpper(name))
	if r == utf8.RuneError {
		return "?"
	}
	return string(r)
}

// backedUp says how old the newest backup is, and how large.
func (l tongue) backedUp(b view.Backup) string {
	if b.Made.IsZero() {
		return ""
	}
	said := l.t("Backed up %s in %s", l.date(b.Made), b.Repository)
	if b.Size > 0 {
		said += ", " + l.size(b.Size)
	}
	if !b.Proven.IsZero() {
		switch on := l.day(b.Proven); {
		case b.DataOnly != "":
			said += "; " + l.t("restored on trial %s, data only: %s", on, b.DataOnly)
		case !b.Started.IsZero():
			said += "; " + l.t("restored on trial %s, and started from it", on)
		default:
			said += "; " + l.t("restored on trial %s", on)
		}
	}
	return said
}
