package manifest

import (
	"fmt"
	"strconv"
	"strings"
)

// typeNames are the types of JSON as they are called in messages and in the reference.
var typeNames = map[string]string{
	"object": "mapping", "array": "list", "string": "string", "number": "number", "integer": "integer", "boolean": "boolean", "null": "nothing",
}

// typeOf says what a field holds.
func (g *grammar) typeOf(n *schemaNode, form string) string {
	types := n.at("type").texts()
	switch {
	case n.at("enum") != nil || n.at("const") != nil:
		return "string"
	case len(types) == 1 && types[0] == "array":
		to, _, its := g.resolve(n.at("items"), "")
		return "list of " + plural(g.typeOf(to, its))
	case len(types) == 1 && types[0] == "object" && n.at("properties") == nil:
		to, _, its := g.resolve(n.at("additionalProperties"), "")
		return "mapping of names to " + plural(g.typeOf(to, its))
	}
	var names []string
	for _, t := range types {
		names = append(names, typeNames[t])
	}
	return strings.Join(names, " or ")
}

func plural(name string) string {
	first, rest, _ := strings.Cut(name, " ")
	return strings.TrimSpace(strings.ReplaceAll(first+"s "+rest, "s or mapping", "s or mappings"))
}

// bounds says what a field's values must be, or those of the list or mapping that it is.
func (g *grammar) bounds(n *schemaNode, form, path string) string {
	if words := g.words.Expected[path]; words != "" {
		return words
	}
	if words := g.words.Forms[form]; len(words) > 0 {
		return words[0]
	}
	least, most := n.at("minimum"), n.at("maximum")
	switch {
	case n.at("const") != nil:
		return n.at("const").text
	case n.at("enum") != nil:
		return "one of " + strings.Join(n.at("enum").texts(), ", ")
	case least != nil && most != nil:
		return least.text + " to " + most.text
	}
	if in, _, its := g.inner(n, "", form); in != n && in.at("properties") == nil {
		return g.bounds(in, its, path)
	}
	return ""
}

// example makes a value that the schema takes, on one line of YAML. Objects get what they
// must have; whole ones, at the top, all that they may have where nothing is required.
func (g *grammar) example(n *schemaNode, form string, whole bool) string {
	if words := g.words.Forms[form]; len(words) > 1 {
		return scalar(words[1], form)
	}
	switch {
	case n.at("const") != nil:
		return n.at("const").text
	case n.at("enum") != nil:
		return n.at("enum").texts()[0]
	}
	types := n.at("type").texts()
	if len(types) == 0 {
		return ""
	}
	switch types[0] {
	case "array":
		to, _, its := g.resolve(n.at("items"), "")
		return "[" + g.example(to, its, whole) + "]"
	case "object":
		if n.at("properties") == nil {
			to, _, its := g.resolve(n.at("additionalProperties"), "")
			name := "name"
			if names := n.at("propertyNames"); names != nil {
				if _, _, form := g.resolve(names, ""); len(g.words.Forms[form]) > 1 {
					name = g.words.Forms[form][1]
				}
			}
			return "{" + name + ": " + g.example(to, its, whole) + "}"
		}
		var parts []string
		for _, k := range n.at("required").texts() {
			to, _, its := g.resolve(n.at("properties", k), "")
			parts = append(parts, k+": "+g.example(to, its, false))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case "boolean":
		return "true"
	case "integer", "number":
		if least := n.at("minimum"); least != nil {
			return least.text
		}
		return "1"
	}
	return "text"
}

// scalar quotes an example where YAML would take it for something else than a string.
func scalar(s, form string) string {
	if form != "argv" && strings.ContainsAny(s, ":#{}[],&*!|>'\"%@`") {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// expected says in words what a pattern of the schema at a pointer wants; empty where no
// words are known.
func (g *grammar) expected(pointer string) string {
	if ref := g.node(pointer).at("$ref"); ref != nil {
		pointer = strings.TrimPrefix(ref.text, "#")
	}
	if form, ok := strings.CutPrefix(pointer, "/$defs/"); ok {
		if words := g.words.Forms[form]; len(words) > 0 {
			return words[0] + ", such as " + words[1]
		}
	}
	for p := pointer; p != ""; p = p[:strings.LastIndexByte(p, '/')] {
		if i, ok := g.byPointer[p]; ok {
			return g.words.Expected[g.fields[i].Path]
		}
	}
	return ""
}

// node is what the schema has at a pointer; nil for nothing.
func (g *grammar) node(pointer string) *schemaNode {
	n := g.schema
	for k := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if i, err := strconv.Atoi(k); err == nil && n != nil && i < len(n.items) {
			n = n.items[i]
		} else if k != "" {
			n = n.at(k)
		}
	}
	return n
}

// properties are the names that the object at a pointer of the schema may have.
func (g *grammar) properties(pointer string) []string {
	if p := g.node(pointer).at("properties"); p != nil {
		return p.keys
	}
	return nil
}

// elsewhere gives the path of a field of this name, the one least deep; empty for none.
func (g *grammar) elsewhere(name string) (path string) {
	for _, f := range g.fields {
		if f.Path[strings.LastIndexByte(f.Path, '.')+1:] == name && (path == "" || strings.Count(f.Path, ".") < strings.Count(path, ".")) {
			path = f.Path
		}
	}
	return path
}
