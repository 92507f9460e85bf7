// Package draft owns the first manifest of an application: made from what an image says of
// itself, or from a template that is built and runs as it is. What it makes is valid; what
// only a person can know is marked TODO.
package draft

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

//go:embed templates
var templates embed.FS

// Template is a kind of application to begin with.
type Template struct{ Name, About string }

// Templates are those that there are, the usual one first.
var Templates = []Template{
	{"web", "a web application that keeps data"},
	{"database", "a web application and its PostgreSQL"},
	{"protocol", "a service without a page, such as a broker"},
	{"static", "a static site"},
	{"companion", "a page for another application, which it requires"},
}

// Options say what to make. ID is needed; Requires is for a companion alone. Without an
// Image, the template comes with one to build.
type Options struct {
	ID, Name, Template string
	Requires           string // the other application's id
	Port               int    // of the node; 0: one that follows from the image's
	Image              *Image
}

// Port is one that the application listens on.
type Port struct {
	Name            string
	Container, Host int
	UDP             bool
}

// Volume is a directory that outlives the container.
type Volume struct {
	Name, Path string
	UID, GID   int
}

// sketch is a manifest before it is written. Its texts in YAML are marked so.
type sketch struct {
	Options
	Version, Summary string
	ImageYAML        string
	User             string
	Ports            []Port
	Volumes          []Volume
	HealthYAML       string
	InterfacesYAML   string
	CanaryYAML       string
	Notes            []string // for the author, above the container
}

const health = `{exec: [/usr/bin/python3, -c, "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/', timeout=5)"], http: {port: web, path: /}, interval: 30s}`

var id = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Make gives the files of an application's directory, by their names relative to it, the
// manifest among them.
func Make(o Options) (map[string][]byte, error) {
	if !slices.ContainsFunc(Templates, func(t Template) bool { return t.Name == o.Template }) {
		return nil, fmt.Errorf("there is no template %q; expected one of %s", o.Template, strings.Join(Names(), ", "))
	}
	if !id.MatchString(o.ID) {
		return nil, fmt.Errorf("%q is no id: expected lower-case letters, digits and hyphens, at most 63", o.ID)
	}
	if o.Template == "companion" && o.Requires == "" {
		return nil, fmt.Errorf("a companion is for another application: name it with --requires")
	}
	if o.Template != "companion" && o.Requires != "" {
		return nil, fmt.Errorf("--requires: only the template companion is for another application, not %s", o.Template)
	}
	if o.Name == "" {
		o.Name = strings.ToUpper(o.ID[:1]) + strings.ReplaceAll(o.ID[1:], "-", " ")
	}
	o.Name = line(o.Name)
	s := sketch{Options: o, Version: "0.1.0", Summary: "TODO: what it is for, in a line"}
	if o.Image != nil {
		s.fromImage(*o.Image)
	} else {
		s.fromTemplate()
	}
	text := s.yaml()
	if _, err := manifest.Parse("manifest.yaml", text); err != nil {
		return nil, fmt.Errorf("this image and these options give no valid manifest; write it by hand, beginning with a template alone:\n%w", err)
	}
	files := map[string][]byte{"manifest.yaml": text, "icon.svg": []byte(icon)}
	for _, from := range s.contexts() {
		if err := add(files, from.template, from.dir, o.Name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// line makes a text one line that the language takes.
func line(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:297], "") + "…"
	}
	return s
}

// Names are the templates' names.
func Names() (names []string) {
	for _, t := range Templates {
		names = append(names, t.Name)
	}
	return names
}

// buildContext is a directory of a template, and where in the application's it goes.
type buildContext struct{ template, dir string }

// contexts are the build contexts that the manifest names.
func (s *sketch) contexts() (out []buildContext) {
	if s.Template == "database" {
		out = append(out, buildContext{"postgres", "image/db"})
	}
	if s.Image == nil {
		dir, from := "image", s.Template
		if s.Template == "database" {
			dir, from = "image/server", "static"
		}
		out = append(out, buildContext{from, dir})
	}
	return out
}

// markup writes a name for HTML, and for a program's text in quotes.
var markup = strings.NewReplacer("&", "&amp;", "<", "&lt;", `"`, "&quot;", `\`, "&#92;")

// add copies a build context. @NAME@ in a text stands for the application's name.
func add(files map[string][]byte, from, to, name string) error {
	return fs.WalkDir(templates, "templates/"+from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := templates.ReadFile(p)
		files[path.Join(to, strings.TrimPrefix(p, "templates/"+from))] = bytes.ReplaceAll(b, []byte("@NAME@"), []byte(markup.Replace(name)))
		return err
	})
}

// fromTemplate is what fits the program that the template brings.
func (s *sketch) fromTemplate() {
	s.ImageYAML, s.User = "{build: image}", "1000:1000"
	host := s.Port
	if host == 0 {
		host = 8080
	}
	s.Ports = []Port{{Name: "web", Container: 8080, Host: host}}
	s.HealthYAML = health
	title := s.Name
	switch s.Template {
	case "web":
		title = "Directory listing"
		s.Volumes = []Volume{{"data", "/data", 1000, 1000}}
		s.CanaryYAML = `{volume: {name: data, served: {interface: web, path: "/{{canary}}"}}}`
	case "database":
		s.ImageYAML = "{build: image/server}"
	case "protocol":
		s.Ports[0].Name = "main"
		s.HealthYAML = `{exec: [/usr/bin/python3, -c, "import socket; socket.create_connection(('127.0.0.1', 8080), 5)"], tcp: {port: main}, interval: 30s}`
		s.InterfacesYAML = `main: {port: main, protocol: tcp, handshake: {send: "PING\n", expect: PONG}}`
		return
	}
	s.InterfacesYAML = "web: {port: web, path: /, expect: {status: 200, title: " + Quote(title) + ", selector: h1}}"
}
