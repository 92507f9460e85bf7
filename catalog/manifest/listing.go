package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"
	"golang.org/x/text/language"
)

// Listing is what a store shows of an application; nothing of it reaches a node's engine.
type Listing struct {
	Icon         string   `json:"icon,omitempty"` // a Picture: an SVG or PNG
	Category     string   `json:"category,omitempty"`
	Tagline      string   `json:"tagline,omitempty"`
	Description  string   `json:"description,omitempty"` // in the subset of Markdown that HTML renders
	Website      string   `json:"website,omitempty"`
	SourceCode   string   `json:"source,omitempty"` // where the program's source is
	License      string   `json:"license,omitempty"`
	Screenshots  []string `json:"screenshots,omitempty"` // Pictures: PNG or JPEG
	ReleaseNotes string   `json:"release_notes,omitempty"`
	Languages    []string `json:"languages,omitempty"` // BCP 47
}

// checkListing finds what a schema cannot say of what a store shows. The lists of licenses
// and languages are asked only where an author can be told: they grow, and a node must take
// what a later publisher knew.
func (d *document) checkListing(m *Manifest) {
	for name, text := range map[string]string{"description": m.Description, "release_notes": m.ReleaseNotes} {
		if !isText(text) {
			d.report(at(name), false, "not a text in UTF-8, which alone a manifest can hold")
		}
	}
	for _, p := range markdownProblems(m.Description) {
		d.reportIn(m.Description, p.offset, place{where: []any{"description"}}, p)
	}
	if d.root == nil {
		return
	}
	if m.License != "" {
		if ok, _ := spdxexp.ValidateLicenses([]string{m.License}); !ok {
			d.report(at("license"), false, "%q is no SPDX expression of licenses on its list (https://spdx.org/licenses), such as Apache-2.0 or \"MIT OR GPL-2.0-only\"; one that is not on the list is LicenseRef-NAME", m.License)
		}
	}
	seen := map[string]bool{}
	for i, l := range m.Languages {
		tag, err := language.Parse(l)
		switch {
		case err != nil:
			d.report(at("languages", i), false, "%q is no language that BCP 47 knows, such as de or pt-BR", l)
		case tag.String() != l:
			d.report(at("languages", i), false, "%q is written %q", l, tag)
		case seen[tag.String()]:
			d.report(at("languages", i), false, "%q is there already", l)
		}
		seen[tag.String()] = true
	}
}

// Pictures are the digests of all pictures of a published manifest, the icon's first.
func (l *Listing) Pictures() (digests []string) {
	for _, p := range append([]string{l.Icon}, l.Screenshots...) {
		if strings.HasPrefix(p, digestPrefix) && !slices.Contains(digests, p) {
			digests = append(digests, p)
		}
	}
	return digests
}

// lintListing warns of what a store would leave blank.
func (d *document) lintListing(m *Manifest, warn func(rule string, path []string, key bool, format string, args ...any)) {
	for _, f := range []struct{ rule, value, what string }{
		{RuleNoIcon, m.Icon, "no icon: My Apps and the store show a blank one; expected an SVG or PNG beside the manifest, such as icon: icon.svg"},
		{RuleNoCategory, m.Category, fmt.Sprintf("no category: the store shows it under none; expected one of %s", strings.Join(theGrammar().schema.at("properties", "category", "enum").texts(), ", "))},
		{RuleNoTagline, m.Tagline, "no tagline: My Apps and the store show the summary; expected what makes somebody want it, in at most 80 characters"},
	} {
		if f.value == "" {
			warn(f.rule, nil, false, "%s", f.what)
		}
	}
}
