// Package state owns what the daemon must not forget: the desired state of every
// application, what is known of its data, which folders its owner has named, which disks these
// are on, the audit log and the access token.
//
// A record is one JSON file. A write is durable once it returns, and a power cut
// leaves the old record or the new one, never a part of either; several records can
// be accepted together, and then all of them are in force or none. Every record
// carries a digest and the number of its format: a damaged one gives way to its
// second copy, and one that a newer daemon wrote is left exactly as it is.
//
// The package only keeps records. What should become of an application is decided
// elsewhere.
package state

import (
	"errors"
	"math"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// ErrNotFound is returned for an application that has no record.
var ErrNotFound = errors.New("not recorded")

// Goal is what the owner wants of an application.
type Goal string

// The goals. Absent stays on record until nothing of the application is left.
const (
	Running Goal = "running"
	Stopped Goal = "stopped"
	Absent  Goal = "absent"
)

// RestartRequested, as the Restart of a record given to Store.Accept, stands for the
// generation that the record is about to get.
const RestartRequested uint64 = math.MaxUint64

// Desired is the record of one application. Generation grows with every request.
// The maps and pointers in a record are shared: replace what they refer to, never
// change it in place.
type Desired struct {
	App        string             `json:"app"`
	Goal       Goal               `json:"goal"`
	Purge      bool               `json:"purge,omitempty"`     // with Absent: delete data and secrets too
	Generation uint64             `json:"generation"`          // of the last request; assigned by Store.Accept
	Restart    uint64             `json:"restart,omitempty"`   // generation of the last request to restart; 0 for none
	Restarted  uint64             `json:"restarted,omitempty"` // generation of the last restart that finished
	AcceptedAt time.Time          `json:"accepted_at"`
	Manifest   *manifest.Manifest `json:"manifest,omitempty"`  // what is installed, whatever the catalog holds by now
	Source     string             `json:"source,omitempty"`    // where the manifest is from, such as "catalog beta 7"
	Declined   string             `json:"declined,omitempty"`  // digest of a manifest whose update failed; it is not retried automatically
	Config     map[string]string  `json:"config,omitempty"`    // settings that differ from the manifest's defaults; of secret ones, what stands for the value
	Chosen     []string           `json:"chosen,omitempty"`    // of alternatives that are required, those that it was installed with
	Update     *Update            `json:"update,omitempty"`    // the update under way
	Previous   *Previous          `json:"previous,omitempty"`  // the way back from the last update; nil where there is none
	Held       string             `json:"held,omitempty"`      // digest of a manifest that its owner has gone back from; it does not come again automatically
	Adopted    map[string]string  `json:"adopted,omitempty"`   // member -> unmanaged container that serves as it
	Overrides  map[string]string  `json:"overrides,omitempty"` // member -> the owner's own image that it runs
	Installed  bool               `json:"installed,omitempty"` // the post-install hooks have run
	Note       string             `json:"note,omitempty"`      // what the owner should know about the last operation

	Digest string            `json:"-"` // of Manifest, in its canonical form; the store fills it in
	Typed  map[string]string `json:"-"` // values of secret settings on their way to the secrets; a record that has any is not accepted
}

// Phase is how far an update has come. Each phase is on disk before it is acted on.
type Phase string

// The phases. The old version is in force until Switched, and the new one from then
// on, unless it fails and RollingBack returns to the old. Returning is never given up: until
// it has ended, the data is neither version's.
const (
	Staged      Phase = "staged"       // images are fetched, volumes copied
	Returning   Phase = "returning"    // of a way back: the data and the copy of before change places
	Switched    Phase = "switched"     // the copy is complete; the new version starts on the data
	RollingBack Phase = "rolling-back" // the copy takes the data's place
)

// Update is a change of version under way.
type Update struct {
	To         *manifest.Manifest `json:"to"`
	Source     string             `json:"source,omitempty"` // where To is from
	Phase      Phase              `json:"phase"`
	Error      string             `json:"error,omitempty"` // why it is rolled back
	Generation uint64             `json:"generation"`      // of the request; 0 until Store.Accept assigns it
	Had        []string           `json:"had,omitempty"`   // volumes that had data before it; a rollback deletes none of them
	Copy       string             `json:"copy,omitempty"`  // what the name of the copy of the data has after the application's
	Taken      time.Time          `json:"taken,omitzero"`  // when the copy was complete
	Back       bool               `json:"back,omitempty"`  // To is the version of Previous, and gets its data back
}

// Previous is what the last update took the place of: it can be gone back to while this is
// on record.
type Previous struct {
	Manifest *manifest.Manifest `json:"manifest"`
	Source   string             `json:"source,omitempty"`  // where the manifest is from
	Copy     string             `json:"copy,omitempty"`    // what the name of the copy of its data has after the application's
	Volumes  []string           `json:"volumes,omitempty"` // that had data then, and are in the copy
	Taken    time.Time          `json:"taken"`             // when its data was copied
	Since    time.Time          `json:"since"`             // when the update was done
}

// KeepPrevious is how long a way back is kept, unless the disk fills before.
const KeepPrevious = 7 * 24 * time.Hour

// Until is when the way back ends.
func (p *Previous) Until() time.Time { return p.Since.Add(KeepPrevious) }

// otherCopy is what the name of a copy has after the application's where the copy that is
// kept has nothing.
const otherCopy = ".other"

// FreeCopy is what the next copy of the data is to be called, after the application: not as
// the one that is kept, which stays until the new one takes its place.
func (d Desired) FreeCopy() string {
	if d.Previous != nil && d.Previous.Copy == "" {
		return otherCopy
	}
	return ""
}

// CopyKinds are all names, after the application's, that copies of its data have: complete,
// put back halfway, and exchanged halfway.
var CopyKinds = []string{"", ".old", ".swap", otherCopy, otherCopy + ".old", otherCopy + ".swap"}

// Copies are those of CopyKinds that the record needs.
func (d Desired) Copies() (kinds []string) {
	if d.Previous != nil {
		kinds = append(kinds, d.Previous.Copy)
	}
	if u := d.Update; u != nil {
		kinds = append(kinds, u.Copy, u.Copy+".old", u.Copy+".swap")
		if u.Back && d.Previous != nil {
			kinds = append(kinds, d.Previous.Copy+".old", d.Previous.Copy+".swap")
		}
	}
	return kinds
}

// Data is what is known of an application's data on this node. It outlives an
// uninstallation that keeps the data.
type Data struct {
	App       string   `json:"app"`
	Version   string   `json:"version"`             // the version that last wrote the data
	Migration int      `json:"migration,omitempty"` // the format of the data
	Volumes   []string `json:"volumes,omitempty"`   // the volumes that were initialised

	Settings map[string]string `json:"settings,omitempty"` // what stands for the secret settings that an uninstallation left
	Places   map[string]Place  `json:"places,omitempty"`   // of volumes that their owner has moved, or is moving
}
