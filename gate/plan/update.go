package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// previous says which of the applications have an earlier release, and which of those releases
// could not be installed beside what the run has.
func previous(source string, cat catalog.Catalog, apps []string) *reports.Previous {
	if source == "" {
		return nil
	}
	f := &reports.Previous{Source: source, Releases: map[string]reports.Release{}}
	for _, a := range apps {
		e := cat[a]
		if e == nil {
			continue
		}
		r := reports.Release{Version: e.Version}
		for _, need := range e.Requires {
			if !need.Optional && !slices.ContainsFunc(need.Apps(), func(app string) bool { return slices.Contains(apps, app) }) {
				r.Why = fmt.Sprintf("%s %s requires %s, which the run does not have", a, e.Version, strings.Join(need.Apps(), " or "))
			}
		}
		f.Releases[a] = r
	}
	return f
}

// IdentifyPrevious records the digests of earlier releases as they were published.
func (p *Plan) IdentifyPrevious(published catalog.Catalog) {
	if p.Previous == nil {
		return
	}
	identified := &reports.Previous{Source: p.Previous.Source, Releases: map[string]reports.Release{}}
	for a, r := range p.Previous.Releases {
		r.Version, r.Manifest = published[a].Version, published[a].Digest()
		identified.Releases[a] = r
	}
	p.Previous = identified
}

// Updates tells whether an application's install goes through an update in a cycle: there is
// an earlier release, and it is another one.
func (p *Plan) Updates(app string, cycle int) bool {
	if p.Previous == nil || !matrix.Updates(cycle) || !slices.Contains(p.Asked.Steps, matrix.Install) {
		return false
	}
	r, there := p.Previous.Releases[app]
	return there && r.Why == "" && r.Manifest != p.Subject.Manifests[app]
}

// UpdateCycles are the cycles of the run in which installs go through an update.
func (p *Plan) UpdateCycles() (cycles []int) {
	for k := 1; k <= p.Asked.Cycles; k++ {
		if matrix.Updates(k) {
			cycles = append(cycles, k)
		}
	}
	return cycles
}

// notUpdated says what keeps a run from showing that applications can be updated. One without
// an earlier release, or whose release is the same, has nothing to show.
func (p *Plan) notUpdated() (why []string) {
	switch {
	case p.Previous == nil:
		return []string{"without the update from an earlier release, which --previous names"}
	case len(p.UpdateCycles()) == 0:
		return []string{fmt.Sprintf("without the update from an earlier release, which %d cycles are too few for", p.Asked.Cycles)}
	}
	for _, a := range p.Asked.Apps {
		if r := p.Previous.Releases[a]; r.Why != "" {
			why = append(why, fmt.Sprintf("without the update of %s: %s", a, r.Why))
		}
	}
	return why
}

// Cycles renders the numbers of cycles.
func Cycles(numbers []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", ", "), "[]")
}
