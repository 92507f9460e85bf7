// Package plain owns what becomes of text that others wrote (applications, pages, nodes,
// runs that were made elsewhere) before it is kept or printed: how long it may be, and what
// of it a terminal or Markdown would obey. HTML and JSON have encoders of their own.
package plain

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Writer passes text on to a terminal, as Text. Each write must hold whole characters.
type Writer struct{ io.Writer }

// ForTerminal gives what to print to: the file itself where it is no terminal.
func ForTerminal(f *os.File) io.Writer {
	if term.IsTerminal(int(f.Fd())) {
		return Writer{f}
	}
	return f
}

func (p Writer) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.Writer, Text(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Text is a text with its control characters escaped as Go writes them, "\x1b", those that
// change the direction of writing, and Unicode's own line breaks; the usual ones and tabs stay.
func Text(s string) string {
	var out strings.Builder
	for _, r := range s {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)) {
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// Block is Text for the middle of a line. What comes after a line break is indented: it
// cannot be taken for a line of the program's own.
func Block(s string) string {
	return strings.ReplaceAll(Text(s), "\n", "\n    ")
}

// markdown escapes what GitHub's Markdown would obey within a line, HTML included.
var markdown = strings.NewReplacer(
	"\n", " ", "\t", " ", `\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`, "~", `\~`, "#", `\#`,
	"!", `\!`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "@", "&#64;", "://", "&#58;//", "www.", "www&#46;", "$", `\$`)

// Markdown is a text as one line of Markdown that shows it, and does nothing else.
func Markdown(s string) string { return markdown.Replace(Text(s)) }

// Clip cuts a text to at most n bytes, and then says how much is missing.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := n
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return fmt.Sprintf("%s… (%d bytes more)", s[:end], len(s)-end)
}
