package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/plain"
)

// node is a value of the manifest that is being made: a scalar, a mapping, whose entries
// stay in their order, or a sequence.
type node struct {
	kind  kind
	text  string   // a scalar, as it is written
	block string   // of one that is several lines: the text itself
	names []string // of a mapping's items
	items []*node
	todo  []string // comments before it

	// What it was made of. Where the language refuses something in it, the whole of it
	// is left out and listed.
	service, field string
	at             Place
	origin         bool
}

type kind int

const (
	aScalar kind = iota
	aMapping
	aSequence
)

func mapping() *node  { return &node{kind: aMapping} }
func sequence() *node { return &node{kind: aSequence} }

// scalar takes a string, an int or a bool.
func scalar(v any) *node {
	if s, ok := v.(string); ok {
		return &node{text: quoted(s)}
	}
	return &node{text: fmt.Sprint(v)}
}

// block takes a text of several lines, which is written line by line where it can be.
func block(s string) *node {
	n := scalar(s)
	if strings.Contains(s, "\n") && strings.Trim(s, "\n") != "" && !unblocked.MatchString(s) {
		n.block = s
	}
	return n
}

// unblocked matches what a reader of YAML would not give back from a block of lines.
var unblocked = regexp.MustCompile(`[^\n\t\x20-\x7e\x{a0}-\x{2027}\x{202a}-\x{d7ff}\x{e000}-\x{fefe}\x{ff00}-\x{fffd}\x{10000}-\x{10ffff}]|(?m:^[ \t]+$)`)

func words(all []string) *node {
	n := sequence()
	for _, w := range all {
		n.add(scalar(w))
	}
	return n
}

// set adds or replaces an entry; a nil value is none.
func (n *node) set(name string, v *node) {
	if v == nil {
		return
	}
	if i := slices.Index(n.names, name); i >= 0 {
		n.items[i] = v
		return
	}
	n.names, n.items = append(n.names, name), append(n.items, v)
}

func (n *node) get(name string) *node {
	if i := slices.Index(n.names, name); i >= 0 {
		return n.items[i]
	}
	return nil
}

func (n *node) add(v *node) { n.items = append(n.items, v) }

func (n *node) drop(v *node) bool {
	i := slices.Index(n.items, v)
	if i < 0 {
		return false
	}
	n.items = slices.Delete(n.items, i, i+1)
	if n.kind == aMapping {
		n.names = slices.Delete(n.names, i, i+1)
	}
	return true
}

// from says what a node was made of.
func (n *node) from(service, field string, at Place) *node {
	n.service, n.field, n.at, n.origin = service, field, at, true
	return n
}

var (
	bare     = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9/._@+-]*( [A-Za-z0-9/._@+-]+)*$`)
	otherWay = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|y|n|null|nan|inf)$`)
)

