package matrix

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

func TestARefusalNamesWhoRequiresIt(t *testing.T) {
	refused := func(code connect.Code, text string) error { return connect.NewError(code, errors.New(text)) }
	for _, c := range []struct {
		name   string
		answer error
		want   string // empty: as it must be
	}{
		{"refused", refused(connect.CodeFailedPrecondition, "refused: chain is required by page, node; uninstall that first"), ""},
		{"taken", nil, "the daemon took a request to uninstall chain, which node requires"},
		{"refused for another reason", refused(connect.CodeFailedPrecondition, "chain is not installed"), "was not refused with that reason"},
		{"refused for one with a longer name", refused(connect.CodeFailedPrecondition, "chain is required by node-exporter"), "was not refused with that reason"},
		{"failed", refused(connect.CodeInternal, "chain is required by node"), "was not refused with that reason"},
	} {
		if err := checkRefusal(c.answer, "chain", "node"); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// chained are three applications of which each requires the one before.
func chained() (all []*manifest.Manifest) {
	for i, id := range []string{"chain", "node", "page"} {
		m := &manifest.Manifest{ID: id}
		if i > 0 {
			m.Requires = []manifest.Requirement{{App: all[i-1].ID}}
		}
		all = append(all, m)
	}
	return all
}

func TestAFixtureThatFailsIsNotHeldAgainstWhatRequiresIt(t *testing.T) {
	gone := fmt.Errorf("node n: %w", nodes.ErrLost)
	for _, c := range []struct {
		name  string
		fail  map[string]error
		want  map[string]string // in the error, by application; none: passed
		cause map[string]reports.Cause
	}{
		{name: "all pass"},
		{name: "the first fails, and so does what requires it", fail: map[string]error{"chain": errRed, "node": errors.New("no answer"), "page": errors.New("no page")},
			want: map[string]string{"chain": "the data is gone", "node": "fixture: chain, which it requires: the data is gone (no answer)", "page": "fixture: node, which it requires: no answer (no page)"}},
		{name: "the first fails alone", fail: map[string]error{"chain": errRed}, want: map[string]string{"chain": "the data is gone"}},
		{name: "the last fails", fail: map[string]error{"page": errRed}, want: map[string]string{"page": "the data is gone"}},
		{name: "the node went away", fail: map[string]error{"chain": gone, "node": errors.New("no answer")}, want: map[string]string{"chain": "node n", "node": "fixture: chain"},
			cause: map[string]reports.Cause{"chain": reports.Lost, "node": reports.Lost}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := harness(t, boot, nil)
			g := s.group(Step{Name: "fake", Run: func(_ context.Context, env *Environment, _ *Recorder) error { return c.fail[env.App.ID] }}, chained()...)
			g.perform(t.Context())
			for i, m := range chained() {
				o, err := g.conclude(t.Context(), i)
				if want := c.want[m.ID]; (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, expected %q", m.ID, err, want)
				}
				if red := err != nil && !errors.Is(err, ErrFixture) && !errors.Is(err, nodes.ErrLost); err != nil && broken(err) == red {
					t.Errorf("%s: not run is %v", m.ID, broken(err))
				}
				if o.Cause != c.cause[m.ID] {
					t.Errorf("%s: cause %q", m.ID, o.Cause)
				}
			}
		})
	}
}

func TestAShardThatCannotBePreparedBeginsNoCell(t *testing.T) {
	s := harness(t, boot, nil) // nothing is at its address
	s.Shard.Fixtures = chained()[:1]
	ran := false
	for range 2 {
		g := s.group(Step{Name: "fake", Run: func(context.Context, *Environment, *Recorder) error { ran = true; return nil }}, chained()[1])
		g.perform(t.Context())
		o, err := g.conclude(t.Context(), 0)
		if !errors.Is(err, ErrFixture) || !broken(err) || !strings.Contains(err.Error(), "chain, which it requires, does not run") || o.Cause != reports.Lost || o.Seconds < 0 {
			t.Errorf("%v, cause %q, %g s", err, o.Cause, o.Seconds)
		}
	}
	if ran {
		t.Error("a cell began")
	}
	s = harness(t, boot, nil)
	s.Shard.Absent = chained()[2:]
	g := s.group(Step{Name: "fake", Run: held()}, chained()[1])
	g.perform(t.Context())
	if _, err := g.conclude(t.Context(), 0); !errors.Is(err, ErrFixture) || !strings.Contains(err.Error(), "page, which requires it, is left and cannot be removed") {
		t.Error(err)
	}
}

func TestWhatRequiresAnotherFollowsIt(t *testing.T) {
	all := chained()
	g := harness(t, boot, nil).group(Step{Name: "fake"}, all...)
	if g.follows(all[0]) || !g.follows(all[1]) || !g.follows(all[2]) {
		t.Error("of three in a chain, the last two follow")
	}
	if harness(t, boot, nil).group(Step{Name: "fake"}, all[1]).follows(all[1]) {
		t.Error("what it requires is not of the group")
	}
}

func TestNothingIsAwaitedOfWhatCannotFollow(t *testing.T) {
	for at, want := range map[int]string{-1: "", 0: "node page", 1: "page", 2: ""} {
		g := harness(t, boot, nil).group(Step{Name: "fake"}, chained()...)
		if at >= 0 {
			g.cells[at].err = errRed
		}
		got := g.unmet()
		if ids := strings.Join(slices.Sorted(maps.Keys(got)), " "); ids != want {
			t.Errorf("with cell %d red, %q cannot follow, expected %q", at, ids, want)
		}
		for id, err := range got {
			if !errors.Is(err, ErrFixture) || !errors.Is(err, errRed) {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
}
