package orchestrator

import "github.com/archipelago-cloud/archipelago/orchestrator/host"

// The words of the node, until each part of this package has moved to its own.
type (
	Observed    = host.Observation
	Container   = host.Container
	Unit        = host.Unit
	Readiness   = host.Readiness
	VolumeOwner = host.VolumeOwner
	Mount       = host.Mount
	Inspection  = host.Inspection
	Finding     = host.Finding
)

// ErrEngine is host.ErrUnavailable.
var ErrEngine = host.ErrUnavailable
