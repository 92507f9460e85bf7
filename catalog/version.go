package catalog

import (
	"cmp"
	"strings"
	"unicode"

	"golang.org/x/mod/semver"
)

// CompareVersions orders two versions of an application, as cmp.Compare does: as semantic
// versions if both are (a pre-release comes before its release), and otherwise part by part,
// numbers by their value.
func CompareVersions(a, b string) int {
	if semver.IsValid("v"+a) && semver.IsValid("v"+b) {
		return semver.Compare("v"+a, "v"+b)
	}
	for a != "" && b != "" {
		var x, y string
		x, a = part(a)
		y, b = part(b)
		if digit(rune(x[0])) && digit(rune(y[0])) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Compare(len(x), len(y)); c != 0 {
				return c
			}
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func digit(r rune) bool { return r <= unicode.MaxASCII && unicode.IsDigit(r) }

// part splits the first run of digits, or of anything else, from a version.
func part(v string) (first, rest string) {
	number := digit(rune(v[0]))
	i := strings.IndexFunc(v, func(r rune) bool { return digit(r) != number })
	if i < 0 {
		return v, ""
	}
	return v[:i], v[i:]
}
