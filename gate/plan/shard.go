package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/reports"
)

// Shard is the part of a release that one machine works on, where several share it.
type Shard struct {
	Number  int        `json:"number"`         // from 1
	Split   [][]string `json:"split"`          // applications of each shard, in the order of their numbers
	Catalog string     `json:"catalog"`        // SHA-256 of the manifests of all of them, and of their earlier releases
	Host    string     `json:"host,omitempty"` // of the gate, as it calls itself
}

func (s *Shard) String() string { return fmt.Sprintf("shard %d of %d", s.Number, len(s.Split)) }

// machine is what a merged run calls the machine that worked on the shard.
func (s *Shard) machine() string { return fmt.Sprintf("shard-%d", s.Number) }

// Slice asks for one shard of several. The zero value is a run that is not split.
type Slice struct {
	Number, Of int
	Durations  map[string]float64 // by application, in seconds; all shards must have the same
}

var sliceForm = regexp.MustCompile(`^([1-9][0-9]{0,2})/([1-9][0-9]{0,2})$`)

// ParseSlice reads "2/3".
func ParseSlice(s string) (Slice, error) {
	if m := sliceForm.FindStringSubmatch(s); m != nil {
		number, _ := strconv.Atoi(m[1])
		of, _ := strconv.Atoi(m[2])
		if number <= of {
			return Slice{Number: number, Of: of}, nil
		}
	}
	return Slice{}, fmt.Errorf("%w: --shard %q: expected a shard and how many there are, such as 2/3", ErrUsage, s)
}

// ParseDurations reads from the report.json of an earlier run how long each application took, in
// seconds: what its cells that passed took on average, step by step.
func ParseDurations(file string, b []byte) (map[string]float64, error) {
	bad := func(format string, args ...any) (map[string]float64, error) {
		return nil, fmt.Errorf("%w: --durations %s: %s; expected the %s of a run", ErrUsage, file, fmt.Sprintf(format, args...), reports.ReportFile)
	}
	var r reports.Report
	if err := json.Unmarshal(b, &r); err != nil {
		return bad("%v", err)
	}
	out := map[string]float64{}
	for _, a := range r.Apps {
		sum, cells := map[string]float64{}, map[string]float64{}
		for _, c := range a.Cells {
			if c.Seconds < 0 {
				return bad("%s took %v seconds", c.Cell, c.Seconds)
			}
			if c.Status == reports.Passed {
				sum[c.Step] += c.Seconds
				cells[c.Step]++
			}
		}
		for _, step := range slices.Sorted(maps.Keys(sum)) { // in one order: sums of fractions depend on it
			out[a.ID] += sum[step] / cells[step]
		}
	}
	if len(out) == 0 {
		return bad("no cell passed")
	}
	return out, nil
}

// shard gives one shard of a release: its applications with what they require, which are all in it.
func (s Slice) shard(apps []string, requires map[string][]string, cat, before catalog.Catalog, usage func(string, ...any)) (*Shard, []string, map[string][]string) {
	families := families(apps, requires, before)
	if s.Of > len(families) {
		usage("--shard %d/%d: there are only %d families of applications that require one another, which stay together", s.Number, s.Of, len(families))
		return nil, apps, requires
	}
	out := &Shard{Number: s.Number, Split: split(families, s.Of, s.Durations), Catalog: digestOf(apps, cat, before)}
	own := out.Split[s.Number-1]
	needs := map[string][]string{}
	for _, a := range own {
		if len(requires[a]) > 0 {
			needs[a] = requires[a]
		}
	}
	return out, own, needs
}

// families are the applications that require one another, directly or through others, now or in
// their earlier releases, which are installed before they are updated.
func families(apps []string, requires map[string][]string, before catalog.Catalog) (out [][]string) {
	beside := map[string][]string{}
	join := func(a, b string) {
		if slices.Contains(apps, b) {
			beside[a], beside[b] = append(beside[a], b), append(beside[b], a)
		}
	}
	for _, a := range apps {
		for _, r := range requires[a] {
			join(a, r)
		}
		if e := before[a]; e != nil {
			for _, r := range e.Requires {
				for _, other := range r.Apps() {
					join(a, other)
				}
			}
		}
	}
	seen := map[string]bool{}
	for _, a := range apps {
		if seen[a] {
			continue
		}
		family := []string{a}
		for of := range reach(beside, a) {
			family = append(family, of)
		}
		slices.Sort(family)
		family = slices.Compact(family)
		for _, of := range family {
			seen[of] = true
		}
		out = append(out, family)
	}
	return out
}

// split gives each shard families that take about as long together: the longest goes first, always
// to the shard that has the least. An application whose duration is not known counts as the others
// do on average.
func split(families [][]string, shards int, durations map[string]float64) [][]string {
	known, sum := 0.0, 0.0
	for _, f := range families {
		for _, a := range f {
			if d, ok := durations[a]; ok {
				known, sum = known+1, sum+d
			}
		}
	}
	usual := 1.0
	if known > 0 {
		usual = sum / known
	}
	takes := func(family []string) (seconds float64) {
		for _, a := range family {
			if d, ok := durations[a]; ok {
				seconds += d
			} else {
				seconds += usual
			}
		}
		return seconds
	}
	order := slices.Clone(families)
	slices.SortStableFunc(order, func(a, b []string) int {
		if x, y := takes(a), takes(b); x != y {
			if x > y {
				return -1
			}
			return 1
		}
		return strings.Compare(a[0], b[0])
	})
	out, load := make([][]string, shards), make([]float64, shards)
	for _, f := range order {
		least := 0
		for i := range out {
			if load[i] < load[least] || load[i] == load[least] && len(out[i]) < len(out[least]) {
				least = i
			}
		}
		out[least] = append(out[least], f...)
		load[least] += takes(f)
	}
	for _, s := range out {
		slices.Sort(s)
	}
	return out
}

// digestOf is the SHA-256 of the manifests of applications, now and before.
func digestOf(apps []string, cat, before catalog.Catalog) string {
	var all [][3]string
	for _, a := range apps {
		one := [3]string{a, cat[a].Digest()}
		if e := before[a]; e != nil {
			one[2] = e.Digest()
		}
		all = append(all, one)
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(err) // it is strings
	}
	return reports.Digest(b)
}
