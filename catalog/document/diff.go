package document

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// Kind says how much a change of a manifest matters to the owner of a node.
type Kind string

// The kinds, in the order in which to review them.
const (
	Privilege Kind = "privilege" // who it runs as, what it can reach, what runs in it besides its own program
	Exposure  Kind = "port"      // what can reach it
	Data      Kind = "data"      // where its data is, and in what format
	Program   Kind = "image"
	Shown     Kind = "listing" // what a store shows, and nothing that runs
	Other     Kind = "other"
)

var kinds = []Kind{Privilege, Exposure, Data, Program, Shown, Other}

// Line is one difference; Old is empty for something new, New for something removed.
type Line struct {
	Kind Kind   `json:"kind"`
	Path string `json:"path"` // such as containers.web.ports.http.host
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// Change is what an update would change of one application.
type Change struct {
	ID      string `json:"id"`
	From    string `json:"from,omitempty"` // version; empty for a new application
	To      string `json:"to,omitempty"`   // version; empty for a removed one
	Notes   string `json:"notes,omitempty"`
	Revoked string `json:"revoked,omitempty"` // why the version From was withdrawn
	Waiver  string `json:"waiver,omitempty"`
	Lines   []Line `json:"lines"`
	// Words say, each in a sentence, what is not as before of what stands around the manifest: the
	// waiver, the proof, the publisher and the notes; and what the application reaches of others, or
	// lets others reach, that it did not before. None of them for a removed application, and of a
	// new one the latter alone.
	Words []string `json:"words,omitempty"`
}

// Diff returns what another document would change on a node, by application, and on what
// that rests. Privileges and ports come first. before may be nil.
func Diff(before, after *Document) []Change {
	if before == nil {
		before = &Document{}
	}
	ids := map[string]bool{}
	for _, d := range []*Document{before, after} {
		for _, e := range d.Entries {
			ids[e.ID] = true
		}
	}
	var out []Change
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		was, is := before.Entry(id), after.Entry(id)
		c := Change{ID: id}
		var a, b map[string]string
		if was != nil {
			c.From, a = was.Version, flat(was)
			if r := after.Revocation(id, was.Version); r != nil && before.Revocation(id, was.Version) == nil {
				c.Revoked = r.Reason
			}
		}
		if is != nil {
			c.To, c.Notes, b = is.Version, is.Notes, flat(is)
			if is.Waiver != nil {
				c.Waiver = is.Waiver.String()
			}
		}
		paths := maps.Clone(a)
		if paths == nil {
			paths = map[string]string{}
		}
		maps.Copy(paths, b)
		for p := range paths {
			if a[p] != b[p] {
				c.Lines = append(c.Lines, Line{kindOf(p), p, a[p], b[p]})
			}
		}
		slices.SortFunc(c.Lines, func(x, y Line) int {
			return cmp.Or(slices.Index(kinds, x.Kind)-slices.Index(kinds, y.Kind), strings.Compare(x.Path, y.Path))
		})
		var lines []Line
		for _, l := range c.Lines {
			lines = append(lines, l.byLine()...)
		}
		c.Lines = lines
		if was != nil && is != nil {
			c.Words = words(was, is)
		}
		c.Words = append(c.Words, shared(was, is)...)
		if len(c.Lines) > 0 || len(c.Words) > 0 || c.Revoked != "" {
			out = append(out, c)
		}
	}
	return out
}

// byLine gives a difference between texts of several lines as one for each line that is
// removed or added, "PATH:NUMBER": without those at the beginning and the end that are the
// same.
func (l Line) byLine() (out []Line) {
	if !strings.Contains(l.Old+l.New, "\n") {
		return []Line{l}
	}
	split := func(text string) []string { return slices.Collect(strings.Lines(text)) }
	was, is := split(l.Old), split(l.New)
	first := 0
	for first < min(len(was), len(is)) && was[first] == is[first] {
		first++
	}
	last := 0
	for last < min(len(was), len(is))-first && was[len(was)-1-last] == is[len(is)-1-last] {
		last++
	}
	shown := func(line string) string {
		line = strings.TrimSuffix(line, "\n")
		if strings.TrimSpace(line) != line || line == "" {
			return strconv.Quote(line) // or it would look like nothing, or like another
		}
		return line
	}
	for i, line := range was[first : len(was)-last] {
		out = append(out, Line{l.Kind, fmt.Sprintf("%s:%d", l.Path, first+i+1), shown(line), ""})
	}
	for i, line := range is[first : len(is)-last] {
		out = append(out, Line{l.Kind, fmt.Sprintf("%s:%d", l.Path, first+i+1), "", shown(line)})
	}
	return out
}