// quoted writes a string so that every reader of YAML takes it for one.
func quoted(s string) string {
	if bare.MatchString(s) && !otherWay.MatchString(s) {
		return s
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// step is a node in the one that holds it.
type step struct{ parent, node *node }

// write gives the manifest's text. With tall, every scalar has a line of its own, and
// steps holds for each line what stands on it, from the outside to the inside.
func write(top *node, tall bool) (text string, steps map[int][]step) {
	w := &writer{tall: tall, line: 1, steps: map[int][]step{}}
	w.comments(top, "")
	w.mapping(top, "", nil)
	return w.b.String(), w.steps
}

type writer struct {
	b     strings.Builder
	tall  bool
	line  int
	steps map[int][]step
}

const widest = 140

func (w *writer) end(chain []step) {
	w.steps[w.line] = chain
	w.b.WriteByte('\n')
	w.line++
}

func (w *writer) comments(n *node, indent string) {
	if w.tall {
		return
	}
	for _, t := range n.todo {
		w.b.WriteString(indent + "# " + t)
		w.end(nil)
	}
}

// mapping writes entries; of the first one, the indent may have been written.
func (w *writer) mapping(n *node, indent string, chain []step) {
	for i, name := range n.names {
		v := n.items[i]
		here := append(slices.Clone(chain), step{n, v})
		if i > 0 || indent == "" || !strings.HasSuffix(w.b.String()[max(0, w.b.Len()-2):], "- ") {
			w.comments(v, indent)
			w.b.WriteString(indent)
		}
		w.b.WriteString(quoted(name) + ":")
		w.value(v, indent, here)
	}
}

// value writes what follows a name, or the hyphen of an item.
func (w *writer) value(v *node, indent string, chain []step) {
	if v.block != "" && !w.tall {
		w.lines(v.block, indent+"  ")
		return
	}
	if flow := v.flow(); v.kind == aScalar || len(v.items) == 0 || !w.tall && !v.commented() && len(indent)+len(flow) < widest {
		w.b.WriteString(" " + flow)
		w.end(chain)
		return
	}
	w.end(chain)
	if v.kind == aMapping {
		w.mapping(v, indent+"  ", chain)
		return
	}
	for _, item := range v.items {
		here := append(slices.Clone(chain), step{v, item})
		w.comments(item, indent+"  ")
		flow := item.flow()
		if item.kind != aMapping || len(item.items) == 0 || !w.tall && !item.commented() && len(indent)+len(flow) < widest && !strings.Contains(flow[1:], "{") {
			w.b.WriteString(indent + "  -")
			w.value(item, indent+"  ", here)
			continue
		}
		w.b.WriteString(indent + "  - ")
		w.mapping(item, indent+"    ", here)
	}
}

// lines writes a text as a block scalar (YAML 1.2.2, section 8.1).
func (w *writer) lines(text, indent string) {
	head := " |"
	if strings.ContainsAny(text[:1], " \t\n") {
		head += "2"
	}
	body := strings.TrimRight(text, "\n")
	switch len(text) - len(body) {
	case 0:
		head += "-"
	case 1:
	default:
		head += "+"
		body = text[:len(text)-1]
	}
	w.b.WriteString(head)
	w.end(nil)
	for l := range strings.SplitSeq(body, "\n") {
		if l != "" {
			w.b.WriteString(indent + l)
		}
		w.end(nil)
	}
}

// commented tells whether something in it needs lines of its own.
func (n *node) commented() bool {
	return slices.ContainsFunc(n.items, func(i *node) bool { return len(i.todo) > 0 || i.block != "" || i.commented() })
}

func (n *node) flow() string {
	var parts []string
	for i, item := range n.items {
		text := item.flow()
		if n.kind == aMapping {
			text = quoted(n.names[i]) + ": " + text
		}
		parts = append(parts, text)
	}
	switch n.kind {
	case aMapping:
		return "{" + strings.Join(parts, ", ") + "}"
	case aSequence:
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return n.text
}

// judge parses the draft and takes out what the language refuses, until it takes the rest.
// What is at fault but was made of nothing in particular refuses the whole.
func (im *importer) judge() error {
	for {
		text, steps := write(im.top, true)
		_, err := manifest.Parse("manifest", []byte(text))
		var refused *manifest.Error
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &refused):
			return err
		}
		progress := false
		for _, p := range refused.Problems {
			chain := steps[p.Line]
			i := len(chain) - 1
			for i >= 0 && !chain[i].node.origin {
				i--
			}
			if i < 0 || !chain[i].parent.drop(chain[i].node) {
				continue
			}
			progress = true
			n := chain[i].node
			im.left(n.service, n.field, n.at, "the language does not take it: "+plain.Clip(p.Message, 200), "")
			for ; i > 0 && len(chain[i].parent.items) == 0; i-- { // an empty list is none
				chain[i-1].parent.drop(chain[i].parent)
			}
		}
		if !progress {
			return fmt.Errorf("no valid manifest can be made of %s: %w", im.order[0].name, plainly(refused))
		}
	}
}

// plainly gives problems without the places in a text that nobody sees.
func plainly(e *manifest.Error) error {
	var all []string
	for _, p := range e.Problems {
		all = append(all, p.Field+": "+p.Message)
	}
	return errors.New(strings.Join(all, "; "))
}

// annotate writes what is left as comments: before the container that it is about, or at
// the top.
func (im *importer) annotate() {
	at := map[string]*node{}
	for _, m := range im.members {
		at[m.Name] = m.node
	}
	for _, i := range im.items {
		if i.Note {
			continue
		}
		n := at[i.service]
		if n == nil {
			n = im.top
		}
		n.todo = append(n.todo, "TODO "+i.String())
	}
}
