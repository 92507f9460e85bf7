package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// released has a directory for each release, with the manifests that it shipped and the
// schema of its language; 'make keep' adds one.
const released = "testdata/released"

// refused is what a release took and this language does not, as narrowed says it, each with the
// reason that docs/compatibility.md gives.
var refused = map[string]string{}

// TestWhatTheSchemaOfAReleaseTookItTakes wants every release's language to be a part of this
// one: no field gone, no value or type refused that was taken, nothing newly required.
func TestWhatTheSchemaOfAReleaseTookItTakes(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(released, "*", "schema.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	now := schemaOf(t, schemaJSON)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, narrower := range narrowed(schemaOf(t, b), now) {
			if refused[narrower] == "" {
				t.Errorf("%s: %s", file, narrower)
			}
		}
	}
}

func TestASchemaThatTakesLessIsNoticed(t *testing.T) {
	for want, c := range map[string]struct{ then, now string }{
		"": {`{"type": "object", "required": ["a", "b"], "properties": {"a": {"enum": ["x"]}, "b": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/t"}}, "d": {"type": "string"}}, "$defs": {"t": {"type": "string", "maxLength": 9}}}`,
			`{"type": "object", "required": ["a"], "properties": {"a": {"enum": ["y", "x"]}, "b": {"type": "array", "maxItems": 3, "items": {"oneOf": [{"type": "object"}, {"type": "string"}]}}, "c": {}, "d": {"type": ["string", "object"], "required": ["e"]}}}`},
		"a: is no field any more":                 {`{"properties": {"a": {}}}`, `{"additionalProperties": false, "properties": {"b": {}}}`},
		"a: must be there":                        {`{"properties": {"a": {}}}`, `{"required": ["a"], "properties": {"a": {}}}`},
		`a: no longer takes "x"`:                  {`{"properties": {"a": {"enum": ["x", "y"]}}}`, `{"properties": {"a": {"enum": ["y"]}}}`},
		"a: takes only some values, and took any": {`{"properties": {"a": {"type": "string"}}}`, `{"properties": {"a": {"enum": ["y"]}}}`},
		"a: type was string":                      {`{"properties": {"a": {"type": "string"}}}`, `{"properties": {"a": {"type": "integer"}}}`},
		"a[]: maxLength was 9, is 8":              {`{"properties": {"a": {"items": {"maxLength": 9}}}}`, `{"properties": {"a": {"items": {"maxLength": 8}}}}`},
		"a: minimum is 1, was none":               {`{"properties": {"a": {"type": "integer"}}}`, `{"properties": {"a": {"type": "integer", "minimum": 1}}}`},
		`a: pattern was "^a", is "^b"`:            {`{"properties": {"a": {"$ref": "#/$defs/t"}}, "$defs": {"t": {"pattern": "^a"}}}`, `{"properties": {"a": {"pattern": "^b"}}}`},
		"a.*: type was string":                    {`{"properties": {"a": {"additionalProperties": {"type": "string"}}}}`, `{"properties": {"a": {"additionalProperties": {"type": "object"}}}}`},
		"a: not is new":                           {`{"properties": {"a": {"type": "string"}}}`, `{"properties": {"a": {"type": "string", "not": {"const": "x"}}}}`},
	} {
		got := narrowed(schemaOf(t, []byte(c.then)), schemaOf(t, []byte(c.now)))
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)) {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}

// heading begins a release in the changelog; the unreleased has no date.
var heading = regexp.MustCompile(`(?m)^## \[([0-9.]+)\] - `)

func TestEveryReleaseIsKept(t *testing.T) {
	changelog, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	releases := heading.FindAllSubmatch(changelog, -1)
	if len(releases) == 0 {
		t.Fatal("the changelog names no release")
	}
	for _, r := range releases {
		dir := filepath.Join(released, "v"+string(r[1]))
		manifests, err := filepath.Glob(filepath.Join(dir, "*", "manifest.yaml"))
		if _, schema := os.Stat(filepath.Join(dir, "schema.json")); err != nil || schema != nil || len(manifests) == 0 {
			t.Errorf("of release %s, %d manifests and no schema are kept in %s; before it is made, run 'make keep VERSION=v%s' (%v)", r[1], len(manifests), dir, r[1], schema)
		}
	}
}

// TestAVersionIsOneManifest wants a manifest that differs from the released one to have another
// version: it is by its version that one is revoked, and that owners tell two apart.
func TestAVersionIsOneManifest(t *testing.T) {
	digests, first := map[string]string{}, map[string]string{} // by application and version
	for _, pattern := range []string{filepath.Join(released, "*", "*", "manifest.yaml"), "../apps/*/manifest.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) < 3 {
			t.Fatal(pattern, files, err)
		}
		for _, file := range files {
			m, err := ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if digests[m.String()] == "" {
				digests[m.String()], first[m.String()] = m.Digest(), file
			} else if digests[m.String()] != m.Digest() {
				t.Errorf("%s is another manifest than %s and has its version, %s; where only the packaging differs, add a number to it: %s.1", file, first[m.String()], m.Version, m.Version)
			}
		}
	}
}

// a schema is an object of JSON Schema, with the definitions that it may refer to.
type schema struct {
	is   map[string]any
	defs map[string]any
}

