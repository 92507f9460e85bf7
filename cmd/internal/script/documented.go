package script

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var (
	block    = regexp.MustCompile("(?s)\n```sh\n(.*?)\n```")
	remark   = regexp.MustCompile(`(^|\s)#.*$`)
	inner    = regexp.MustCompile(`\$\(([^)]*)\)`)
	redirect = regexp.MustCompile(`[<>]\s*\S+`)
	next     = regexp.MustCompile(`&&|\|\||[|;]`)
	word     = regexp.MustCompile(`'[^']*'|\S+`)
)

// Documented wants every call of a command, in the shell blocks of the documents and in its
// own examples, to be one that it would take: subcommands, flags and the number of arguments.
// Paths are relative to the repository; command makes the command anew.
func Documented(t *testing.T, repository string, command func() *cobra.Command) {
	t.Helper()
	name, calls := command().Name(), 0
	check := func(where, text string) {
		for line := range strings.Lines(text) {
			for _, args := range callsOf(name, line) {
				calls++
				root := command()
				root.InitDefaultCompletionCmd()
				c, rest, err := root.Find(args)
				if err == nil {
					err = c.ParseFlags(rest)
				}
				if err == nil {
					err = c.ValidateArgs(c.Flags().Args())
				}
				if err != nil {
					t.Errorf("%s: %s %s: %v", where, name, strings.Join(args, " "), err)
				}
			}
		}
	}
	for _, doc := range []string{"README.md", "OPERATING.md", "TESTING.md", "HACKING.md", "dist/README.md", "docs/app-guide.md"} {
		b, err := os.ReadFile(filepath.Join(repository, doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllSubmatch(b, -1) {
			check(doc, string(m[1]))
		}
	}
	var examples func(*cobra.Command)
	examples = func(c *cobra.Command) {
		check(c.CommandPath()+" --help", c.Example)
		for _, sub := range c.Commands() {
			examples(sub)
		}
	}
	examples(command())
	if calls < 3 {
		t.Errorf("only %d calls of %s were found", calls, name)
	}
}

// callsOf gives the arguments of each call of a command on a line of shell.
func callsOf(name, line string) (calls [][]string) {
	line = remark.ReplaceAllString(strings.TrimSpace(line), "")
	var parts []string
	for _, m := range inner.FindAllStringSubmatch(line, -1) {
		parts = append(parts, m[1])
	}
	line = redirect.ReplaceAllString(inner.ReplaceAllString(line, "OUTPUT"), "")
	for _, part := range append(parts, next.Split(line, -1)...) {
		words := word.FindAllString(part, -1)
		if len(words) > 0 && filepath.Base(words[0]) == name {
			calls = append(calls, words[1:])
		}
	}
	return calls
}
