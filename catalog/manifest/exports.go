package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Export is what the application offers others that require it: a service, which is a port
// of one of its containers with the generated secrets that are its credentials, or a volume.
// Others reach nothing else of an application that has exports.
type Export struct {
	Container   string            `json:"container,omitempty"`   // of a service; default: the one with the application's name
	Port        int               `json:"port,omitempty"`        // of a service, as its container listens on it
	Credentials map[string]string `json:"credentials,omitempty"` // of a service: what others call it -> generated secret
	Volume      string            `json:"volume,omitempty"`
	ReadOnly    bool              `json:"read_only,omitempty"` // of a volume: nobody else writes to it
}

// Requirement is another application that this one needs, or the one of several that a node
// has; what it uses of the other's exports; and the settings that it needs there. The members
// of this one start after the other is ready. Where Uses is nil, and the other has no
// exports, the two containers that have the applications' names reach each other. An
// Optional one is used where it is installed; Missing says what its owner lacks where not.
type Requirement struct {
	App      string            `json:"app,omitempty"`
	AnyOf    []string          `json:"any_of,omitempty"` // in place of App; the first is brought along where a node has none
	Uses     []string          `json:"uses,omitzero"`    // exports, by name; an empty list: none
	Config   map[string]string `json:"config,omitempty"`
	Optional bool              `json:"optional,omitempty"`
	Missing  string            `json:"missing,omitempty"`

	// Reaches are the containers of the other application that share a network with this one's
	// main container. On fills it in; nil where it has not.
	Reaches []string `json:"-"`
}

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
}

// credential tells whether the import is one, and no volume.
func (i Import) credential() bool { return strings.Count(i.App, ".") == 2 }

// Credential tells whether a filled-in import is a secret of another application.
func (i Import) Credential() bool { return i.Of != "" && i.credential() }

// Mounts tells whether a filled-in import is a volume of another application.
func (i Import) Mounts() bool { return i.Of != "" && !i.credential() }

// Apps are the applications of which the requirement needs one.
func (r Requirement) Apps() []string {
	if r.App != "" {
		return []string{r.App}
	}
	return r.AnyOf
}

// Linked tells whether the application shares a network with what it requires.
func (r Requirement) Linked() bool { return len(r.Reaches) > 0 || r.Reaches == nil && r.Uses == nil }

// Reached are the containers that another application which requires this one reaches.
func (m *Manifest) Reached(r Requirement) []string {
	out := []string{}
	if r.Uses == nil && len(m.Exports) == 0 {
		return append(out, m.ID)
	}
	for _, name := range r.Uses {
		if e := m.Exports[name]; e.Port > 0 && !slices.Contains(out, cmp.Or(e.Container, m.ID)) {
			out = append(out, cmp.Or(e.Container, m.ID))
		}
	}
	return out
}

// Needs are the requirements that must be met, and by which application: of alternatives,
// the first that is chosen.
func (m *Manifest) Needs(chosen []string) (needs []Requirement) {
	for _, r := range m.Requires {
		if r.Optional {
			continue
		}
		if r.App == "" {
			i := max(0, slices.IndexFunc(r.AnyOf, func(app string) bool { return slices.Contains(chosen, app) }))
			r.App = r.AnyOf[i]
		}
		needs = append(needs, r)
	}
	return needs
}

// Need finds what must be met by an application.
func (m *Manifest) Need(app string, chosen []string) (Requirement, bool) {
	needs := m.Needs(chosen)
	i := slices.IndexFunc(needs, func(r Requirement) bool { return r.App == app })
	if i < 0 {
		return Requirement{}, false
	}
	return needs[i], true
}

// Options are the requirements that need not be met.
func (m *Manifest) Options() []Requirement {
	return slices.DeleteFunc(slices.Clone(m.Requires), func(r Requirement) bool { return !r.Optional })
}

// On gives the manifest with its requirements as they are on a node that has these
// applications: the alternative that is there, no optional ones that are not, the containers
// that are reached, and whose the imports are. An error says what one of them does not offer.
func (m *Manifest) On(apps map[string]*Manifest) (*Manifest, error) {
	if len(m.Requires) == 0 {
		return m, nil
	}
	out := *m
	out.Requires, out.Containers = nil, slices.Clone(m.Containers)
	for _, r := range m.Requires {
		all := r.Apps()
		i := slices.IndexFunc(all, func(app string) bool { return apps[app] != nil })
		if i < 0 && r.Optional {
			continue
		}
		r.App = all[max(0, i)]
		if i >= 0 {
			if err := m.Lacks(r, apps[r.App]); err != nil {
				return nil, err
			}
			r.Reaches = apps[r.App].Reached(r)
		}
		out.Requires = append(out.Requires, r)
	}
	for i := range out.Containers {
		out.Containers[i].fillImports(out.Requires, apps)
	}
	return &out, nil
}