func schemaOf(t *testing.T, text []byte) schema {
	t.Helper()
	var is map[string]any
	if err := json.Unmarshal(text, &is); err != nil {
		t.Fatal(err)
	}
	defs, _ := is["$defs"].(map[string]any)
	return schema{is, defs}
}

// at is a schema within this one, and that to which it refers.
func (s schema) at(part any) schema {
	is, _ := part.(map[string]any)
	if ref, ok := is["$ref"].(string); ok {
		return s.at(s.defs[strings.TrimPrefix(ref, "#/$defs/")])
	}
	return schema{is, s.defs}
}

// narrowed says what was taken then and is not taken now. It errs on the side of saying
// something: a pattern that differs may take more.
func narrowed(then, now schema) []string { return compareSchemas("", then, now) }

func compareSchemas(path string, then, now schema) (out []string) {
	say := func(format string, args ...any) {
		out = append(out, strings.TrimPrefix(path, ".")+": "+fmt.Sprintf(format, args...))
	}
	for _, choice := range []string{"oneOf", "anyOf"} {
		branches, _ := now.is[choice].([]any)
		if len(branches) == 0 || reflect.DeepEqual(then.is[choice], now.is[choice]) {
			continue
		}
		// What was one thing is one of several: the one of its type must take it.
		for _, b := range branches {
			if branch := now.at(b); sameType(then, branch) {
				return compareSchemas(path, then, branch)
			}
		}
		say("none of the types that there are now is the one that was")
		return out
	}
	// What a value may be.
	if values := valuesOf(now); values != nil {
		had := valuesOf(then)
		if had == nil {
			say("takes only some values, and took any")
		}
		for _, v := range had {
			if !slices.Contains(values, v) {
				say("no longer takes %q", v)
			}
		}
	} else if valuesOf(then) == nil && !sameType(then, now) {
		say("type was %v, is %v", then.is["type"], now.is["type"])
	}
	for _, key := range slices.Sorted(maps.Keys(now.is)) {
		was, had := then.is[key]
		is := now.is[key]
		switch key {
		case "type", "enum", "const", "properties", "items", "additionalProperties", "required", "oneOf", "anyOf", "$ref", "$defs", "$id", "$schema", "title", "description", "default", "examples":
		case "minimum", "minLength", "minItems", "minProperties", "maximum", "maxLength", "maxItems", "maxProperties":
			if !had {
				say("%s is %v, was none", key, is)
			} else if less := is.(float64) < was.(float64); was != is && less == strings.HasPrefix(key, "max") {
				say("%s was %v, is %v", key, was, is)
			}
		case "pattern":
			if was != is {
				say("pattern was %q, is %q", was, is)
			}
		case "propertyNames":
			if had {
				names := func(s schema) schema { // which are texts
					s.is = maps.Clone(s.is)
					s.is["type"] = "string"
					return s
				}
				out = append(out, compareSchemas(path+" (its names)", names(then.at(was)), names(now.at(is)))...)
			} else {
				say("names of its fields are bounded")
			}
		default:
			if !reflect.DeepEqual(was, is) {
				say("%s is new, or another", key)
			}
		}
	}
	// What is in it.
	fields, _ := then.is["properties"].(map[string]any)
	there, _ := now.is["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if field, ok := there[name]; ok {
			out = append(out, compareSchemas(path+"."+name, then.at(fields[name]), now.at(field))...)
		} else if now.is["additionalProperties"] == false {
			out = append(out, strings.TrimPrefix(path+"."+name, ".")+": is no field any more")
		}
	}
	for _, name := range texts(now.is["required"]) {
		if then.mayBe("object") && !slices.Contains(texts(then.is["required"]), name) {
			out = append(out, strings.TrimPrefix(path+"."+name, ".")+": must be there, and need not have been")
		}
	}
	if now.is["items"] != nil {
		out = append(out, compareSchemas(path+"[]", then.at(then.is["items"]), now.at(now.is["items"]))...)
	}
	if more, ok := now.is["additionalProperties"].(map[string]any); ok {
		out = append(out, compareSchemas(path+".*", then.at(then.is["additionalProperties"]), now.at(more))...)
	}
	return out
}

// types are those that a schema takes; none stands for all.
func (s schema) types() []string {
	if one, ok := s.is["type"].(string); ok {
		return []string{one}
	}
	return texts(s.is["type"])
}

func (s schema) mayBe(kind string) bool {
	return len(s.types()) == 0 || slices.Contains(s.types(), kind)
}

// sameType tells whether one takes all types of the other.
func sameType(then, now schema) bool {
	return len(now.types()) == 0 || len(then.types()) > 0 && !slices.ContainsFunc(then.types(), func(kind string) bool { return !now.mayBe(kind) })
}

// valuesOf are the only values that a schema takes; nil where it names none.
func valuesOf(s schema) []any {
	if v, ok := s.is["const"]; ok {
		return []any{v}
	}
	values, _ := s.is["enum"].([]any)
	return values
}

func texts(list any) (out []string) {
	values, _ := list.([]any)
	for _, v := range values {
		out = append(out, fmt.Sprint(v))
	}
	return out
}
