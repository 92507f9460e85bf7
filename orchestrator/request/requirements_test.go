package request_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/offer"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

func TestRequirements(t *testing.T) {
	install := request.Request{App: "a", Verb: request.Install}
	b, d := app("b", setting("k"), setting("l")), app("d", setting("k"), setting("l"))
	agreed := func(consent ...string) request.Request {
		return request.Request{App: "a", Verb: request.Install, Consent: consent}
	}
	diamond := func(ofB, ofC string) *offer.Offer {
		return disk(app("a", requires("b"), requires("c")), app("b", requires("d", ofB)), app("c", requires("d", ofC)), d)
	}
	decide(t, []decision{
		{name: "one comes along", offer: disk(app("a", requires("b")), b), request: install, want: "b, a"},
		{name: "configured as it is needed", offer: disk(app("a", requires("b", "k=x")), b), request: agreed(`changes the setting k of b to "x"`), want: "b k=x, a"},
		{name: "each after those it requires", offer: disk(app("a", requires("b")), app("b", requires("c")), app("c", requires("d")), d), request: install, want: "d, c, b, a"},
		{name: "in the manifest's order", offer: disk(app("a", requires("d"), requires("b")), b, d), request: install, want: "d, b, a"},
		{name: "one that is installed stays as it is", records: records(installed(b)), offer: disk(app("a", requires("b")), b), request: install, want: "a"},
		{name: "stopped too", records: records(installed(b, goal(state.Stopped))), offer: disk(app("a", requires("b")), b), request: install, want: "a"},
		{name: "what is installed is not configured unasked", records: records(installed(b, set("l=y"))), offer: disk(app("a", requires("b", "k=x")), b), request: install, refused: request.ErrConsent, because: []string{`changes the setting k of b to "x"`, "archy install a"}},
		{name: "one that is installed is configured", records: records(installed(b, set("l=y"))), offer: disk(app("a", requires("b", "k=x")), b), request: agreed(`changes the setting k of b to "x"`), want: "b k=x l=y, a"},
		{name: "one that is set so already", records: records(installed(b, set("k=x"))), offer: disk(app("a", requires("b", "k=x")), b), request: agreed(`changes the setting k of b to "x"`), want: "a"},
		{name: "one that its owner has set otherwise", records: records(installed(b, set("k=y"))), offer: disk(app("a", requires("b", "k=x")), b), request: install,
			refused: request.ErrRefused, because: []string{`a requires k="x" of b, which has another value`, "'archy configure b k=x'"}},
		{name: "one that is going comes along anew", records: records(installed(b, goal(state.Absent), set("k=y"))), offer: disk(app("a", requires("b", "k=x")), b), request: agreed(`changes the setting k of b to "x"`), want: "b k=x, a"},
		{name: "one that nobody offers", offer: disk(app("a", requires("b"))), request: install, refused: request.ErrRefused, because: []string{"a requires b", "not in the catalog"}},
		{name: "a setting that it has not", offer: disk(app("a", requires("b", "none=x")), b), request: install, refused: request.ErrRefused, because: []string{"none"}},
		{name: "one whose record cannot be read", records: state.Records{Broken: map[string]error{"b": request.ErrRefused}}, offer: disk(app("a", requires("b")), b), request: install, refused: request.ErrRefused},
		{name: "the same again on install again", records: records(installed(app("a", requires("b", "k=x")))), offer: disk(b), request: install, want: "b k=x, a"},

		{name: "a diamond comes once, with the settings of both", offer: diamond("k=x", "l=y"), request: agreed(`installs b, which changes the setting k of d to "x"`, `installs c, which changes the setting l of d to "y"`), want: "d k=x l=y, b, c, a"},
		{name: "a diamond that agrees", offer: diamond("k=x", "k=x"), request: agreed(`installs b, which changes the setting k of d to "x"`, `installs c, which changes the setting k of d to "x"`), want: "d k=x, b, c, a"},
		{name: "a diamond that does not agree", offer: diamond("k=x", "k=y"), request: install, refused: request.ErrRefused, because: []string{`c requires k="y" of d, which has another value`, "archy configure d k=y"}},
		{name: "a diamond over what is installed", records: records(installed(d)), offer: diamond("k=x", "l=y"), request: agreed(`installs b, which changes the setting k of d to "x"`, `installs c, which changes the setting l of d to "y"`), want: "d k=x l=y, b, c, a"},
	})
}

