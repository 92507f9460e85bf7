package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

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
