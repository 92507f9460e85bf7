package web

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template/parse"
	"unicode"

	"golang.org/x/net/html"

	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// saying is a message of the pages, where they say it.
type saying struct {
	place  string // file:line
	key    string
	filled int  // how much is filled in
	text   bool // it is used where tags are no tags
}

// sayings are all that the pages say, and what they would say in English whatever the language.
func sayings(t *testing.T) (all []saying, outside []string) {
	t.Helper()
	files, err := filepath.Glob("templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "trust.html") {
		said, out := ofTemplates(t, file, sourceOf(t, file))
		all, outside = append(all, said...), append(outside, out...)
	}
	if files, err = filepath.Glob("*.go"); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") && file != "german.go" {
			said, out := ofGo(t, file)
			all, outside = append(all, said...), append(outside, out...)
		}
	}
	for _, name := range terms {
		all = append(all, saying{place: "words.go", key: name, text: true})
	}
	return all, outside
}

func sourceOf(t *testing.T, file string) string {
	t.Helper()
	if file == "trust.html" {
		return trustHTML
	}
	b, err := templates.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// seen are the attributes that people read or hear.
var seen = []string{"alt", "aria-description", "aria-label", "aria-roledescription", "data-copied", "data-selected", "label", "placeholder", "title"}

// names are the same in every language, and so are paths and what begins an address.
var names = regexp.MustCompile(`\b(Android|Archipelago|Fedora|Linux|macOS|Windows)\b|^/\S+$|https://`)

// void are elements without an end.
var void = []string{"br", "hr", "img", "input", "link", "meta"}

// ofTemplates reads a file of templates.
func ofTemplates(t *testing.T, file, source string) (all []saying, outside []string) {
	t.Helper()
	line := func(at int) string { return fmt.Sprintf("%s:%d", file, 1+strings.Count(source[:at], "\n")) }
	root := parse.New(file)
	root.Mode = parse.SkipFuncCheck
	trees := map[string]*parse.Tree{}
	if _, err := root.Parse(source, "", "", trees); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(trees)) {
		var page strings.Builder
		var from [][2]int // where a text is in the page, and in the source
		var walk func(parse.Node)
		list := func(l *parse.ListNode) {
			if l != nil {
				walk(l)
			}
		}
		walk = func(n parse.Node) {
			switch n := n.(type) {
			case *parse.ListNode:
				for _, one := range n.Nodes {
					walk(one)
				}
			case *parse.TextNode:
				from = append(from, [2]int{page.Len(), int(n.Pos)})
				page.Write(n.Text)
			case *parse.ActionNode:
				page.WriteString("_") // what comes there is no letter
				walk(n.Pipe)
			case *parse.IfNode:
				walk(n.Pipe)
				list(n.List)
				list(n.ElseList)
			case *parse.WithNode:
				walk(n.Pipe)
				list(n.List)
				list(n.ElseList)
			case *parse.RangeNode:
				walk(n.Pipe)
				list(n.List)
				list(n.ElseList)
			case *parse.TemplateNode:
				if n.Pipe != nil {
					walk(n.Pipe)
				}
			case *parse.PipeNode:
				for _, c := range n.Cmds {
					walk(c)
				}
			case *parse.CommandNode:
				args := n.Args
				if id, ok := args[0].(*parse.IdentifierNode); ok && id.Ident == "t" {
					key, ok := "", false
					if len(args) > 1 {
						var s *parse.StringNode
						if s, ok = args[1].(*parse.StringNode); ok {
							key = s.Text
						}
					}
					if !ok {
						outside = append(outside, line(int(n.Pos))+": t without a message in quotes: "+n.String())
						return
					}
					all = append(all, saying{place: line(int(n.Pos)), key: key, filled: len(args) - 2})
					args = args[2:]
				}
				for _, a := range args {
					walk(a)
				}
			case *parse.StringNode:
				if prose.MatchString(n.Text) {
					outside = append(outside, line(int(n.Pos))+": "+n.Quoted)
				}
			}
		}
		walk(trees[name].Root)
		at := func(offset int) string {
			i := slices.IndexFunc(from, func(f [2]int) bool { return f[0] > offset })
			if i < 0 {
				i = len(from)
			}
			if i == 0 {
				return file
			}
			return line(from[i-1][1] + offset - from[i-1][0])
		}
		for _, p := range proseOf(page.String()) {
			outside = append(outside, fmt.Sprintf("%s: %q is outside of t", at(p.at), p.text))
		}
	}
	return all, outside
}

