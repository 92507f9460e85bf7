package attest

import (
	"context"
	"encoding/json"
	"errors"
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
	maxWaiver  = 512 << 10
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

// signable refuses a waiver that nobody may sign. One that was signed all the same is shown, and
// excuses nothing.
func signable(w *reports.Waived) error {
	if err := checkWaiver(w); err != nil {
		return err
	}
	if err := w.Check(); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrAttestation, w.App, err)
	}
	return nil
}

// Waive signs a waiver for an application of a run, given now, and stores it with the run. One that
// excuses a step which an earlier one excused for the same application renews that: the one in the
// file renews, which may be empty, or one in this run or beside it. Verifiers decide which keys to
// trust.
func Waive(ctx context.Context, dir string, w reports.Waived, renews string, now time.Time, signers ...*sign.Signer) (string, error) {
	r, _, err := Statement(dir)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	var ok bool
	if w.Manifest, ok = r.Subject.Manifests[w.App]; !ok {
		return "", fmt.Errorf("%w: the run is not about an application %q", ErrAttestation, w.App)
	}
	w.Given, w.Until = now.UTC().Truncate(time.Second), w.Until.UTC().Truncate(time.Second)
	earlier, err := renewed(dir, &w, renews)
	if err != nil {
		return "", err
	}
	if earlier != nil {
		w.Renewed, w.Renews = earlier.Renewed+1, earlier.Digest(w.App)
	}
	if w.Renewed > catalog.MaxRenewals {
		return "", fmt.Errorf("%w: the waiver for %s, %s, has been renewed already, and can be once; repair what it excuses", ErrAttestation, w.App, strings.Join(w.Steps, ", "))
	}
	if err := signable(&w); err != nil {
		return "", err
	}
	w.Run, w.Results = r.Run, r.Results
	if w.Cells, err = excuses(r, &w); err != nil {
		return "", err
	}
	payload, err := json.Marshal(w)
	if err != nil {
		return "", err
	}
	envelope, err := sign.Sign(ctx, waiverType, payload, signers...)
	if err != nil {
		return "", err
	}
	if len(envelope) > maxWaiver {
		return "", fmt.Errorf("%w: the waiver for %s excuses %d cells, for reasons of more than %d bytes together; repair some of them", ErrAttestation, w.App, len(w.Cells), maxWaiver)
	}
	name := filepath.Join(reports.WaiversDir, waiverFile(w.App))
	return filepath.Join(dir, name), reports.Write(dir, name, envelope)
}

// excuses gives the cells of a run that a waiver excuses: all of its application and steps that
// did not pass, and those that were not run because of them. One that nobody may excuse is
// refused, and so is a waiver of nothing.
func excuses(r *reports.Report, w *reports.Waived) (out []reports.Excuse, err error) {
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			if c.App != w.App || !slices.Contains(w.Steps, c.Step) && !verdict.Follows(r, c, w.Steps) || c.Status == reports.Passed {
				continue
			}
			if why := verdict.Unexcusable(r, c); why != "" {
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

// renewed gives the waiver that another one renews: of those that excuse a step of the same
// application which it excuses, whatever the manifest, the one that was renewed most often. It
// looks at the file that was named, this run and those beside it. A channel knows by itself what
// was released there. Nil: it renews none.
func renewed(dir string, w *reports.Waived, named string) (earlier *reports.Waived, err error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	runs, err := filepath.Glob(filepath.Join(filepath.Dir(real), "*"))
	if err != nil {
		return nil, err
	}
	var all []reports.Waived
	if named != "" {
		one, err := readWaiver(context.Background(), named, nil, 0)
		if err == nil && (one.App != w.App || !w.Overlaps(&one.Waiver)) {
			err = fmt.Errorf("%w: it is for %s of %s", ErrAttestation, strings.Join(one.Steps, ", "), one.App)
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not renewed by a waiver for %s of %s: %w", named, strings.Join(w.Steps, ", "), w.App, err)
		}
		all = append(all, *one)
	}
	for _, run := range runs {
		if info, err := os.Lstat(run); err != nil || !info.IsDir() {
			continue // not a run, or the link to the latest
		}
		beside, err := waivers(context.Background(), run, nil, 0)
		if err != nil {
			return nil, fmt.Errorf("earlier waivers: %s: %w", run, err)
		}
		all = append(all, beside...)
	}
	for i, e := range all {
		if e.App == w.App && w.Overlaps(&e.Waiver) && (earlier == nil || e.Renewed > earlier.Renewed) {
			earlier = &all[i]
		}
	}
	return earlier, nil
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
		w, err := readWaiver(ctx, f, keys, threshold)
		if err != nil {
			return nil, err
		}
		// One for each application: an entry carries one, which is all that nodes show and that
		// ends there.
		if name := filepath.Base(f); name != waiverFile(w.App) {
			return nil, fmt.Errorf("%w: waiver %s is for %s, and an application has one, in %s; give one for all of its steps", ErrAttestation, name, w.App, waiverFile(w.App))
		}
		out = append(out, *w)
	}
	return out, nil
}

// readWaiver reads a waiver, as waivers does.
func readWaiver(ctx context.Context, file string, keys []sign.PublicKey, threshold int) (*reports.Waived, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var payload []byte
	if keys != nil {
		payload, err = sign.Verify(ctx, b, maxWaiver, waiverType, keys, threshold)
	} else {
		payload, err = sign.Unverified(b, maxWaiver, waiverType)
	}
	var w reports.Waived
	if err == nil {
		err = sign.Decode(payload, maxWaiver, &w)
	}
	if errors.Is(err, sign.ErrMalformed) {
		return nil, fmt.Errorf("%w: waiver %s: %w; a gate replaces it whole, so it was changed or damaged since: give it again ('gate waive')", ErrAttestation, file, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: waiver %s: %w", ErrAttestation, file, err)
	}
	return &w, checkWaiver(&w)
}
