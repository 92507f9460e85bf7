package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Import is what a container has of another application's exports: a volume, at Path, or a
// credential, in a file at Path or in the variable Env.
type Import struct {
	App      string `json:"app"` // ID.EXPORT, or ID.EXPORT.CREDENTIAL
	Path     string `json:"path,omitempty"`
	Env      string `json:"env,omitempty"`
	ReadOnly bool   `json:"read_only,omitempty"` // of a volume

	// Of and Name are the application and its volume or secret, which On fills in; both are
	// empty where nothing can be had.
	Of   string `json:"-"`
	Name string `json:"-"`

	At string `json:"-"` // of a volume: as Volume.At
}

// credential tells whether the import is one, and no volume.
func (i Import) credential() bool { return strings.Count(i.App, ".") == 2 }

// Credential tells whether a filled-in import is a secret of another application.
func (i Import) Credential() bool { return i.Of != "" && i.credential() }

// Mounts tells whether a filled-in import is a volume of another application.
func (i Import) Mounts() bool { return i.Of != "" && !i.credential() }

// want is something of another application's export that texts and imports refer to.
type want struct {
	app, export, what string // what: host, port or a credential; empty for a volume
	readOnly          bool   // of a volume
}

// wants are all that texts and imports refer to of other applications, each once.
func (m *Manifest) wants() (all []want) {
	add := func(w want) {
		if !slices.Contains(all, w) {
			all = append(all, w)
		}
	}
	m.eachText(func(text string, _ place) string {
		for _, r := range reference.FindAllStringSubmatch(text, -1) {
			if r[1] == "app" {
				app, export, what := appExport(r[2])
				add(want{app: app, export: export, what: what})
			}
		}
		return text
	})
	for _, c := range m.Containers {
		for _, i := range c.Imports {
			app, export, what := appExport(i.App)
			add(want{app, export, what, i.ReadOnly})
		}
	}
	return all
}

// Uses gives the interfaces of other applications that texts refer to, by application: of
// those without exports, whose main container is reached by them.
func (m *Manifest) Uses() map[string][]string {
	out := map[string][]string{}
	for _, w := range m.wants() {
		if r, _ := m.requirement(w.app); r.Uses == nil && !slices.Contains(out[w.app], w.export) {
			out[w.app] = append(out[w.app], w.export)
		}
	}
	return out
}

// appExport reads "ID.EXPORT.WHAT", of which no part has a dot.
func appExport(name string) (app, export, what string) {
	app, rest, _ := strings.Cut(name, ".")
	export, what, _ = strings.Cut(rest, ".")
	return app, export, what
}

// using says why something of another application cannot be used in a container.
func (m *Manifest) using(app, export, container string) error {
	r, required := m.requirement(app)
	switch {
	case !required:
		return fmt.Errorf("%q is not required; name it under requires", app)
	case r.Uses != nil && !slices.Contains(r.Uses, export):
		return fmt.Errorf("%q is not among what is used of %s; name it under uses", export, app)
	case container != m.ID:
		return fmt.Errorf("only the container %q reaches other applications", m.ID)
	}
	return nil
}

