package reports

import (
	"regexp"
	"strings"

	"github.com/archipelago-cloud/archipelago/internal/plain"
)

// Difference is one fault of a reason: what was looked at, what it should have been, and what the
// witness saw. Expected is empty where nothing should have been, or where the fault does not say;
// What is empty where the fault says all in one.
type Difference struct {
	What, Expected, Seen string
}

// How witnesses put a fault; the first form that fits counts.
var forms = []struct {
	of             *regexp.Regexp
	what, exp, saw string
}{
	{regexp.MustCompile(`^(.+?) (?:is|are) missing, wanted (.+)$`), "$1", "$2", "missing"},
	{regexp.MustCompile(`^(.+?) (?:is|are) (.+), (?:wanted|expected) (.+)$`), "$1", "$3", "$2"},
	{regexp.MustCompile(`^(.+?) (?:is|are) (.+), and none is meant$`), "$1", "", "$2"},
	{regexp.MustCompile(`^(.+): (.+?), (?:wanted|expected) (.+)$`), "$1", "$3", "$2"},
	{regexp.MustCompile(`^waited (\S+) for (.+), budget ([^:]+): (.+)$`), "$2", "within $3", "after $1: $4"},
}

// Differences takes a reason apart into its faults.
func Differences(reason string) (out []Difference) {
	for fault := range strings.SplitSeq(strings.TrimPrefix(reason, "invariant: "), "; ") {
		d := Difference{Seen: fault}
		for _, f := range forms {
			if m := f.of.FindStringSubmatchIndex(fault); m != nil {
				part := func(template string) string { return string(f.of.ExpandString(nil, template, fault, m)) }
				d = Difference{part(f.what), part(f.exp), part(f.saw)}
				break
			}
		}
		out = append(out, d)
	}
	return out
}

// What differs between failures that are the same: names in quotes, digests, numbers.
var particular = regexp.MustCompile(`"[^"]*"|\b[0-9a-f]{12,}\b|\d+(?:\.\d+)*`)

// alike is a reason without what is particular to one cell: reasons of the same text are of one
// kind.
func alike(r Result) string {
	s := plain.Clip(r.Reason, 4*maxTold)
	for _, name := range []string{r.App, r.Node} {
		s = regexp.MustCompile(`(^|[^\w-])`+regexp.QuoteMeta(name)+`\b`).ReplaceAllString(s, "${1}…")
	}
	return particular.ReplaceAllString(s, "…")
}
