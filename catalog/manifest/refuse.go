package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// refusal is what the schema refused, and whether names that the rest of the manifest
// refers to may be in it.
type refusal struct {
	path  []string
	rule  string
	hides bool
}

var english = message.NewPrinter(language.English)

// collect reports what the schema refuses, in the words of the language.
func (d *document) collect(ve *jsonschema.ValidationError) {
	at := ve.InstanceLocation
	refuse := func(rule, nearest string, path []string, key bool, format string, args ...any) {
		d.report(path, key, format, args...)
		last := &d.problems[len(d.problems)-1]
		last.Rule, last.Nearest = rule, nearest
		hides := rule == RuleType || rule == RuleMissingField || rule == RuleUnknownField && nearest != ""
		d.refused = append(d.refused, refusal{path, rule, hides})
	}
	switch k := ve.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		known := theGrammar().properties(pointer(ve.SchemaURL))
		for _, p := range k.Properties {
			near, said := nearest(p, known), hint(p)
			if place := theGrammar().elsewhere(p); near == "" && said == "" && place != "" {
				said = "; there is " + place
			}
			refuse(RuleUnknownField, near, append(slices.Clone(at), p), true, "unknown field%s", said)
		}
	case *kind.Required:
		for _, p := range k.Missing {
			d.report(at, false, "%s", missing(p))
			d.problems[len(d.problems)-1].Rule = RuleMissingField
			d.refused = append(d.refused, refusal{append(slices.Clone(at), p), RuleMissingField, true})
		}
	case *kind.OneOf:
		refuse(RuleValue, "", at, false, "expected either build, or ref and digest")
	case *kind.PropertyNames:
		said := ""
		if words := theGrammar().expected(pointer(ve.SchemaURL)); words != "" {
			said = "; expected " + words
		}
		refuse(RuleValue, "", d.misnamed(k.Property, ve), true, "not a valid name%s", said)
	case *kind.Minimum:
		refuse(RuleValue, "", at, false, "%s is less than %s", k.Got.RatString(), k.Want.RatString())
	case *kind.Maximum:
		refuse(RuleValue, "", at, false, "%s is more than %s", k.Got.RatString(), k.Want.RatString())
	case *kind.Pattern:
		words := theGrammar().expected(pointer(ve.SchemaURL))
		if words == "" {
			words = "to match " + k.Want
		}
		refuse(RuleValue, "", at, false, "%q is not valid here; expected %s", short(k.Got), words)
	case *kind.Enum:
		var allowed []string
		for _, v := range k.Want {
			allowed = append(allowed, fmt.Sprint(v))
		}
		refuse(RuleValue, nearest(fmt.Sprint(k.Got), allowed), at, false, "%q is not valid here; expected one of %s", short(fmt.Sprint(k.Got)), strings.Join(allowed, ", "))
	case *kind.Const:
		refuse(RuleValue, fmt.Sprint(k.Want), at, false, "%q is not valid here; expected %v", short(fmt.Sprint(k.Got)), k.Want)
	case *kind.Type:
		var want []string
		for _, w := range k.Want {
			want = append(want, article(typeNames[w]))
		}
		refuse(RuleType, "", at, false, "expected %s, found %s%s", strings.Join(want, " or "), article(typeNames[k.Got]), d.quoteIt(at, k))
	default:
		if len(ve.Causes) == 0 {
			refuse(RuleValue, "", at, false, "%s", ve.ErrorKind.LocalizedString(english))
		}
		for _, c := range ve.Causes {
			d.collect(c)
		}
	}
}

// forgetMistyped leaves out that a field is missing where it is there, mistyped.
func (d *document) forgetMistyped() {
	meant := map[string]bool{}
	for _, p := range d.problems {
		if p.Rule == RuleUnknownField && p.Nearest != "" {
			parent := p.Field[:max(strings.LastIndexByte(p.Field, '.'), 0)]
			meant[parent+": "+missing(p.Nearest)] = true
		}
	}
	d.problems = slices.DeleteFunc(d.problems, func(p Problem) bool { return p.Rule == RuleMissingField && meant[p.Field+": "+p.Message] })
}

func missing(property string) string { return "missing property '" + property + "'" }

// misnamed gives the path of a name that the schema refuses. The library keeps the names
// around it in memory that it uses again (v6.0.3), so only how many they are is certain:
// the place is the next one of that depth at which the schema has the rule.
func (d *document) misnamed(name string, ve *jsonschema.ValidationError) []string {
	g, rule := theGrammar(), strings.TrimSuffix(pointer(ve.SchemaURL), "/propertyNames")
	i, known := g.byPointer[rule]
	var places [][]string
	var search func(v any, path []string)
	search = func(v any, path []string) {
		switch v := v.(type) {
		case map[string]any:
			if _, there := v[name]; there && len(path) == len(ve.InstanceLocation) && known && Anchor(field(path)) == g.fields[i].Path {
				places = append(places, append(slices.Clone(path), name))
			}
			for _, k := range slices.Sorted(maps.Keys(v)) {
				search(v[k], append(slices.Clone(path), k))
			}
		case []any:
			for j := range v {
				search(v[j], append(slices.Clone(path), strconv.Itoa(j)))
			}
		}
	}
	search(d.instance, nil)
	places = slices.DeleteFunc(places, func(p []string) bool {
		return slices.ContainsFunc(d.refused, func(r refusal) bool { return slices.Equal(r.path, p) })
	})
	if len(places) == 0 {
		return []string{name}
	}
	return places[0]
}

