package compose

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// grown counts the values below a node with all aliases written out, and gives an alias
// where they are more than may be.
func grown(n *yaml.Node, seen map[*yaml.Node]int) (int, *yaml.Node) {
	const open = -1
	if n.Kind == yaml.AliasNode {
		if seen[n.Alias] == open || n.Alias == nil {
			return maxNodes + 1, n
		}
		count, _ := grown(n.Alias, seen)
		return count, n
	}
	if count, ok := seen[n]; ok {
		return count, n
	}
	seen[n] = open
	sum, at := 1, n
	for _, c := range n.Content {
		count, where := grown(c, seen)
		if sum += count; sum > maxNodes {
			sum, at = maxNodes+1, where
			break
		}
	}
	seen[n] = sum
	return sum, at
}

// target is what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// child finds an entry of a mapping, also one that is merged into it; key is its name.
func child(n *yaml.Node, name string) (value, key *yaml.Node) {
	n = target(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch k := n.Content[i]; {
		case k.Value == name:
			return target(n.Content[i+1]), k
		case k.Value == "<<":
			merged = append(merged, items(n.Content[i+1])...)
		}
	}
	for _, m := range merged {
		if v, k := child(m, name); k != nil {
			return v, k
		}
	}
	return nil, nil
}

// items are those of a sequence, or what stands for one alone.
func items(n *yaml.Node) (all []*yaml.Node) {
	n = target(n)
	switch {
	case n == nil || n.Tag == "!!null":
	case n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			all = append(all, target(c))
		}
	default:
		all = append(all, n)
	}
	return all
}

// values are those of a mapping.
func values(n *yaml.Node) (all []*yaml.Node) {
	n = target(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 1; i < len(n.Content); i += 2 {
		all = append(all, target(n.Content[i]))
	}
	return all
}

// place finds where something is said: the path leads from the top of a file, and its
// last words may be text by which an item of a list is known.
func (im *importer) place(path ...string) Place {
	best, depth := Place{File: im.order[0].name}, 0
	for _, s := range im.order {
		for _, doc := range s.docs {
			if line, d := find(doc, path); d > depth {
				best, depth = Place{s.name, line}, d
			}
		}
	}
	return best
}

func find(n *yaml.Node, path []string) (line, depth int) {
	line = n.Line
	for _, p := range path {
		v, k := child(n, p)
		if k == nil && n.Kind == yaml.SequenceNode {
			if v = item(n, p); v != nil {
				k = v
			}
		}
		if k == nil {
			return line, depth
		}
		line, depth = k.Line, depth+1
		if v == nil {
			return line, depth
		}
		n = v
	}
	return line, depth
}

// item finds one of a list by a text in it: exactly, before "=", between colons, as a
// value of its own, or anywhere.
func item(n *yaml.Node, text string) *yaml.Node {
	fits := []func(string) bool{
		func(s string) bool { return s == text || strings.HasPrefix(s, text+"=") },
		func(s string) bool {
			return slices.Contains(strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == '/' && !strings.Contains(text, "/") }), text)
		},
		func(s string) bool { return strings.Contains(s, text) },
	}
	for _, fit := range fits {
		for _, c := range items(n) {
			if c.Kind == yaml.ScalarNode && fit(c.Value) {
				return c
			}
			for _, v := range values(c) {
				if v.Kind == yaml.ScalarNode && fit(v.Value) {
					return c
				}
			}
		}
	}
	if i, err := strconv.Atoi(text); err == nil && i < len(n.Content) && i >= 0 {
		return target(n.Content[i])
	}
	return nil
}
