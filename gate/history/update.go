package history

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/verdict"
	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/reports"
)

// maxReason bounds what is kept of a reason, in bytes; the run has the rest.
const maxReason = 300

// Update takes over the runs that are new, or have gone on, since it was called last. What is
// known of a run stays when the run is removed. Skipped says which cannot be read, and why.
func (h *History) Update(ctx context.Context) (skipped []error, err error) {
	known, err := h.stamps(ctx)
	if err != nil {
		return nil, err
	}
	dirs, err := os.ReadDir(h.out)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		stamp, err := stamp(filepath.Join(h.out, d.Name()))
		if errors.Is(err, fs.ErrNotExist) || err == nil && known[d.Name()] == stamp {
			continue // it came to nothing, or is known
		}
		if err == nil {
			err = h.take(ctx, d.Name(), stamp)
		}
		if ctx.Err() != nil {
			return skipped, fmt.Errorf("history: %w", context.Cause(ctx))
		}
		if err != nil {
			skipped = append(skipped, fmt.Errorf("run %s: %w", d.Name(), err))
		}
	}
	return skipped, nil
}

// stamps gives the stamp of each known run, by its directory.
func (h *History) stamps(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	rows, err := h.db.QueryContext(ctx, "SELECT dir, stamp FROM runs")
	err = each(rows, err, func(rows *sql.Rows) error {
		var dir, stamp string
		err := rows.Scan(&dir, &stamp)
		out[dir] = stamp
		return err
	})
	return out, err
}

// each calls a function with every row of an answer.
func each(rows *sql.Rows, err error, row func(*sql.Rows) error) error {
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return fmt.Errorf("history: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// stamp says how the files are from which all of a run follows.
func stamp(dir string) (string, error) {
	plan, err := os.Lstat(filepath.Join(dir, reports.PlanFile))
	if err != nil {
		return "", err
	}
	of := func(i fs.FileInfo) string { return fmt.Sprintf("%d@%d", i.Size(), i.ModTime().UnixNano()) }
	results, err := os.Lstat(filepath.Join(dir, reports.ResultsFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return of(plan), nil
	case err != nil:
		return "", err
	}
	return of(plan) + " " + of(results), nil
}

// take puts a run into the index, in place of what was known of it.
func (h *History) take(ctx context.Context, name, stamp string) error {
	dir := filepath.Join(h.out, name)
	if err := reports.Own(dir); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(dir, reports.PlanFile))
	if err != nil {
		return err
	}
	p, err := plan.Parse(b)
	if err != nil {
		return err
	}
	results, err := reports.ReadResults(dir)
	if err != nil {
		return err
	}
	if err := p.Check(results); err != nil {
		return err
	}
	if err := h.copied(ctx, p.Run, name); err != nil {
		return err
	}
	r := verdict.Judge(p, results)
	started := int64(0)
	if !r.Started.IsZero() { // of a merged run, the first of its machines
		started = r.Started.UnixNano()
	}
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	insert := func(table string, values ...any) {
		if err == nil {
			_, err = tx.ExecContext(ctx, "INSERT INTO "+table+" VALUES (?"+strings.Repeat(", ?", len(values)-1)+")", values...)
		}
	}
	if _, err = tx.ExecContext(ctx, "DELETE FROM runs WHERE run = ? OR dir = ?", r.Run, name); err != nil {
		return err
	}
	insert("runs", r.Run, name, stamp, started, string(r.Verdict), r.Smoke, r.Asked.Cycles, r.Subject.Daemon, len(r.AnotherPolicy) > 0)
	for _, part := range partsOf(r) {
		insert("parts", r.Run, part.Kind, part.Name, part.Value)
	}
	for _, h := range r.Health {
		for _, problem := range h.Problems {
			insert("problems", r.Run, h.Node, problem.Cycle, plain.Clip(problem.What, maxReason))
		}
	}
	for _, a := range r.Apps {
		needs := r.Requires[a.ID]
		insert("apps", r.Run, a.ID, a.Version, string(a.Verdict), a.Level, bits(r, a.ID, needs), strings.Join(needs, ","))
		for _, c := range a.Cells {
			at := int64(0)
			if !c.At.IsZero() {
				at = c.At.UnixNano()
			}
			insert("cells", r.Run, c.App, c.Step, c.Node, c.Cycle, string(c.Status), c.Seconds, c.Timing.Engine, c.Timing.App, plain.Clip(c.Reason, maxReason), at)
		}
	}
	if err != nil {
		return err
	}
	return tx.Commit()
}

// copied refuses a copy of a run that is here in another directory, too, unless it says more: one
// that was made in mid-run would hide what came later.
func (h *History) copied(ctx context.Context, run, name string) error {
	var other string
	err := h.db.QueryRowContext(ctx, "SELECT dir FROM runs WHERE run = ? AND dir <> ?", run, name).Scan(&other)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	length := func(dir string) int64 {
		info, err := os.Lstat(filepath.Join(h.out, dir, reports.ResultsFile))
		if err != nil {
			return -1
		}
		return info.Size()
	}
	if theirs := length(other); theirs >= 0 && length(name) <= theirs {
		return fmt.Errorf("it is a copy of %s, which says as much", other)
	}
	return nil
}

// Part is something that a run's outcome can depend on.
type Part struct {
	Kind  string `json:"kind"`
	Name  string `json:"name,omitempty"`
	Value string `json:"value"` // a digest in hex, or a version
}

// partsOf gives the parts of a run. The catalog is all its manifests together.
func partsOf(r *reports.Report) (out []Part) {
	many := func(kind string, m map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			out = append(out, Part{kind, name, m[name]})
		}
	}
	out = append(out, Part{Kind: "daemon", Value: r.Subject.Daemon}, Part{Kind: "catalog", Value: digest(r.Subject.Manifests)})
	many("manifest", r.Subject.Manifests)
	many("image", r.Subject.Images)
	many("file", r.Subject.Installed)
	many("command", r.Subject.Commands)
	many("gate", map[string]string{"gate": r.Judge.Gate, "suite": r.Judge.Suite, "look": r.Judge.Look, "policy": r.Judge.Policy})
	for _, n := range r.Nodes {
		many("node", map[string]string{n.Name + " OS": n.OS, n.Name + " kernel": n.Kernel, n.Name + " Podman": n.Podman, n.Name + " systemd": n.Systemd})
	}
	return out
}

// bits is the digest of what an application's outcome is about besides the daemon: its manifest,
// in which its images are, and those of what it requires.
func bits(r *reports.Report, app string, needs []string) string {
	manifests := map[string]string{}
	for _, id := range append([]string{app}, needs...) {
		manifests[id] = r.Subject.Manifests[id]
	}
	return digest(manifests)
}

func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is strings
	}
	return reports.Digest(b)
}

