// Package fault names the mistakes that a daemon can be built with so that the
// gate can prove that it sees them. An ordinary build has none of them: Planted
// is then a constant, and the compiler removes what it guards.
package fault

// The faults. A build with the tag "faults" commits the one that the environment
// variable ARCHIPELAGO_FAULT names.
const (
	UnitWithoutInstall = "unit-without-install"
	SecretRegenerated  = "secret-regenerated"
	StopLeavesOne      = "stop-leaves-one"
	VolumeDeleted      = "volume-deleted"
	ShutdownKills      = "shutdown-kills"
	MemberMissing      = "member-missing"
)
