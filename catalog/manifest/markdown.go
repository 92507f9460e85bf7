package manifest

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

// inText is what is wrong in a text, and how many bytes of it come before that.
type inText struct {
	offset  int
	message string
}

func (e inText) Error() string { return e.message }

// refusedMarkdown are the parts of Markdown that descriptions do without.
var refusedMarkdown = map[ast.NodeKind]string{
	ast.KindHTMLBlock: "HTML", ast.KindRawHTML: "HTML", ast.KindImage: "a picture; screenshots are in 'screenshots'", ast.KindHeading: "a heading",
	ast.KindCodeBlock: "a block of code", ast.KindFencedCodeBlock: "a block of code", ast.KindBlockquote: "a quotation", ast.KindThematicBreak: "a line across the page",
}

var takenMarkdown = map[ast.NodeKind]bool{
	ast.KindDocument: true, ast.KindParagraph: true, ast.KindTextBlock: true, ast.KindText: true, ast.KindString: true, ast.KindEmphasis: true,
	ast.KindCodeSpan: true, ast.KindList: true, ast.KindListItem: true, ast.KindLink: true, ast.KindAutoLink: true, ast.KindLinkReferenceDefinition: true,
}

// maxNesting is how deep lists and emphasis may be in each other.
const maxNesting = 12

// parseMarkdown gives a description as a tree, and what of it is not of the subset.
func parseMarkdown(source []byte) (tree ast.Node, problems []inText) {
	tree = goldmark.DefaultParser().Parse(text.NewReader(source))
	depth, at := 0, 0
	refuse := func(format string, args ...any) {
		problems = append(problems, inText{at, fmt.Sprintf(format, args...)})
	}
	ast.Walk(tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			depth--
			return ast.WalkContinue, nil
		}
		if depth++; depth > maxNesting {
			refuse("more than %d parts in each other", maxNesting)
			return ast.WalkStop, nil
		}
		at = max(at, begins(n))
		switch n := n.(type) {
		case *ast.Link:
			if !webAddress(string(n.Destination)) {
				refuse("a link to %q; expected one by https", short(string(n.Destination)))
			}
			external(n)
		case *ast.AutoLink:
			if to := string(n.URL(source)); !webAddress(to) {
				refuse("a link to %q; expected one by https", short(to))
			}
			external(n)
		default:
			if what := refusedMarkdown[n.Kind()]; what != "" {
				refuse("%s; a description has paragraphs, lists, emphasis, code and links", what)
				depth--
				return ast.WalkSkipChildren, nil
			}
			if !takenMarkdown[n.Kind()] {
				refuse("%s may not be there; a description has paragraphs, lists, emphasis, code and links", n.Kind())
			}
		}
		return ast.WalkContinue, nil
	})
	return tree, problems
}

// begins is how many bytes come before a node; 0 where it does not say.
func begins(n ast.Node) int {
	switch n := n.(type) {
	case *ast.Text:
		return n.Segment.Start
	case *ast.RawHTML:
		if n.Segments.Len() > 0 {
			return n.Segments.At(0).Start
		}
	}
	if n.Type() == ast.TypeBlock && n.Lines() != nil && n.Lines().Len() > 0 {
		return n.Lines().At(0).Start
	}
	if c := n.FirstChild(); c != nil && n.Type() == ast.TypeInline {
		return begins(c)
	}
	return 0
}

// external has a link tell its target nothing, and leave the page where it is.
func external(n ast.Node) {
	n.SetAttributeString("rel", []byte("noopener noreferrer nofollow"))
	n.SetAttributeString("target", []byte("_blank"))
}

func webAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil
}

func markdownProblems(description string) []inText {
	if description == "" {
		return nil
	}
	_, problems := parseMarkdown([]byte(description))
	return problems
}

// HTML is the description as a page shows it. It is safe to show whoever wrote the
// manifest: what is not of the subset is left out.
func (l *Listing) HTML() string {
	source := []byte(l.Description)
	tree, problems := parseMarkdown(source)
	if len(problems) > 0 || strings.TrimSpace(l.Description) == "" {
		return "" // Parse has refused it
	}
	var b bytes.Buffer
	if err := goldmark.New().Renderer().Render(&b, source, tree); err != nil {
		return ""
	}
	return b.String()
}
