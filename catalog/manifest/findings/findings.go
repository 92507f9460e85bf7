// Package findings owns how what is wrong with manifests, and unwise in them, is found in
// files and told: to people with the line concerned, and to programs as JSON, SARIF and
// the commands of GitHub's workflows.
package findings

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// FileName is what a manifest is called in a directory of its own.
const FileName = "manifest.yaml"

// File is what was found in one manifest.
type File struct {
	Name     string
	Manifest *manifest.Manifest // nil where there are problems
	Problems []manifest.Problem
	Warnings []manifest.Problem

	lines []string
}

// Files gives the manifests that paths mean, each once: a file is one, and of a directory
// all those below it that are called manifest.yaml, except in hidden directories.
func Files(paths ...string) (files []string, err error) {
	for _, p := range paths {
		found, root := 0, Root(p)
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && name != root && strings.HasPrefix(d.Name(), "."):
				return fs.SkipDir
			case !d.IsDir() && (name == root || d.Name() == FileName):
				found++
				files = append(files, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if found == 0 {
			return nil, fmt.Errorf("%s: no %s in it or below it", p, FileName)
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(files, func(f string) bool {
		f = filepath.Clean(f)
		dup := seen[f]
		seen[f] = true
		return dup
	}), nil
}

// Root is where to begin a walk through what a path means: a link to a directory is that.
func Root(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() && !os.IsPathSeparator(path[len(path)-1]) {
		return path + string(filepath.Separator)
	}
	return path
}

// Check looks at manifests, several at a time, and returns what it found in their order.
// A file that cannot be read has that as its only problem. The error is that of the
// program itself.
func Check(names ...string) ([]File, error) {
	out := make([]File, len(names))
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for i, name := range names {
		g.Go(func() (err error) {
			out[i], err = check(name)
			return err
		})
	}
	return out, g.Wait()
}

func check(name string) (f File, err error) {
	f.Name = name
	src, err := manifest.ReadFile(name)
	var refused *manifest.Error
	switch {
	case errors.As(err, &refused):
		f.Problems = refused.Problems
		return f, nil
	case err != nil:
		f.Problems = []manifest.Problem{{File: name, Message: err.Error(), Rule: manifest.RuleSyntax}}
		return f, nil
	}
	f.lines = strings.Split(string(src), "\n")
	f.Manifest, f.Problems, f.Warnings, err = manifest.LintFile(name, src)
	return f, err
}

// Count gives how many problems and warnings there are, and how many files have problems.
func Count(files []File) (problems, warnings, bad int) {
	for _, f := range files {
		problems, warnings = problems+len(f.Problems), warnings+len(f.Warnings)
		if len(f.Problems) > 0 {
			bad++
		}
	}
	return problems, warnings, bad
}

// each calls for every finding of a file, in the order of the lines.
func (f File) each(tell func(p manifest.Problem, warning bool)) {
	type finding struct {
		manifest.Problem
		warning bool
	}
	var all []finding
	for _, p := range f.Problems {
		all = append(all, finding{p, false})
	}
	for _, p := range f.Warnings {
		all = append(all, finding{p, true})
	}
	slices.SortStableFunc(all, func(a, b finding) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	for _, p := range all {
		tell(p.Problem, p.warning)
	}
}

// lacks are the fields that warnings miss where they are about what they would be in.
var lacks = map[string]string{
	manifest.RuleNoHealth: "health", manifest.RuleNoCanary: "canary", manifest.RuleNoBudget: "budget", manifest.RuleNoIcon: "icon",
	manifest.RuleNoCategory: "category", manifest.RuleNoTagline: "tagline", manifest.RuleRootUser: "user", manifest.RuleWholeApp: "uses",
}

// docs is where the language explains the field that a problem is about; for a field that
// it does not have, where it explains the one around it.
func docs(p manifest.Problem) string {
	field := p.Field
	if lacks[p.Rule] != "" {
		field = strings.TrimPrefix(field+"."+lacks[p.Rule], ".")
	}
	if a := manifest.Anchor(field); a != "" {
		return manifest.Page + "#" + a
	}
	return manifest.Page
}
