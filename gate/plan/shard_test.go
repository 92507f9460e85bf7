package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

func TestAShardIsWrittenAsItsNumberAndHowManyThereAre(t *testing.T) {
	if s, err := ParseSlice("2/13"); err != nil || s.Number != 2 || s.Of != 13 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, s := range []string{"", "2", "0/3", "4/3", "-1/3", "1/0", "01/3", "1/3/3", "1 /3", "1/3\n", "a/b", "1/1000"} {
		if _, err := ParseSlice(s); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "such as 2/3") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// shards gives the splits of a release, each written "a b, c".
func shards(t *testing.T, cat catalog.Catalog, r Request, of int, durations map[string]float64) (plans []*Plan, split string) {
	t.Helper()
	for i := range of {
		r.Slice = Slice{Number: i + 1, Of: of, Durations: durations}
		plans = append(plans, planned(t, cat, r))
	}
	var all []string
	for _, apps := range plans[0].Shard.Split {
		all = append(all, strings.Join(apps, " "))
	}
	return plans, strings.Join(all, ", ")
}

func TestFamiliesStayTogetherAndShardsTakeAboutAsLong(t *testing.T) {
	either := family("a", "b", "c", "d")
	either["a"].Requires = []manifest.Requirement{{AnyOf: []string{"x", "c"}}}
	either["d"].Requires = []manifest.Requirement{{App: "b", Optional: true}}
	for name, c := range map[string]struct {
		cat       catalog.Catalog
		r         Request
		of        int
		durations map[string]float64
		want      string
	}{
		"what knows nobody":                {family("a", "b", "c", "d"), Request{}, 2, nil, "a c, b d"},
		"what is required, through others": {family("chain", "node: chain", "page: node", "x", "y", "z"), Request{}, 2, nil, "chain node page, x y z"},
		"what two require":                 {family("a: db", "b: db", "db", "x"), Request{}, 2, nil, "a b db, x"},
		"one of several, and optional":     {either, Request{}, 2, nil, "a c, b d"},
		"the longest first":                {family("a", "b", "c", "d"), Request{}, 2, map[string]float64{"a": 1, "b": 2, "c": 3, "d": 7}, "d, a b c"},
		"a family counts as a whole":       {family("a", "b: a", "c", "d"), Request{}, 2, map[string]float64{"a": 3, "b": 3, "c": 4, "d": 1}, "a b, c d"},
		"not known: as long as the others": {family("a", "b", "new", "newer"), Request{}, 2, map[string]float64{"a": 12, "b": 4}, "a b, new newer"},
		"those that were asked for":        {family("a", "b: a", "c", "d"), Request{Apps: []string{"b", "c"}}, 2, nil, "a b, c"},
		"the earlier release required it":  {family("a", "b", "c"), Request{Previous: family("a: b", "b", "c"), PreviousSource: "beta 7"}, 2, nil, "a b, c"},
		"all in one":                       {family("a", "b"), Request{}, 1, nil, "a b"},
		"it took no time, as the others":   {family("a", "b", "c"), Request{}, 3, map[string]float64{"a": 0, "b": 0, "c": 0}, "a, b, c"},
	} {
		plans, split := shards(t, c.cat, c.r, c.of, c.durations)
		if split != c.want {
			t.Errorf("%s: %s, expected %s", name, split, c.want)
		}
		for i, p := range plans {
			if !slices.Equal(p.Asked.Apps, p.Shard.Split[i]) || !slices.EqualFunc(p.Shard.Split, plans[0].Shard.Split, slices.Equal) || p.Shard.Catalog != plans[0].Shard.Catalog {
				t.Errorf("%s: shard %d works on %v of %v", name, i+1, p.Asked.Apps, p.Shard.Split)
			}
			for a, needs := range p.Requires {
				if !slices.Contains(p.Asked.Apps, a) || len(needs) == 0 || len(Without(needs, p.Asked.Apps)) > 0 {
					t.Errorf("%s: in shard %d, %s requires %v", name, i+1, a, needs)
				}
			}
			if why := strings.Join(p.SmokeWhy(), "; "); !strings.HasPrefix(why, fmt.Sprintf("only shard %d of %d, which 'gate merge' joins", i+1, c.of)) {
				t.Errorf("%s: by itself, it could release: %q", name, why)
			}
		}
	}
}

// TestWhatAnAlternativeIsFollowsFromTheWholeRelease has an application that either of two will do
// for: the one that was asked for, also where a shard by itself would not have it.
func TestWhatAnAlternativeIsFollowsFromTheWholeRelease(t *testing.T) {
	cat := family("a", "b", "c")
	cat["a"].Requires = []manifest.Requirement{{AnyOf: []string{"b", "c"}}}
	plans, split := shards(t, cat, Request{Apps: []string{"a", "c"}}, 1, nil)
	if split != "a c" || !slices.Equal(plans[0].Requires["a"], []string{"c"}) {
		t.Errorf("%s, %v", split, plans[0].Requires)
	}
}

func TestMoreShardsThanFamiliesAreRefused(t *testing.T) {
	_, err := New("run", "v", Request{Slice: Slice{Number: 1, Of: 3}}, family("a", "b: a", "c"), known)
	if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "--shard 1/3: there are only 2 families") {
		t.Error(err)
	}
}

