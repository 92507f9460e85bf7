package render

import (
	"io"
	"maps"
	"slices"
	"strings"
)

// Print shows files by name, one after the other.
func Print(w io.Writer, files map[string]string) error {
	var b strings.Builder
	for i, name := range slices.Sorted(maps.Keys(files)) {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("# " + name + "\n" + files[name])
	}
	_, err := io.WriteString(w, b.String())
	return err
}