// piece is a text of a page, and where it is in it.
type piece struct {
	at   int
	text string
}

// proseOf are the words of a page that no element says to be of another language, or none.
func proseOf(page string) (all []piece) {
	type open struct {
		name  string
		apart bool
	}
	var in []open
	apart := func() bool { return len(in) > 0 && in[len(in)-1].apart }
	add := func(at int, s string) {
		if strings.ContainsFunc(names.ReplaceAllString(s, ""), unicode.IsLetter) {
			trimmed := strings.TrimLeftFunc(s, unicode.IsSpace)
			all = append(all, piece{at + len(s) - len(trimmed), strings.TrimSpace(trimmed)})
		}
	}
	z := html.NewTokenizer(strings.NewReader(page))
	for at := 0; z.Next() != html.ErrorToken; at += len(z.Raw()) {
		switch token := z.Token(); token.Type {
		case html.TextToken:
			if !apart() {
				add(at, token.Data)
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			o := open{token.Data, apart() || slices.Contains([]string{"code", "pre", "script", "style"}, token.Data)}
			for _, a := range token.Attr {
				o.apart = o.apart || a.Key == "lang" && token.Data != "html"
			}
			for _, a := range token.Attr {
				if slices.Contains(seen, a.Key) && !o.apart {
					add(at, a.Val)
				}
			}
			if token.Type == html.StartTagToken && !slices.Contains(void, token.Data) {
				in = append(in, o)
			}
		case html.EndTagToken:
			for i, o := range slices.Backward(in) {
				if o.name == token.Data {
					in = in[:i]
					break
				}
			}
		}
	}
	return all
}

// prose is what looks like words for people.
var prose = regexp.MustCompile(`^[A-Z][a-z]+$|[A-Za-z]{2,}[,.;:]? [A-Za-z(]`)

// otherwise are the functions whose strings are for programs, logs and the audit log, which are
// English. An error may reach a page, so its words are a message, too.
var otherwise = regexp.MustCompile(`^(.*\.Log\.(Error|Warn|Info)|.*\.(Audit(Of)?|auditPassword|proven)|.*\.?(h|w\.Header\(\)|r\.Header|q)\.(Set|Get|Add|Del))$`)

// sayers are the functions that say what others give them, or something to the audit log.
var sayers = map[string][]string{"words.go": {"t", "html", "word"}, "refusals.go": {"Error", "why"}, "factor.go": {"wrong"}}

// ofGo reads a file of Go.
func ofGo(t *testing.T, file string) (all []saying, outside []string) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	line := func(n ast.Node) string { return fmt.Sprintf("%s:%d", file, fset.Position(n.Pos()).Line) }
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.ValueSpec:
			return n.Names[0].Name != "oneInEnglish" && n.Names[0].Name != "terms"
		case *ast.FuncDecl: // those that say what others give them
			return !slices.Contains(sayers[file], n.Name.Name)
		case *ast.Field:
			return n.Tag == nil
		case *ast.CallExpr:
			callee := exprString(n.Fun)
			if otherwise.MatchString(callee) {
				return false
			}
			says := callee[strings.LastIndex(callee, ".")+1:]
			if says != "t" && says != "html" && callee != "refusing" {
				return true
			}
			lit, ok := n.Args[0].(*ast.BasicLit)
			if !ok {
				outside = append(outside, line(n)+": "+callee+" without a message in quotes")
				return false
			}
			key, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, saying{line(n), key, len(n.Args) - 1, says != "html"})
			lit.Value = `""` // it is looked at
			return true
		case *ast.BasicLit:
			if s, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && prose.MatchString(s) && !strings.Contains(s, "event: ") && (!strings.HasPrefix(s, "<") || proseOf(s) != nil) {
				outside = append(outside, fmt.Sprintf("%s: %q is outside of t", line(n), s))
			}
		}
		return true
	})
	return all, outside
}

// exprString is a callee as it is written.
func exprString(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return exprString(e.X) + "." + e.Sel.Name
	case *ast.CallExpr:
		return exprString(e.Fun) + "()"
	}
	return "…"
}

var verb = regexp.MustCompile(`%(?:\.\d+)?(?:\[(\d+)\])?(?:\.\d+)?([a-z%])`)

