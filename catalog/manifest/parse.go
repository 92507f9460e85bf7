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
	"strings"
	"sync"

	jsonv2 "github.com/go-json-experiment/json" // what becomes encoding/json/v2: strict where v1 is lax
	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/santhosh-tekuri/jsonschema/v6"
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
	Nearest      string // the valid word that is nearest to what is there; empty for none
	Rule         string // what was broken, in a word or two with a hyphen: one of the constants below
}

// The rules that a problem may be about. Those of warnings are in lint.go.
const (
	RuleSyntax       = "syntax"        // it is no YAML, or YAML beyond the language
	RuleUnknownField = "unknown-field" // the language has no such field there
	RuleMissingField = "missing-field"
	RuleType         = "wrong-type"
	RuleValue        = "bad-value"    // of the right type, and yet none that may be there
	RuleMeaning      = "inconsistent" // with the rest of the manifest
)

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
	b.WriteString(p.Text())
	return b.String()
}

// Text is the message, with the nearest valid word where there is one.
func (p Problem) Text() string {
	if p.Nearest == "" {
		return p.Message
	}
	return p.Message + fmt.Sprintf("; did you mean %q?", p.Nearest)
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
	src, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, filepath.Dir(path), src)
}

// ReadFile reads the text of the manifest at path, unless it is larger than MaxSize.
func ReadFile(path string) ([]byte, error) {
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
	return b, nil
}

func tooLarge(name string, size int64) Problem {
	return Problem{File: name, Rule: RuleSyntax, Message: fmt.Sprintf("%d bytes is too large for a manifest; the limit is %d", size, MaxSize)}
}

// Parse reads one manifest. Every problem found comes back at once as an *Error;
// name is used in positions only.
func Parse(name string, src []byte) (*Manifest, error) { return parse(name, "", src) }

// parse reads a manifest that is in dir; empty for one that is on no disk.
func parse(name, dir string, src []byte) (*Manifest, error) {
	doc := &document{name: name, dir: dir}
	m, err := doc.read(src)
	if err != nil {
		return nil, err
	}
	if len(doc.problems) > 0 {
		return nil, doc.error()
	}
	return m, nil
}

// read gives the manifest, and adds what is wrong with it to the document's problems. If
// only parts of it are, then the manifest is without them; it is nil where nothing can be
// read.
func (d *document) read(src []byte) (*Manifest, error) {
	refuse := func(p Problem) { d.problems = append(d.problems, p) }
	if len(src) > MaxSize {
		refuse(tooLarge(d.name, int64(len(src))))
		return nil, nil
	}
	if i := slices.IndexFunc(src, func(b byte) bool { return b < 0x20 && b != '\n' && b != '\t' && b != '\r' }); i >= 0 {
		line := 1 + bytes.Count(src[:i], []byte("\n"))
		col := i - bytes.LastIndexByte(src[:i], '\n')
		refuse(Problem{File: d.name, Line: line, Column: col, Rule: RuleSyntax, Message: fmt.Sprintf("control character %#x; a manifest is text", src[i])})
		return nil, nil
	}
	if i := nestedTooDeep(src); i >= 0 {
		line := 1 + bytes.Count(src[:i], []byte("\n"))
		refuse(Problem{File: d.name, Line: line, Column: i - bytes.LastIndexByte(src[:i], '\n'), Rule: RuleSyntax, Message: fmt.Sprintf("nested more than %d deep; a manifest is flat", maxDepth)})
		return nil, nil
	}
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		refuse(syntaxProblem(d.name, err))
		return nil, nil
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		refuse(Problem{File: d.name, Line: 1, Column: 1, Rule: RuleSyntax, Message: fmt.Sprintf("expected exactly one YAML document, found %d", docs(file))})
		return nil, nil
	}
	d.root = file.Docs[0].Body
	d.refuseIndirection()
	if len(d.problems) > 0 {
		return nil, nil
	}
	var value any
	if err := yaml.Unmarshal(src, &value); err != nil {
		refuse(syntaxProblem(d.name, err))
		return nil, nil
	}
	js, err := json.Marshal(value)
	if err != nil {
		refuse(Problem{File: d.name, Line: 1, Column: 1, Rule: RuleSyntax, Message: "not a document that JSON can express: " + err.Error()})
		return nil, nil
	}
	if err := d.validate(js); err != nil {
		return nil, err
	}
	if len(d.problems) > 0 {
		return d.partly(value), nil
	}
	var m Manifest
	if err := json.Unmarshal(js, &m); err != nil {
		refuse(Problem{File: d.name, Line: 1, Column: 1, Rule: RuleSyntax, Message: err.Error()})
		return nil, nil
	}
	d.pack(&m)
	d.packPictures(&m)
	d.check(&m)
	d.suggest(&m, d.problems)
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
		return nil, &Error{[]Problem{{File: name, Message: err.Error(), Rule: RuleSyntax}}}
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
	doc.packPictures(&m)
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
	p := Problem{File: name, Line: 1, Column: 1, Message: err.Error(), Rule: RuleSyntax}
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
	instance any       // as the schema sees it
	refused  []refusal // by the schema
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
	d.problems = append(d.problems, Problem{File: d.name, Line: line, Column: col, Field: field(path), Message: fmt.Sprintf(format, args...), Rule: RuleMeaning})
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
		d.problems = append(d.problems, Problem{File: d.name, Line: p.Line, Column: p.Column, Message: "YAML " + what + " are not part of the manifest language; write the value out", Rule: RuleSyntax})
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
	d.instance = inst
	var ve *jsonschema.ValidationError
	switch err := schema.Validate(inst); {
	case err == nil:
	case errors.As(err, &ve):
		d.collect(ve)
		d.forgetMistyped()
	default:
		return fmt.Errorf("validating %s: %w", d.name, err)
	}
	return nil
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
	case "privileged", "security_opt":
		return "; applications run rootless and unprivileged, the language has no way to ask for more"
	case "cap_add":
		return "; a container's 'capabilities' are those of a list that it needs"
	case "device", "cdi":
		return "; a container's 'devices' are by class: serial, video, usb, gpu, tun"
	case "lan_discovery", "multicast":
		return "; multicast of the node's network does not reach containers, which have networks of their own"
	case "subpath":
		return "; what one container has of another's volume is a volume of its own, mounted below the other"
	case "network", "network_mode", "pid", "ipc":
		return "; every application has its own network, the host's namespaces cannot be shared"
	case "hostPath", "host_path", "bind", "mounts":
		return "; volumes are directories of the application's own, and a container's 'storage' are folders that the owner names; no host path can be mounted"
	}
	return ""
}
