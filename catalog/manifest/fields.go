package manifest

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml"
)

//go:embed fields.yaml
var fieldsYAML []byte

// Page is the reference of the language on the web; a field's place on it is its anchor.
const Page = "https://github.com/archipelago-cloud/archipelago/blob/main/docs/manifest.md"

// Field is a field of the language, as the schema has it and fields.yaml explains it.
type Field struct {
	Path     string // names joined by dots, without indexes and names of the author's own: containers.ports.host
	Pointer  string // where the schema has it: a JSON pointer (RFC 6901)
	Required bool   // where its parent is given
	Type     string // such as "list of mappings"
	Bounds   string // such as "1 to 65535", or "one of tcp, udp"; empty for none
	About    string // what it means; empty where fields.yaml lacks it
	Example  string // of its value, in YAML on one line
}

// Parent is the path of the field that this one is in; empty for one at the top.
func (f Field) Parent() string {
	i := strings.LastIndexByte(f.Path, '.')
	return f.Path[:max(i, 0)]
}

// schemaNode is a JSON value of the schema that keeps the order of its members.
type schemaNode struct {
	keys    []string
	members map[string]*schemaNode
	items   []*schemaNode
	text    string // of a scalar
}

func (n *schemaNode) at(keys ...string) *schemaNode {
	for _, k := range keys {
		if n == nil {
			return nil
		}
		n = n.members[k]
	}
	return n
}

// texts are the scalars of a list, or the scalar itself.
func (n *schemaNode) texts() (out []string) {
	if n == nil {
		return nil
	}
	if n.items == nil {
		return []string{n.text}
	}
	for _, i := range n.items {
		out = append(out, i.text)
	}
	return out
}

func readSchema(d *jsontext.Decoder) (*schemaNode, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	n := &schemaNode{}
	switch t.Kind() {
	case '{':
		n.members = map[string]*schemaNode{}
		for d.PeekKind() != '}' {
			k, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			key := k.String()
			if n.members[key], err = readSchema(d); err != nil {
				return nil, err
			}
			n.keys = append(n.keys, key)
		}
		_, err = d.ReadToken()
	case '[':
		n.items = []*schemaNode{}
		for d.PeekKind() != ']' {
			i, err := readSchema(d)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, i)
		}
		_, err = d.ReadToken()
	default:
		n.text = t.String()
	}
	return n, err
}

// grammar is the schema and the words about it.
type grammar struct {
	schema *schemaNode
	words  struct {
		Forms    map[string][]string `yaml:"forms"`
		Expected map[string]string   `yaml:"expected"`
		Fields   map[string][]string `yaml:"fields"`
	}
	fields    []Field
	byPath    map[string]int
	byPointer map[string]int // the first that is there
}

// theGrammar is what the program has built in, so what is wrong with it is a bug.
var theGrammar = sync.OnceValue(func() *grammar {
	g := &grammar{byPath: map[string]int{}, byPointer: map[string]int{}}
	var err error
	if g.schema, err = readSchema(jsontext.NewDecoder(bytes.NewReader(schemaJSON))); err != nil {
		panic(fmt.Sprintf("manifest: schema.json: %v", err))
	}
	if err := yaml.UnmarshalWithOptions(fieldsYAML, &g.words, yaml.Strict()); err != nil {
		panic(fmt.Sprintf("manifest: fields.yaml: %v", err))
	}
	g.walk(g.schema, "", "", "")
	for i, f := range g.fields {
		g.byPath[f.Path] = i
		if _, there := g.byPointer[f.Pointer]; !there {
			g.byPointer[f.Pointer] = i
		}
	}
	return g
})

// Fields are all fields of the language, in the order of the schema, each before those
// in it. Where one definition serves several places, each has its fields.
func Fields() []Field { return slices.Clone(theGrammar().fields) }

// resolve follows a reference; form is the name of what it refers to.
func (g *grammar) resolve(n *schemaNode, pointer string) (to *schemaNode, at, form string) {
	if ref := n.at("$ref"); ref != nil {
		form = strings.TrimPrefix(ref.text, "#/$defs/")
		return g.schema.at("$defs", form), "/$defs/" + form, form
	}
	return n, pointer, ""
}

// inner gives the schema of what a list or mapping holds, until it is neither; it is n
// itself where that is neither.
func (g *grammar) inner(n *schemaNode, pointer, form string) (*schemaNode, string, string) {
	for {
		var next *schemaNode
		at := pointer
		switch {
		case n.at("items") != nil:
			next, at = n.at("items"), pointer+"/items"
		case n.at("properties") == nil && n.at("additionalProperties") != nil && n.at("additionalProperties").members != nil:
			next, at = n.at("additionalProperties"), pointer+"/additionalProperties"
		default:
			return n, pointer, form
		}
		to, where, name := g.resolve(next, at)
		n, pointer = to, where
		if name != "" {
			form = name
		}
	}
}

// walk adds the fields of an object. form is the definition that the object is from.
func (g *grammar) walk(n *schemaNode, pointer, path, form string) {
	properties := n.at("properties")
	if properties == nil {
		return
	}
	required := n.at("required").texts()
	for _, name := range properties.keys {
		p := properties.at(name)
		f := Field{Path: strings.TrimPrefix(path+"."+name, "."), Pointer: pointer + "/properties/" + name, Required: slices.Contains(required, name)}
		to, at, its := g.resolve(p, f.Pointer)
		words := g.words.Fields[f.Path]
		if words == nil {
			words = g.words.Fields["("+form+")."+name]
		}
		if d := p.at("description"); d != nil { // of the schema's own
			f.About = d.text
		}
		if len(words) > 0 {
			f.About = words[0]
		}
		f.Type, f.Bounds = g.typeOf(to, its), g.bounds(to, its, f.Path)
		f.Example = g.example(to, its, true)
		if len(words) > 1 {
			f.Example = words[1]
		}
		g.fields = append(g.fields, f)
		in, inAt, inForm := g.inner(to, at, its)
		g.walk(in, inAt, f.Path, inForm)
	}
}

// Anchor is where the reference explains a field of a manifest, as Problem.Field has it:
// the path of the field, or of the nearest around it. It is empty for the whole document.
func Anchor(field string) string {
	g := theGrammar()
	n, at, path := g.schema, "", ""
	for _, name := range strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		in, inAt, _ := g.inner(n, at, "")
		next := in.at("properties", name)
		if next == nil {
			continue // an index, or a name of the author's own
		}
		path = strings.TrimPrefix(path+"."+name, ".")
		n, at, _ = g.resolve(next, inAt+"/properties/"+name)
	}
	return path
}