func TestSettingsThatOthersNeed(t *testing.T) {
	b := app("b", setting("k"), setting("l"))
	needs := installed(app("a", requires("b", "k=x")))
	configure := func(c ...string) request.Request {
		return request.Request{App: "b", Verb: request.Configure, Config: config(c...)}
	}
	decide(t, []decision{
		{name: "another setting", records: records(needs, installed(b, set("k=x"))), offer: disk(), request: configure("l=y"), want: "b k=x l=y"},
		{name: "the value needed", records: records(needs, installed(b)), offer: disk(), request: configure("k=x"), want: "b k=x"},
		{name: "another value", records: records(needs, installed(b, set("k=x"))), offer: disk(), request: configure("k=y"), refused: request.ErrRefused, because: []string{`a requires k="x" of b`}},
		{name: "another value than the version needs that one is being updated to", records: records(installed(app("a"), updatingTo(app("a", version("2"), requires("b", "k=x")))), installed(b, set("k=x"))), offer: disk(), request: configure("k=y"), refused: request.ErrRefused, because: []string{`a requires k="x" of b`}},
		{name: "once nobody needs it", records: records(installed(app("a", requires("b", "k=x")), goal(state.Absent)), installed(b, set("k=x"))), offer: disk(), request: configure("k=y"), want: "b k=y"},
	})
}

func TestCirclesAreRefusedWithTheWholePath(t *testing.T) {
	install := request.Request{App: "a", Verb: request.Install}
	update := request.Request{App: "a", Verb: request.Update}
	circle := func(path string) []string { return []string{"requirements go round in a circle: " + path} }
	b := app("b", requires("a"))
	decide(t, []decision{
		{name: "of itself", offer: disk(app("a", requires("a"))), request: install, refused: request.ErrRefused, because: circle("a requires a")},
		{name: "of two", offer: disk(app("a", requires("b")), b), request: install, refused: request.ErrRefused, because: circle("a requires b requires a")},
		{name: "of three", offer: disk(app("a", requires("b")), app("b", requires("c")), app("c", requires("a"))), request: install, refused: request.ErrRefused, because: circle("a requires b requires c requires a")},
		{name: "of two that come along", offer: disk(app("a", requires("b")), app("b", requires("c")), app("c", requires("b"))), request: install, refused: request.ErrRefused, because: circle("b requires c requires b")},
		{name: "through one that is installed", records: records(installed(b)), offer: disk(app("a", requires("b"))), request: install, refused: request.ErrRefused, because: circle("a requires b requires a")},
		{name: "through two that are installed", records: records(installed(app("b", requires("c"))), installed(app("c", requires("a")))), offer: disk(app("a", requires("b"))), request: install, refused: request.ErrRefused, because: circle("a requires b requires c requires a")},
		{name: "through one that comes along and one that is installed", records: records(installed(app("c", requires("a")))), offer: disk(app("a", requires("b")), app("b", requires("c"))), request: install, refused: request.ErrRefused, because: circle("a requires b requires c requires a")},
		{name: "by an update", records: records(installed(app("a")), installed(b)), offer: disk(app("a", version("2"), requires("b"))), request: update, refused: request.ErrRefused, because: circle("a requires b requires a")},
		{name: "through an update under way", records: records(installed(app("b"), updatingTo(app("b", version("2"), requires("a"))))), offer: disk(app("a", requires("b"))), request: install, refused: request.ErrRefused, because: circle("a requires b requires a")},
		{name: "through one that is going is none", records: records(installed(b, goal(state.Absent))), offer: disk(app("a", requires("b")), app("b")), request: install, want: "b, a"},
		{name: "installed, and it leads elsewhere", records: records(installed(app("b", requires("c"))), installed(app("c"))), offer: disk(app("a", requires("b"), requires("c"))), request: install, want: "a"},
	})
}

