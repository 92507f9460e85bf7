package backup

import "github.com/archipelago-cloud/archipelago/orchestrator/fault"

// Part is a part of a backup in a repository, or of a restoration from one. After each, a
// daemon that is built with faults can be killed.
type Part string

// The parts, in their order.
const (
	Stopped Part = "backup-stopped" // nothing writes to the volumes
	Copied  Part = "backup-copied"  // and the application may start again
	Stored  Part = "backup-stored"  // the snapshot is in the repository

	Fetched  Part = "restore-fetched"  // the volumes are on the node, beside their places
	Keyed    Part = "restore-keyed"    // so are the secrets
	Decided  Part = "restore-decided"  // it is to be finished, whatever happens
	Placed   Part = "restore-placed"   // the volumes are in their places
	Recorded Part = "restore-recorded" // it is on record what data there is
	Accepted Part = "restore-accepted" // the application is to run
)

// Read is the part before those where volumes are read in place: they were, while the
// application ran. Those of small applications never are.
const Read Part = "backup-read"

// Parts are those of every application.
var Parts = []Part{Stopped, Copied, Stored, Fetched, Keyed, Decided, Placed, Recorded, Accepted}

// after kills the daemon at the end of a part where that is the fault that it was built with.
func after(p Part) { fault.Cut("after", string(p)) }
