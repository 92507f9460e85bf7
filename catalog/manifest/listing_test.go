package manifest

import (
	"bytes"
	"encoding/json"
	"image"
	"image/jpeg"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const drawing = `<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment -->
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 8 8">
  <title>Pair &amp; more</title>
  <defs>
    <linearGradient id="a"><stop offset="0" stop-color="#14539a"/></linearGradient>
    <linearGradient id="b" xlink:href="#a"/>
    <g id="dot"><circle cx="1" cy="1" r="1" fill="url(#b)"/></g>
  </defs>
  <use href="#dot" x="2"/>
  <path style="fill:none; stroke:url(#a)" d="M0 0h8"/>
</svg>
`

func pictured(t *testing.T, width, height int, encode func(*bytes.Buffer, image.Image) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func asPNG(b *bytes.Buffer, i image.Image) error  { return png.Encode(b, i) }
func asJPEG(b *bytes.Buffer, i image.Image) error { return jpeg.Encode(b, i, nil) }

func TestAnIconDrawsAndDoesNothingElse(t *testing.T) {
	if wrong := checkSVG([]byte(drawing)); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	end := `</svg>`
	for _, c := range []struct{ old, new, want string }{
		{end, `<script>alert(1)</script></svg>`, "line 12, column 1: the element script"},
		{end, `<foreignObject/></svg>`, "line 12, column 1: the element foreignObject"},
		{end, `<style>*{}</style></svg>`, "line 12, column 1: the element style"},
		{end, `<image href="#a"/></svg>`, "line 12, column 1: the element image"},
		{end, `<a href="#a"/></svg>`, "line 12, column 1: the element a "},
		{end, `<animate attributeName="href" to="x"/></svg>`, "line 12, column 1: the element animate"},
		{end, `<set/></svg>`, "line 12, column 1: the element set"},
		{end, `<filter/></svg>`, "line 12, column 1: the element filter"},
		{end, `<SCRIPT/></svg>`, "line 12, column 1: the element SCRIPT"},
		{end, `<x:script xmlns:x="http://www.w3.org/1999/xhtml"/></svg>`, "line 12, column 1: the element script is not of SVG"},
		{end, `<html:b/></svg>`, "line 12, column 1: the element b is not of SVG"},
		{`<path `, "<path\n  onclick=\"x\" ", "line 12, column 3: the attribute onclick runs a script"},
		{`<svg xmlns=`, `<svg onload="x" xmlns=`, "line 3, column 6: the attribute onload runs a script"},
		{`<use href="#dot"`, `<use href="https://e.example/x.svg#a"`, "line 10, column 8: href of use"},
		{`<use href="#dot"`, `<use href="data:image/svg+xml,x"`, "line 10, column 8: href of use"},
		{`<use href="#dot"`, `<use xlink:href="javascript:x"`, "line 10, column 14: href of use"},
		{`<use href="#dot"`, `<use href="#nobody"`, `line 10, column 8: no element has the id "nobody"`},
		{`stroke:url(#a)`, `stroke:url(https://e.example/)`, "line 11, column 9: the property stroke"},
		{`stroke:url(#a)`, `stroke:URL( '//e.example' )`, "line 11, column 9: the property stroke"},
		{`stroke:url(#a)`, `stroke:u\72l(x)`, "line 11, column 9: the property stroke"},
		{`stroke:url(#a)`, `background:red`, `line 11, column 9: the property "background"`},
		{`stroke:url(#a)`, `/**/fill:red`, `line 11, column 9: the property "/**/fill"`},
		{`fill="url(#b)"`, `fill="url(x.svg#b)"`, "line 8, column 45: the property fill"},
		{`fill="url(#b)"`, `clip-path="url(#b) url(http://e.example)"`, "line 8, column 45: the property clip-path"},
		{`fill="url(#b)"`, `d="url(#b)"`, "line 8, column 45: the attribute d"},
		{`fill="url(#b)"`, `src="x"`, "line 8, column 45: the attribute src may not be there"},
		{`xmlns:xlink=`, `xmlns:i="http://inkscape.example" xmlns:xlink=`, "the namespace"},
		{`<!-- a comment -->`, `<!DOCTYPE svg [<!ENTITY a "b">]>`, "line 2, column 1: a document type"},
		{`<!-- a comment -->`, `<?xml-stylesheet href="x.css"?>`, "line 2, column 1: an instruction for programs"},
		{`&amp;`, `&nbsp;`, "line 4, column 21: neither a PNG nor an SVG that can be read"},
		{`UTF-8`, `UTF-16`, "neither a PNG nor an SVG that can be read"},
		{end, ``, "neither a PNG nor an SVG that can be read"},
		{end, `</svg><svg xmlns="http://www.w3.org/2000/svg"/>`, "line 12, column 7: expected one element"},
		{end, `</svg>text`, "line 12, column 7: text around"},
		{`<circle `, `<use href="#dot"/><circle `, "#dot refers to further elements itself"},
		{`<g id="dot">`, `<g id="other"/><g id="dot"><use href="#other"/>`, "line 10, column 8: #dot refers to further elements itself"},
		{`id="dot"`, `id="a"`, "line 8, column 5: the id \"a\" is there already"},
		{end, strings.Repeat("<g>", maxSVGDepth) + strings.Repeat("</g>", maxSVGDepth) + end, "more than 32 elements in each other"},
	} {
		src := strings.Replace(drawing, c.old, c.new, 1)
		if src == drawing {
			t.Fatalf("nothing is %q", c.old)
		}
		wrong := checkSVG([]byte(src))
		if !slices.ContainsFunc(wrong, func(e error) bool { return strings.Contains(e.Error(), c.want) }) {
			t.Errorf("%s: expected %q, found %v", c.new, c.want, wrong)
		}
	}
	if wrong := checkSVG([]byte(strings.Replace(drawing, end, "<script/><image/></svg>", 1))); len(wrong) != 2 {
		t.Errorf("not all at once: %v", wrong)
	}
}

// FuzzSVG wants no input to stop the program, and whatever is refused to have a place.
func FuzzSVG(f *testing.F) {
	f.Add([]byte(drawing))
	f.Add([]byte("<svg xmlns='http://www.w3.org/2000/svg'><g style='a:b'/></svg>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range checkSVG(b) {
			if in := e.(inPicture); in.line < 1 || in.column < 1 {
				t.Fatal(e)
			}
		}
	})
}

func TestPicturesAreOfTheirFormAndBounded(t *testing.T) {
	small := pictured(t, 8, 8, asPNG)
	for name, c := range map[string]struct {
		b    []byte
		icon bool
		want string
	}{
		"an SVG":           {[]byte(drawing), true, "image/svg+xml"},
		"a PNG":            {small, true, "image/png"},
		"a PNG to look at": {pictured(t, 2000, 8, asPNG), false, "image/png"},
		"a JPEG":           {pictured(t, 8, 8, asJPEG), false, "image/jpeg"},
		"a JPEG as icon":   {pictured(t, 8, 8, asJPEG), true, "expected an SVG or a PNG"},
		"an SVG to see":    {[]byte(drawing), false, "neither a PNG nor a JPEG"},
		"a wide icon":      {pictured(t, 2000, 8, asPNG), true, "too large"},
		"a wide picture":   {pictured(t, 5000, 8, asPNG), false, "too large"},
		"many bytes":       {append([]byte(drawing), make([]byte, MaxIcon)...), true, "too large"},
		"more than a PNG":  {append(slices.Clone(small), "<script>"...), true, "8 bytes follow"},
		"a torn PNG":       {small[:len(small)-20], true, "a damaged PNG"},
		"nothing":          {nil, true, "neither a PNG nor an SVG"},
		"a page":           {[]byte("<!doctype html><script>"), true, "a document type"},
	} {
		got, wrong := pictureType(c.b, c.icon)
		if wrong != nil {
			got = wrong[0].Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, expected %q", name, got, c.want)
		}
		m := &Manifest{Listing: Listing{Icon: PictureDigest(c.b)}}
		if kind, err := m.CheckPicture(m.Icon, c.b); c.icon && (err == nil) != (kind == c.want) {
			t.Errorf("%s: CheckPicture: %q, %v", name, kind, err)
		}
	}
	m := &Manifest{Listing: Listing{Icon: PictureDigest(small)}}
	if _, err := m.CheckPicture(m.Icon, []byte(drawing)); err == nil {
		t.Error("other bytes than the digest's are taken")
	}
}

const shopWindow = `icon: icon.svg
category: news
tagline: Two are better
description: |
  Reads **feeds**, and *nothing* else: ` + "`rss`" + `.

  - one
  - [two](https://pair.example/two)
website: https://pair.example/
source: https://code.example/pair
license: MIT OR GPL-2.0-only WITH Classpath-exception-2.0
screenshots: [shots/one.png]
release_notes: "Better."
languages: [en, de, pt-BR, zh-Hant]
`

// withListing gives the valid manifest what a store shows.
func withListing(src string) string {
	return strings.Replace(strings.Replace(valid, "[true]", "[/bin/true]", 1), "canary:", src+"canary:", 1)
}

func listing(t *testing.T, src string, files map[string]string) (*Manifest, error) {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{"icon.svg": drawing, "shots/one.png": string(pictured(t, 8, 8, asPNG)), "manifest.yaml": withListing(src)}
	maps.Copy(all, files)
	for name, text := range all {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return ParseFile(filepath.Join(dir, "manifest.yaml"))
}

func TestPicturesAreNamedByDigestInWhatIsPublished(t *testing.T) {
	m, err := listing(t, shopWindow, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.Icon != PictureDigest([]byte(drawing)) || len(m.Pictures()) != 2 || len(m.Beside) != 2 {
		t.Fatalf("%+v, beside it %v", m.Listing, m.Beside)
	}
	if b, err := os.ReadFile(m.Beside[m.Icon]); err != nil || string(b) != drawing {
		t.Fatal(string(b), err)
	}
	again, err := ParseCanonical("m", m.Canonical())
	if err != nil || again.Digest() != m.Digest() || len(again.Beside) > 0 {
		t.Fatal(err)
	}
	if len(m.Canonical()) > 4000 {
		t.Errorf("%d bytes of a manifest: pictures do not travel by digest", len(m.Canonical()))
	}
	// Units can be rendered of a text alone; it cannot be published.
	alone, err := Parse("m.yaml", []byte(withListing(shopWindow)))
	if err != nil || alone.Icon != "icon.svg" {
		t.Fatal(alone, err)
	}
	if _, err := ParseCanonical("m", alone.Canonical()); err == nil {
		t.Error("a published manifest names a file beside another")
	}
}

func TestAListingIsCheckedWithPlaces(t *testing.T) {
	base := 1 + strings.Count(valid[:strings.Index(valid, "canary:")], "\n") // the line of the icon
	line := func(n int) string { return "manifest.yaml:" + string(mustJSON(t, base+n-1)) + ":" }
	for _, c := range []struct{ old, new, want string }{
		{"icon: icon.svg", "icon: none.svg", line(1) + `7: icon: "none.svg": no such file`},
		{"icon: icon.svg", "icon: ../icon.svg", line(1) + `7: icon: "../icon.svg" leaves the application's folder`},
		{"icon: icon.svg", "icon: icon.gif", line(1) + `7: icon: "icon.gif" is not valid here; expected an SVG or PNG`},
		{"icon: icon.svg", "icon: bad.svg", `bad.svg:1:6: icon: the attribute onload runs a script`},
		{"category: news", "category: newz", line(2) + "11: category: "},
		{"tagline: Two are", "tagline: " + strings.Repeat("Two are", 20), line(3) + "10: tagline: "},
		{"- one", "- <b>one</b>", "line 3, column 3 of the text: HTML"},
		{"- one", "- ![x](https://x.example/)", "line 3, column 5 of the text: a picture"},
		{"- one", "# one", "line 3, column 3 of the text: a heading"},
		{"- one", "> one", "a quotation"},
		{"- one", "- [one](javascript:alert)", "a link to \"javascript:alert\""},
		{"- one", "- <http://x.example>", "a link to \"http://x.example\""},
		{"- one", "- <script>x</script>", "HTML"},
		{"- one", "***", "a line across"},
		{"website: https://pair", "website: http://pair", line(9) + "10: website: "},
		{"source: https://code", "source: https://a@b/code", line(10) + "9: source: "},
		{"MIT OR", "MITT OR", line(11) + "10: license: \"MITT OR"},
		{"de, pt-BR", "de, qq", line(14) + "21: languages[2]: \"qq\" is no language"},
		{"de, pt-BR", "de, pt-br", `languages[2]: "pt-br" is written "pt-BR"`},
		{"de, pt-BR", "german, pt-BR", "languages[1]: "},
		{`"Better."`, "\"a\\x01\"", "release_notes: not a text"},
		{"shots/one.png", "icon.svg", `screenshots[0]: "icon.svg" is not valid here; expected a PNG or JPEG`},
		{"shots/one.png", "shots/fake.png", `screenshots[0]: "shots/fake.png": neither a PNG nor a JPEG`},
	} {
		src := strings.Replace(shopWindow, c.old, c.new, 1)
		if src == shopWindow {
			t.Fatalf("nothing is %q", c.old)
		}
		_, err := listing(t, src, map[string]string{"bad.svg": strings.Replace(drawing[strings.Index(drawing, "<svg"):], "<svg ", `<svg onload="x" `, 1), "shots/fake.png": drawing})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: expected %q, found %v", c.new, c.want, err)
		}
	}
	// What a later publisher's lists have, a node takes.
	m, err := listing(t, shopWindow, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.License, m.Languages = "Later-1.0", []string{"qqq"}
	if _, err := ParseCanonical("m", m.Canonical()); err != nil {
		t.Error(err)
	}
}

func TestADescriptionIsShownSafely(t *testing.T) {
	m, err := listing(t, shopWindow, nil)
	if err != nil {
		t.Fatal(err)
	}
	html := m.HTML()
	for _, want := range []string{"<strong>feeds</strong>", "<em>nothing</em>", "<code>rss</code>", `<li><a href="https://pair.example/two" rel="noopener noreferrer nofollow" target="_blank">two</a></li>`} {
		if !strings.Contains(html, want) {
			t.Errorf("%s\nexpected %s", html, want)
		}
	}
	for _, hostile := range []string{"<script>x</script>", "[x](javascript:x)", "a <img src=x>", "![x](https://x.example/)"} {
		if html := (&Listing{Description: hostile}).HTML(); html != "" {
			t.Errorf("%s: %s", hostile, html)
		}
	}
	if html := (&Listing{Description: "1 < 2 & \"3\""}).HTML(); html != "<p>1 &lt; 2 &amp; &quot;3&quot;</p>\n" {
		t.Error(html)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