func TestWhatIsRequiredStays(t *testing.T) {
	uninstall := request.Request{App: "b", Verb: request.Uninstall}
	by := func(id string, changes ...func(*state.Desired)) state.Desired {
		return installed(app(id, requires("b")), changes...)
	}
	b := installed(app("b"))
	decide(t, []decision{
		{name: "by one", records: records(by("a"), b), offer: disk(), request: uninstall, refused: request.ErrRefused, because: []string{"b is required by a; uninstall that first"}},
		{name: "by two", records: records(by("a"), by("c"), b), offer: disk(), request: uninstall, refused: request.ErrRefused, because: []string{"required by a, c"}},
		{name: "by one that is stopped", records: records(by("a", goal(state.Stopped)), b), offer: disk(), request: uninstall, refused: request.ErrRefused},
		{name: "by one that is going", records: records(by("a", goal(state.Absent)), b), offer: disk(), request: uninstall, want: "b absent"},
		{name: "by the version that one is being updated to", records: records(installed(app("a"), updatingTo(app("a", version("2"), requires("b")))), b), offer: disk(), request: uninstall, refused: request.ErrRefused, because: []string{"b is required by a"}},
		{name: "by none", records: records(installed(app("a")), b), offer: disk(), request: uninstall, want: "b absent"},
	})
}

// Between neighbouring rungs of a ladder there are two ways each, so that the ways from
// end to end double with every rung.
func TestDeepAndWideRequirementsAreDecidedInTime(t *testing.T) {
	const n, bound = 10_000, 30 * time.Second
	id := func(i int) string { return fmt.Sprintf("app-%05d", i) }
	ladder := make([]*manifest.Manifest, n)
	for i := range ladder {
		if next := i - i%2 + 2; next < n {
			ladder[i] = app(id(i), requires(id(next)), requires(id(next+1)))
		} else {
			ladder[i] = app(id(i))
		}
	}
	all := make([]state.Desired, n)
	for i, m := range ladder {
		all[i] = installed(m)
	}
	top := app("a", requires(id(0)), requires(id(1)))
	back := app(id(n-1), requires("a"))
	for name, c := range map[string]struct {
		records state.Records
		offer   *offer.Offer
		decided int // 0: refused
	}{
		"all installed":                     {records(all...), disk(top), 1},
		"100 rungs come along":              {state.Records{}, disk(append([]*manifest.Manifest{top}, cut(ladder, 200)...)...), 201},
		"installed, and the end leads back": {records(append(slices.Clone(all[:n-1]), installed(back))...), disk(top), 0},
		"offered, and the end leads back":   {state.Records{}, disk(append([]*manifest.Manifest{top, back}, ladder[:n-1]...)...), 0},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			got, err := request.Decide(c.records, c.offer, host.Observation{}, now, request.Request{App: "a", Verb: request.Install})
			if took := time.Since(begin); len(got) != c.decided || took > bound {
				t.Errorf("%d records in %s, expected %d: %v", len(got), took, c.decided, err)
			} else {
				t.Logf("decided in %s", took)
			}
			if c.decided == 0 && (!errors.Is(err, request.ErrRefused) || !errors.Is(err, catalog.ErrCycle) || len(err.Error()) > 1000) {
				t.Errorf("%v", err)
			}
		})
	}
}

// cut is the beginning of a ladder, of n applications; the last rung requires nothing.
func cut(ladder []*manifest.Manifest, n int) []*manifest.Manifest {
	out := slices.Clone(ladder[:n])
	for i := n - 2; i < n; i++ {
		out[i] = app(out[i].ID)
	}
	return out
}
