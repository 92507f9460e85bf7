package request

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// require has all that a manifest requires be installed and configured as it needs:
// what is not installed yet comes along, once however many require it. A setting
// that the owner has made otherwise is not changed behind their back. It gives the
// alternatives that meet the requirements, of which it keeps those of before.
func (d *deciding) require(m *manifest.Manifest, before []string) (chosen []string, err error) {
	if err := d.circle(m); err != nil {
		return nil, err
	}
	// What comes along is worked through with a list of what is under way, each with the
	// next of its requirements: a chain may be as long as the catalog.
	type comingAlong struct {
		*manifest.Manifest
		source string
		chosen []string
		next   int
	}
	open := []comingAlong{{Manifest: m, chosen: slices.Clone(before)}}
	for {
		top := &open[len(open)-1]
		if top.next < len(top.Requires) {
			need := top.Requires[top.next]
			if need.Optional {
				top.next++
				continue
			}
			if need.App == "" {
				need.App = d.choose(top.Manifest, need, top.chosen)
				if !slices.Contains(top.chosen, need.App) {
					top.chosen = append(top.chosen, need.App)
				}
			}
			rec, installed, err := d.find(need.App)
			if err != nil {
				return nil, err
			}
			if installed {
				for _, v := range versions(rec) {
					if err := top.Lacks(need, v); err != nil {
						return nil, fmt.Errorf("%w: %w", ErrRefused, err)
					}
				}
				if err := d.asNeeded(top.ID, need, rec); err != nil {
					return nil, err
				}
				top.next++
				continue
			}
			offered, err := d.offer.Entry(need.App, d.now)
			if err != nil {
				return nil, fmt.Errorf("%s requires %s: %w", top.ID, need.App, err)
			}
			open = append(open, comingAlong{Manifest: offered.Manifest, source: offered.Source.String()})
			continue
		}
		if len(open) == 1 {
			return top.chosen, nil
		}
		if err := d.collision(top.Manifest); err != nil {
			return nil, err
		}
		if data := d.records.Data[top.ID]; data.Migration > top.Migration {
			return nil, formatRefused(top.ID, data.Migration, top.Manifest)
		}
		d.decide(state.Desired{App: top.ID, Goal: state.Running, Manifest: top.Manifest, Source: top.source, Config: d.kept(top.Manifest), Chosen: top.chosen})
		open = open[:len(open)-1]
	}
}

// choose gives the alternative that meets a requirement: the one of before, or else the first
// that is installed, as long as they offer what is used; only where none is installed, the
// first that is offered.
func (d *deciding) choose(m *manifest.Manifest, need manifest.Requirement, before []string) string {
	installed := map[string][]*manifest.Manifest{}
	for _, app := range need.AnyOf {
		if rec, have, err := d.find(app); have || err != nil {
			installed[app] = versions(rec)
		}
	}
	suits := func(app string) bool {
		all, have := installed[app]
		if !have && len(installed) == 0 {
			if e, err := d.offer.Entry(app, d.now); err == nil {
				all, have = []*manifest.Manifest{e.Manifest}, true
			}
		}
		return have && !slices.ContainsFunc(all, func(v *manifest.Manifest) bool { return m.Lacks(need, v) != nil })
	}
	for _, from := range [][]string{before, need.AnyOf} {
		for _, app := range from {
			if slices.Contains(need.AnyOf, app) && suits(app) {
				return app
			}
		}
	}
	for _, app := range need.AnyOf { // the refusal is about this one
		if installed[app] != nil {
			return app
		}
	}
	return need.AnyOf[0]
}

// used refuses a version that offers no more what an installed application uses of it.
func (d *deciding) used(to *manifest.Manifest) error {
	for _, other := range d.records.All {
		for _, v := range versions(other) {
			if need, needs := v.Need(to.ID, other.Chosen); needs {
				if err := v.Lacks(need, to); err != nil {
					return fmt.Errorf("%w: %s is installed: %w; update %s first, or uninstall it", ErrRefused, other.App, err, other.App)
				}
			}
		}
	}
	return nil
}

// asNeeded configures what is installed, or comes along, as another application needs it.
func (d *deciding) asNeeded(by string, need manifest.Requirement, rec state.Desired) error {
	change := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(need.Config)) {
		if rec.Manifest.Secret(k) {
			return fmt.Errorf("%w: %s requires a value of the setting %s of %s, which is secret and its owner's alone to set", ErrRefused, by, k, need.App)
		}
		if v, set := rec.Config[k]; set && v != need.Config[k] {
			return fmt.Errorf("%w: %s requires %s=%q of %s, which has another value; change it with 'archy configure %s %s=%s'", ErrRefused, by, k, need.Config[k], need.App, need.App, k, need.Config[k])
		} else if !set {
			change[k] = need.Config[k]
		}
	}
	if len(change) == 0 {
		return nil
	}
	if err := d.configure(&rec, change); err != nil {
		return err
	}
	d.decide(rec)
	return nil
}

// circle refuses a manifest whose requirements, through what is installed and what
// would come along, go round in a circle.
func (d *deciding) circle(m *manifest.Manifest) error {
	requires := map[string][]string{}
	open := []string{m.ID}
	for len(open) > 0 {
		id := open[len(open)-1]
		open = open[:len(open)-1]
		if _, met := requires[id]; met {
			continue
		}
		requires[id] = nil
		for _, v := range d.wouldBe(id, m) {
			for _, r := range v.Requires {
				requires[id] = append(requires[id], r.Apps()...) // each alternative, and optional ones, too
				open = append(open, r.Apps()...)
			}
		}
	}
	paths := manifest.Cycles(requires)
	if len(paths) == 0 {
		return nil
	}
	path, own := paths[m.ID]
	if !own {
		path = paths[slices.Min(slices.Collect(maps.Keys(paths)))]
	}
	return fmt.Errorf("%w: %w: %s", ErrRefused, catalog.ErrCycle, path)
}

// wouldBe gives the versions of an application that count if m is admitted: m itself,
// those that are installed, or else the one that would come along. What cannot be had is
// refused where it is needed.
func (d *deciding) wouldBe(id string, m *manifest.Manifest) []*manifest.Manifest {
	if id == m.ID {
		return []*manifest.Manifest{m}
	}
	if rec, installed, err := d.find(id); err != nil {
		return nil
	} else if installed {
		return versions(rec)
	}
	if offered, err := d.offer.Entry(id, d.now); err == nil {
		return []*manifest.Manifest{offered.Manifest}
	}
	return nil
}

// find gives an application's record as decided so far, or as it stands.
func (d *deciding) find(app string) (rec state.Desired, installed bool, err error) {
	if i := slices.IndexFunc(d.decided, func(r state.Desired) bool { return r.App == app }); i >= 0 {
		return d.decided[i], true, nil
	}
	rec, err = d.records.Get(app)
	if errors.Is(err, state.ErrNotFound) {
		return rec, false, nil
	}
	return rec, err == nil && rec.Goal != state.Absent, err
}

// decide adds a record to those decided, or replaces it among them.
func (d *deciding) decide(rec state.Desired) {
	if i := slices.IndexFunc(d.decided, func(r state.Desired) bool { return r.App == rec.App }); i >= 0 {
		d.decided[i] = rec
		return
	}
	d.decided = append(d.decided, rec)
}