func TestAnotherManifestOrEarlierReleaseIsAnotherCatalog(t *testing.T) {
	of := func(cat, before catalog.Catalog) string {
		return planned(t, cat, Request{Slice: Slice{Number: 1, Of: 2}, Previous: before, PreviousSource: "beta 7"}).Shard.Catalog
	}
	changed := family("a", "b", "c")
	changed["c"].Version = "2"
	base := of(family("a", "b", "c"), family("c"))
	if other := of(changed, family("c")); other == base {
		t.Error("another manifest of what is in another shard makes no difference")
	}
	if other := of(family("a", "b", "c"), changed); other == base {
		t.Error("another earlier release makes no difference")
	}
}

// TestAnyReleaseIsSplitWhole splits random catalogs by random durations: every application is in one
// shard, with all that it requires; and the fullest shard has no more than the emptiest one and the
// longest family together.
func TestAnyReleaseIsSplitWhole(t *testing.T) {
	check := func(seed uint64, n uint8) bool {
		f := generate(seed)
		whole := planned(t, f.cat, Request{})
		durations := map[string]float64{}
		for i, a := range whole.Asked.Apps {
			durations[a] = float64((seed>>uint(i))%7 + 1)
		}
		all := families(whole.Asked.Apps, whole.Requires, nil)
		of := int(n)%len(all) + 1
		plans, _ := shards(t, f.cat, Request{}, of, durations)
		takes := func(apps []string) (sum float64) {
			for _, a := range apps {
				sum += durations[a]
			}
			return sum
		}
		longest, least, most := 0.0, math.Inf(1), 0.0
		for _, family := range all {
			longest = max(longest, takes(family))
		}
		var apps []string
		for _, p := range plans {
			apps = append(apps, p.Asked.Apps...)
			least, most = min(least, takes(p.Asked.Apps)), max(most, takes(p.Asked.Apps))
			for _, a := range p.Asked.Apps {
				if len(Without(whole.Needs(a), p.Asked.Apps)) > 0 || !slices.Equal(p.Needs(a), whole.Needs(a)) {
					t.Errorf("seed %d: %s is without what it requires", seed, a)
					return false
				}
			}
		}
		slices.Sort(apps)
		if !slices.Equal(apps, whole.Asked.Apps) || most > least+longest {
			t.Errorf("seed %d: %v of %v, between %v and %v", seed, apps, whole.Asked.Apps, least, most)
			return false
		}
		return true
	}
	if err := quick.Check(check, &quick.Config{MaxCount: 100}); err != nil {
		t.Error(err)
	}
}

func TestDurationsAreThoseOfTheCellsThatPassed(t *testing.T) {
	cell := func(app, step string, status reports.Status, seconds float64) reports.Result {
		return reports.Result{Cell: reports.Cell{App: app, Node: "x", Cycle: 1, Step: step}, Status: status, Seconds: seconds}
	}
	report := func(cells ...reports.Result) []byte {
		b, err := json.Marshal(reports.Report{Apps: []reports.App{{ID: "a", Cells: cells}, {ID: "b"}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	got, err := ParseDurations("last.json", report(cell("a", matrix.Install, reports.Passed, 4), cell("a", matrix.Install, reports.Passed, 6), cell("a", matrix.Install, reports.Failed, 900), cell("a", matrix.Stop, reports.Passed, 1)))
	if err != nil || len(got) != 1 || got["a"] != 6 {
		t.Errorf("%v, %v", got, err)
	}
	for name, b := range map[string][]byte{
		"no JSON": []byte("a: 1"), "something else": []byte(`{"a": 12}`), "no cell that passed": report(cell("a", matrix.Stop, reports.Failed, 1)),
		"less than no time": report(cell("a", matrix.Stop, reports.Passed, -1)),
	} {
		if got, err := ParseDurations("last.json", b); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "--durations last.json: ") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
