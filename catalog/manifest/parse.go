package manifest

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	jsonv2 "github.com/go-json-experiment/json" // what becomes encoding/json/v2: strict where v1 is lax
	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// MaxSize is the largest manifest that is read, in bytes. What its files hold is up to
// twice as long in JSON.
const MaxSize = 256<<10 + 2*MaxFiles

//go:embed schema.json
var schemaJSON []byte

// Schema is the JSON Schema of the language, for editors.
func Schema() []byte { return bytes.Clone(schemaJSON) }

// Problem is one thing wrong with a manifest. Line and Column start at 1; both
// are 0 where the file could not be read at all.
type Problem struct {
	File         string
	Line, Column int
	Field        string // such as containers[0].image.digest; empty for the whole document
	Message      string
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Error is every problem of one manifest, in the order of the file.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	s := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		s[i] = p.String()
	}
	return strings.Join(s, "\n")
}

var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaJSON))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("manifest.json", doc); err != nil {
		return nil, err
	}
	return c.Compile("manifest.json")
})

// ParseFile reads and parses the manifest at path, with the files beside it that are its
// sources.
func ParseFile(path string) (*Manifest, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading manifest: %w", err)
	}
	if info.Size() > MaxSize {
		return nil, &Error{[]Problem{tooLarge(path, info.Size())}}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading manifest: %w", err)
	}
	return parse(path, filepath.Dir(path), b)
}

func tooLarge(name string, size int64) Problem {
	return Problem{File: name, Message: fmt.Sprintf("%d bytes is too large for a manifest; the limit is %d", size, MaxSize)}
}

// Parse reads one manifest. Every problem found comes back at once as an *Error;
// name is used in positions only.
func Parse(name string, src []byte) (*Manifest, error) { return parse(name, "", src) }

// parse reads a manifest that is in dir; empty for one that is on no disk.
func parse(name, dir string, src []byte) (*Manifest, error) {
	if len(src) > MaxSize {
		return nil, &Error{[]Problem{tooLarge(name, int64(len(src)))}}
	}
	if i := slices.IndexFunc(src, func(b byte) bool { return b < 0x20 && b != '\n' && b != '\t' && b != '\r' }); i >= 0 {
		line := 1 + bytes.Count(src[:i], []byte("\n"))
		col := i - bytes.LastIndexByte(src[:i], '\n')
		return nil, &Error{[]Problem{{name, line, col, "", fmt.Sprintf("control character %#x; a manifest is text", src[i])}}}
	}
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return nil, &Error{[]Problem{syntaxProblem(name, err)}}
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, &Error{[]Problem{{name, 1, 1, "", fmt.Sprintf("expected exactly one YAML document, found %d", docs(file))}}}
	}
	doc := document{name: name, dir: dir, root: file.Docs[0].Body}
	doc.refuseIndirection()
	if len(doc.problems) > 0 {
		return nil, doc.error()
	}
	var value any
	if err := yaml.Unmarshal(src, &value); err != nil {
		return nil, &Error{[]Problem{syntaxProblem(name, err)}}
	}
	js, err := json.Marshal(value)
	if err != nil {
		return nil, &Error{[]Problem{{name, 1, 1, "", "not a document that JSON can express: " + err.Error()}}}
	}
	if err := doc.validate(js); err != nil {
		return nil, err
	}
	if len(doc.problems) > 0 {
		return nil, doc.error()
	}
	var m Manifest
	if err := json.Unmarshal(js, &m); err != nil {
		return nil, &Error{[]Problem{{name, 1, 1, "", err.Error()}}}
	}
	doc.pack(&m)
	doc.check(&m)
	if len(doc.problems) > 0 {
		return nil, doc.error()
	}
	return &m, nil
}

// ParseCanonical reads a manifest as it is published: the bytes that Canonical gives
// and no others. It takes about a tenth of the time that Parse does; what is wrong
// is said by Parse, with its place.
func ParseCanonical(name string, js []byte) (*Manifest, error) {
	refuse := func(err error) (*Manifest, error) {
		if _, told := Parse(name, js); told != nil {
			return nil, told
		}
		return nil, &Error{[]Problem{{File: name, Message: err.Error()}}}
	}
	if len(js) > MaxSize {
		return nil, &Error{[]Problem{tooLarge(name, int64(len(js)))}}
	}
	canonical := jsontext.Value(bytes.Clone(js))
	if err := canonical.Canonicalize(); err != nil {
		return refuse(err)
	}
	if !bytes.Equal(canonical, js) {
		return refuse(errors.New("not in its canonical form (RFC 8785)"))
	}
	schema, err := compiled()
	if err != nil {
		return nil, fmt.Errorf("compiling the manifest schema: %w", err)
	}
	var value any
	if err := jsonv2.Unmarshal(js, &value); err != nil {
		return refuse(err)
	}
	if err := schema.Validate(value); err != nil {
		return refuse(err)
	}
	var m Manifest
	if err := jsonv2.Unmarshal(js, &m, jsonv2.RejectUnknownMembers(true)); err != nil {
		return refuse(err)
	}
	doc := document{name: name}
	doc.pack(&m)
	doc.check(&m)
	if len(doc.problems) > 0 {
		return refuse(doc.error())
	}
	return &m, nil
}

func docs(f *ast.File) int {
	n := 0
	for _, d := range f.Docs {
		if d.Body != nil {
			n++
		}
	}
	return n
}