// ofApp is the text that a reference to another application stands for; kept is false where
// the reference has to stay, because nobody knows what that application offers.
func (m *Manifest) ofApp(name string, p place, f filling) (text string, known bool, err error) {
	app, export, what := appExport(name)
	r, _ := m.requirement(app)
	secret := what != "host" && what != "port"
	switch err := m.using(app, export, p.container); {
	case what == "":
		return "", false, fmt.Errorf("%q is no {{app:ID.EXPORT.host}}, {{app:ID.EXPORT.port}} or {{app:ID.EXPORT.CREDENTIAL}}", "{{app:"+name+"}}")
	case err != nil:
		return "", false, err
	case r.Uses == nil && what != "host":
		return "", false, fmt.Errorf("say what is used of %s, with uses: [%s]", app, export)
	case secret && !p.file:
		return "", false, fmt.Errorf("a credential is not filled in here, where others can read it; give it to the container with its imports, or in a file")
	}
	met := slices.IndexFunc(f.requires, func(on Requirement) bool { return on.App == app || slices.Contains(on.AnyOf, app) })
	switch {
	case met < 0 && r.Optional && secret:
		return mark(""), true, nil
	case met < 0:
		return "", r.Optional, nil
	case r.Uses == nil:
		return f.requires[met].App, true, nil // its main container, which is found by that name
	}
	by := f.apps[f.requires[met].App]
	if by == nil {
		return "", false, nil
	}
	switch e := by.Exports[export]; what {
	case "host":
		return cmp.Or(e.Container, by.ID), true, nil
	case "port":
		return fmt.Sprint(e.Port), true, nil
	default:
		return mark(by.ID + "." + e.Credentials[what]), true, nil
	}
}

// fillImports says whose each import is. What cannot be had stays without.
func (c *Container) fillImports(requires []Requirement, apps map[string]*Manifest) {
	c.Imports = slices.Clone(c.Imports)
	for i := range c.Imports {
		in := &c.Imports[i]
		app, export, what := appExport(in.App)
		met := slices.IndexFunc(requires, func(on Requirement) bool { return on.App == app || slices.Contains(on.AnyOf, app) })
		if met < 0 || apps[requires[met].App] == nil {
			continue
		}
		by := apps[requires[met].App]
		if e := by.Exports[export]; in.credential() {
			in.Of, in.Name = by.ID, e.Credentials[what]
		} else {
			in.Of, in.Name = by.ID, e.Volume
		}
	}
}

// Borrowed are the secrets of other applications, by application, that a filled-in manifest
// has in its files.
func (m *Manifest) Borrowed() map[string][]string {
	out := map[string][]string{}
	for _, c := range m.Containers {
		for _, f := range c.Files {
			for _, r := range marked.FindAllStringSubmatch(f.Content, -1) {
				if app, name, of := strings.Cut(r[1], "."); of && !slices.Contains(out[app], name) {
					out[app] = append(out[app], name)
				}
			}
		}
	}
	return out
}

// Borrows tells whether a filled-in manifest has secrets or volumes of other applications,
// which must be there before its containers are made.
func (m *Manifest) Borrows() bool {
	return len(m.Borrowed()) > 0 || slices.ContainsFunc(m.Containers, func(c Container) bool {
		return slices.ContainsFunc(c.Imports, func(i Import) bool { return i.Of != "" })
	})
}

// checkImports is about what a container has of other applications.
func (d *document) checkImports(m *Manifest, i int, c Container, target func(p string, where ...any), variables map[string]string) {
	for j, in := range c.Imports {
		where := func(field string) []string { return at("containers", i, "imports", j, field) }
		app, export, _ := appExport(in.App)
		if err := m.using(app, export, c.Name); err != nil {
			d.report(where("app"), false, "%v", err)
		} else if r, _ := m.requirement(app); r.Uses == nil {
			d.report(where("app"), false, "say what is used of %s, with uses: [%s]", app, export)
		}
		switch {
		case !in.credential() && (in.Path == "" || in.Env != ""):
			d.report(at("containers", i, "imports", j), false, "expected a path: where the container has the volume")
		case in.credential() && (in.Path == "") == (in.Env == ""):
			d.report(at("containers", i, "imports", j), false, "expected either path, for a file, or env, for an environment variable")
		case in.credential() && in.ReadOnly:
			d.report(where("read_only"), false, "read_only goes with a volume; a credential can only be read")
		case in.Path != "":
			target(in.Path, "containers", i, "imports", j, "path")
		case variables[in.Env] != "":
			d.report(where("env"), false, "%q is already set by %s", in.Env, variables[in.Env])
		default:
			variables[in.Env] = field(at("containers", i, "imports", j))
		}
	}
}
