package document

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestATextOfSeveralLinesDiffersByItsLines(t *testing.T) {
	for _, c := range []struct {
		old, new string
		want     []string
	}{
		{"a", "b", []string{`p "a" "b"`}},
		{"", "one\ntwo\n", []string{`p:1 "" "one"`, `p:2 "" "two"`}},
		{"one\ntwo\n", "", []string{`p:1 "one" ""`, `p:2 "two" ""`}},
		{"a\nb\nc\nd\n", "a\nB\nc\nd\n", []string{`p:2 "b" ""`, `p:2 "" "B"`}},
		{"a\nb\n", "a\nx\ny\nb\n", []string{`p:2 "" "x"`, `p:3 "" "y"`}},
		{"a\na\n", "a\na\na\n", []string{`p:3 "" "a"`}},
		{"a\nb\n", "b\na\n", []string{`p:1 "a" ""`, `p:2 "b" ""`, `p:1 "" "b"`, `p:2 "" "a"`}},
		{"a\nb\n", "a\nb", []string{`p:2 "b" ""`, `p:2 "" "b"`}},
		{"a\n", "a\n\n  privilege  x\n", []string{`p:2 "" "\"\""`, `p:3 "" "\"  privilege  x\""`}},
		{"a\nb\r\n", "a\nb\n", []string{`p:2 "\"b\\r\"" ""`, `p:2 "" "b"`}},
	} {
		var got []string
		for _, l := range (Line{Kind: Privilege, Path: "p", Old: c.old, New: c.new}).byLine() {
			got = append(got, fmt.Sprintf("%s %q %q", l.Path, l.Old, l.New))
			if l.Kind != Privilege || strings.Contains(l.Old+l.New, "\n") {
				t.Errorf("%+v", l)
			}
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q to %q:\n%q\nexpected\n%q", c.old, c.new, got, c.want)
		}
	}
}
