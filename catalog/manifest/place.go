package manifest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

func field(path []string) string {
	var b strings.Builder
	for i, p := range path {
		if _, err := strconv.Atoi(p); err == nil {
			fmt.Fprintf(&b, "[%s]", p)
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(short(p))
	}
	return b.String()
}

// locate walks as far along path as the file goes and gives that place.
func (d *document) locate(path []string, key bool) (line, column int) {
	if d.root == nil {
		return 0, 0 // read without positions
	}
	_, at := d.find(path, key)
	return at.Line, at.Column
}

// find walks as far along path as the file goes, and gives what is there and where it
// begins; with key, where its name does.
func (d *document) find(path []string, key bool) (ast.Node, token.Position) {
	n := d.root
	at := position(n)
	for i, p := range path {
		var next ast.Node
		switch v := n.(type) {
		case *ast.MappingNode:
			for _, mv := range v.Values {
				if keyText(mv) == p {
					next = mv.Value
					if k := mv.Key.GetToken(); key && i == len(path)-1 || next == nil {
						return mv.Value, *k.Position
					}
				}
			}
		case *ast.MappingValueNode:
			if keyText(v) == p {
				next = v.Value
				if k := v.Key.GetToken(); key && i == len(path)-1 {
					return v.Value, *k.Position
				}
			}
		case *ast.SequenceNode:
			if j, err := strconv.Atoi(p); err == nil && j < len(v.Values) {
				next = v.Values[j]
			}
		}
		if next == nil {
			break
		}
		n, at = next, position(next)
	}
	return n, at
}

func keyText(mv *ast.MappingValueNode) string {
	if s, ok := mv.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return mv.Key.GetToken().Value
}

// position is where a node begins; a block mapping begins at its first key.
func position(n ast.Node) token.Position {
	switch v := n.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return *v.Values[0].Key.GetToken().Position
		}
	case *ast.MappingValueNode:
		return *v.Key.GetToken().Position
	case *ast.SequenceNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return position(v.Values[0])
		}
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return *t.Position
	}
	return token.Position{Line: 1, Column: 1}
}