// Lacks says what the manifest wants of a requirement, and another application does not
// offer; nil where it offers everything.
func (m *Manifest) Lacks(r Requirement, by *Manifest) error {
	if r.Uses == nil {
		if len(by.Exports) == 0 {
			return nil
		}
		return fmt.Errorf("%s requires %s without saying what it uses of it, and %s lets nothing be reached but its exports: %s", m.ID, by.ID, by, strings.Join(slices.Sorted(maps.Keys(by.Exports)), ", "))
	}
	for _, name := range r.Uses {
		if _, ok := by.Exports[name]; !ok {
			return fmt.Errorf("%s uses %q of %s, and %s has no export of that name", m.ID, name, by.ID, by)
		}
	}
	for _, w := range m.wants() {
		e := by.Exports[w.export]
		credential := w.what != "" && w.what != "host" && w.what != "port"
		switch {
		case !slices.Contains(r.Apps(), w.app) && !slices.Contains(r.AnyOf, w.app):
		case w.what == "" && e.Volume == "":
			return fmt.Errorf("%s has the volume %q of %s, and that export of %s is a service", m.ID, w.export, by.ID, by)
		case w.what == "" && e.ReadOnly && !w.readOnly:
			return fmt.Errorf("%s would write to %q of %s, and %s lets others only read it: read_only: true", m.ID, w.export, by.ID, by)
		case w.what != "" && e.Port == 0:
			return fmt.Errorf("%s wants the %s of %q of %s, and that export of %s is a volume", m.ID, w.what, w.export, by.ID, by)
		case credential && e.Credentials[w.what] == "":
			return fmt.Errorf("%s wants the credential %q of %q of %s, and %s has none of that name there", m.ID, w.what, w.export, by.ID, by)
		}
	}
	return nil
}

// Mounts tells whether the application has a volume of what meets a requirement.
func (m *Manifest) Mounts(r Requirement) bool {
	return slices.ContainsFunc(m.wants(), func(w want) bool {
		return w.what == "" && (slices.Contains(r.Apps(), w.app) || slices.Contains(r.AnyOf, w.app))
	})
}

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

// Requirement finds the one that an application meets, or may meet.
func (m *Manifest) Requirement(app string) (Requirement, bool) {
	i := slices.IndexFunc(m.Requires, func(r Requirement) bool { return slices.Contains(r.Apps(), app) })
	if i < 0 {
		return Requirement{}, false
	}
	return m.Requires[i], true
}

// requirement finds the one by which texts mean an application, be it the alternative that is
// there or another one.
func (m *Manifest) requirement(app string) (Requirement, bool) {
	i := slices.IndexFunc(m.Requires, func(r Requirement) bool { return r.App == app || slices.Contains(r.AnyOf, app) })
	if i < 0 {
		return Requirement{}, false
	}
	return m.Requires[i], true
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

// checkExports wants what is exported to be there, and to be one of the two.
func (d *document) checkExports(m *Manifest, names map[string]int, secrets, volumes map[string]bool) {
	for name, e := range m.Exports {
		where := func(field ...any) []string { return at(append([]any{"exports", name}, field...)...) }
		switch {
		case (e.Port == 0) == (e.Volume == ""):
			d.report(where(), false, "expected either port, for a service, or volume")
		case e.Volume != "":
			if !volumes[e.Volume] {
				d.report(where("volume"), false, "no volume is named %q", e.Volume)
			}
			if e.Container != "" || len(e.Credentials) > 0 {
				d.report(where(), false, "container and credentials go with the port of a service")
			}
		default:
			if e.ReadOnly {
				d.report(where("read_only"), false, "read_only goes with a volume")
			}
			if e.Container != "" {
				d.checkMember(names, e.Container, "exports", name, "container")
			}
			for called, secret := range e.Credentials {
				if called == "host" || called == "port" {
					d.report(where("credentials", called), true, "{{app:%s.%s.%s}} is the service's own %[3]s; call the credential something else", m.ID, name, called)
				}
				if !secrets[secret] {
					d.report(where("credentials", called), false, "no generated secret is named %q", secret)
				}
			}
		}
	}
}

func (d *document) checkRequires(m *Manifest) {
	required := map[string]bool{}
	for i, r := range m.Requires {
		where := func(field ...any) []string { return at(append([]any{"requires", i}, field...)...) }
		if (r.App == "") == (len(r.AnyOf) == 0) {
			d.report(where(), false, "expected either app, or any_of for one of several applications")
			continue
		}
		for j, app := range r.Apps() {
			place := where("app")
			if r.App == "" {
				place = where("any_of", j)
			}
			if app == m.ID {
				d.report(place, false, "an application cannot require itself")
			}
			if required[app] {
				d.report(place, false, "%q is already required", app)
			}
			required[app] = true
		}
		switch {
		case !r.Optional && r.Missing != "":
			d.report(where("missing"), false, "nothing is missing without what must be there; missing goes with optional: true")
		case r.Optional && r.Missing == "":
			d.report(where(), false, "missing property 'missing': what the owner lacks without it")
		case r.Optional && len(r.AnyOf) > 0:
			d.report(where("any_of"), false, "an optional requirement names one application")
		case r.Optional && len(r.Config) > 0:
			d.report(where("config"), false, "an optional requirement changes no settings of another application")
		case r.Uses == nil && (r.Optional || len(r.AnyOf) > 0):
			d.report(where(), false, "missing property 'uses': what it uses of the one that is there")
		}
	}
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
