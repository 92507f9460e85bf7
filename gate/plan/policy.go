package plan

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/reports"
)

//go:embed release.yaml
var release []byte

// Default is the release policy that applies unless another one is named.
func Default() reports.Policy {
	p, err := ParsePolicy("release.yaml", release)
	if err != nil {
		panic(err) // the embedded file is parsed by a test
	}
	return p
}

// PolicyDigest is the SHA-256 of a policy's JSON, in hex.
func PolicyDigest(p reports.Policy) string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // it is numbers and strings
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ErrPolicy is wrapped when a release policy is not valid.
var ErrPolicy = errors.New("release policy")

// MaxCycles bounds the cycles of a run.
const MaxCycles = 10000

var (
	roleName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	appID    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

// ParsePolicy reads a release policy; release.yaml documents the format. All problems
// are reported at once, with their positions in file, wrapped in ErrPolicy. Apps is empty
// for all of the catalog. A catalog of which Catalog names more is not the one released.
func ParsePolicy(file string, src []byte) (reports.Policy, error) {
	r := &reader{file: file}
	p := r.policy(src)
	if len(r.problems) == 0 {
		return p, nil
	}
	slices.SortStableFunc(r.problems, func(a, b manifest.Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return reports.Policy{}, fmt.Errorf("%w:\n%w", ErrPolicy, &manifest.Error{Problems: r.problems})
}

// reader reads a policy's syntax tree and collects what is wrong with it.
type reader struct {
	file     string
	problems []manifest.Problem
}

func (r *reader) bad(n ast.Node, field, format string, args ...any) {
	at := position(n)
	r.problems = append(r.problems, manifest.Problem{File: r.file, Line: at.Line, Column: at.Column, Field: field, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) policy(src []byte) (p reports.Policy) {
	f, err := parser.ParseBytes(src, 0)
	if err != nil {
		problem := manifest.Problem{File: r.file, Line: 1, Column: 1, Message: err.Error()}
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			problem.Message = syntax.GetMessage()
			if t := syntax.GetToken(); t != nil && t.Position != nil {
				problem.Line, problem.Column = t.Position.Line, t.Position.Column
			}
		}
		r.problems = append(r.problems, problem)
		return p
	}
	if len(f.Docs) != 1 || f.Docs[0].Body == nil {
		r.bad(nil, "", "expected one YAML document with cycles, nodes, steps and apps")
		return p
	}
	fields := r.fields(f.Docs[0].Body, "", []string{"cycles", "nodes", "steps", "apps"}, []string{"catalog", "hardware", "red_runs", "update"})
	if n, ok := fields["cycles"]; ok {
		p.Cycles = r.cycles(n)
	}
	if n, ok := fields["nodes"]; ok {
		p.Nodes, p.Roles = r.nodes(n)
	}
	if n, ok := fields["steps"]; ok {
		named := r.names(n, "steps", func(s string) string {
			if _, ok := matrix.FindStep(s); ok {
				return ""
			}
			return fmt.Sprintf("unknown step %q; the steps are %s", s, strings.Join(matrix.StepNames(), ", "))
		})
		p.Steps = inOrder(named)
	}
	id := func(s string) string {
		if appID.MatchString(s) {
			return ""
		}
		return fmt.Sprintf("%q is not the id of an application", s)
	}
	if n, ok := fields["catalog"]; ok {
		p.Catalog = slices.Sorted(slices.Values(r.names(n, "catalog", id)))
	}
	if n, ok := fields["hardware"]; ok {
		if b, boolean := n.(*ast.BoolNode); boolean {
			p.Hardware = b.Value
		} else {
			r.bad(n, "hardware", "expected true or false")
		}
	}
	if n, ok := fields["red_runs"]; ok {
		p.RedRuns = r.redRuns(n)
	}
	if n, ok := fields["update"]; ok {
		switch n.String() {
		case "required":
			p.Update = true
		case "optional":
		default:
			r.bad(n, "update", "expected required or optional")
		}
	}
	if n, ok := fields["apps"]; ok {
		if s, text := n.(*ast.StringNode); !text || s.Value != "all" {
			p.Apps = slices.Sorted(slices.Values(r.names(n, "apps", id)))
		}
	}
	return p
}

func (r *reader) cycles(n ast.Node) int {
	if i, ok := n.(*ast.IntegerNode); ok {
		if v, ok := i.Value.(uint64); ok && v >= 1 && v <= MaxCycles {
			return int(v)
		}
	}
	r.bad(n, "cycles", "expected a number from 1 to %d", MaxCycles)
	return 0
}

func (r *reader) redRuns(n ast.Node) int {
	if i, ok := n.(*ast.IntegerNode); ok {
		if v, ok := i.Value.(uint64); ok && v <= MaxCycles {
			return int(v)
		}
	}
	r.bad(n, "red_runs", "expected a number from 0 to %d", MaxCycles)
	return 0
}

func (r *reader) nodes(n ast.Node) (names, roles []string) {
	for i, v := range r.list(n, "nodes") {
		field := fmt.Sprintf("nodes[%d]", i)
		fields := r.fields(v, field, []string{"role"}, []string{"name"})
		role, ok := fields["role"]
		if !ok {
			continue // said
		}
		text := r.text(role, field+".role")
		switch {
		case text == "": // said
		case !roleName.MatchString(text):
			r.bad(role, field+".role", "%q is not a role; expected lower-case letters, digits and dashes", text)
		case slices.Contains(roles, text):
			r.bad(role, field+".role", "%q is named twice", text)
		}
		name := text
		if n, ok := fields["name"]; ok {
			if name = r.text(n, field+".name"); name != "" && slices.Contains(names, name) {
				r.bad(n, field+".name", "%q is named twice; each role is a machine of its own", name)
			}
		}
		names, roles = append(names, name), append(roles, text)
	}
	return names, roles
}

// names reads a list of different names; wrong says what is wrong with one, if anything.
func (r *reader) names(n ast.Node, field string, wrong func(string) string) (out []string) {
	for i, v := range r.list(n, field) {
		at := fmt.Sprintf("%s[%d]", field, i)
		s := r.text(v, at)
		if s == "" {
			continue // said
		}
		if why := wrong(s); why != "" {
			r.bad(v, at, "%s", why)
		} else if slices.Contains(out, s) {
			r.bad(v, at, "%q is named twice", s)
		}
		out = append(out, s)
	}
	return out
}

// fields gives the values of a mapping by their names: all that are needed, and those
// allowed that are there.
func (r *reader) fields(n ast.Node, field string, needed, allowed []string) map[string]ast.Node {
	var pairs []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{m}
	default:
		r.bad(n, field, "expected fields: %s", strings.Join(slices.Concat(needed, allowed), ", "))
		return nil
	}
	below := func(name string) string { return strings.TrimPrefix(field+"."+name, ".") }
	out := map[string]ast.Node{}
	for _, pair := range pairs {
		name := pair.Key.GetToken().Value
		if !slices.Contains(needed, name) && !slices.Contains(allowed, name) {
			r.bad(pair, below(name), "unknown field; there are %s", strings.Join(slices.Concat(needed, allowed), ", "))
			continue
		}
		out[name] = pair.Value
	}
	for _, name := range needed {
		if _, ok := out[name]; !ok {
			r.bad(n, below(name), "is missing")
		}
	}
	return out
}

func (r *reader) list(n ast.Node, field string) []ast.Node {
	s, ok := n.(*ast.SequenceNode)
	if !ok || len(s.Values) == 0 {
		r.bad(n, field, "expected a list of at least one")
		return nil
	}
	return s.Values
}

// text reads a string; what looks like a number, as the name .228 does, needs quotes.
func (r *reader) text(n ast.Node, field string) string {
	switch v := n.(type) {
	case *ast.StringNode:
		if v.Value != "" {
			return v.Value
		}
	case *ast.FloatNode, *ast.IntegerNode:
		r.bad(n, field, "expected text, and %[1]s is a number; write \"%[1]s\"", n.GetToken().Value)
		return ""
	}
	r.bad(n, field, "expected text")
	return ""
}

// position is where a node begins: a mapping at its first key, a list at its first item.
func position(n ast.Node) token.Position {
	switch v := n.(type) {
	case nil:
		return token.Position{Line: 1, Column: 1}
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return position(v.Values[0])
		}
	case *ast.MappingValueNode:
		return *v.Key.GetToken().Position
	}
	return *n.GetToken().Position
}
