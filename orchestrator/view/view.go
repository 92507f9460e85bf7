// Package view says what an application looks like to people and programs. It is
// pure: RPC, pages and command line show what it makes of records, the observation,
// operations and the offer, and looking changes nothing.
package view

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/offer"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// View is one application as people and programs see it.
type View struct {
	Manifest      *manifest.Manifest // the one installed, or the catalog's
	Available     *manifest.Manifest // a different one that may be installed now; nil where there is none
	NewPrivileges []string           // what the one available may do and the one installed may not, or what an installation gives beyond what all have; it needs consent
	Notes         string             // of the release that is available, or else of the one offered
	Declined      bool               // the one available did not come up here before
	Held          bool               // its owner has gone back from the one available
	Previous      *Previous          // the version that can be gone back to; nil where there is none
	Backward      bool               // the one available is no step forward: only its owner goes there
	Source        string             // where the manifest is from, such as "catalog beta 7"
	Goal          state.Goal         // empty where it is not installed
	Generation    uint64
	State         State
	Error         string
	Doing         string            // what is being done; empty where nothing is
	Note          string            // what the owner should know: waiting, adopted, rolled back
	Config        map[string]string // every setting, with its value; of a secret one, "set" or nothing
	Containers    []host.Container  // one per member; State is empty where there is none
	Backup        Backup
}

// Previous is a version that an application can go back to, with its data.
type Previous struct {
	Version       string
	Taken         time.Time // when its data was copied: what was written since is not in it
	Until         time.Time // it is kept until then, unless the disk fills
	NewPrivileges []string  // what it may do and the one installed may not; it needs consent
	Refused       string    // why it must not be gone back to; empty where it may
}

// Backup is what is known of an application's backups in repositories; the zero value where
// there are none.
type Backup struct {
	Made       time.Time // of the newest
	Size       int64     // of what it holds, in bytes; 0 where that is not known
	Repository string    // that has it
	Proven     time.Time // when one was last restored on trial, all of it; zero where none was
	Started    time.Time // when the application last came up from one that was restored on trial; zero where it never has
	DataOnly   string    // why it was not started from the last that was restored on trial; empty where it was, or nobody knows
	Problem    string    // overdue, damaged, or not to be restored
}

// State of an application.
type State string

// The states; the RPC's enumeration mirrors them.
const (
	NotInstalled State = "not installed"
	Starting     State = "starting"
	Up           State = "running"
	Unhealthy    State = "unhealthy"
	Waiting      State = "waiting"
	Updating     State = "updating"
	Stopping     State = "stopping"
	Down         State = "stopped"
	Removing     State = "removing"
	Failed       State = "failed"
)

// NotRebootProof is said of an application that an unmanaged container serves as.
const NotRebootProof = "adopted: it runs in a container that archipelago did not make, which systemd does not know and a reboot may not bring back; restart it to make it reboot-proof"

// NotChecked is said of an application that runs while the prober does not.
const NotChecked = "its health is not being checked: " + dist.ProberUnit + " does not run"

// Input is all that a view depends on.
type Input struct {
	Records    state.Records
	Operations map[string]operation.Status
	Observed   host.Observation
	Ready      map[string]host.Readiness
	Offer      *offer.Offer
	Backups    map[string]Backup
	Now        time.Time
}

// All gives every application of the catalog and every one that is on record, sorted
// by id.
func All(in Input) []View {
	ids := in.Offer.IDs()
	for _, d := range in.Records.All {
		ids = append(ids, d.App)
	}
	ids = slices.AppendSeq(ids, maps.Keys(in.Records.Broken))
	slices.Sort(ids)
	ids = slices.Compact(ids)
	views := make([]View, len(ids))
	for i, id := range ids {
		views[i] = of(in, id)
	}
	return views
}

