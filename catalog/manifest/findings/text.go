package findings

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// longest is how much of a line is shown, in characters.
const longest = 110

// Text tells people of every finding: where, what, the line with a caret, and where to
// read on.
func Text(w io.Writer, files []File) error {
	var b strings.Builder
	for _, f := range files {
		f.each(func(p manifest.Problem, warning bool) {
			said := p.String()
			if warning {
				place, _, _ := strings.Cut(said, ": ")
				said = place + ": warning" + said[len(place):]
			}
			fmt.Fprintf(&b, "%s\n%s    see %s\n", said, f.excerpt(p), docs(p))
		})
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// excerpt is the line of a problem and below it a caret; of a long line, the part around
// that. A problem may be in a file that belongs to the manifest.
func (f File) excerpt(p manifest.Problem) string {
	lines := f.lines
	if p.File != f.Name {
		b, err := os.ReadFile(p.File)
		if err != nil {
			return ""
		}
		lines = strings.Split(string(b), "\n")
	}
	if p.Line < 1 || p.Line > len(lines) {
		return ""
	}
	text, at := []rune(strings.TrimRight(lines[p.Line-1], "\r")), p.Column-1
	at = min(max(at, 0), len(text))
	before, after := "", ""
	if len(text)-at > longest {
		text, after = text[:at+longest], "…"
	}
	if at > longest/2 && len(text) > longest {
		cut := min(at-longest/2, len(text)-longest)
		text, at, before = text[cut:], at-cut+1, "…"
	}
	space := slices.Clone([]rune(before + string(text)))[:at]
	for i, r := range space {
		if r != '\t' {
			space[i] = ' '
		}
	}
	return fmt.Sprintf("%5d | %s%s%s\n      | %s^\n", p.Line, before, string(text), after, string(space))
}

// finding is a problem or a warning for programs.
type finding struct {
	Severity string `json:"severity"`       // error or warning
	File     string `json:"file,omitempty"` // where it is not the manifest
	Rule     string `json:"rule"`
	Line     int    `json:"line"` // from 1; 0 where the file could not be read
	Column   int    `json:"column"`
	Field    string `json:"field"`
	Message  string `json:"message"`
	Nearest  string `json:"nearest,omitempty"`
	Docs     string `json:"docs"`
}

// JSON tells programs of every finding.
func JSON(w io.Writer, files []File) error {
	type file struct {
		File     string    `json:"file"`
		Valid    bool      `json:"valid"`
		ID       string    `json:"id,omitempty"`
		Version  string    `json:"version,omitempty"`
		Findings []finding `json:"findings"`
	}
	out := struct {
		Files    []file `json:"files"`
		Errors   int    `json:"errors"`
		Warnings int    `json:"warnings"`
	}{Files: []file{}}
	out.Errors, out.Warnings, _ = Count(files)
	for _, f := range files {
		one := file{File: f.Name, Valid: len(f.Problems) == 0, Findings: []finding{}}
		if f.Manifest != nil {
			one.ID, one.Version = f.Manifest.ID, f.Manifest.Version
		}
		f.each(func(p manifest.Problem, warning bool) {
			elsewhere := p.File
			if elsewhere == f.Name {
				elsewhere = ""
			}
			one.Findings = append(one.Findings, finding{severity(warning), elsewhere, p.Rule, p.Line, p.Column, p.Field, p.Message, p.Nearest, docs(p)})
		})
		out.Files = append(out.Files, one)
	}
	return json.NewEncoder(w).Encode(out)
}

func severity(warning bool) string {
	if warning {
		return "warning"
	}
	return "error"
}

// GitHub writes the commands by which a workflow marks lines of a change (GitHub's
// "Workflow commands for GitHub Actions").
func GitHub(w io.Writer, files []File) error {
	var b strings.Builder
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	for _, f := range files {
		f.each(func(p manifest.Problem, warning bool) {
			text := p.Text()
			if p.Field != "" {
				text = p.Field + ": " + text
			}
			fmt.Fprintf(&b, "::%s file=%s,line=%d,col=%d,title=%s::%s\n", severity(warning), property.Replace(filepath.ToSlash(p.File)), max(p.Line, 1), max(p.Column, 1), property.Replace(p.Rule), data.Replace(text+"\n"+docs(p)))
		})
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// uri is a file's name in SARIF: relative ones stay so.
func uri(name string) string {
	u := url.URL{Path: filepath.ToSlash(name)}
	if filepath.IsAbs(name) {
		u.Scheme = "file"
	}
	return u.String()
}
