package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"go.yaml.in/yaml/v4"
)

const (
	// MaxSize is the largest file that is read, in bytes.
	MaxSize = 1 << 20
	// maxNodes is how many values a file may have once its anchors are written out.
	maxNodes = 200_000
	// maxFiles is how many files one import may read.
	maxFiles = 64
)

// source is a compose file as it stands there, with the lines.
type source struct {
	name string // below the directory
	path string
	docs []*yaml.Node
	text []byte
}

// usualNames are where Compose looks for a file, the preferred one first, and for what
// goes over it (compose-spec, 03-compose-file.md).
var usualNames = [][]string{
	{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"},
	{"compose.override.yaml", "compose.override.yml", "docker-compose.override.yaml", "docker-compose.override.yml"},
}

func (im *importer) usual() (files []string, err error) {
	for i, names := range usualNames {
		for _, name := range names {
			if info, err := os.Stat(filepath.Join(im.root, name)); err == nil && info.Mode().IsRegular() {
				files = append(files, name)
				break
			}
		}
		if i == 0 && len(files) == 0 {
			return nil, fmt.Errorf("%s: no compose file there; expected %s", im.Dir, strings.Join(usualNames[0], ", "))
		}
	}
	return files, nil
}

var windowsPath = regexp.MustCompile(`^[A-Za-z]:[\\/]|\\`)

var errOutside = errors.New("is outside")

// inside gives the path of a file that a file names, and refuses what is outside of the
// directory, by whatever way.
func (im *importer) inside(name, dir string, from Place) (string, error) {
	switch {
	case strings.Contains(name, "://") || strings.HasPrefix(name, "git@"):
		return "", fmt.Errorf("%s: %s is not a file here; only files in %s are read: download it, and name the copy", from, name, im.Dir)
	case windowsPath.MatchString(name):
		return "", fmt.Errorf("%s: %s is a path of Windows; write it with slashes, relative to the file", from, name)
	}
	p := name
	if !filepath.IsAbs(p) {
		p = filepath.Join(dir, p)
	}
	p = filepath.Clean(p)
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		real = p // it is missing, which the reader says
	}
	for _, p := range []string{p, real} {
		if rel, err := filepath.Rel(im.root, p); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			return "", fmt.Errorf("%s: %s %w of %s, and is not read; import from the directory that holds all files", from, name, errOutside, im.Dir)
		}
	}
	return p, nil
}

