package web

import (
	"crypto/sha256"
	"encoding/hex"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// frame is what every page shows around its own content.
type frame struct {
	tongue
	Title  string
	Chosen string // the language that was chosen for the browser; empty for what it prefers
	Here   string // the entry of the navigation that leads here
	Own    access.Session
	Host   string // by which the browser reaches the node

	token func(path string) string
}

func (s *Server) frame(r *http.Request, here, title string) frame {
	own, _ := s.Guard.SignedIn(r)
	return frame{tongue: in(r), Title: title, Chosen: chosen(r), Here: here, Own: own, Host: hostOf(r), token: func(path string) string { return s.Guard.FormToken(r, path) }}
}

// outside is the frame of a page for whoever has not signed in.
func (s *Server) outside(r *http.Request, title string) frame {
	return frame{tongue: in(r), Title: title, token: func(string) string { return "" }}
}

// Entries are those of the navigation.
func (f frame) Entries() []string {
	if !f.Own.Owner() {
		return []string{"home", "account"}
	}
	return []string{"home", "store", "backups", "system"}
}

// audience is whom what is rendered is for: the tokens in it are of one session, the links of
// one address, and the words of one language.
func (f frame) audience() string { return f.Own.ID + " " + f.Host + " " + spoken[f.tongue].String() }

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

// parsed are all templates, once in each language.
func parsed() (all []*template.Template) {
	one := template.Must(template.New("").Funcs(english.funcs()).Funcs(template.FuncMap{
		"icon": icon,
	}).ParseFS(templates, "templates/*.html"))
	for l := range spoken {
		all = append(all, template.Must(one.Clone()).Funcs(tongue(l).funcs()))
	}
	return all
}

// icon is one of static/icons.svg; words beside it say what it means.
func icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" aria-hidden="true" focusable="false"><use href="/static/icons.svg#` + template.HTMLEscapeString(name) + `"/></svg>`)
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
