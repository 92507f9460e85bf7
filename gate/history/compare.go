package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/reports"
)

// Compare says how a run differs from the last green one before it that has most of its
// applications: by what was tested, and by how long the steps took with those that both have.
// Nil if there is none.
func (h *History) Compare(ctx context.Context, run string) (*reports.Comparison, error) {
	var c reports.Comparison
	var ns int64
	err := h.db.QueryRowContext(ctx, `SELECT r.run, r.started FROM runs r JOIN runs own ON own.run = ?1
		JOIN apps a ON a.run = r.run JOIN apps b ON b.run = own.run AND b.app = a.app
		WHERE r.verdict = 'green' AND (r.started, r.run) < (own.started, own.run)
		GROUP BY r.run ORDER BY count(*) DESC, r.started DESC, r.run DESC LIMIT 1`, run).Scan(&c.Run, &ns)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	c.Started = time.Unix(0, ns).UTC()
	changes, err := h.Changes(ctx, c.Run, run)
	if err != nil {
		return nil, err
	}
	for _, change := range changes {
		c.Changes = append(c.Changes, change.String())
	}
	times := map[string][2][]float64{} // by step, of then and now
	rows, err := h.db.QueryContext(ctx, `SELECT c.step, c.run = ?2, c.seconds FROM cells c WHERE c.run IN (?1, ?2) AND c.status = 'passed'
		AND c.app IN (SELECT app FROM apps WHERE run = ?1 INTERSECT SELECT app FROM apps WHERE run = ?2) ORDER BY c.seconds`, c.Run, run)
	err = each(rows, err, func(rows *sql.Rows) error {
		var step string
		var now int
		var seconds float64
		err := rows.Scan(&step, &now, &seconds)
		both := times[step]
		both[now] = append(both[now], seconds)
		times[step] = both
		return err
	})
	for step, both := range times {
		if len(both[0]) > 0 && len(both[1]) > 0 {
			c.Steps = append(c.Steps, reports.StepThen{Step: step, Then: middle(both[0]), Now: middle(both[1])})
		}
	}
	slices.SortFunc(c.Steps, func(a, b reports.StepThen) int { return byStep(a.Step, b.Step) })
	return &c, err
}

// middle is the median of what is in order.
func middle(sorted []float64) float64 { return sorted[(len(sorted)-1)/2] }
