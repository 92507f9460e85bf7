package matrix

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/nodes"
)

func TestABudgetIsHeldByTheGatesClock(t *testing.T) {
	m := stack() // starts within 120 s; its containers stop within 10 and 3 s, and 5 s each
	for verb, own := range map[string]time.Duration{Start: 120 * time.Second, Stop: 23 * time.Second, Restart: 143 * time.Second} {
		if err := checkBudget(m, verb, own+machineShare); err != nil {
			t.Error(err)
		}
		want := fmt.Sprintf("%s took %s by the gate's clock: its budget is %s, and 1m30s for the machine", verb, own+machineShare+time.Second, own)
		if err := checkBudget(m, verb, own+machineShare+time.Second); err == nil || err.Error() != want {
			t.Errorf("%v, expected %s", err, want)
		}
	}
}

func TestARebootIsMeasuredFromPowerOn(t *testing.T) {
	asked, m := noon, stack()
	now := asked.Add(time.Minute)
	for age, want := range map[time.Duration]time.Time{
		20 * time.Second: asked.Add(40 * time.Second),
		time.Hour:        asked, // that was another boot
		-time.Second:     asked,
		0:                asked,
	} {
		if got := poweredOn(asked, now, age); !got.Equal(want) {
			t.Errorf("on for %s: since %s, expected %s", age, got, want)
		}
	}
	budget := m.RebootBudget()
	if err := checkReturn(m, noon, noon.Add(budget)); err != nil {
		t.Error(err)
	}
	if err := checkReturn(m, noon, noon.Add(budget+time.Second)); err == nil || err.Error() != "pair was back 3m1s after power-on by the gate's clock, its budget is 3m0s" {
		t.Error(err)
	}
}

// TestANodeThatDoesNotComeBackIsRed tells a node that the gate rebooted from one that was
// lost, and from a gate that was interrupted.
func TestANodeThatDoesNotComeBackIsRed(t *testing.T) {
	away := fmt.Errorf("node n: %w: %w on a new boot: timeout", nodes.ErrLost, nodes.ErrAway)
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		red  bool
	}{
		{"away", t.Context(), away, true},
		{"lost before the reboot", t.Context(), nodes.ErrLost, false},
		{"another machine", t.Context(), nodes.ErrRefused, false},
		{"interrupted", interrupted, away, false},
	} {
		s := harness(t, "", nodes.ErrLost)
		g := s.group(Step{Name: RebootSurvive, Reboots: true, RunAll: func(ctx context.Context, g *Group) {
			g.Once(ctx, func(context.Context) error { return lostForGood(c.ctx, c.err) })
		}}, stack())
		g.perform(t.Context())
		o, err := g.conclude(t.Context(), 0)
		if err == nil || broken(err) == c.red || errors.Is(err, errNotBack) != c.red {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.red && (!strings.Contains(err.Error(), "did not come back within 5m0s") || len(o.Evidence) == 0 || o.Cause != "") {
			t.Errorf("%s: %v, cause %q, evidence %q", c.name, err, o.Cause, o.Evidence)
		}
	}
}

func TestALookCountsBackFromTheNodesOwnTime(t *testing.T) {
	if args := (questions{app: "pair", since: time.Now().Add(-time.Minute)}).arguments(); args[3] != "-63s" {
		t.Errorf("the journal is read since %q", args[3])
	}
}
