package plan

import (
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

// Verb is a kind of action.
type Verb string

// The verbs. Each is idempotent: a crash between two actions costs a repetition.
const (
	Prepare    Verb = "prepare"      // images, secrets, files, volumes
	WriteUnits Verb = "write-units"  // and have systemd read them
	Start      Verb = "start"        // Units, which systemd orders among themselves
	Link       Verb = "link"         // Units, which run on: their networks, as those that require the application come and go
	StopUnits  Verb = "stop"         // Units, in this order
	Restarted  Verb = "restarted"    // record that the requested restart finished
	Convert    Verb = "convert"      // what was adopted: its secrets and data become the application's own
	PostInst   Verb = "post-install" // hooks, once after the first start
	PreUpdate  Verb = "pre-update"   // hooks, in the old version
	Copy       Verb = "copy"         // the volumes, before an update
	Switch     Verb = "switch"       // record that the copy is complete
	PostUpdate Verb = "post-update"  // hooks, in the new version
	Commit     Verb = "commit"       // the new version is the one installed
	PutBack    Verb = "put-back"     // the copy takes the data's place
	RolledBack Verb = "rolled-back"  // record that the old version is the one installed
	RemoveAll  Verb = "remove"       // unit files, containers, networks, engine secrets
	Purge      Verb = "purge"        // data and secrets, for ever
	Forget     Verb = "forget"       // the record of the application
)

// Verbs are all kinds of action, in the order of an application's life.
var Verbs = []Verb{Prepare, WriteUnits, Start, Link, StopUnits, Restarted, Convert, PostInst, PreUpdate, Copy, Switch, PostUpdate, Commit, PutBack, RolledBack, RemoveAll, Purge, Forget}

// Action is one thing to do for an application. It carries all that doing it takes,
// besides the application's record.
type Action struct {
	App      string
	Verb     Verb
	Reason   string
	Manifest *manifest.Manifest  // that it is done for, settings filled in; nil where the application goes
	Units    []string            // Start, StopUnits: systemd units; RemoveAll, Link: containers
	Files    map[string]string   // WriteUnits: unit files to have, by name
	Gone     []string            // WriteUnits, RemoveAll: unit files to remove
	Ports    []manifest.NodePort // Start: that nobody else may hold
	Beside   []string            // Start: applications none of which may be being stopped; StopUnits: started
	Alias    string              // Link: a name that Units have there, besides their own
	Join     []quadlet.Bridge    // Link: networks to be on
	Leave    []string            // Link: networks not to be on
	Specs    map[string]string   // Commit: what each container must have been made from
}
