package reports

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// What comes from a node may be of any length. These bound what of it is kept, in bytes.
const (
	MaxText     = 16 << 10 // of a reason or a note
	MaxEvidence = 4 << 20  // of a file of evidence
	MaxCell     = 32 << 20 // of the evidence of a cell
	MaxRun      = 2 << 30  // of the evidence of a run, beyond which no more is begun
)

// Excerpt cuts the middle out of what is longer than a bound, and says so there.
func Excerpt(b []byte, most int) []byte {
	if len(b) <= most {
		return b
	}
	note := fmt.Sprintf("\n… %d of %d bytes are left out here …\n", len(b)-most, len(b))
	if most = max(0, most-len(note)); most == 0 {
		return []byte(note)
	}
	head := most / 4 // the end of a journal says more than its beginning
	out := append([]byte{}, b[:head]...)
	out = append(out, note...)
	return append(out, b[len(b)-(most-head):]...)
}

// Text bounds a reason or a note.
func Text(s string) string {
	if len(s) <= MaxText {
		return s
	}
	s = string(Excerpt([]byte(s), MaxText))
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "")
	}
	return s
}
