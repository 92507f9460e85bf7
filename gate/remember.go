package gate

import (
	"context"
	"path/filepath"
	"time"

	"github.com/archipelago-cloud/archipelago/gate/history"
	"github.com/archipelago-cloud/archipelago/reports"
)

// rememberTimeout bounds what the history may take of a run's end.
const rememberTimeout = 20 * time.Second

// lastGreen takes a run over into the history beside it, and compares it with the last green
// one there. A history that cannot be had is said in the report; it fails no run. A run that is
// not beside a ledger was moved or copied, and is compared with nothing.
func lastGreen(dir, run string) *reports.Comparison {
	out := filepath.Dir(dir)
	if !exists(filepath.Join(out, ledgerFile)) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), rememberTimeout)
	defer cancel()
	c, err := compared(ctx, out, run)
	if err != nil {
		return &reports.Comparison{Why: err.Error()}
	}
	return c
}

func compared(ctx context.Context, out, run string) (*reports.Comparison, error) {
	h, err := history.Open(ctx, out)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if _, err := h.Update(ctx); err != nil { // one that is skipped is named by 'gate trends'
		return nil, err
	}
	return h.Compare(ctx, run)
}
