package matrix

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/archipelago-cloud/archipelago/reports"
)

// Recorder is what a cell leaves behind: where its time went, its note, its
// evidence, and the snapshots that were taken on the way.
type Recorder struct {
	begin, end time.Time // end is zero until the clock has stopped
	timing     reports.Timing

	note string
	// updatedFrom is the version from which an install went through an update; empty: it did not.
	updatedFrom string

	root  string   // the run's directory
	dir   string   // of this cell's evidence, relative to root
	files []string // of evidence, relative to root
	size  int      // of evidence, in bytes
	full  bool     // the run has all the evidence that it may have

	before *Snapshot   // from before the step; nil: there was nothing to compare with
	held   []*Snapshot // every one taken, for the invariants
}

// newRecorder starts the cell's clock.
func newRecorder(s *Shard, app, step string) *Recorder {
	return &Recorder{begin: time.Now(), root: s.Dir, dir: s.evidenceDir(app, step), full: s.EvidenceFull}
}

// charge puts the time until the function it gives is called on an account of the
// cell's timing.
func (r *Recorder) charge(account *float64) (stop func()) {
	begin := time.Now()
	return func() { *account += time.Since(begin).Seconds() }
}

// say adds to the cell's note.
func (r *Recorder) say(notes ...string) {
	for _, n := range notes {
		if n != "" && r.note != "" {
			r.note += "; "
		}
		r.note += n
	}
}

// stopClock ends the cell's time now; a later call ends it then.
func (r *Recorder) stopClock() { r.end = time.Now() }

// total gives the cell's time, and where it went: what nobody claimed is the gate's own.
func (r *Recorder) total() (seconds float64, timing reports.Timing) {
	seconds, timing = r.end.Sub(r.begin).Seconds(), r.timing
	timing.Gate = max(0, seconds-timing.Engine-timing.App-timing.Witness-timing.Browser)
	return seconds, timing
}

// keep writes a file of evidence, or what there is room for.
func (r *Recorder) keep(name string, content []byte) error {
	room := min(reports.MaxEvidence, reports.MaxCell-r.size)
	switch {
	case r.full:
		name, content = name+".txt", fmt.Appendf(nil, "%d bytes are left out: the evidence of this run has reached %d MiB\n", len(content), reports.MaxRun>>20)
	case len(content) > room && filepath.Ext(name) == ".png":
		name, content = name+".txt", fmt.Appendf(nil, "an image of %d bytes is left out, which is more than there is room for\n", len(content))
	default:
		content = reports.Excerpt(content, room)
	}
	r.size += len(content)
	rel := filepath.Join(r.dir, name)
	file := filepath.Join(r.root, rel)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		return err
	}
	r.files = append(r.files, rel)
	return nil
}
