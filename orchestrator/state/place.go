package state

import (
	"cmp"
	"maps"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// Place is where a volume is that its owner has moved, and what is left to do of a move. At
// every moment one of its directories is complete, and in force: Dir.
type Place struct {
	Dir  string `json:"dir,omitempty"`  // in force; empty: in the application's own directory
	To   string `json:"to,omitempty"`   // where it is being copied; empty while it is not
	Left string `json:"left,omitempty"` // where it was before, to be deleted
}

// Dir is the directory of an application's volume, of which this is known.
func (d Data) Dir(dataDir, app, volume string) string {
	return cmp.Or(d.Places[volume].Dir, manifest.VolumeDir(dataDir, app, volume))
}

// At gives what is known of the data once a volume is at a place; the zero value: where it
// would be if it had never been moved.
func (d Data) At(volume string, p Place) Data {
	d.Places = maps.Clone(d.Places)
	switch {
	case p == Place{}:
		delete(d.Places, volume)
	case d.Places == nil:
		d.Places = map[string]Place{volume: p}
	default:
		d.Places[volume] = p
	}
	if len(d.Places) == 0 {
		d.Places = nil
	}
	return d
}

// Moved are the volumes that are not in their application's own directory.
func (r Records) Moved() manifest.Moved {
	moved := manifest.Moved{}
	for app, data := range r.Data {
		for volume, p := range data.Places {
			if p.Dir == "" {
				continue
			}
			if moved[app] == nil {
				moved[app] = map[string]string{}
			}
			moved[app][volume] = p.Dir
		}
	}
	return moved
}
