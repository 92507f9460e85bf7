package gate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/reports"
)

// ledgerFile stands beside the runs and outlives each of them: a line at the beginning of every
// session of every run, at the first red result of each application, and at its end, each with
// the digest of the line before.
const ledgerFile = "ledger.jsonl"

// entry is a line of the ledger.
type entry struct {
	Run     string          `json:"run"`
	Subject string          `json:"subject"` // digest of what is tested; see plan.SubjectDigest
	At      time.Time       `json:"at"`
	Ended   bool            `json:"ended,omitempty"` // the session; otherwise it began
	Verdict reports.Verdict `json:"verdict,omitempty"`
	Smoke   bool            `json:"smoke,omitempty"`
	Passed  int             `json:"passed,omitempty"` // cells
	Failed  int             `json:"failed,omitempty"`
	NotRun  int             `json:"not_run,omitempty"`
	// Daemon is the digest of the daemon, and Red the digests of the manifests of those
	// applications that were red in it. Where a node was red, nobody knows which of them it was:
	// Red are all that were tested, and count together. Older gates wrote none of the three.
	Daemon string            `json:"daemon,omitempty"`
	Red    map[string]string `json:"red,omitempty"`
	Node   bool              `json:"node,omitempty"`
	// Shards are the runs that the run was merged from.
	Shards []string `json:"shards,omitempty"`
	Prev   string   `json:"prev"` // SHA-256 of the line before
}

// enter appends a line to the ledger in out, and gives the lines before it.
func enter(out string, e entry) (before []entry, err error) {
	return enterAll(out, func([]entry) []entry { return []entry{e} })
}

// enterAll appends lines to the ledger in out, which it is asked for once the lines before them are
// known. Two gates may do so at the same time. A last line without an end is what a gate leaves
// that was killed while it wrote; it is cut off.
func enterAll(out string, more func(before []entry) []entry) (before []entry, err error) {
	file := filepath.Join(out, ledgerFile)
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	before, last, err := readLedger(file, b)
	if err != nil {
		return nil, err
	}
	var lines []byte
	for _, e := range more(before) {
		e.Prev = last
		line, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		last = reports.Digest(line)
		lines = append(append(lines, line...), '\n')
	}
	_, err = f.WriteAt(lines, int64(len(b)))
	err = errors.Join(err, f.Truncate(int64(len(b)+len(lines))), f.Sync())
	if len(b) == 0 {
		err = errors.Join(err, atomicfile.SyncDir(out)) // it may be new
	}
	return before, err
}

// readLedger reads the lines of a ledger, and gives the digest of the last one. A line that
// does not follow the one before it is plan.ErrUsage: somebody edited the record.
func readLedger(file string, b []byte) (all []entry, last string, err error) {
	last = reports.Digest(nil)
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Prev != last {
			return nil, "", fmt.Errorf("%w: %s:%d does not follow the line before it (%v): the record of runs was edited, and what stood there is not known; move it away to begin another one, and say so", plan.ErrUsage, file, n, err)
		}
		last = reports.Digest(lines.Bytes())
		all = append(all, e)
	}
	return all, last, lines.Err()
}

