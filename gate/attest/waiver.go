package attest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/gate/verdict"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

const (
	// waiverType is the DSSE payload type of a waiver.
	waiverType = "application/vnd.archipelago.waiver+json"
	maxWaiver  = 64 << 10
)

// waiverFile is the name of an application's waiver, in a run's WaiversDir.
func waiverFile(app string) string { return app + ".dsse.json" }

// checkWaiver refuses a waiver that does not say all it must.
func checkWaiver(w *reports.Waived) error {
	u, err := url.Parse(w.Tracker)
	switch {
	case w.App == "" || w.Manifest == "":
		return fmt.Errorf("%w: a waiver names an application and the digest of its manifest", ErrAttestation)
	case len(w.Steps) == 0 || strings.TrimSpace(w.Reason) == "":
		return fmt.Errorf("%w: a waiver for %s names the steps it excuses, and a reason", ErrAttestation, w.App)
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%w: a waiver for %s links to where the failure is worked on; %q is no address", ErrAttestation, w.App, w.Tracker)
	case w.Renewed < 0 || w.Renewed > catalog.MaxRenewals:
		return fmt.Errorf("%w: a waiver for %s has been renewed %d times; it can be once", ErrAttestation, w.App, w.Renewed)
	case w.Until.IsZero():
		return fmt.Errorf("%w: a waiver for %s has an end date", ErrAttestation, w.App)
	}
	for _, s := range w.Steps {
		if _, ok := matrix.FindStep(s); !ok {
			return fmt.Errorf("%w: a waiver for %s names an unknown step %q", ErrAttestation, w.App, s)
		}
	}
	return nil
}

// Waive signs a waiver for an application of a run and stores it with the run. Verifiers
// decide which keys to trust.
func Waive(ctx context.Context, dir string, w reports.Waived, signers ...*sign.Signer) (string, error) {
	r, _, err := Statement(dir)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	var ok bool
	if w.Manifest, ok = r.Subject.Manifests[w.App]; !ok {
		return "", fmt.Errorf("%w: the run is not about an application %q", ErrAttestation, w.App)
	}
	if err := checkWaiver(&w); err != nil {
		return "", err
	}
	w.Run, w.Results = r.Run, r.Results
	if w.Cells, err = excuses(r, &w); err != nil {
		return "", err
	}
	w.Until = w.Until.UTC().Truncate(time.Second)
	if w.Renewed, err = renewals(dir, &w.Waiver, w.App); err != nil {
		return "", err
	}
	if w.Renewed > catalog.MaxRenewals {
		return "", fmt.Errorf("%w: the waiver for %s, %s, has been renewed already, and can be once; repair what it excuses", ErrAttestation, w.App, strings.Join(w.Steps, ", "))
	}
	payload, err := json.Marshal(w)
	if err != nil {
		return "", err
	}
	envelope, err := sign.Sign(ctx, waiverType, payload, signers...)
	if err != nil {
		return "", err
	}
	name := filepath.Join(reports.WaiversDir, waiverFile(w.App))
	return filepath.Join(dir, name), reports.Write(dir, name, envelope)
}

// excuses gives the cells of a run that a waiver excuses: all of its application and steps that
// did not pass. One that nobody may excuse is refused, and so is a waiver of nothing.
func excuses(r *reports.Report, w *reports.Waived) (out []reports.Excuse, err error) {
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			if c.App != w.App || !slices.Contains(w.Steps, c.Step) || c.Status == reports.Passed {
				continue
			}
			if why := verdict.Unexcusable(c); why != "" {
				return nil, fmt.Errorf("%w: %s: %s: %s", ErrAttestation, c.Cell, why, c.Reason)
			}
			out = append(out, verdict.ExcuseOf(c))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: run %s has nothing of %s to excuse at %s", ErrAttestation, r.Run, w.App, strings.Join(w.Steps, ", "))
	}
	return out, nil
}

// renewals is how often a waiver would have been renewed with this one: a renewal is one that
// excuses a step which an earlier one excused for the same application, whatever its
// manifest, in this run or one beside it. A channel counts by itself what was released there.
func renewals(dir string, w *catalog.Waiver, app string) (n int, err error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return 0, err
	}
	runs, err := filepath.Glob(filepath.Join(filepath.Dir(real), "*"))
	if err != nil {
		return 0, err
	}
	for _, run := range runs {
		if info, err := os.Lstat(run); err != nil || !info.IsDir() {
			continue // not a run, or the link to the latest
		}
		earlier, err := waivers(context.Background(), run, nil, 0)
		if err != nil {
			return 0, fmt.Errorf("earlier waivers: %s: %w", run, err)
		}
		for _, e := range earlier {
			if e.App == app && w.Renews(&e.Waiver) {
				n = max(n, e.Renewed+1)
			}
		}
	}
	return n, nil
}

// waivers reads the waivers stored with a run. Signatures are checked only if keys are
// given: a report shows every waiver, whoever signed it.
func waivers(ctx context.Context, dir string, keys []sign.PublicKey, threshold int) (out []reports.Waived, err error) {
	files, err := filepath.Glob(filepath.Join(dir, reports.WaiversDir, "*.dsse.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var payload []byte
		if keys != nil {
			payload, err = sign.Verify(ctx, b, maxWaiver, waiverType, keys, threshold)
		} else {
			payload, err = sign.Unverified(b, maxWaiver, waiverType)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: waiver %s: %w", ErrAttestation, filepath.Base(f), err)
		}
		var w reports.Waived
		if err := sign.Decode(payload, maxWaiver, &w); err != nil {
			return nil, fmt.Errorf("%w: waiver %s: %w", ErrAttestation, filepath.Base(f), err)
		}
		if err := checkWaiver(&w); err != nil {
			return nil, err
		}
		// One for each application: an entry carries one, which is all that nodes show and that
		// ends there.
		if name := filepath.Base(f); name != waiverFile(w.App) {
			return nil, fmt.Errorf("%w: waiver %s is for %s, and an application has one, in %s; give one for all of its steps", ErrAttestation, name, w.App, waiverFile(w.App))
		}
		out = append(out, w)
	}
	return out, nil
}
