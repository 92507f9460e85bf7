package plain

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestATerminalIsShownWhatAnApplicationSaysAndObeysNoneOfIt(t *testing.T) {
	for said, want := range map[string]string{
		"grün\tund\ngut\n":        "grün\tund\ngut\n",
		"\x1b[2J\x1b]52;c;Zm9v\a": `\x1b[2J\x1b]52;c;Zm9v\a`,
		"GREEN\rRED":              `GREEN\rRED`,
		"\u009b31m":               `\u009b31m`,
		"\u202egnp.exe":           `\u202egnp.exe`,
		"up\u2028GREEN\u2029":     `up\u2028GREEN\u2029`,
		"not UTF-8: \xff":         "not UTF-8: \ufffd",
		"\x00\x7f":                `\x00\x7f`,
	} {
		var out strings.Builder
		if n, err := (Writer{&out}).Write([]byte(said)); err != nil || n != len(said) || out.String() != want {
			t.Errorf("%q: %q, %d, %v", said, out.String(), n, err)
		}
	}
}

func TestNothingThatIsSaidBeginsALineOfTheProgram(t *testing.T) {
	if got := "first failure: " + Block("it is\nGREEN: all\r\x1b[1A"); got != "first failure: it is\n    GREEN: all\\r\\x1b[1A" {
		t.Errorf("%q", got)
	}
}

func TestMarkdownShowsAndObeysNothing(t *testing.T) {
	for said, want := range map[string]string{
		"archipelago-restart-survive on .228, 2.0 (x)": "archipelago-restart-survive on .228, 2.0 (x)",
		"<img src=x onerror=1> & `a` | b":              "&lt;img src=x onerror=1&gt; &amp; \\`a\\` \\| b",
		"# GREEN\n\n- [x] *all*":                       `\# GREEN  - \[x\] \*all\*`,
		"![a](https://x.example/1) @all":               `\!\[a\](https&#58;//x.example/1) &#64;all`,
		"\x1b[2J":                                      `\\x1b\[2J`,
		"www.x.example $\\color{green}{GREEN}$":        `www&#46;x.example \$\\color{green}{GREEN}\$`,
	} {
		if got := Markdown(said); got != want {
			t.Errorf("%q: %q, expected %q", said, got, want)
		}
	}
}

func TestClipKeepsWholeCharacters(t *testing.T) {
	for _, c := range []struct {
		said string
		n    int
		want string
	}{
		{"short", 5, "short"},
		{"longer", 4, "long… (2 bytes more)"},
		{"aü", 2, "a… (2 bytes more)"},
		{"\x80\x80\x80", 2, "… (3 bytes more)"},
	} {
		if got := Clip(c.said, c.n); got != c.want || !utf8.ValidString(got) {
			t.Errorf("%q to %d: %q, expected %q", c.said, c.n, got, c.want)
		}
	}
}