// pastRuns gives the other runs of a subject, and those of other subjects in which the same daemon
// was red with an application as the subject has it, in the order in which they began: what is
// changed beside them makes them no other bits. The latest end of a run is its verdict; one that
// did not end is red if it has said so, or has none. A run and those that it was merged from are
// one.
func pastRuns(all []entry, subject reports.Subject, own ...string) (out []reports.PastRun) {
	same, covered, red := map[string]bool{}, map[string]bool{}, map[string][]string{} // by run
	digest := plan.SubjectDigest(subject)
	for _, e := range all {
		same[e.Run] = same[e.Run] || e.Subject == digest
		if e.Daemon == "" || e.Daemon != subject.Daemon {
			continue
		}
		var again []string
		for app, manifest := range e.Red {
			if now, tested := subject.Manifests[app]; tested && now == manifest {
				again = append(again, app)
			}
		}
		if len(again) == 0 || e.Node && len(again) < len(e.Red) {
			continue
		}
		covered[e.Run] = true
		if !e.Node {
			red[e.Run] = append(red[e.Run], again...)
		}
	}
	for _, e := range all {
		if e.Verdict == reports.Red && (same[e.Run] || covered[e.Run]) {
			own = append(own, e.Shards...)
		}
	}
	at := map[string]int{}
	for _, e := range all {
		if slices.Contains(own, e.Run) || !same[e.Run] && !covered[e.Run] {
			continue
		}
		i, seen := at[e.Run]
		if !seen {
			i = len(out)
			at[e.Run], out = i, append(out, reports.PastRun{Run: e.Run, Began: e.At, Red: slices.Compact(slices.Sorted(slices.Values(red[e.Run]))), Other: !same[e.Run]})
		}
		r := &out[i]
		// A run that was red stays red, whatever a later session says, or whether it said more.
		if r.Verdict != reports.Red && e.Verdict != "" {
			r.Verdict = e.Verdict
		}
		if e.Ended {
			r.Ended, r.Smoke, r.Passed, r.Failed, r.NotRun = e.At, e.Smoke, e.Passed, e.Failed, e.NotRun
		}
	}
	return out
}

// enterBegin notes that a session of the run begins, and tells it of the other runs of what it
// tests: a resumption of those, too, that began since the run did.
func (e *execution) enterBegin() error {
	before, err := enter(e.Out, e.line())
	if err == nil {
		e.plan.Before = pastRuns(before, e.plan.Subject, append(e.plan.ShardRuns(), e.plan.Run)...)
	}
	return err
}

// enterRed notes at once that an application is red, or a node, which has no name here: a gate
// that is killed now says nothing at its end.
func (e *execution) enterRed(app string) error {
	red := e.line()
	red.Verdict, red.Red = reports.Red, map[string]string{app: e.plan.Subject.Manifests[app]}
	if red.Node = app == ""; red.Node {
		red.Red = e.plan.Subject.Manifests
	}
	_, err := enter(e.Out, red)
	return err
}

// others tells the run of the other runs of what it tests once more, when it is judged: some may
// have been under way beside it, on other nodes.
func (e *execution) others() error {
	file := filepath.Join(e.Out, ledgerFile)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := wholeLedger(file, b)
	if err == nil {
		e.plan.Before = pastRuns(all, e.plan.Subject, e.plan.Run)
	}
	return err
}

// wholeLedger reads a ledger as it is on disk, perhaps with an unfinished last line.
func wholeLedger(file string, b []byte) ([]entry, error) {
	all, _, err := readLedger(file, b[:bytes.LastIndexByte(b, '\n')+1])
	return all, err
}

func (e *execution) line() entry {
	return entry{Run: e.plan.Run, Subject: plan.SubjectDigest(e.plan.Subject), At: time.Now().UTC(), Daemon: e.plan.Subject.Daemon, Shards: e.plan.ShardRuns()}
}

// enterEnd notes what the run has come to.
func (e *execution) enterEnd(r *reports.Report) error {
	n := map[reports.Status]int{}
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			n[c.Status]++
		}
	}
	end := e.line()
	end.Ended, end.Verdict, end.Smoke = true, r.Verdict, r.Smoke
	if r.Verdict == reports.Red {
		end.Red = map[string]string{}
		for _, a := range r.Apps {
			if a.Verdict == reports.Red {
				end.Red[a.ID] = r.Subject.Manifests[a.ID]
			}
		}
		if end.Node = len(end.Red) == 0; end.Node {
			end.Red = r.Subject.Manifests
		}
	}
	end.Passed, end.Failed, end.NotRun = n[reports.Passed], n[reports.Failed], n[reports.NotRun]
	_, err := enter(e.Out, end)
	return err
}
