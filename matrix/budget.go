package matrix

import (
	"context"
	"fmt"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// machineShare is what the daemon, the engine and the machine may take beside the
// application's own budget: the minute that a manifest's default gives them at a reboot, and
// the half minute for which the daemon lets a start wait for others.
const machineShare = time.Minute + 30*time.Second

// timely asks the daemon for an operation, and wants it to have ended within its budget by
// the gate's own clock, from the request to the answer. Images are there already.
func (e *Environment) timely(ctx context.Context, rec *Recorder, verb string) error {
	begin := time.Now()
	if err := e.do(ctx, rec, verb, false); err != nil {
		return err
	}
	return checkBudget(e.App, verb, time.Since(begin))
}

func checkBudget(m *manifest.Manifest, verb string, took time.Duration) error {
	own := ownBudget(m, verb)
	if took <= own+machineShare {
		return nil
	}
	return fmt.Errorf("%s took %s by the gate's clock: its budget is %s, and %s for the machine", verb, took.Round(time.Second), own, machineShare)
}

// stopShare is what a container's stop may take beyond its stop timeout. Its unit is given more,
// for a shutdown, where all stop at once.
const stopShare = 5 * time.Second

// ownBudget is how long the application itself may take: to start, what its manifest says; to
// stop, their stop timeouts, one after the other.
func ownBudget(m *manifest.Manifest, verb string) (d time.Duration) {
	if verb != Start {
		for _, c := range m.Containers {
			d += c.StopTimeout.Or(stopTimeout) + stopShare
		}
	}
	if verb != Stop {
		d += m.StartBudget()
	}
	return d
}

// poweredOn is when a node began to boot, by the gate's clock: at now, it had been on for
// age. It was after the gate asked for the reboot; an age that says otherwise counts from
// there, and so does none.
func poweredOn(asked, now time.Time, age time.Duration) time.Time {
	if on := now.Add(-age); age > 0 && on.After(asked) {
		return on
	}
	return asked
}

// checkReturn judges when an application was seen back after a reboot.
func checkReturn(m *manifest.Manifest, on, seen time.Time) error {
	took, budget := seen.Sub(on), m.RebootBudget()
	if took <= budget {
		return nil
	}
	return fmt.Errorf("%s was back %s after power-on by the gate's clock, its budget is %s", m.ID, took.Round(time.Second), budget)
}
