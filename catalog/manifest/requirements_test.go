package manifest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCyclesAreFoundWithThePathOfEach(t *testing.T) {
	for _, c := range []struct {
		name, graph string
		want        string // the paths, sorted
	}{
		{"none", "a:b,c b:d c:d d:", ""},
		{"of itself", "a:a", "a requires a"},
		{"of two", "a:b b:a", "a requires b requires a; b requires a requires b"},
		{"of three", "a:b b:c c:a", "a requires b requires c requires a; b requires c requires a requires b; c requires a requires b requires c"},
		{"those that lead to one are on none", "a:b b:c c:b d:a", "b requires c requires b; c requires b requires c"},
		{"those that one leads to are on none", "a:b b:a,c c:d d:", "a requires b requires a; b requires a requires b"},
		{"of itself, beside another", "a:a,b b:a", "a requires a; b requires a requires b"},
		{"two that share a member", "a:b,c b:a c:a", "a requires b requires a; b requires a requires b; c requires a requires c"},
		{"two apart, joined by a requirement", "a:b b:a,c c:d d:c", "a requires b requires a; b requires a requires b; c requires d requires c; d requires c requires d"},
		{"what is not there leads nowhere", "a:b,x b:y", ""},
		{"a requirement stated twice", "a:b,b b:a", "a requires b requires a; b requires a requires b"},
		{"a long one is shortened", "a:b b:c c:d d:e e:f f:g g:h h:i i:j j:k k:l l:m m:a x:a", strings.Join(func() (all []string) {
			ids := strings.Split("abcdefghijklm", "")
			for i := range ids {
				at := func(n int) string { return ids[(i+n)%13] }
				all = append(all, strings.Join([]string{at(0), at(1), at(2), at(3), "… (5 more)", at(9), at(10), at(11), at(12), at(13)}, " requires "))
			}
			return all
		}(), "; ")},
	} {
		t.Run(c.name, func(t *testing.T) {
			requires := map[string][]string{}
			for _, line := range strings.Fields(c.graph) {
				id, others, _ := strings.Cut(line, ":")
				requires[id] = strings.FieldsFunc(others, func(r rune) bool { return r == ',' })
			}
			got := Cycles(requires)
			if text := strings.Join(slices.Sorted(maps.Values(got)), "; "); text != c.want {
				t.Errorf("%s\nexpected\n%s", text, c.want)
			}
			for id, path := range got {
				if !strings.HasPrefix(path, id+" requires ") || !strings.HasSuffix(path, " requires "+id) {
					t.Errorf("the path of %s is %s", id, path)
				}
			}
		})
	}
}

// In small graphs of chance, those found are exactly those from which a walk comes
// back, and every path is one of requirements, on which none occurs twice.
func TestCyclesAreThoseFromWhichAWalkComesBack(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		n := 1 + chance.IntN(9)
		requires := map[string][]string{}
		for i := range n {
			id := string(rune('a' + i))
			requires[id] = nil
			for range chance.IntN(4) {
				requires[id] = append(requires[id], string(rune('a'+chance.IntN(n))))
			}
		}
		got := Cycles(requires)
		for id := range requires {
			met, open := map[string]bool{}, slices.Clone(requires[id])
			for len(open) > 0 {
				v := open[0]
				if open = open[1:]; !met[v] {
					met[v] = true
					open = append(open, requires[v]...)
				}
			}
			if path, found := got[id]; found != met[id] {
				t.Fatalf("%v: %s is on a cycle: %t, found %q", requires, id, met[id], path)
			}
		}
		for id, path := range got {
			steps := strings.Split(path, " requires ")
			for i, v := range steps[1:] {
				if !slices.Contains(requires[steps[i]], v) || slices.Contains(steps[:i+1], v) && i+1 != len(steps)-1 {
					t.Fatalf("%v: the path of %s is %s", requires, id, path)
				}
			}
			if steps[0] != id || steps[len(steps)-1] != id {
				t.Fatalf("%v: the path of %s is %s", requires, id, path)
			}
		}
	}
}

// bound is how long the largest catalog's requirements may take to be looked through:
// what grows faster than the catalog takes minutes, or does not end.
const bound = 5 * time.Second

func TestCyclesIn10000ApplicationsAreFoundInTime(t *testing.T) {
	const n = 10_000
	id := func(i int) string { return fmt.Sprintf("app-%05d", i) }
	for name, c := range map[string]struct {
		requires func(i int) []string
		want     int
	}{
		"a chain":                            {func(i int) []string { return []string{id(i + 1)} }, 0},
		"a ring":                             {func(i int) []string { return []string{id((i + 1) % n)} }, n},
		"a ladder":                           {func(i int) []string { return []string{id(i - i%2 + 2), id(i - i%2 + 3)} }, 0},
		"a ladder that ends where it begins": {func(i int) []string { return []string{id((i - i%2 + 2) % n), id((i - i%2 + 3) % n)} }, n},
		"a tree whose leaves require its root": {func(i int) (out []string) {
			for j := 8*i + 1; j <= 8*i+8 && j < n; j++ {
				out = append(out, id(j))
			}
			if out == nil {
				out = []string{id(0)}
			}
			return out
		}, n},
		"a chain whose end is a tree that requires its beginning": {func(i int) (out []string) {
			if i < n/2 {
				return []string{id(i + 1)}
			}
			for j := 8*(i-n/2) + 1; j <= 8*(i-n/2)+8 && j < n/2; j++ {
				out = append(out, id(n/2+j))
			}
			return append(out, id(0))
		}, n},
		"eight each": {func(i int) (out []string) {
			for k := range 8 {
				out = append(out, id((i*(k+3)+k*k+1)%n))
			}
			return out
		}, n},
	} {
		t.Run(name, func(t *testing.T) {
			requires := map[string][]string{}
			for i := range n {
				requires[id(i)] = c.requires(i)
			}
			begin := time.Now()
			got := Cycles(requires)
			took := time.Since(begin)
			t.Logf("%d on cycles, in %s", len(got), took)
			if len(got) != c.want || took > bound {
				t.Errorf("%d are on cycles, expected %d; it took %s", len(got), c.want, took)
			}
			for app, path := range got {
				if len(path) > 400 {
					t.Fatalf("the path of %s is %d bytes long", app, len(path))
				}
			}
		})
	}
}
