package attest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/reports"
)

// A waiver ends within 90 days of the day on which it was given; whoever signs a longer one past
// 'gate waive' excuses nothing.
func TestAWaiverLastsNinetyDaysAtMost(t *testing.T) {
	gateKey, person := newSigner(t), newSigner(t)
	dir := redAt(t, func(*plan.Plan, *reports.Result) {})
	const day = 24 * time.Hour
	for life, want := range map[time.Duration]string{day: "", 90 * day: "", 90*day + time.Second: "is for longer than 90 days, from 2026-01-02 to 2026-04-02; end it by 2026-04-02, and renew it once"} {
		w := theme()
		w.Until = ended.Add(life)
		if err := os.RemoveAll(filepath.Join(dir, reports.WaiversDir)); err != nil {
			t.Fatal(err)
		}
		if _, err := Waive(t.Context(), dir, w, "", ended, person); (err == nil) != (want == "") || err != nil && (!errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), want)) {
			t.Errorf("for %s: %v", life, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, reports.WaiversDir)); err != nil { // or the next one renews it
		t.Fatal(err)
	}
	w := theme()
	if _, err := Waive(t.Context(), dir, w, "", ended, person); err != nil {
		t.Fatal(err)
	}
	r, _, err := Statement(dir)
	if err != nil || !r.Waivers[0].Given.Equal(ended) {
		t.Fatalf("%+v, %v", r.Waivers, err)
	}
	for name, c := range map[string]struct {
		change func(*reports.Waived)
		want   string
	}{
		"as it was given":      {func(*reports.Waived) {}, ""},
		"longer":               {func(w *reports.Waived) { w.Until = w.Given.Add(91 * day) }, "is for longer than 90 days"},
		"given at no time":     {func(w *reports.Waived) { w.Given = time.Time{} }, "does not say when it was given; give it again"},
		"given in the future":  {func(w *reports.Waived) { w.Given = ended.Add(2 * time.Hour) }, "was given in the future"},
		"renewed twice":        {func(w *reports.Waived) { w.Renewed, w.Renews = 2, strings.Repeat("0", 64) }, "has been renewed 2 times, and can be once"},
		"renewed, and nothing": {func(w *reports.Waived) { w.Renewed = 1 }, `the one that it renews is ""`},
	} {
		w := r.Waivers[0]
		c.change(&w)
		put(t, dir, w, person)
		_, err := Sign(t.Context(), dir, ended, gateKey)
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
		envelope, err := os.ReadFile(filepath.Join(dir, reports.WaiversDir, "a.dsse.json"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Cosign(t.Context(), envelope, newSigner(t)); (err == nil) != (c.want == "" || name == "given in the future") {
			t.Errorf("%s: cosigned: %v", name, err)
		}
	}
}

// Nothing lies beside these runs: what a renewal renews is in the waiver.
func TestASecondRenewalIsRefusedWhereverItIs(t *testing.T) {
	person := newSigner(t)
	given := func(renews string) (file string, w reports.Waived, err error) {
		dir := redAt(t, func(*plan.Plan, *reports.Result) {})
		if file, err = Waive(t.Context(), dir, theme(), renews, ended, person); err == nil {
			r, _, statementErr := Statement(dir)
			if statementErr != nil {
				t.Fatal(statementErr)
			}
			w = r.Waivers[0]
		}
		return file, w, err
	}
	first, a, err := given("")
	if err != nil || a.Renewed != 0 || a.Renews != "" {
		t.Fatalf("%+v, %v", a, err)
	}
	second, b, err := given(first)
	if err != nil || b.Renewed != 1 || b.Renews != a.Digest("a") || len(b.Renews) != 64 {
		t.Fatalf("%+v, %v", b, err)
	}
	if _, c, err := given(second); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "has been renewed already, and can be once") {
		t.Errorf("%+v, %v", c, err)
	}
	if _, _, err := given(filepath.Join(filepath.Dir(first), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one that is not there: %v", err)
	}
	for name, w := range map[string]reports.Waived{
		"another application's": {App: "b", Manifest: "b0", Waiver: a.Waiver},
		"another step's":        {App: "a", Manifest: "a0", Waiver: catalog.Waiver{Steps: []string{"stop"}, Reason: "r", Tracker: a.Tracker, Given: a.Given, Until: a.Until}},
	} {
		other := t.TempDir()
		put(t, other, w, person)
		if _, _, err := given(filepath.Join(other, reports.WaiversDir, "a.dsse.json")); !errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), "is not renewed by a waiver for ui-reachable of a") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What was not run was never judged. What a failure kept from being run goes with it, where the
// same step was judged in another cycle.
func TestWhatWasNotRunIsWaivedOnlyWithTheFailureThatItFollows(t *testing.T) {
	gateKey, person := newSigner(t), newSigner(t)
	const never = "it was not run, so nobody has judged it"
	for name, c := range map[string]struct {
		change func(p *plan.Plan, r *reports.Result) // of a's cells on .228, and of b's
		waive  string                                // application
		want   string
	}{
		"the rest of the cycle": {func(_ *plan.Plan, r *reports.Result) { after(r, "a", r.Cycle == 3) }, "a", ""},
		"the rest of every cycle": {func(_ *plan.Plan, r *reports.Result) { after(r, "a", true) }, "a",
			"it was not run in any cycle on this node, so nobody has judged it"},
		"interrupted": {func(_ *plan.Plan, r *reports.Result) {
			after(r, "a", r.Cycle == 3)
			if r.Cycle == 3 && r.Step == "stop" {
				r.Cause = reports.Interrupted
			}
		}, "a", ""}, // it is not among the waiver's, and blocks; see below
		"the step itself was not run": {func(_ *plan.Plan, r *reports.Result) {
			if r.App == "a" && r.Cycle == 3 && r.Step == "ui-reachable" {
				r.Status, r.Reason = reports.NotRun, "the suite ended before it"
			}
		}, "a", never},
		"a fixture's failure": {func(p *plan.Plan, r *reports.Result) {
			p.Requires = map[string][]string{"b": {"a"}}
			after(r, "a", r.Cycle == 3)
			if r.App == "b" && r.Cycle == 3 {
				r.Status, r.Reason = reports.NotRun, "fixture a, which it requires: ui-reachable failed earlier in the cycle"
			}
		}, "b", ""},
		"another's failure": {func(_ *plan.Plan, r *reports.Result) {
			after(r, "a", r.Cycle == 3)
			if r.App == "b" && r.Cycle == 3 {
				r.Status, r.Reason = reports.NotRun, "planted"
			}
		}, "b", never},
	} {
		dir := runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result {
			for i := range r {
				if r[i].Node == ".228" {
					c.change(p, &r[i])
				}
			}
			return r
		})
		w := theme()
		if w.App = c.waive; w.App == "b" {
			w.Steps = plan.Default().Steps
		}
		_, err := Waive(t.Context(), dir, w, "", ended, person)
		if name == "a fixture's failure" && err == nil {
			w.Steps = []string{"ui-reachable"}
			w.App = "a"
			_, err = Waive(t.Context(), dir, w, "", ended, person)
		}
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrAttestation) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		_, err = Sign(t.Context(), dir, ended, gateKey)
		if interrupted := name == "interrupted"; (err != nil) != interrupted || interrupted && !strings.Contains(err.Error(), "cycle 3, stop is not-run") {
			t.Errorf("%s: signed: %v", name, err)
		}
	}
}

