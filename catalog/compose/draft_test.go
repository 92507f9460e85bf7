package compose

import (
	"testing"

	"go.yaml.in/yaml/v4"
)

func FuzzWriteOfATextIsReadBack(f *testing.F) {
	for _, s := range []string{"a\n", "a\nb", "a\n\n\n", "  a\nb\n", "\n\na\n", "a\n \nb", "a\tb\n\tc\n", "# a\n", "a: b\n- c\n", "---\n...\n", "a\r\nb\n", "\u2028\n", "\ufeffa\n", "é\nü", " a\n\n b\n\n", "\n", "%x\n%y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		file := mapping()
		file.set("path", scalar("/a"))
		file.set("content", block(s))
		file.set("after", scalar(1))
		list := sequence()
		list.add(file)
		top := mapping()
		top.set("files", list)
		text, _ := write(top, false)
		var got struct {
			Files []struct {
				Content string
				After   int
			}
		}
		if string([]rune(s)) != s { // no text
			return
		}
		if err := yaml.Unmarshal([]byte(text), &got); err != nil || len(got.Files) != 1 || got.Files[0].Content != s || got.Files[0].After != 1 {
			t.Errorf("%q is read as %+v, %v:\n%s", s, got, err, text)
		}
	})
}