// Installed gives every application that is on record, sorted by id.
func Installed(in Input) []View {
	ids := slices.Collect(maps.Keys(in.Records.Broken))
	for _, d := range in.Records.All {
		ids = append(ids, d.App)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	views := make([]View, len(ids))
	for i, id := range ids {
		views[i] = of(in, id)
	}
	return views
}

// Of gives one application; false where nobody knows it.
func Of(in Input, id string) (View, bool) {
	if _, err := in.Records.Get(id); errors.Is(err, state.ErrNotFound) && !in.Offer.Knows(id) {
		return View{}, false
	}
	return of(in, id), true
}

func of(in Input, id string) View {
	d, err := in.Records.Get(id)
	m, source := d.Manifest, d.Source
	if m == nil {
		m, source = in.Offer.Manifest(id)
	}
	if m == nil {
		m = &manifest.Manifest{ID: id, Name: id}
	}
	v := View{Manifest: m, Goal: d.Goal, Generation: d.Generation, Note: d.Note, Source: source}
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		v.State, v.Error = Failed, err.Error()
		return v
	}
	unavailable := v.offered(in, &d)
	if len(m.Settings) > 0 {
		v.Config = map[string]string{}
		for _, s := range m.Settings {
			v.Config[s.Name] = s.Default
		}
		maps.Copy(v.Config, d.Config)
		for _, s := range m.Settings {
			if s.Secret && v.Config[s.Name] != "" {
				v.Config[s.Name] = "set"
			}
		}
	}
	up, healthy := v.containers(in, &d)
	if len(d.Adopted) > 0 {
		v.Note = NotRebootProof
	}
	for _, name := range slices.Sorted(maps.Keys(d.Overrides)) {
		v.remark(name + " runs the image " + d.Overrides[name] + " of your own")
	}
	if d.Goal != state.Absent {
		v.missing(in)
	}
	if p := d.Previous; p != nil && d.Goal != state.Absent && d.Update == nil && d.Manifest != nil {
		v.Previous = &Previous{Version: p.Manifest.Version, Taken: p.Taken, Until: p.Until(),
			NewPrivileges: in.Offer.NewPrivileges(d.Manifest, p.Manifest, in.Records, in.Now), Refused: in.Offer.Revoked(id, p.Manifest.Version)}
	}
	if v.Backup = in.Backups[id]; v.Backup.Problem != "" {
		v.remark(v.Backup.Problem)
	}
	checked := slices.ContainsFunc(m.Containers, func(c manifest.Container) bool { return c.Health != nil })
	if checked && up > 0 && !in.Observed.Probing() {
		v.remark(NotChecked)
	}
	op := in.Operations[id]
	if v.Error = op.Error; op.Busy {
		v.Doing = op.Message
	}
	switch {
	case d.Goal == "":
		v.State, v.Error = NotInstalled, unavailable
	case d.Goal == state.Absent:
		v.State = Removing
		v.waits(op)
	case d.Update != nil && (op.Error == "" || op.Failed != d.Generation):
		v.State, v.Error = Updating, ""
		v.waits(op)
	case op.Error != "" && op.Failed == d.Generation:
		v.State = Failed
	case d.Goal == state.Stopped && up > 0:
		v.State = Stopping
	case d.Goal == state.Stopped && fault.Planted(fault.SaysRunning):
		v.State = Up
	case d.Goal == state.Stopped:
		v.State = Down
	case op.Waiting != "":
		v.State, v.Note = Waiting, op.Waiting
	case op.Busy || up < len(v.Containers) || op.Observed < d.Generation && d.Restart > d.Restarted:
		v.State = Starting
	case !healthy:
		v.State = Unhealthy
	default:
		v.State = Up
		if why := WaitingFor(d, op, in.Ready[id]); why != "" {
			v.State, v.Note = Waiting, why
		}
	}
	return v
}