// words say what is not as before of what stands around an entry's manifest.
func words(was, is *Entry) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch a, b := was.Waiver, is.Waiver; {
	case a == nil && b == nil:
	case a == nil:
		say("it has a waiver now: %s", b)
	case b == nil:
		say("it has no waiver any more; it was %s", a)
	case !a.Equal(*b):
		say("it has another waiver: %s; before: %s", b, a)
	}
	switch a, b := was.Proof, is.Proof; {
	case a == nil && b == nil:
	case a == nil:
		say("it is proven now: %s", b)
	case b == nil:
		say("it is not proven any more; it was, by %s", a)
	case !a.Same(*b):
		say("it has another proof: %s; before: %s", b, a)
	case !a.Promoted.Equal(b.Promoted):
		say("it was promoted again on the same proof, on %s; before: on %s", b.Promoted.Format(time.DateOnly), a.Promoted.Format(time.DateOnly))
	}
	if was.Publisher != is.Publisher {
		say("its publisher is %q; before: %q", is.Publisher, was.Publisher)
	}
	if was.Notes != is.Notes {
		say("its notes are others; before: %q", was.Notes)
	}
	return out
}

// shared says what goes between an entry's application and others now, and did not before.
func shared(was, is *Entry) (out []string) {
	shares := func(e *Entry) []string {
		m := manifest.Manifest{}
		if e == nil || e.ImageOnly() || json.Unmarshal(e.Manifest, &m) != nil {
			return nil
		}
		return m.Shares()
	}
	before := shares(was)
	for _, s := range shares(is) {
		if !slices.Contains(before, s) {
			out = append(out, "it "+s)
		}
	}
	return out
}

// kindOf classifies a path by the manifest's field that it is in.
func kindOf(path string) Kind {
	switch top, _, _ := strings.Cut(path, "."); top {
	case "icon", "category", "tagline", "description", "website", "source", "license", "screenshots", "release_notes", "languages", "name", "summary":
		return Shown
	}
	for part := range strings.SplitSeq(path, ".") {
		switch part {
		case "user", "secrets", "requires", "hooks", "adopts", "provider_scripts", "tmpfs", "generated_secrets", "command", "resources", "network",
			"entrypoint", "files", "hostname", "read_only", "memory", "shm_size", "ulimits", "sysctls",
			"capabilities", "devices", "storage", "cpus", "pids", "imports":
			return Privilege
		case "ports", "interfaces", "exports":
			return Exposure
		case "volumes", "migration":
			return Data
		case "image", "images":
			return Program
		}
	}
	return Other
}

// flat returns the values of an entry's manifest by path. Items of a list go by their
// name if they have one, so that the order of a list makes no difference.
func flat(e *Entry) map[string]string {
	out := map[string]string{}
	var value any
	if e.ImageOnly() {
		for c, image := range e.Images {
			out["images."+c] = image
		}
		return out
	}
	if json.Unmarshal(e.Manifest, &value) != nil {
		out["manifest"] = "cannot be read"
		return out
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		below := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				walk(below(k), x)
			}
		case []any:
			times := map[string]int{}
			for i, x := range v {
				name := nameOf(x, i)
				if s, ok := x.(string); ok && (strings.HasSuffix(path, ".capabilities") || strings.HasSuffix(path, ".uses")) {
					name = s // whatever their order
				}
				if times[name]++; times[name] > 1 { // it must not stand for the one before it
					name = fmt.Sprintf("%s#%d", name, times[name])
				}
				walk(below(name), x)
			}
		default:
			out[path] = fmt.Sprint(v)
		}
	}
	walk("", value)
	return out
}

func nameOf(v any, i int) string {
	if m, ok := v.(map[string]any); ok {
		for _, key := range []string{"name", "app", "container", "path", "class"} {
			if s, ok := m[key].(string); ok {
				return s
			}
		}
	}
	return strconv.Itoa(i)
}
