package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// frame is what every page shows around its own content.
type frame struct {
	Title string
	Here  string // the entry of the navigation that leads here
	Own   access.Session
	Host  string // by which the browser reaches the node

	token func(path string) string
}

func (s *Server) frame(r *http.Request, here, title string) frame {
	own, _ := s.Guard.SignedIn(r)
	return frame{Title: title, Here: here, Own: own, Host: hostOf(r), token: func(path string) string { return s.Guard.FormToken(r, path) }}
}

// audience is whom what is rendered is for: the tokens in it are of one session, and the
// links of one address.
func (f frame) audience() string { return f.Own.ID + " " + f.Host }

// Button is a form of one button.
func (f frame) Button(path, label string) button {
	return button{Path: path, Label: label, Token: f.token(path)}
}

// Token is what a form to path carries.
func (f frame) Token(path string) string { return f.token(path) }

// button is a form that asks for something.
type button struct {
	Path, Label, Token string
	Icon               string
	Class              string // such as "primary"
	From               string // the page to come back to; empty for the application's own
	Fields             map[string]string
	ID                 string // of the form; one that stays in the page while what it asks for changes keeps the focus
}

// parsed are all templates.
func parsed() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"icon": icon, "ago": ago, "date": date, "bytes": size, "list": func(s ...string) []string { return s },
	}).ParseFS(templates, "templates/*.html"))
}

// icon is one of static/icons.svg; words beside it say what it means.
func icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" aria-hidden="true" focusable="false"><use href="/static/icons.svg#` + template.HTMLEscapeString(name) + `"/></svg>`)
}

// ago says how long ago something was, no finer than people ask.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := time.Since(t)
	unit := func(n float64, one string) string {
		if i := int(math.Floor(n)); i != 1 {
			return fmt.Sprintf("%d %ss ago", i, one)
		}
		return "1 " + one + " ago"
	}
	switch {
	case d < time.Minute:
		return "less than a minute ago"
	case d < time.Hour:
		return unit(d.Minutes(), "minute")
	case d < 48*time.Hour:
		return unit(d.Hours(), "hour")
	}
	return unit(d.Hours()/24, "day")
}

func date(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// size is a number of bytes as people read it.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", (n+1<<29)>>30)
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20)
}

// assets serves what pages load, each once as long as it is the same.
func assets(files fs.FS) http.Handler {
	type asset struct{ content, tag string }
	all := map[string]asset{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, name)
		sum := sha256.Sum256(b)
		all["/"+name] = asset{string(b), `"` + hex.EncodeToString(sum[:8]) + `"`}
		return err
	})
	if err != nil {
		panic(err) // they are in the program
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := all[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", a.tag)
		w.Header().Set("Cache-Control", "no-cache") // asked each time, and sent when it is another
		if t := mime.TypeByExtension(path.Ext(r.URL.Path)); t != "" {
			w.Header().Set("Content-Type", t)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(a.content))
	})
}
