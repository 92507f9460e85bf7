package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Shares are what goes between the application and others, in words for its owner: what it
// reaches of them, and what it lets them reach.
func (m *Manifest) Shares() (all []string) {
	for _, r := range m.Requires {
		if r.Uses == nil { // of one without exports, which alone can be reached so
			all = append(all, fmt.Sprintf("joins the network of %s, and reaches every port of its main container", strings.Join(r.Apps(), " or ")))
		}
	}
	return append(append(all, m.reaches()...), m.offers()...)
}

// reaches are what the application has of others, and what it changes there, in words for
// its owner.
func (m *Manifest) reaches() (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	wants := m.wants()
	for _, r := range m.Requires {
		apps := strings.Join(r.Apps(), " or ")
		where := ""
		if r.Optional {
			where = ", where that is installed"
		}
		for _, k := range slices.Sorted(maps.Keys(r.Config)) {
			add("changes the setting %s of %s to %q", k, apps, r.Config[k])
		}
		of := func(w want, export string) bool { return w.export == export && slices.Contains(r.Apps(), w.app) }
		for _, name := range r.Uses {
			volume := false
			for _, w := range wants {
				switch {
				case !of(w, name):
				case w.what == "":
					volume = true
					verb := "reads and changes"
					if w.readOnly {
						verb = "reads"
					}
					add("%s the data that %s exports as %s%s", verb, apps, name, where)
				case w.what != "host" && w.what != "port":
					add("knows the credential %s of what %s exports as %s%s", w.what, apps, name, where)
				}
			}
			if !volume {
				add("reaches what %s exports as %s%s", apps, name, where)
			}
		}
	}
	return all
}

// offers are the exports, in words for the application's owner.
func (m *Manifest) offers() (all []string) {
	for _, name := range slices.Sorted(maps.Keys(m.Exports)) {
		e := m.Exports[name]
		words := fmt.Sprintf("lets applications that require it reach its container %s, which serves %s at port %d", cmp.Or(e.Container, m.ID), name, e.Port)
		switch secrets := slices.Sorted(maps.Values(e.Credentials)); {
		case e.Volume != "" && e.ReadOnly:
			words = fmt.Sprintf("lets applications that require it read its volume %s, as %s", e.Volume, name)
		case e.Volume != "":
			words = fmt.Sprintf("lets applications that require it read and change its volume %s, as %s", e.Volume, name)
		case len(secrets) > 0:
			words += ", and have its secrets " + strings.Join(secrets, ", ")
		}
		all = append(all, words)
	}
	return all
}
