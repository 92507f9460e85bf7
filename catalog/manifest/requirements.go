package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// entangled is how many applications may require each other for each to be told its own
// cycle. Beyond it one cycle stands for all, so that the time stays in proportion to the
// requirements: whoever wrote the manifests may have meant to exhaust the reader.
const entangled = 100

// Cycles finds the applications that require themselves, directly or through others:
// none of them could ever start. Given what each application requires, it returns for
// each of them the path that leads back to it, such as "a requires b requires a". Where
// more than a hundred require each other, those beside the first cycle get its path.
// Requirements of what is not given are ignored.
func Cycles(requires map[string][]string) map[string]string {
	g := newGraph(requires)
	out := map[string]string{}
	toward := filled(len(g.ids)) // the next step on a way to the root
	away := filled(len(g.ids))   // the step before, on a way from the root
	on := filled(len(g.ids))     // whose way from the root a vertex was last seen on
	// Kosaraju's algorithm, without recursion: searched against the requirements, and
	// in this order, a root reaches exactly those that it requires and is required by.
	for _, root := range slices.Backward(g.postOrder()) {
		if toward[root] != none {
			continue
		}
		members := search(g.reverse, root, toward, func(v int) bool { return toward[v] == none })
		inside := make(map[int]bool, len(members))
		for _, v := range members {
			inside[v] = true
		}
		i := slices.IndexFunc(g.forward[root], func(v int) bool { return inside[v] })
		if i < 0 {
			continue // alone, and it does not require itself
		}
		search(g.forward, root, away, func(v int) bool { return inside[v] && away[v] == none })
		toward[root] = g.forward[root][i]
		for _, v := range members { // the root is the first
			if _, told := out[g.ids[v]]; told {
				continue
			}
			if v != root && len(members) > entangled {
				out[g.ids[v]] = out[g.ids[root]]
				continue
			}
			cycle := through(v, root, toward, away, on)
			for i, w := range cycle {
				if _, told := out[g.ids[w]]; !told {
					out[g.ids[w]] = g.path(cycle, i)
				}
			}
		}
	}
	return out
}

// through gives a cycle without detours through v: from v toward the root, and, from
// where that meets the way from the root to v, back along it.
func through(v, root int, toward, away, on []int) []int {
	on[root] = v
	for w := v; w != root; w = away[w] {
		on[w] = v
	}
	cycle := []int{v}
	meet := toward[v]
	for ; on[meet] != v; meet = toward[meet] {
		cycle = append(cycle, meet)
	}
	var back []int
	for w := v; w != meet; w = away[w] {
		back = append(back, w)
	}
	if meet == v {
		return cycle
	}
	cycle = append(cycle, meet)
	slices.Reverse(back)
	return append(cycle, back[:len(back)-1]...)
}

// graph holds requirements by the applications' places in a sorted list.
type graph struct {
	ids              []string
	forward, reverse [][]int // what each requires, and what requires it
}

func newGraph(requires map[string][]string) *graph {
	g := &graph{ids: slices.Sorted(maps.Keys(requires))}
	place := make(map[string]int, len(g.ids))
	for i, id := range g.ids {
		place[id] = i
	}
	g.forward, g.reverse = make([][]int, len(g.ids)), make([][]int, len(g.ids))
	for i, id := range g.ids {
		for _, other := range requires[id] {
			if j, ok := place[other]; ok {
				g.forward[i] = append(g.forward[i], j)
				g.reverse[j] = append(g.reverse[j], i)
			}
		}
	}
	return g
}

// postOrder lists each vertex after all that it leads to, as far as they are no cycle.
func (g *graph) postOrder() []int {
	order := make([]int, 0, len(g.ids))
	next := filled(len(g.ids)) // the edge to follow, once a vertex has been met
	for start := range g.ids {
		var stack []int
		if next[start] == none {
			next[start], stack = 0, append(stack, start)
		}
		for len(stack) > 0 {
			v := stack[len(stack)-1]
			if next[v] == len(g.forward[v]) {
				order, stack = append(order, v), stack[:len(stack)-1]
				continue
			}
			w := g.forward[v][next[v]]
			next[v]++
			if next[w] == none {
				next[w], stack = 0, append(stack, w)
			}
		}
	}
	return order
}

const none = -1

func filled(n int) []int { return slices.Repeat([]int{none}, n) }

// search lists what can be reached from root, by way of what may be entered, and notes
// from where each was entered.
func search(edges [][]int, root int, from []int, enter func(int) bool) []int {
	from[root] = root
	reached := []int{root}
	for i := 0; i < len(reached); i++ {
		for _, v := range edges[reached[i]] {
			if enter(v) {
				from[v] = reached[i]
				reached = append(reached, v)
			}
		}
	}
	return reached
}

// path writes a cycle out from one of its members on. Of a long one it names both ends.
func (g *graph) path(cycle []int, start int) string {
	const ends, limit = 4, 12
	var names []string
	for i := 0; i <= len(cycle); i++ {
		if i == ends && len(cycle) > limit {
			i = len(cycle) - ends
			names = append(names, fmt.Sprintf("… (%d more)", i-ends))
		}
		names = append(names, g.ids[cycle[(start+i)%len(cycle)]])
	}
	return strings.Join(names, " requires ")
}
