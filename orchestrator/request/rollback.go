package request

import (
	"fmt"

	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// rollback prepares the way back from the last update: an update to the version before, which
// gets its data back. What it leaves is kept in the same way, so a second one goes forward
// again. Only the owner goes back, and never to what was revoked.
func (d *deciding) rollback(rec *state.Desired, r Request) error {
	back := rec.Previous
	switch {
	case r.Automatic:
		return fmt.Errorf("%w: only the owner of %s goes back", ErrRefused, rec.App)
	case back == nil:
		return fmt.Errorf("%w: no earlier version of %s is kept: it has not been updated, or that was more than %d days ago, or the disk was filling", ErrRefused, rec.App, int(state.KeepPrevious.Hours()/24))
	case rec.Manifest == nil:
		return fmt.Errorf("%w: the record of %s holds no manifest; install it again", ErrRefused, rec.App)
	case r.Version != "" && r.Version != back.Manifest.Version:
		return fmt.Errorf("%w: the version of %s that is kept is %s, not %s; look at it again", ErrRefused, rec.App, back.Manifest.Version, r.Version)
	}
	if why := d.offer.Revoked(rec.App, back.Manifest.Version); why != "" {
		return fmt.Errorf("%w: %s does not go back: %s", ErrRefused, rec.App, why)
	}
	return d.begin(rec, r, &state.Update{To: back.Manifest, Source: back.Source, Back: true})
}
