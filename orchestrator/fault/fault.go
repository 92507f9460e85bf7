// Package fault names the mistakes that a daemon can be built with so that the
// gate can prove that it sees them, and the points at which it can be killed so
// that the fault suite can prove that nothing is lost. An ordinary build has none
// of them: Planted is then a constant and Cut does nothing, and the compiler
// removes what they guard.
package fault

// The faults. A build with the tag "faults" commits the one that the environment
// variable ARCHIPELAGO_FAULT names. "cut:POINT:VERB", with a point of Points and an
// action's verb (or "request", or a part of a backup), has the daemon kill itself there, once. "skip:VERB" has it
// take an action of that kind for done. "reversed" has it do the actions of each plan in reverse. "render:OLD=>NEW" has NEW, which may be empty, in
// place of every OLD in the unit files.
const (
	UnitWithoutInstall = "unit-without-install"
	SecretRegenerated  = "secret-regenerated"
	StopLeavesOne      = "stop-leaves-one"
	VolumeDeleted      = "volume-deleted"
	ShutdownKills      = "shutdown-kills"
	MemberMissing      = "member-missing"
	ComesBack          = "comes-back"
	NetworkLeft        = "network-left"
	FolderLeft         = "folder-left"
	DropInLeft         = "drop-in-left"
	DropInMore         = "drop-in-more" // it bounds the life of its service, too
	ProxyAnswers       = "proxy-answers"

	// From one operation to the next.
	Grows = "grows" // each takes memory that is never given back
	Slows = "slows" // each start takes some tenths of a second longer than the one before

	// Of an update.
	UpdateLosesData  = "update-loses-data"  // the volumes are made anew
	UpdateKeepsImage = "update-keeps-image" // the containers are those of the old images

	// Of what is said of an application.
	SaysRunning = "says-running" // of one that is stopped
	HidesOne    = "hides-one"    // the list lacks those that are installed
	MetricsLie  = "metrics-lie"  // one that runs is stopped

	// Of the prober.
	ProberDead        = "prober-dead"         // it looks at nothing
	ProberRemembers   = "prober-remembers"    // what was healthy once is never looked at again
	ProberWrongMember = "prober-wrong-member" // it looks into another container's network
)

// Points at which a daemon can be cut: before and after an action, and after a
// request has been written and before it is answered.
var Points = []string{"before", "after", "accepted"}
