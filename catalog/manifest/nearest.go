package manifest

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// nearest is the one of the known words that somebody who wrote this one most likely
// meant; empty where none is near.
func nearest(word string, known []string) string {
	best, least := "", 1+max(1, len([]rune(word))/3)
	for _, k := range known {
		if n := distance(fold(word), fold(k)); n < least && k != word {
			best, least = k, n
		}
	}
	return best
}

// fold makes the ways in which other languages write a name the same: dependsOn,
// depends-on, DEPENDS_ON.
func fold(s string) []rune {
	return []rune(strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s)))
}

// distance is the number of letters to add, leave out, change or swap with the next one
// (optimal string alignment).
func distance(a, b []rune) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range b {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// word is the text at a problem's place, or the name of the field there.
func (d *document) word(p *Problem) (text string) {
	ast.Walk(visitor(func(n ast.Node) {
		if t := n.GetToken(); text == "" && t != nil && t.Position.Line == p.Line && t.Position.Column == p.Column {
			if s, ok := n.(*ast.StringNode); ok {
				text = s.Value
			}
		}
	}), d.root)
	return text
}
