package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

// family gives a catalog of applications, each written as "ID" or "ID: REQUIRED REQUIRED".
func family(apps ...string) catalog.Catalog {
	cat := catalog.Catalog{}
	for _, a := range apps {
		id, requires, _ := strings.Cut(a, ":")
		m := &manifest.Manifest{ID: id, Version: "1", Containers: []manifest.Container{{Name: id}}, Resources: manifest.Resources{Memory: "1M"}}
		for _, r := range strings.Fields(requires) {
			m.Requires = append(m.Requires, manifest.Requirement{App: r})
		}
		cat[id] = &catalog.Entry{Manifest: m}
	}
	return cat
}

// altering has "index" want a setting of "chain" to be other than by default, and all others have it
// as it is.
func altering(cat catalog.Catalog) catalog.Catalog {
	cat["chain"].Settings = []manifest.Setting{{Name: "addresses", Default: "0"}, {Name: "transactions", Default: "1"}}
	for id, e := range cat {
		for i := range e.Requires {
			e.Requires[i].Config = map[string]string{"transactions": "1"}
			if id == "index" {
				e.Requires[i].Config["addresses"] = "1"
			}
		}
	}
	return cat
}

func planned(t *testing.T, cat catalog.Catalog, r Request) *Plan {
	t.Helper()
	p, err := New("run", "v", r, cat, known)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// text writes a graph a line each: its cells, its claims, and what it waits for.
func text(jobs []Job) string {
	name := func(j Job) string {
		return strings.Join(j.Apps, "+") + "/" + j.Steps[0]
	}
	var b strings.Builder
	for _, j := range jobs {
		claims := strings.Join(j.Exclusive, ",")
		if j.WholeNode {
			claims = "node"
		}
		var after []string
		for _, i := range j.After {
			after = append(after, name(jobs[i]))
		}
		fmt.Fprintf(&b, "%s claims %s shares %s after %s\n", name(j), claims, strings.Join(j.Shared, ","), strings.Join(after, " "))
	}
	return b.String()
}

func TestGraphOfACycle(t *testing.T) {
	steps := []string{matrix.Install, matrix.Stop, matrix.RebootSurvive, matrix.Uninstall}
	for _, c := range []struct {
		name string
		cat  catalog.Catalog
		r    Request
		want string
	}{
		{"applications that do not know each other", family("a", "b"), Request{Steps: steps}, `
a/install claims a shares  after 
b/install claims b shares  after 
a+b/reboot-survive claims node shares  after a/install b/install
b/uninstall claims b shares  after a+b/reboot-survive
a/uninstall claims a shares  after a+b/reboot-survive
`},
		{"what is required first, and last", family("chain", "node: chain", "page: node"), Request{Steps: steps}, `
chain/install claims chain,page,node shares  after 
node/install claims node,page shares chain after chain/install
page/install claims page shares chain,node after node/install
chain+node+page/reboot-survive claims node shares  after chain/install node/install page/install
page/uninstall claims page shares chain,node after chain+node+page/reboot-survive
node/uninstall claims node,page shares chain after chain+node+page/reboot-survive page/uninstall
chain/uninstall claims chain,page,node shares  after chain+node+page/reboot-survive page/uninstall node/uninstall
`},
		{"without what acts on the node", family("chain", "node: chain"), Request{Steps: []string{matrix.Install, matrix.Uninstall}}, `
chain/install claims chain,node shares  after 
node/install claims node shares chain after chain/install
node/uninstall claims node shares chain after chain/install node/install
chain/uninstall claims chain,node shares  after chain/install node/install node/uninstall
`},
		{"one whose installation changes what another uses", altering(family("chain", "node: chain", "index: chain")), Request{Steps: []string{matrix.Install, matrix.Uninstall}}, `
chain/install claims chain,node,index shares  after 
index/install claims index,chain shares  after chain/install
node/install claims node shares chain after chain/install
node/uninstall claims node shares chain after chain/install index/install node/install
index/uninstall claims index shares chain after chain/install index/install node/install
chain/uninstall claims chain,node,index shares  after chain/install index/install node/install node/uninstall index/uninstall
`},
		{"the end alone", family("chain", "node: chain"), Request{Steps: []string{matrix.Uninstall}}, `
node/uninstall claims node shares chain after 
chain/uninstall claims chain,node shares  after node/uninstall
`},
		{"one asked for brings what it requires", family("chain", "node: chain", "page"), Request{Apps: []string{"node"}, Steps: []string{matrix.Install}}, `
chain/install claims chain,node shares  after 
node/install claims node shares chain after chain/install
`},
		{"two steps that act on the node", family("a"), Request{Steps: []string{matrix.RebootSurvive, matrix.RestartSurvive}}, `
a/reboot-survive claims node shares  after 
a/archipelago-restart-survive claims node shares  after a/reboot-survive
`},
	} {
		if got := "\n" + text(planned(t, c.cat, c.r).Graph("x", 1)); got != c.want {
			t.Errorf("%s:%s\nexpected:%s", c.name, got, c.want)
		}
	}
}

func TestWhatIsRequiredIsTestedToo(t *testing.T) {
	p := planned(t, family("chain", "node: chain", "page: node"), Request{Apps: []string{"page"}})
	if !slices.Equal(p.Asked.Apps, []string{"chain", "node", "page"}) || p.Versions["chain"] != "1" {
		t.Errorf("%+v", p.Asked)
	}
	if _, err := New("run", "v", Request{}, family("node: chain"), known); err == nil || !strings.Contains(err.Error(), "node requires chain, which the catalog does not have") {
		t.Error(err)
	}
}

func TestAnImageOfOneMachineIsRefused(t *testing.T) {
	cat := family("a")
	cat["a"].Containers[0].Image.Ref = "localhost/a/a:local"
	if _, err := New("run", "v", Request{}, cat, known); err == nil || !strings.Contains(err.Error(), "localhost/a/a:local of container a is one machine's own") {
		t.Error(err)
	}
}

func TestOneCycleOfARunStartsFromNothing(t *testing.T) {
	for cycles, want := range map[int]int{1: 0, 2: 2, 20: 2} {
		if got := planned(t, family("a"), Request{Cycles: cycles}).Bare; got != want {
			t.Errorf("of %d cycles, cycle %d", cycles, got)
		}
	}
}

func TestTheLongestWayGoesFirst(t *testing.T) {
	p := planned(t, family("a", "b", "c", "d: c"), Request{Steps: []string{matrix.Install, matrix.Uninstall}})
	p.Learn([]reports.Result{
		{Cell: reports.Cell{App: "a", Step: matrix.Install}, Status: reports.Passed, Seconds: 5},
		{Cell: reports.Cell{App: "b", Step: matrix.Install}, Status: reports.Passed, Seconds: 30},
		{Cell: reports.Cell{App: "c", Step: matrix.Install}, Status: reports.Passed, Seconds: 20},
		{Cell: reports.Cell{App: "d", Step: matrix.Install}, Status: reports.Passed, Seconds: 20},
		{Cell: reports.Cell{App: "b", Step: matrix.Uninstall}, Status: reports.Failed, Seconds: 900},
		{Cell: reports.Cell{App: "z", Step: matrix.Install}, Status: reports.Passed, Seconds: 900},
	})
	jobs := p.Graph("x", 1)
	var got []string
	for _, i := range NewSchedule(jobs, Capacity{CPUs: 4}).Next() {
		got = append(got, jobs[i].Apps[0])
	}
	if !slices.Equal(got, []string{"c", "b", "a"}) {
		t.Errorf("begun are %v: c has d behind it, and a is the shortest", got)
	}
}

func TestANodeCarriesWhatItsProcessorsAndItsMemoryDo(t *testing.T) {
	begun := func(room Capacity, apps ...string) int {
		return len(NewSchedule(planned(t, family(apps...), Request{Steps: []string{matrix.Install}}).Graph("x", 1), room).Next())
	}
	many := strings.Fields("a b c d e f g h i j k l m")
	for _, c := range []struct {
		room Capacity
		want int
	}{
		{Capacity{CPUs: 1}, 2}, {Capacity{CPUs: 2}, 4}, {Capacity{CPUs: 0}, 1}, {Capacity{CPUs: 64}, 10},
		{Capacity{CPUs: 4, Memory: 3 << 20}, 3}, {Capacity{CPUs: 4, Memory: 1}, 1},
	} {
		if got := begun(c.room, many...); got != c.want {
			t.Errorf("%+v begins %d, expected %d", c.room, got, c.want)
		}
	}
}

func TestWhatEndsGivesItsMemoryBack(t *testing.T) {
	s := NewSchedule(planned(t, family("a", "b", "c"), Request{Steps: []string{matrix.Install}}).Graph("x", 1), Capacity{CPUs: 4, Memory: 2 << 20})
	first := s.Next()
	if len(first) != 2 || len(s.Next()) != 0 {
		t.Fatalf("%v began", first)
	}
	s.Ended(first[0])
	s.Ended(first[0]) // twice gives nothing more back
	if next := s.Next(); len(next) != 1 || s.Done() {
		t.Errorf("then %v", next)
	}
}

// forest is a random catalog without circles, a node and an order in which jobs end.
type forest struct {
	cat  catalog.Catalog
	room Capacity
	seed uint64
}

func generate(seed uint64) forest {
	r := rand.New(rand.NewPCG(seed, 1))
	n := 1 + r.IntN(12)
	var apps []string
	for i := range n {
		app := fmt.Sprintf("app%02d:", i)
		for j := range i {
			if r.IntN(4) == 0 {
				app += fmt.Sprintf(" app%02d", j)
			}
		}
		apps = append(apps, app)
	}
	cat := family(apps...)
	for _, id := range cat.IDs() {
		e := cat[id]
		e.Resources.Memory = fmt.Sprintf("%dM", 1+r.IntN(9))
	}
	return forest{cat, Capacity{CPUs: r.IntN(5), Memory: int64(r.IntN(20)) << 20}, seed}
}

// TestAnyGraphIsCarriedOut ends the jobs of random graphs in random order: no two jobs with
// conflicting claims are under way together, each begins after those it waits for, the node
// carries no more than it can, every cell is run exactly once, none is waited for for ever,
// and the same again gives the same.
func TestAnyGraphIsCarriedOut(t *testing.T) {
	walk := func(f forest) (string, error) {
		p, err := New("run", "v", Request{}, f.cat, known)
		if err != nil {
			return "", err
		}
		r := rand.New(rand.NewPCG(f.seed, 2))
		jobs := p.Graph("x", 1)
		s := NewSchedule(jobs, f.room)
		var trace strings.Builder
		var under []int
		ended := map[int]bool{}
		cells := map[reports.Cell]int{}
		for !s.Done() {
			for _, i := range s.Next() {
				j := &jobs[i]
				fmt.Fprintln(&trace, "begin", j)
				for _, b := range j.After {
					if !ended[b] {
						return "", fmt.Errorf("%s began before %s had ended", j, &jobs[b])
					}
				}
				for _, o := range under {
					other := &jobs[o]
					if j.WholeNode || other.WholeNode {
						return "", fmt.Errorf("%s and %s together", j, other)
					}
					for _, a := range j.Exclusive {
						if slices.Contains(other.Exclusive, a) || slices.Contains(other.Shared, a) {
							return "", fmt.Errorf("%s and %s are both at %s", j, other, a)
						}
					}
					for _, a := range j.Shared {
						if slices.Contains(other.Exclusive, a) {
							return "", fmt.Errorf("%s uses %s, which %s works on", j, a, other)
						}
					}
				}
				for _, c := range j.Cells() {
					cells[c]++
				}
				under = append(under, i)
			}
			memory := int64(0)
			for _, i := range under {
				memory += jobs[i].Memory
			}
			if len(under) == 0 {
				return "", fmt.Errorf("nothing is under way, and not everything is done:\n%s", trace.String())
			}
			if len(under) > f.room.Width() || len(under) > 1 && f.room.Memory > 0 && memory > f.room.Memory {
				return "", fmt.Errorf("%d jobs of %d bytes on %+v", len(under), memory, f.room)
			}
			k := r.IntN(len(under))
			s.Ended(under[k])
			ended[under[k]] = true
			under = slices.Delete(under, k, k+1)
		}
		for _, a := range p.Asked.Apps {
			for _, step := range p.Asked.Steps {
				if c := (reports.Cell{App: a, Node: "x", Cycle: 1, Step: step}); cells[c] != 1 {
					return "", fmt.Errorf("%s was run %d times", c, cells[c])
				}
				delete(cells, reports.Cell{App: a, Node: "x", Cycle: 1, Step: step})
			}
		}
		if len(cells) > 0 {
			return "", fmt.Errorf("nobody asked for %v", cells)
		}
		return trace.String(), nil
	}
	if err := quick.Check(func(seed uint64) bool {
		first, err := walk(generate(seed))
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
			return false
		}
		again, err := walk(generate(seed))
		return err == nil && again == first
	}, &quick.Config{MaxCount: 100}); err != nil {
		t.Error(err)
	}
}