// offered says what of the catalog's concerns the application, and why it may not be
// installed; empty where it may.
func (v *View) offered(in Input, d *state.Desired) (unavailable string) {
	id := v.Manifest.ID
	entry, err := in.Offer.Entry(id, in.Now)
	if err == nil && d.Manifest != nil {
		if _, lost := in.Offer.Update(id, d.Source, d.Digest, in.Now); lost != nil {
			v.remark(lost.Error())
			entry, err = nil, lost
		}
	}
	if err != nil {
		unavailable = err.Error()
	} else {
		v.Notes = cmp.Or(entry.Notes, strings.Join(strings.Fields(entry.ReleaseNotes), " "))
		if digest := in.Offer.Digest(id); d.Manifest != nil && digest != d.Digest {
			v.Available, v.Declined, v.Held = entry.Manifest, digest == d.Declined, digest == d.Held
			if v.Held && d.Update == nil {
				v.remark("version " + entry.Manifest.Version + ", which you have gone back from, does not come again by itself; a newer one does")
			}
			v.Backward = !entry.Source.Forward(entry.Manifest.Version, catalog.ParseSource(d.Source), d.Manifest.Version)
			if catalog.CompareVersions(entry.Manifest.Version, d.Manifest.Version) < 0 {
				v.remark("version " + entry.Manifest.Version + ", which " + entry.Source.String() + " offers, is older: it does not take its place by itself")
			}
			v.NewPrivileges = in.Offer.NewPrivileges(d.Manifest, entry.Manifest, in.Records, in.Now)
			if len(v.NewPrivileges) > 0 && d.Goal != state.Absent {
				v.remark("version " + entry.Manifest.Version + " waits for your consent, as it asks for more: it " + strings.Join(v.NewPrivileges, "; it "))
			}
		}
		if d.Goal == "" || d.Goal == state.Absent {
			v.NewPrivileges = in.Offer.Grants(entry.Manifest, in.Records, in.Now)
			if len(v.NewPrivileges) > 0 {
				v.remark("to be installed, it needs your consent: it " + strings.Join(v.NewPrivileges, "; it "))
			}
		}
		if entry.Waiver != nil {
			v.remark(entry.Waiver.String())
		}
	}
	if why := in.Offer.Revoked(id, v.Manifest.Version); why != "" && d.Manifest != nil {
		v.remark(why)
	}
	return unavailable
}

// containers fills in the members' containers, and counts those that run.
func (v *View) containers(in Input, d *state.Desired) (up int, healthy bool) {
	healthy = true
	for _, member := range v.Manifest.Containers {
		name := member.Name
		if theirs, ok := d.Adopted[name]; ok {
			name = theirs
		}
		c := in.Observed.Containers[name]
		c.Name = name
		v.Containers = append(v.Containers, c)
		if c.State == "running" {
			up++
			healthy = healthy && (c.Health == "" || c.Health == "healthy")
		}
	}
	return up, healthy
}

// missing says what the owner lacks while an application that this one can use is not there.
func (v *View) missing(in Input) {
	for _, r := range v.Manifest.Options() {
		other, err := in.Records.Get(r.App)
		switch {
		case errors.Is(err, state.ErrNotFound) || err == nil && other.Goal == state.Absent:
			v.remark("without " + r.App + ", which is not installed: " + r.Missing)
		case err == nil && other.Manifest != nil && v.Manifest.Lacks(r, other.Manifest) != nil:
			v.remark("without what it uses of " + r.App + ", whose version " + other.Manifest.Version + " does not offer it: " + r.Missing)
		}
	}
}

// waits adds what an operation waits for, that is no start.
func (v *View) waits(op operation.Status) {
	if op.Waiting != "" {
		v.remark(op.Waiting)
	}
}

// remark adds to what the owner should know.
func (v *View) remark(s string) { v.Note = strings.TrimPrefix(v.Note+"; "+s, "; ") }

// WaitingFor says what an installed application waits for; empty where it is ready.
func WaitingFor(d state.Desired, op operation.Status, ready host.Readiness) string {
	if op.Waiting != "" {
		return op.Waiting
	}
	if len(d.Manifest.Ready) > 0 && !ready.OK && ready.Detail != "" {
		return fmt.Sprintf("waiting for %s: %s", d.App, ready.Detail)
	}
	return ""
}
