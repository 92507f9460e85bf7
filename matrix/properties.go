package matrix

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// properties are what something is, by name, each as a text. What is meant and what is
// seen are both brought into this form, and compared in one way.
type properties map[string]string

// add notes a property; one of several values has them all, in order.
func (p properties) add(name, value string) {
	if have, ok := p[name]; ok {
		value = both(have, value)
	}
	p[name] = value
}

// both are several values of a property in one text.
func both(have, value string) string {
	if have == value {
		return have
	}
	all := append(strings.Split(have, " and "), value)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " and ")
}

// wanted is what properties must be.
type wanted map[string]want

type want struct {
	text     string
	any      bool // whatever it is
	optional bool // it may be absent
}

func (w wanted) must(name, text string) { w[name] = want{text: text} }

// also wants a value beside those that are wanted already.
func (w wanted) also(name, text string) {
	if have, ok := w[name]; ok {
		text = both(have.text, text)
	}
	w.must(name, text)
}

func (w wanted) may(name string) { w[name] = want{any: true, optional: true} }

// compare says what is more, less or other than is wanted of a thing.
func compare(thing string, w wanted, seen properties) (wrong []string) {
	for _, name := range slices.Sorted(maps.Keys(w)) {
		have, ok := seen[name]
		switch want := w[name]; {
		case !ok && !want.optional:
			wrong = append(wrong, fmt.Sprintf("%s: %s is missing, wanted %s", thing, name, shown(want.text)))
		case ok && !want.any && have != want.text:
			wrong = append(wrong, fmt.Sprintf("%s: %s is %s, wanted %s", thing, name, shown(have), shown(want.text)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if _, ok := w[name]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s: %s is %s, and none is meant", thing, name, shown(seen[name])))
		}
	}
	return wrong
}

func shown(text string) string {
	if text == "" {
		return "empty"
	}
	return text
}

// span reads a time span as systemd shows or takes it ("1min 30s", "200ms", "0"), and
// gives it in one form; what is none stays as it is.
func span(text string) string {
	units := map[string]time.Duration{
		"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "m": time.Minute,
		"h": time.Hour, "d": 24 * time.Hour, "": time.Second,
	}
	var sum time.Duration
	for _, part := range strings.Fields(text) {
		number := strings.TrimRight(part, "abcdefghijklmnopqrstuvwxyz")
		unit, known := units[strings.TrimPrefix(part, number)]
		var n float64
		if _, err := fmt.Sscanf(number, "%f", &n); err != nil || !known {
			return text
		}
		sum += time.Duration(n * float64(unit))
	}
	return sum.String()
}
