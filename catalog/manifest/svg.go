package manifest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

const (
	svgSpace   = "http://www.w3.org/2000/svg"
	xlinkSpace = "http://www.w3.org/1999/xlink"
	xmlSpace   = "http://www.w3.org/XML/1998/namespace"

	maxSVGDepth = 32
)

func words(s string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(s) {
		out[w] = true
	}
	return out
}

// What an SVG icon may hold: elements that draw, and attributes that say where and how
// (https://www.w3.org/TR/SVG2/). There is no other that a browser would act on, and none
// that costs more than it looks.
var (
	svgElements = words(`svg g defs symbol use title desc path rect circle ellipse line polyline polygon
		text tspan linearGradient radialGradient stop clipPath mask`)
	svgAttributes = words(`id class viewBox version width height x y x1 y1 x2 y2 cx cy r rx ry fx fy fr dx dy rotate
		d points pathLength transform gradientTransform gradientUnits spreadMethod offset preserveAspectRatio
		clipPathUnits maskUnits maskContentUnits textLength lengthAdjust role aria-label aria-labelledby aria-hidden focusable`)
	svgProperties = words(`fill fill-opacity fill-rule stroke stroke-width stroke-opacity stroke-linecap stroke-linejoin
		stroke-miterlimit stroke-dasharray stroke-dashoffset opacity color stop-color stop-opacity clip-path clip-rule mask
		display visibility overflow font-family font-size font-weight font-style text-anchor dominant-baseline letter-spacing
		paint-order vector-effect shape-rendering text-rendering color-interpolation mix-blend-mode isolation
		enable-background -inkscape-stroke`)
	svgHint = map[string]string{
		"script": "an icon runs nothing", "foreignObject": "an icon holds no page", "style": "write the properties as attributes, such as fill=\"#14539a\"",
		"image": "draw it, or give a PNG", "a": "an icon is no link", "animate": "an icon does not move", "set": "an icon does not move",
		"animateTransform": "an icon does not move", "animateMotion": "an icon does not move", "metadata": "save it as plain SVG",
	}
)

// mayRefer are the values that refer to something, or could.
var (
	mayRefer  = regexp.MustCompile(`(?i)url\s*\(|image\s*\(|image-set\s*\(|src\s*\(|element\s*\(|[\\@;{}]|/\*|//|:`)
	ownTarget = regexp.MustCompile(`^url\(\s*["']?#([A-Za-z_][A-Za-z0-9_.-]*)["']?\s*\)(\s+[A-Za-z0-9#.(), ]+)?$`)
	ownHref   = regexp.MustCompile(`^#([A-Za-z_][A-Za-z0-9_.-]*)$`)
)

// svgReader is an SVG that is being looked at.
type svgReader struct {
	b        []byte
	decoder  *xml.Decoder
	problems []error
	open     []string // ids of the elements around, empty for those without
	gradient map[string]bool
	ids      map[string]bool
	refs     []svgReference
}

// svgReference is one from within the file to an element of it.
type svgReference struct {
	line, column int
	to           string
	within       []string // the ids around it
}

func (r *svgReader) refuse(offset int64, format string, args ...any) {
	line, column := lineOf(r.b, offset)
	r.problems = append(r.problems, inPicture{line, column, fmt.Sprintf(format, args...)})
}

func lineOf(b []byte, offset int64) (line, column int) {
	before := b[:min(int(offset), len(b))]
	return 1 + bytes.Count(before, []byte("\n")), len(before) - bytes.LastIndexByte(before, '\n')
}

// checkSVG says everything for which an SVG is no icon: what is not on the lists of what
// draws, and what refers to anything but an element of its own.
func checkSVG(b []byte) []error {
	r := &svgReader{b: b, decoder: xml.NewDecoder(bytes.NewReader(b)), gradient: map[string]bool{}, ids: map[string]bool{}}
	r.decoder.CharsetReader = func(charset string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("the encoding %q; expected UTF-8", charset)
	}
	roots := 0
	for {
		start := r.decoder.InputOffset()
		t, err := r.decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.refuse(r.decoder.InputOffset(), "neither a PNG nor an SVG that can be read: %s", strings.TrimPrefix(err.Error(), "XML "))
			return r.problems
		}
		switch t := t.(type) {
		case xml.StartElement:
			if len(r.open) == 0 {
				if roots++; roots > 1 || t.Name.Local != "svg" {
					r.refuse(start, "expected one element, svg, around all others")
				}
			}
			r.element(start, t)
			if len(r.open) > maxSVGDepth {
				r.refuse(start, "more than %d elements in each other", maxSVGDepth)
				return r.problems
			}
		case xml.EndElement:
			r.open = r.open[:len(r.open)-1]
		case xml.Directive:
			r.refuse(start, "a document type, which may declare entities; leave it out")
		case xml.ProcInst:
			if t.Target != "xml" {
				r.refuse(start, "an instruction for programs, %s; leave it out", short(t.Target))
			}
		case xml.CharData:
			if len(r.open) == 0 && len(bytes.TrimSpace(t)) > 0 {
				r.refuse(start, "text around the picture")
			}
		}
	}
	if roots == 0 {
		r.refuse(0, "neither a PNG nor an SVG")
	}
	r.follow()
	return r.problems
}