func syntaxProblem(name string, err error) Problem {
	p := Problem{File: name, Line: 1, Column: 1, Message: err.Error()}
	var ye yaml.Error
	if errors.As(err, &ye) {
		p.Message = ye.GetMessage()
		if t := ye.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	return p
}

// document is a parsed file whose values can be located.
type document struct {
	name     string
	dir      string // where it is; empty for one that is on no disk
	root     ast.Node
	sources  map[fileKey]string // of files that were read from there
	problems []Problem
}

func (d *document) error() *Error {
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	d.problems = slices.Compact(d.problems)
	return &Error{d.problems}
}

// report adds a problem at path; key points at the name of a mapping's member
// rather than at its value.
func (d *document) report(path []string, key bool, format string, args ...any) {
	line, col := d.locate(path, key)
	d.problems = append(d.problems, Problem{d.name, line, col, field(path), fmt.Sprintf(format, args...)})
}

// refuseIndirection keeps the language to what is on the page: no anchors,
// aliases, tags or merge keys.
func (d *document) refuseIndirection() {
	ast.Walk(visitor(func(n ast.Node) {
		var what string
		switch n.(type) {
		case *ast.AnchorNode:
			what = "anchors"
		case *ast.AliasNode:
			what = "aliases"
		case *ast.TagNode:
			what = "tags"
		case *ast.MergeKeyNode:
			what = "merge keys"
		default:
			return
		}
		p := position(n)
		d.problems = append(d.problems, Problem{d.name, p.Line, p.Column, "", "YAML " + what + " are not part of the manifest language; write the value out"})
	}), d.root)
}

type visitor func(ast.Node)

func (v visitor) Visit(n ast.Node) ast.Visitor { v(n); return v }

func (d *document) validate(js []byte) error {
	schema, err := compiled()
	if err != nil {
		return fmt.Errorf("compiling the manifest schema: %w", err)
	}
	inst, err := jsonschema.UnmarshalJSON(bytes.NewReader(js))
	if err != nil {
		return fmt.Errorf("reading %s: %w", d.name, err)
	}
	var ve *jsonschema.ValidationError
	switch err := schema.Validate(inst); {
	case err == nil:
	case errors.As(err, &ve):
		d.collect(ve)
	default:
		return fmt.Errorf("validating %s: %w", d.name, err)
	}
	return nil
}

var english = message.NewPrinter(language.English)

func (d *document) collect(ve *jsonschema.ValidationError) {
	at := ve.InstanceLocation
	switch k := ve.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, p := range k.Properties {
			d.report(append(slices.Clone(at), p), true, "unknown field%s", hint(p))
		}
		return
	case *kind.OneOf:
		d.report(at, false, "expected either build, or ref and digest")
		return
	case *kind.PropertyNames:
		d.report(append(slices.Clone(at), k.Property), true, "not a valid name")
		return
	case *kind.Minimum:
		d.report(at, false, "%s is less than %s", k.Got.RatString(), k.Want.RatString())
		return
	case *kind.Maximum:
		d.report(at, false, "%s is more than %s", k.Got.RatString(), k.Want.RatString())
		return
	case *kind.Pattern:
		d.report(at, false, "%q is not valid here; expected to match %s", short(k.Got), k.Want)
		return
	}
	if len(ve.Causes) == 0 {
		d.report(at, false, "%s", ve.ErrorKind.LocalizedString(english))
	}
	for _, c := range ve.Causes {
		d.collect(c)
	}
}

func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// hint explains the fields that people reach for and that the language leaves out on purpose.
func hint(name string) string {
	switch name {
	case "privileged", "cap_add", "devices", "security_opt":
		return "; applications run rootless and unprivileged, the language has no way to ask for more"
	case "network", "network_mode", "pid", "ipc":
		return "; every application has its own network, the host's namespaces cannot be shared"
	case "hostPath", "host_path", "bind", "mounts":
		return "; volumes are directories of the application's own, host paths cannot be mounted"
	}
	return ""
}

func field(path []string) string {
	var b strings.Builder
	for i, p := range path {
		if _, err := strconv.Atoi(p); err == nil {
			fmt.Fprintf(&b, "[%s]", p)
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(short(p))
	}
	return b.String()
}

// locate walks as far along path as the file goes and gives that place.
func (d *document) locate(path []string, key bool) (line, column int) {
	if d.root == nil {
		return 0, 0 // read without positions
	}
	n := d.root
	at := position(n)
	for i, p := range path {
		var next ast.Node
		switch v := n.(type) {
		case *ast.MappingNode:
			for _, mv := range v.Values {
				if keyText(mv) == p {
					next = mv.Value
					if k := mv.Key.GetToken(); key && i == len(path)-1 || next == nil {
						return k.Position.Line, k.Position.Column
					}
				}
			}
		case *ast.MappingValueNode:
			if keyText(v) == p {
				next = v.Value
				if k := v.Key.GetToken(); key && i == len(path)-1 {
					return k.Position.Line, k.Position.Column
				}
			}
		case *ast.SequenceNode:
			if j, err := strconv.Atoi(p); err == nil && j < len(v.Values) {
				next = v.Values[j]
			}
		}
		if next == nil {
			break
		}
		n, at = next, position(next)
	}
	return at.Line, at.Column
}

func keyText(mv *ast.MappingValueNode) string {
	if s, ok := mv.Key.(*ast.StringNode); ok {
		return s.Value
	}
	return mv.Key.GetToken().Value
}

// position is where a node begins; a block mapping begins at its first key.
func position(n ast.Node) token.Position {
	switch v := n.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return *v.Values[0].Key.GetToken().Position
		}
	case *ast.MappingValueNode:
		return *v.Key.GetToken().Position
	case *ast.SequenceNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return position(v.Values[0])
		}
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return *t.Position
	}
	return token.Position{Line: 1, Column: 1}
}