// Run is a run as the index has it.
type Run struct {
	Run     string          `json:"run"`
	Started time.Time       `json:"started"`
	Verdict reports.Verdict `json:"verdict"`
	Smoke   bool            `json:"smoke,omitempty"`
	Cycles  int             `json:"cycles"`
	Daemon  string          `json:"daemon"`
	Passed  int             `json:"passed"` // cells
	Failed  int             `json:"failed"`
}

// order is that in which runs began.
const order = "ORDER BY r.started, r.run"

// Runs gives all runs, in the order in which they began.
func (h *History) Runs(ctx context.Context) (out []Run, err error) {
	rows, err := h.db.QueryContext(ctx, `SELECT r.run, r.started, r.verdict, r.smoke, r.cycles, r.daemon,
		(SELECT count(*) FROM cells c WHERE c.run = r.run AND c.status = 'passed'), (SELECT count(*) FROM cells c WHERE c.run = r.run AND c.status = 'failed') FROM runs r `+order)
	err = each(rows, err, func(rows *sql.Rows) error {
		var r Run
		var ns int64
		err := rows.Scan(&r.Run, &ns, &r.Verdict, &r.Smoke, &r.Cycles, &r.Daemon, &r.Passed, &r.Failed)
		r.Started = time.Unix(0, ns).UTC()
		out = append(out, r)
		return err
	})
	return out, err
}

// Change is a part that is another one in two runs; Before or After is empty where one of them
// does not have it.
type Change struct {
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

func (c Change) String() string {
	what := c.Kind
	if c.Name != "" {
		what += " " + c.Name
	}
	short := func(s string) string {
		if len(s) == 64 {
			return s[:12]
		}
		return cmp.Or(s, "none")
	}
	return fmt.Sprintf("%s: %s, was %s", what, short(c.After), short(c.Before))
}

// Changes says what is not the same in two runs. Of manifests and images, only those of the
// named applications are listed, or all if none is named; the catalog stands for the others.
func (h *History) Changes(ctx context.Context, before, after string, apps ...string) (out []Change, err error) {
	rows, err := h.db.QueryContext(ctx, `SELECT kind, name, max(CASE run WHEN ?1 THEN value ELSE '' END), max(CASE run WHEN ?2 THEN value ELSE '' END)
		FROM parts WHERE run IN (?1, ?2) GROUP BY kind, name`, before, after)
	err = each(rows, err, func(rows *sql.Rows) error {
		var c Change
		if err := rows.Scan(&c.Kind, &c.Name, &c.Before, &c.After); err != nil {
			return err
		}
		its := func(app string) bool {
			return c.Name == app || c.Kind == "image" && strings.HasPrefix(c.Name, app+"-")
		}
		if c.Before == c.After || (c.Kind == "manifest" || c.Kind == "image") && len(apps) > 0 && !slices.ContainsFunc(apps, its) {
			return nil
		}
		out = append(out, c)
		return nil
	})
	kinds := []string{"daemon", "manifest", "image", "catalog", "node", "gate", "file", "command"}
	slices.SortStableFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), cmp.Compare(a.Name, b.Name))
	})
	return out, err
}