// Of alternatives, the one that was asked for is in the run, or else the first; what is optional
// is used where the run has it.
func TestARunHasOneOfSeveralAndWhatIsOptionalWhereItIsThere(t *testing.T) {
	entry := func(id string, requires ...manifest.Requirement) *catalog.Entry {
		return &catalog.Entry{Manifest: &manifest.Manifest{ID: id, Requires: requires}}
	}
	cat := catalog.Catalog{
		"b": entry("b"), "c": entry("c"), "d": entry("d"),
		"a": entry("a", manifest.Requirement{AnyOf: []string{"x", "b", "c"}}, manifest.Requirement{App: "d", Optional: true}),
	}
	for asked, want := range map[string]string{"a": "a b: b", "a c": "a c: c", "a d": "a b d: b d", "c b a": "a b c: b"} {
		apps, requires := withRequired(strings.Fields(asked), cat, func(format string, args ...any) { t.Errorf(format, args...) })
		if got := strings.Join(apps, " ") + ": " + strings.Join(requires["a"], " "); got != want {
			t.Errorf("%s: %s, expected %s", asked, got, want)
		}
	}
	refused := 0
	withRequired([]string{"a"}, catalog.Catalog{"a": cat["a"]}, func(string, ...any) { refused++ })
	if refused != 1 {
		t.Errorf("%d problems of a catalog without any of them", refused)
	}
}
