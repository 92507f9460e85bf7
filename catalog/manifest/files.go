package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"
)

// How much text files may hold, in bytes: each, and all of an application together.
const (
	MaxFile  = 64 << 10
	MaxFiles = 256 << 10
)

// File is a text that the container finds at Path and cannot write to. In the manifest it
// is Content, or it stands beside the manifest as Source, a path below the application's
// folder, until that is read: what is published has Content alone. With Template, its
// references are filled in; one with a secret in it is read by its container's user alone.
type File struct {
	Path     string `json:"path"`
	Source   string `json:"source,omitempty"`
	Content  string `json:"content,omitempty"`
	Mode     string `json:"mode,omitempty"` // such as "0755"; default "0644", and always "0600" with a secret
	Template bool   `json:"template,omitempty"`
}

// edge encloses, in a filled-in text, what stands for a secret: "NAME" for a generated one,
// "NAME@REF" for a secret setting, "APP.NAME" for another application's, nothing for what is
// not set or not there. No text holds it
// otherwise.
const edge = "\x00"

func mark(secret string) string { return edge + secret + edge }

var marked = regexp.MustCompile(edge + "([^" + edge + "]*)" + edge)

// Text is a filled-in text with the values of secrets, by name; of another application's, by
// "APP.NAME".
func (f File) Text(secrets map[string]string) string {
	return marked.ReplaceAllStringFunc(f.Content, func(m string) string {
		name, _, _ := strings.Cut(strings.Trim(m, edge), "@")
		return secrets[name]
	})
}

// Public is a filled-in text in which {{secret:NAME}} stands for the secrets that have a
// value.
func (f File) Public() string {
	return marked.ReplaceAllStringFunc(f.Content, func(m string) string {
		name, _, _ := strings.Cut(strings.Trim(m, edge), "@")
		if name == "" {
			return ""
		}
		return "{{secret:" + name + "}}"
	})
}

// Secret tells whether a secret is part of the text, be it set or not.
func (f File) Secret() bool {
	return f.Template && (strings.Contains(f.Content, edge) || len(f.secrets()) > 0)
}

// secrets are the names of those that a text which is not filled in yet refers to.
func (f File) secrets() (names []string) {
	if !f.Template {
		return nil
	}
	for _, r := range reference.FindAllStringSubmatch(f.Content, -1) {
		_, _, what := appExport(r[2])
		if r[1] == "app" && what != "host" && what != "port" {
			names = append(names, r[2]) // no secret of the application's own has a dot in its name
		} else if r[1] == "secret" && !slices.Contains(names, r[2]) {
			names = append(names, r[2])
		}
	}
	return names
}

// Perm is who may do what with the file.
func (f File) Perm() fs.FileMode {
	if f.Secret() {
		return 0o600
	}
	if mode, err := strconv.ParseUint(f.Mode, 8, 32); err == nil {
		return fs.FileMode(mode)
	}
	return 0o644
}

// fileKey is a file's place in the manifest.
type fileKey struct{ container, file int }

// pack reads what stands beside the manifest.
func (d *document) pack(m *Manifest) {
	d.sources = map[fileKey]string{}
	for i := range m.Containers {
		for j := range m.Containers[i].Files {
			f := &m.Containers[i].Files[j]
			if f.Source == "" || f.Content != "" {
				continue
			}
			text, err := d.beside(f.Source)
			if err != nil {
				d.report(at("containers", i, "files", j, "source"), false, "%v", err)
				continue
			}
			d.sources[fileKey{i, j}] = f.Source
			f.Source, f.Content = "", text
		}
	}
}

// beside reads a text that stands beside the manifest.
func (d *document) beside(name string) (string, error) {
	if d.dir == "" {
		return "", fmt.Errorf("%q would stand beside a manifest on the disk, which this is not; give its content", name)
	}
	b, err := d.bytesBeside(name, MaxFile)
	switch {
	case err != nil:
		return "", err
	case !isText(string(b)):
		return "", fmt.Errorf("%q is not a text in UTF-8, which alone a manifest can hold", name)
	}
	return string(b), nil
}

// bytesBeside reads what stands beside the manifest, up to a limit: a regular file, to which
// no link leads out of the application's folder.
func (d *document) bytesBeside(name string, limit int64) ([]byte, error) {
	if path.Clean(name) != name || !fs.ValidPath(name) {
		return nil, fmt.Errorf("%q leaves the application's folder", name)
	}
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not keep anybody waiting
	if err != nil {
		if wrapped := (*fs.PathError)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%q is no regular file", name)
	case info.Size() == 0:
		return nil, fmt.Errorf("%q is empty", name)
	case info.Size() > limit:
		return nil, fmt.Errorf("%q is %d bytes, too large for a file in a manifest; the limit is %d", name, info.Size(), limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// isText tells whether a manifest can hold it: UTF-8 without control characters but those of
// lines and columns.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 && r != '\n' && r != '\t' && r != '\r' || r == 0x7f })
}

// engineOwned are files that Podman makes in every container by itself.
var engineOwned = []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv", "/run/podman-init"}

func (d *document) checkFiles(i int, c Container, target func(p string, where ...any)) {
	for j, f := range c.Files {
		where := func(field string) []string { return at("containers", i, "files", j, field) }
		switch {
		case (f.Source == "") == (f.Content == ""):
			d.report(at("containers", i, "files", j), false, "expected either source, a file beside the manifest, or content")
		case len(f.Content) > MaxFile:
			d.report(where("content"), false, "%d bytes is too large for a file in a manifest; the limit is %d", len(f.Content), MaxFile)
		case !isText(f.Content):
			d.report(where("content"), false, "not a text in UTF-8, which alone a manifest can hold")
		}
		target(f.Path, "containers", i, "files", j, "path")
		if slices.Contains(engineOwned, f.Path) {
			d.report(where("path"), false, "%s belongs to the engine", f.Path)
		}
		if f.Secret() && f.Mode != "" && f.Perm() != parsedMode(f.Mode) {
			d.report(where("mode"), false, "a file with a secret in it has the mode 0600; leave the mode out")
		}
	}
}

func parsedMode(mode string) fs.FileMode {
	n, _ := strconv.ParseUint(mode, 8, 32)
	return fs.FileMode(n)
}

// checkFilesTogether bounds what the manifest becomes.
func (d *document) checkFilesTogether(m *Manifest) {
	sum := 0
	for i, c := range m.Containers {
		for j, f := range c.Files {
			if sum += len(f.Content); sum > MaxFiles {
				d.report(at("containers", i, "files", j), false, "with this one, the application's files are %d bytes or more; the limit for all is %d", sum, MaxFiles)
				return
			}
		}
	}
}

// reportIn adds a problem in the middle of a text: with its place in the file that stands
// beside the manifest, or the line of a text of several in the manifest.
func (d *document) reportIn(text string, offset int, p place, problem error) {
	before := text[:offset]
	line, column := 1+strings.Count(before, "\n"), offset-strings.LastIndexByte(before, '\n')
	if p.file {
		i, j := p.where[1].(int), p.where[3].(int)
		if source := d.sources[fileKey{i, j}]; source != "" {
			d.problems = append(d.problems, Problem{File: filepath.Join(d.dir, source), Line: line, Column: column, Field: field(at("containers", i, "files", j, "source")), Message: problem.Error(), Rule: RuleMeaning})
			return
		}
	}
	if strings.Contains(strings.TrimRight(text, "\n"), "\n") {
		d.report(at(p.where...), false, "line %d, column %d of the text: %v", line, column, problem)
		return
	}
	d.report(at(p.where...), false, "%v", problem)
}