// open reads a file of the directory, if it is one of text and of a sane size.
func (im *importer) open(name, dir string, from Place) (path string, text []byte, err error) {
	if path, err = im.inside(name, dir, from); err != nil {
		return "", nil, err
	}
	fail := func(err error) (string, []byte, error) {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		if name == from.File {
			return "", nil, fmt.Errorf("reading %s: %w", name, err)
		}
		return "", nil, fmt.Errorf("%s: reading %s: %w", from, name, err)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fail(err)
	case !info.Mode().IsRegular():
		return fail(errors.New("not a file"))
	case info.Size() > MaxSize:
		return fail(fmt.Errorf("%d bytes are too many; the limit is %d", info.Size(), MaxSize))
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	if text, err = io.ReadAll(io.LimitReader(f, MaxSize+1)); err != nil {
		return fail(err)
	}
	if len(text) > MaxSize {
		return fail(fmt.Errorf("more than %d bytes", MaxSize))
	}
	if bytes.IndexByte(text, 0) >= 0 || bytes.ContainsRune(text, markBegin) || bytes.ContainsRune(text, markEnd) {
		return fail(errors.New("not a file of text"))
	}
	return path, text, nil
}

// relative is a path as it is shown.
func (im *importer) relative(p string) string {
	if rel, err := filepath.Rel(im.root, p); err == nil {
		return rel
	}
	return p
}

// follow reads a compose file and all that it includes or extends. Trail are the files on
// the way to it.
func (im *importer) follow(name string, from Place, dir string, trail []string) error {
	path, text, err := im.open(name, dir, from)
	if err != nil {
		return err
	}
	if slices.Contains(trail, path) {
		return fmt.Errorf("%s: %s includes itself: %s", from, im.relative(path), im.cycle(trail, path))
	}
	if _, known := im.sources[path]; known {
		return nil
	}
	if len(im.order) == maxFiles {
		return fmt.Errorf("%s: more than %d files", from, maxFiles)
	}
	s := &source{name: im.relative(path), path: path, text: text}
	if s.docs, err = parse(s.name, text); err != nil {
		return err
	}
	im.sources[path], im.order = s, append(im.order, s)
	trail = append(slices.Clone(trail), path)
	for _, doc := range s.docs {
		im.survey(s, doc)
		if err := im.includes(s, doc, dir, trail); err != nil {
			return err
		}
		if err := im.bases(s, doc, dir, trail); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) cycle(trail []string, path string) string {
	var names []string
	for _, p := range append(trail[slices.Index(trail, path):], path) {
		names = append(names, im.relative(p))
	}
	return strings.Join(names, " includes ")
}

// includes follows "include" (compose-spec, 14-include.md).
func (im *importer) includes(s *source, doc *yaml.Node, dir string, trail []string) error {
	all, _ := child(doc, "include")
	if all == nil {
		return nil
	}
	for _, entry := range items(all) {
		from := Place{s.name, entry.Line}
		var paths []string
		below := ""
		for _, field := range []string{"path", "env_file", "project_directory"} {
			n := entry
			if entry.Kind == yaml.MappingNode {
				n, _ = child(entry, field)
			} else if field != "path" {
				n = nil
			}
			for _, v := range items(n) {
				p, err := im.plainText(v, from)
				if err != nil {
					return err
				}
				switch field {
				case "path":
					paths = append(paths, p)
				case "env_file":
					if _, _, err := im.open(p, dir, from); err != nil {
						return err
					}
				default:
					if below, err = im.inside(p, dir, from); err != nil {
						return err
					}
				}
			}
		}
		for i, p := range paths {
			if i == 0 && below == "" {
				below = filepath.Dir(filepath.Join(dir, p))
				if filepath.IsAbs(p) {
					below = filepath.Dir(p)
				}
			}
			base := dir // an include names its files from where it stands
			if err := im.followFrom(p, base, below, from, trail); err != nil {
				return err
			}
		}
		// Compose reads this one, too, where the include names none.
		if _, err := os.Stat(filepath.Join(below, ".env")); err == nil {
			if _, _, err := im.open(".env", below, from); err != nil {
				return err
			}
		}
	}
	return nil
}

// followFrom follows a file that is named from one directory and speaks of another one.
func (im *importer) followFrom(name, base, below string, from Place, trail []string) error {
	path, err := im.inside(name, base, from)
	if err != nil {
		return err
	}
	return im.follow(path, from, below, trail)
}

// bases follows "extends" into other files.
func (im *importer) bases(s *source, doc *yaml.Node, dir string, trail []string) error {
	services, _ := child(doc, "services")
	for _, service := range values(services) {
		extends, _ := child(service, "extends")
		file, _ := child(extends, "file")
		if file == nil {
			continue
		}
		from := Place{s.name, file.Line}
		name, err := im.plainText(file, from)
		if err != nil {
			return err
		}
		path, err := im.inside(name, dir, from)
		if err != nil {
			return err
		}
		if slices.Contains(trail, path) { // a service may extend one that extends another here
			continue
		}
		if err := im.follow(path, from, filepath.Dir(path), trail); err != nil {
			return err
		}
	}
	return nil
}

// plainText is a text of the file with its variables replaced by what they are now.
func (im *importer) plainText(n *yaml.Node, at Place) (string, error) {
	if n.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("%s: expected the name of a file", at)
	}
	return expand(n.Value, func(r reference) (string, error) {
		if v, ok := im.Env[r.name]; ok && v != "" {
			return v, nil
		}
		if strings.HasSuffix(r.op, "-") {
			return r.arg, nil
		}
		return "", fmt.Errorf("%s: the variable %s, which is in the name of a file, has no value; give it one with --env %[2]s=…", at, r.name)
	})
}

// parse reads the documents of a file, and refuses what grows without bounds.
func parse(name string, text []byte) (docs []*yaml.Node, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s: not a YAML file: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if len(doc.Content) == 0 {
			continue
		}
		root := doc.Content[0]
		if n, at := grown(root, map[*yaml.Node]int{}); n > maxNodes {
			return nil, fmt.Errorf("%s:%d: its anchors and aliases grow to more than %d values, or contain themselves; write the file out", name, at.Line, maxNodes)
		}
		if root.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("%s:%d: expected a mapping with services", name, root.Line)
		}
		docs = append(docs, root)
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("%s: the file is empty", name)
	}
	return docs, nil
}

// environment is what variables are: the file .env, and over it what the caller says.
func (im *importer) environment() (map[string]string, error) {
	env := map[string]string{}
	if info, err := os.Lstat(filepath.Join(im.root, ".env")); err == nil && !(info.Mode()&fs.ModeSymlink != 0 && nowhere(im.root)) {
		_, text, err := im.open(".env", im.root, Place{File: ".env"})
		if err != nil {
			return nil, err
		}
		if env, err = dotenv.ParseWithLookup(bytes.NewReader(text), mapped(im.Env)); err != nil {
			return nil, fmt.Errorf(".env: %w", err)
		}
	}
	for k, v := range im.Env {
		env[k] = v
	}
	return env, nil
}

// nowhere tells whether .env is a link to what is not there, as where its target is made
// later.
func nowhere(root string) bool {
	_, err := os.Stat(filepath.Join(root, ".env"))
	return errors.Is(err, fs.ErrNotExist)
}

func mapped(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}