// verbs are those of a message, by the number of what they show.
func verbs(message string) map[int]string {
	all, next := map[int]string{}, 1
	for _, v := range verb.FindAllStringSubmatch(message, -1) {
		if v[2] == "%" {
			continue
		}
		if v[1] != "" {
			next, _ = strconv.Atoi(v[1])
		}
		all[next] += v[2]
		next++
	}
	return all
}

var (
	tag  = regexp.MustCompile(`<[a-z]+[^>]*>`)
	tags = regexp.MustCompile(`</?[a-z]+[^>]*>`)
	code = regexp.MustCompile(`<code>.*?</code>`)
)

// marks are the tags of a message, and the code in it, which is the same in all languages.
func marks(message string) []string {
	all := slices.DeleteFunc(tag.FindAllString(message, -1), func(s string) bool { return s == `<span lang="en">` })
	return slices.Sorted(slices.Values(append(all, code.FindAllString(message, -1)...)))
}

// alike are the messages that are the same in German.
var alike = []string{"Code", "Container", "Name", "Passkeys", "Snapshot", "Snapshots", "Store", "System", "Updates", "Version", "Website"}

func TestNothingIsSaidOutsideTheCatalog(t *testing.T) {
	all, outside := sayings(t)
	for _, o := range outside {
		t.Error(o)
	}
	if len(all) < 300 {
		t.Errorf("only %d messages were found", len(all))
	}
}

func TestEverythingIsSaidInGermanToo(t *testing.T) {
	all, _ := sayings(t)
	used := map[string]bool{}
	for _, s := range all {
		used[s.key] = true
		said, ok := inGerman[s.key]
		if !ok {
			t.Errorf("%s: german.go has no %q", s.place, s.key)
			continue
		}
		if got := len(verbs(s.key)); got != s.filled {
			t.Errorf("%s: %q has %d verbs for %d values", s.place, s.key, got, s.filled)
		}
		if s.text && (strings.ContainsAny(s.key+said, "<&")) {
			t.Errorf("%s: %q is text, in which tags and entities are seen as they are", s.place, s.key)
		}
	}
	for key, said := range inGerman {
		if !used[key] {
			t.Errorf("german.go: nothing says %q any more", key)
		}
		if said == key && prose.MatchString(key) && !slices.Contains(alike, key) {
			t.Errorf("german.go: %q is English", said)
		}
		if !maps.Equal(verbs(key), verbs(said)) {
			t.Errorf("german.go: the verbs of %q and %q differ", key, said)
		}
		if !slices.Equal(marks(key), marks(said)) {
			t.Errorf("german.go: the tags or the code of %q and %q differ", key, said)
		}
		if strings.ContainsAny(said, `"'`) && !tag.MatchString(said) {
			t.Errorf("german.go: %q is quoted by „ and “", said)
		}
	}
	for file, ones := range map[string]map[string]string{"words.go": oneInEnglish, "german.go": oneInGerman} {
		for key, one := range ones {
			if !used[key] {
				t.Errorf("%s: nothing says %q any more", file, key)
			}
			if v := verbs(one); len(v) > 0 && !maps.Equal(verbs(key), v) {
				t.Errorf("%s: the verbs of %q and %q differ", file, key, one)
			}
			if !strings.HasPrefix(verbs(key)[1], "d") {
				t.Errorf("%s: %q counts nothing", file, key)
			}
		}
	}
}

func TestStatesAndCategoriesHaveAWordInEachLanguage(t *testing.T) {
	for _, s := range []view.State{view.NotInstalled, view.Starting, view.Up, view.Unhealthy, view.Waiting, view.Updating, view.Stopping, view.Down, view.Removing, view.Failed} {
		if german.word(string(s)) == string(s) || english.word(string(s)) != string(s) {
			t.Errorf("the state %s", s)
		}
	}
	for _, c := range categories(t) {
		if !slices.Contains(terms, c) {
			t.Errorf("the category %s has no word in German", c)
		}
	}
	if got := german.word("of nobody"); got != "of nobody" {
		t.Errorf("what has no word is %q", got)
	}
}

// categories are those that a manifest may have.
func categories(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../catalog/manifest/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Category struct{ Enum []string }
		}
	}
	if err := json.Unmarshal(b, &schema); err != nil || len(schema.Properties.Category.Enum) == 0 {
		t.Fatal("no categories", err)
	}
	return schema.Properties.Category.Enum
}
