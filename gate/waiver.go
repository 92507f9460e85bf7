package gate

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
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// waiverType is the DSSE payload type of a waiver.
const (
	waiverType = "application/vnd.archipelago.waiver+json"
	maxWaiver  = 64 << 10
)

// checkWaiver wants all that a waiver must say.
func checkWaiver(w *reports.Waiver) error {
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

// Waive signs a waiver for an application of a run and puts it with the run. Whose
// signature counts is for those to say who verify it.
func Waive(ctx context.Context, dir string, w reports.Waiver, signers ...*sign.Signer) (string, error) {
	r, _, err := Statement(dir)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	var ok bool
	if w.Manifest, ok = r.Subject.Manifests[w.App]; !ok {
		return "", fmt.Errorf("%w: the run is not about an application %q", ErrAttestation, w.App)
	}
	w.Until = w.Until.UTC().Truncate(time.Second)
	if err := checkWaiver(&w); err != nil {
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
	file := filepath.Join(dir, reports.WaiversDir, w.App+".dsse.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	return file, os.WriteFile(file, envelope, 0o644)
}

// waivers reads the waivers that lie with a run. Their signatures are checked where
// keys are given; a report shows them whoever signed them.
func waivers(ctx context.Context, dir string, keys []sign.PublicKey, threshold int) (out []reports.Waiver, err error) {
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
		var w reports.Waiver
		if err := sign.Decode(payload, maxWaiver, &w); err != nil {
			return nil, fmt.Errorf("%w: waiver %s: %w", ErrAttestation, filepath.Base(f), err)
		}
		if err := checkWaiver(&w); err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	return out, nil
}

// waived tells whether a cell that is not passed is excused.
func waived(r *reports.Report, c reports.Cell) bool {
	return slices.ContainsFunc(r.Waivers, func(w reports.Waiver) bool {
		return w.App == c.App && w.Manifest == r.Subject.Manifests[c.App] && slices.Contains(w.Steps, c.Step)
	})
}

// Proves tells whether a verified run is about exactly what a catalog's entry holds,
// and the waiver under which it is, nil for none.
func Proves(r *reports.Report, e *document.Entry) (*catalog.Waiver, error) {
	tested, ok := r.Subject.Manifests[e.ID]
	switch {
	case e.ImageOnly():
		return nil, fmt.Errorf("%w: the entry of %s only overrides images: no gate has seen what comes of it on a node", ErrAttestation, e.ID)
	case !ok:
		return nil, fmt.Errorf("%w: run %s did not test %s", ErrAttestation, r.Run, e.ID)
	case tested != e.SHA256:
		return nil, fmt.Errorf("%w: run %s tested another manifest of %s (%.12s…) than the entry's, version %s (%.12s…)", ErrAttestation, r.Run, e.ID, tested, e.Version, e.SHA256)
	}
	for c, image := range e.Images {
		if _, digest, _ := strings.Cut(image, "@sha256:"); r.Subject.Images[c] != digest {
			return nil, fmt.Errorf("%w: run %s tested another image of %s (%.12s…) than the entry's (%.12s…)", ErrAttestation, r.Run, c, r.Subject.Images[c], digest)
		}
	}
	for _, w := range r.Waivers {
		if w.App == e.ID && w.Manifest == e.SHA256 {
			return &catalog.Waiver{Steps: w.Steps, Reason: w.Reason, Tracker: w.Tracker, Until: w.Until}, nil
		}
	}
	return nil, nil
}