// after has a fail at ui-reachable, and the rest of that cycle not be run.
func after(r *reports.Result, app string, hit bool) {
	switch {
	case r.App != app || !hit || r.Step == "install":
	case r.Step == "ui-reachable":
		r.Status, r.Reason = reports.Failed, "the theme is broken"
	default:
		r.Status, r.Reason = reports.NotRun, "ui-reachable failed earlier in the cycle"
	}
}

func TestAJumpOfTheGatesClockReleasesNothing(t *testing.T) {
	dir := runDir(t, func(p *plan.Plan, r []reports.Result) []reports.Result {
		p.Jumps = []reports.Jump{{At: ended, Seconds: 86400}}
		return r
	})
	if _, err := Sign(t.Context(), dir, ended, newSigner(t)); err == nil || !strings.Contains(err.Error(), "not fit for a release: the clock of the gate's machine jumped by +24h0m0s, noticed at 2026-01-02 03:04:05 UTC: how old its results are cannot be told; have the clock synchronised (timedatectl set-ntp true) and start a new run") {
		t.Error(err)
	}
	r, _, err := Statement(dir)
	if err != nil || r.Verdict != reports.Green || r.Seconds != 3600-86400 {
		t.Errorf("%s after %.0f s, %v", r.Verdict, r.Seconds, err)
	}
}
