package history

import (
	"cmp"
	"context"
	"database/sql"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Daemon is a version of the daemon whose program is there.
type Daemon struct {
	SHA256 string    `json:"sha256"`
	File   string    `json:"file"`
	Commit string    `json:"commit,omitempty"` // that it was built from; empty: the program does not say
	Built  time.Time `json:"built"`            // when that commit was made; otherwise, when it first ran or was written

	// What runs have shown of it so far, if they have.
	Outcome Outcome `json:"outcome,omitempty"`
	Run     string  `json:"run,omitempty"`
}

func (d Daemon) String() string {
	s := fmt.Sprintf("sha256:%.12s of %s", d.SHA256, d.Built.UTC().Format("2006-01-02 15:04"))
	if d.Commit != "" {
		s += fmt.Sprintf(", commit %.12s", d.Commit)
	}
	return s
}

// Outcome is what became of an application at a step with a daemon.
type Outcome string

// The outcomes.
const (
	Unknown Outcome = ""
	Good    Outcome = "good"
	Bad     Outcome = "bad"
)

// Daemons finds the daemons that are there, the oldest first: those that runs keep, as long as
// they are what the run had, and those of releases, which are directories as 'make release'
// and 'gate release --to' leave them.
func (h *History) Daemons(ctx context.Context, releases []string) ([]Daemon, error) {
	byDigest := map[string]Daemon{}
	rows, err := h.db.QueryContext(ctx, "SELECT dir, started, daemon FROM runs r "+order)
	err = each(rows, err, func(rows *sql.Rows) error {
		var dir, sum string
		var started int64
		if err := rows.Scan(&dir, &started, &sum); err != nil {
			return err
		}
		file := filepath.Join(h.out, dir, "bin", "archipelago")
		if _, known := byDigest[sum]; known || !isProgram(file, sum) {
			return nil
		}
		byDigest[sum] = Daemon{SHA256: sum, File: file, Built: time.Unix(0, started).UTC()}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, dir := range releases {
		file := filepath.Join(dir, description.Daemon(runtime.GOARCH))
		info, err := os.Stat(file)
		if err != nil {
			return nil, fmt.Errorf("a release: %w", err)
		}
		sum, err := reports.FileDigest(file)
		if err != nil {
			return nil, err
		}
		if _, known := byDigest[sum]; !known {
			byDigest[sum] = Daemon{SHA256: sum, File: file, Built: info.ModTime().UTC()}
		}
	}
	var out []Daemon
	for _, d := range byDigest {
		seen := d.Built
		d.Built, d.Commit = built(d.File, seen)
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b Daemon) int { return cmp.Or(a.Built.Compare(b.Built), cmp.Compare(a.SHA256, b.SHA256)) })
	return out, nil
}

// isProgram tells whether a file has a digest.
func isProgram(file, sum string) bool {
	info, err := os.Lstat(file)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	have, err := reports.FileDigest(file)
	return err == nil && have == sum
}

// built gives the time and the name of the commit that a program was built from, as it says.
func built(file string, otherwise time.Time) (at time.Time, commit string) {
	at = otherwise
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return at, ""
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.time":
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				at = t.UTC()
			}
		}
	}
	return at, commit
}

// Bits gives the digest of the manifests that the latest run of an application had, its own and
// those of what it requires; empty if there is none.
func (h *History) Bits(ctx context.Context, app string) (bits string, err error) {
	err = h.db.QueryRowContext(ctx, "SELECT a.bits FROM apps a JOIN runs r USING (run) WHERE a.app = ? ORDER BY r.started DESC, r.run DESC LIMIT 1", app).Scan(&bits)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return bits, err
}

// SameBits tells whether a run had the same manifests as the run of the application before it.
func (h *History) SameBits(ctx context.Context, run, app string) (same bool, err error) {
	err = h.db.QueryRowContext(ctx, `SELECT count(DISTINCT bits) < 2 FROM (SELECT a.bits FROM apps a JOIN runs r USING (run) JOIN runs own ON own.run = ?1
		WHERE a.app = ?2 AND (r.started, r.run) <= (own.started, own.run) ORDER BY r.started DESC, r.run DESC LIMIT 2)`, run, app).Scan(&same)
	return same, err
}

// Recorded fills in what runs of the same manifests have shown of daemons at a step. One
// failure makes a daemon bad.
func (h *History) Recorded(ctx context.Context, app, step, bits string, daemons []Daemon) error {
	rows, err := h.db.QueryContext(ctx, `SELECT r.daemon, r.run, c.status = 'failed' FROM cells c JOIN runs r USING (run) JOIN apps a ON a.run = r.run AND a.app = c.app
		WHERE c.app = ? AND c.step = ? AND a.bits = ? AND c.status IN ('passed', 'failed') `+order, app, step, bits)
	return each(rows, err, func(rows *sql.Rows) error {
		var sum, run string
		var failed bool
		if err := rows.Scan(&sum, &run, &failed); err != nil {
			return err
		}
		i := slices.IndexFunc(daemons, func(d Daemon) bool { return d.SHA256 == sum })
		switch {
		case i < 0 || daemons[i].Outcome == Bad:
		case failed:
			daemons[i].Outcome, daemons[i].Run = Bad, run
		default:
			daemons[i].Outcome, daemons[i].Run = Good, run
		}
		return nil
	})
}

// The errors of Search.
var (
	ErrNoneBad  = errors.New("the newest daemon passes")
	ErrNoneGood = errors.New("the oldest daemon fails, too")
)

// Search finds the neighbours of which the older one is good and the newer one bad, among n from
// the oldest to the newest, in as few tries as possible. What cannot be told of is left out: then
// there may be some between the two.
func Search(n int, try func(i int) (Outcome, error)) (good, bad int, err error) {
	var left []int // of which something can be told
	for i := range n {
		left = append(left, i)
	}
	end := func(which func() int, want Outcome, least int, otherwise error) error {
		for len(left) >= least {
			at := which()
			switch got, err := try(left[at]); {
			case err != nil:
				return err
			case got == want:
				return nil
			case got != Unknown:
				return otherwise
			}
			left = slices.Delete(left, at, at+1)
		}
		return otherwise
	}
	if err := end(func() int { return len(left) - 1 }, Bad, 1, ErrNoneBad); err != nil {
		return 0, 0, err
	}
	if err := end(func() int { return 0 }, Good, 2, ErrNoneGood); err != nil {
		return 0, 0, err
	}
	for len(left) > 2 {
		middle := len(left) / 2
		switch got, err := try(left[middle]); {
		case err != nil:
			return 0, 0, err
		case got == Good:
			left = left[middle:]
		case got == Bad:
			left = left[:middle+1]
		default:
			left = slices.Delete(left, middle, middle+1)
		}
	}
	return left[0], left[1], nil
}
