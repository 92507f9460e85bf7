package main

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// plain passes text on to a terminal. Much of what archy prints is what applications said,
// and a terminal obeys control characters: they are shown as Go writes them, "\x1b". Each
// write must hold whole characters.
type plain struct{ io.Writer }

// forTerminal gives what to print to: the file itself where it is no terminal.
func forTerminal(f *os.File) io.Writer {
	if term.IsTerminal(int(f.Fd())) {
		return plain{f}
	}
	return f
}

func (p plain) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.Writer, shown(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// shown is a text with its control characters escaped, and those that change the direction
// of writing; line breaks and tabs stay.
func shown(s string) string {
	var out strings.Builder
	for _, r := range s {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}