func (r *svgReader) element(start int64, t xml.StartElement) {
	name := t.Name.Local
	switch {
	case t.Name.Space != svgSpace:
		r.refuse(start, "the element %s is not of SVG (xmlns=%q); save it as plain SVG", short(name), svgSpace)
	case !svgElements[name]:
		why := svgHint[name]
		if why == "" {
			why = "save it as plain SVG"
		}
		r.refuse(start, "the element %s may not be there: %s", short(name), why)
	}
	id := ""
	for _, a := range t.Attr {
		if a.Name.Space == "" && a.Name.Local == "id" {
			id = a.Value
		}
	}
	if id != "" {
		if r.ids[id] {
			r.refuse(start, "the id %q is there already", short(id))
		}
		r.ids[id] = true
		r.gradient[id] = name == "linearGradient" || name == "radialGradient"
	}
	r.open = append(r.open, id)
	for _, a := range t.Attr {
		r.attribute(r.placed(start, a.Name.Local), name, a)
	}
}

// placed is where an attribute of the element that begins at start is; start itself where
// it is written in a way of its own.
func (r *svgReader) placed(start int64, name string) int64 {
	tag := r.b[start:r.decoder.InputOffset()]
	for i := 0; ; {
		j := bytes.Index(tag[i:], []byte(name+"="))
		if j < 0 {
			return start
		}
		if i += j; i > 0 && bytes.ContainsRune([]byte(" \t\r\n:"), rune(tag[i-1])) {
			return start + int64(i)
		}
		i++
	}
}

func (r *svgReader) attribute(start int64, element string, a xml.Attr) {
	name, value := a.Name.Local, strings.TrimSpace(a.Value)
	switch {
	case a.Name.Space == "" && name == "xmlns", a.Name.Space == "xmlns":
		if value != svgSpace && value != xlinkSpace {
			r.refuse(start, "the namespace %q may not be there; save it as plain SVG", short(value))
		}
	case a.Name.Space == xmlSpace && name == "space":
	case name == "href" && (a.Name.Space == "" || a.Name.Space == xlinkSpace):
		m := ownHref.FindStringSubmatch(value)
		if m == nil || element != "use" && element != "linearGradient" && element != "radialGradient" {
			r.refuse(start, "href of %s is %q; expected only that of an element of this file, such as #a, in use and gradients", short(element), short(value))
			return
		}
		r.refer(start, m[1])
	case a.Name.Space != "":
		r.refuse(start, "the attribute %s is not of SVG; save it as plain SVG", short(name))
	case name == "style":
		for part := range strings.SplitSeq(value, ";") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			property, v, _ := strings.Cut(part, ":")
			r.property(start, strings.TrimSpace(property), strings.TrimSpace(v))
		}
	case svgProperties[name]:
		r.property(start, name, value)
	case strings.HasPrefix(strings.ToLower(name), "on"):
		r.refuse(start, "the attribute %s runs a script; an icon runs nothing", short(name))
	case !svgAttributes[name]:
		r.refuse(start, "the attribute %s may not be there; save it as plain SVG", short(name))
	case name != "aria-label" && mayRefer.MatchString(value):
		r.refuse(start, "the attribute %s is %q, which may refer to something", name, short(value))
	}
}

// property is a property of the drawing, whose value may refer to an element of the file.
func (r *svgReader) property(start int64, name, value string) {
	if !svgProperties[name] {
		r.refuse(start, "the property %q may not be there", short(name))
		return
	}
	if m := ownTarget.FindStringSubmatch(value); m != nil {
		r.refer(start, m[1])
		return
	}
	if mayRefer.MatchString(value) {
		r.refuse(start, "the property %s is %q; expected only a reference to an element of this file, such as url(#a)", name, short(value))
	}
}

func (r *svgReader) refer(start int64, to string) {
	line, column := lineOf(r.b, start)
	ref := svgReference{line: line, column: column, to: to}
	for _, id := range r.open {
		if id != "" {
			ref.within = append(ref.within, id)
		}
	}
	r.refs = append(r.refs, ref)
}

// follow refuses references to what refers to further elements other than gradients: a few
// lines of them would have a browser draw for ever.
func (r *svgReader) follow() {
	refers := map[string]bool{} // ids of elements that hold a reference to more than a gradient
	for _, ref := range r.refs {
		for _, id := range ref.within {
			refers[id] = refers[id] || !r.gradient[ref.to]
		}
	}
	for _, ref := range r.refs {
		switch {
		case !r.ids[ref.to]:
			r.problems = append(r.problems, inPicture{ref.line, ref.column, fmt.Sprintf("no element has the id %q", short(ref.to))})
		case refers[ref.to]:
			r.problems = append(r.problems, inPicture{ref.line, ref.column, fmt.Sprintf("#%s refers to further elements itself; draw it out", short(ref.to))})
		}
	}
}