// pointer is the part of a schema's URL that says where in the schema it is.
func pointer(schemaURL string) string {
	_, fragment, _ := strings.Cut(schemaURL, "#")
	if p, err := url.PathUnescape(fragment); err == nil {
		return p
	}
	return fragment
}

func article(name string) string {
	switch {
	case name == "nothing":
		return name
	case strings.HasPrefix(name, "i"):
		return "an " + name
	}
	return "a " + name
}

// quoteIt says how a number or a boolean is written where a text belongs.
func (d *document) quoteIt(path []string, k *kind.Type) string {
	if !slices.Contains(k.Want, "string") || !slices.Contains([]string{"number", "integer", "boolean"}, k.Got) {
		return ""
	}
	n, _ := d.find(path, false)
	written := strconv.Quote(n.GetToken().Value)
	if last := path[len(path)-1]; strings.Trim(last, "0123456789") != "" {
		written = last + ": " + written
	}
	return "; quote it: " + written
}

// absent begins or is in what is said of something that is not there. Where a part of the
// manifest could not be read, it may be in that.
var absent = regexp.MustCompile(`(^|\W)(no|nothing|needs|missing|nobody|expected either)\b`)

// partly checks what the schema has not refused of a document, so that its author sees
// everything at once; value is changed. What follows from a refusal is left out.
func (d *document) partly(value any) *Manifest {
	hides := false
	for _, r := range d.refused {
		if len(r.path) == 0 || len(r.path) == 1 && (r.path[0] == "id" || r.path[0] == "containers") {
			return nil
		}
		if r.rule == RuleType {
			remove(value, r.path)
		}
		hides = hides || r.hides
	}
	m, err := decoded(value)
	if err != nil { // a text that is none of its kind, such as a duration
		for _, r := range d.refused {
			remove(value, r.path)
		}
		if m, err = decoded(value); err != nil {
			return nil
		}
	}
	said := len(d.problems)
	d.check(m)
	d.suggest(m, d.problems[said:])
	d.problems = append(d.problems[:said:said], slices.DeleteFunc(d.problems[said:], func(p Problem) bool {
		return hides && absent.MatchString(p.Message) || d.within(p.Field)
	})...)
	return m
}

// within tells whether a field is one that the schema refused, or in it.
func (d *document) within(name string) bool {
	return slices.ContainsFunc(d.refused, func(r refusal) bool {
		rest, ok := strings.CutPrefix(name, field(r.path))
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

func decoded(value any) (*Manifest, error) {
	js, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var m Manifest
	return &m, json.Unmarshal(js, &m)
}

// remove takes what is at path out of a document; of a list it leaves the place empty.
func remove(value any, path []string) {
	for i, p := range path {
		last := i == len(path)-1
		switch v := value.(type) {
		case map[string]any:
			if last {
				delete(v, p)
			}
			value = v[p]
		case []any:
			j, err := strconv.Atoi(p)
			if err != nil || j >= len(v) {
				return
			}
			if last {
				v[j] = nil
			}
			value = v[j]
		default:
			return
		}
	}
}

var (
	dangling = regexp.MustCompile(`^no (.+) is named "(.*)"$`)
	listed   = regexp.MustCompile(`expected one of (.+)$`)
)

// suggest adds the nearest valid words to problems that name something which is not there.
func (d *document) suggest(m *Manifest, problems []Problem) {
	kinds := map[string][]string{"interface": slices.Sorted(maps.Keys(m.Interfaces)), "volume": m.Volumes()}
	for _, c := range m.Containers {
		kinds["container"] = append(kinds["container"], c.Name)
		for _, p := range c.Ports {
			kinds["port"] = append(kinds["port"], p.Name)
		}
	}
	for _, s := range m.Secrets {
		kinds["secret"] = append(kinds["secret"], s.Name)
	}
	for _, s := range m.Settings {
		kinds["setting"] = append(kinds["setting"], s.Name)
	}
	for i := range problems {
		p := &problems[i]
		if n := dangling.FindStringSubmatch(p.Message); n != nil {
			var known []string
			for kind, names := range kinds {
				if strings.Contains(n[1], kind) {
					known = append(known, names...)
				}
			}
			slices.Sort(known)
			p.Nearest = nearest(n[2], known)
		} else if n := listed.FindStringSubmatch(p.Message); n != nil && d.root != nil {
			p.Nearest = nearest(d.word(p), strings.Split(n[1], ", "))
		}
	}
}
