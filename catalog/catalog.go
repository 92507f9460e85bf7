// Package catalog owns the set of applications that a node or the gate knows. It reads
// manifests from directories; package publish turns them into what nodes can install,
// and package document is the signed form in which nodes receive them.
package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// ErrUnknownApp is wrapped when an application is not in the catalog.
var ErrUnknownApp = errors.New("unknown app")

// ErrInvalid is wrapped when a manifest, or the catalog as a whole, is invalid.
var ErrInvalid = errors.New("invalid catalog")

// Channels are the channels of signed catalogs, from internal to public. Applications
// move through them one after the other.
var Channels = []string{"feature", "user", "beta"}

// NeedsProof tells whether the entries of a channel must carry a gate's proof: in all but
// the first, which is what a gate tests.
func NeedsProof(channel string) bool { return channel != Channels[0] }

// Catalog maps an application's id to its entry.
type Catalog map[string]*Entry

// Entry is one application of the catalog.
type Entry struct {
	*manifest.Manifest
	Dir       string // of its manifest and build contexts; empty for a published one
	Source    Source
	Publisher string
	Notes     string // of the release
	Waiver    *Waiver
	Proof     string // what a gate's run showed of it, as the signed catalog says; empty where nothing
}

// Manifest returns an application's manifest, or nil if the catalog has none.
func (c Catalog) Manifest(id string) *manifest.Manifest {
	if e, ok := c[id]; ok {
		return e.Manifest
	}
	return nil
}

// Load reads DIR/ID/manifest.yaml below each directory. It reports the problems of all
// manifests at once, and returns the valid ones beside them. Applications that would
// publish the same port are refused, because one node runs them all; those whose
// requirements go round in a circle are refused too, and left out.
func Load(dirs ...string) (Catalog, error) {
	c := Catalog{}
	var problems []error
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		for _, e := range entries {
			file := filepath.Join(dir, e.Name(), "manifest.yaml")
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			m, err := manifest.ParseFile(file)
			notes, notesErr := readNotes(filepath.Join(dir, e.Name(), "NOTES"))
			switch {
			case notesErr != nil:
				problems = append(problems, notesErr)
			case err != nil:
				problems = append(problems, err)
			case m.ID != e.Name():
				problems = append(problems, fmt.Errorf("%s: id %q differs from the folder's name %q", file, m.ID, e.Name()))
			case c[m.ID] != nil:
				problems = append(problems, fmt.Errorf("%s: app %q is already in another folder of the catalog", file, m.ID))
			case notes != "" && m.ReleaseNotes != "":
				problems = append(problems, fmt.Errorf("%s: release_notes: NOTES beside the manifest holds them already; keep one of the two", file))
			default:
				published(m, dir)
				c[m.ID] = &Entry{Manifest: m, Dir: filepath.Join(dir, e.Name()), Notes: notes, Source: Source{From: FromDisk}}
			}
		}
	}
	problems = append(problems, c.Conflicts()...)
	problems = append(problems, c.dangling()...)
	cycles := c.Cycles()
	for _, id := range slices.Sorted(maps.Keys(cycles)) {
		problems = append(problems, fmt.Errorf("%s: %w", filepath.Join(c[id].Dir, "manifest.yaml"), cycles[id]))
		delete(c, id)
	}
	if len(problems) > 0 {
		return c, fmt.Errorf("%w:\n%w", ErrInvalid, errors.Join(problems...))
	}
	return c, nil
}

// maxNotes bounds a release's notes, in bytes.
const maxNotes = 2000

// readNotes reads the release notes, for owners of nodes, from the optional file NOTES
// beside the manifest.
func readNotes(file string) (string, error) {
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("reading notes: %w", err)
	case len(b) > maxNotes || !utf8.Valid(b):
		return "", fmt.Errorf("%s: notes are text of at most %d bytes", file, maxNotes)
	}
	return strings.Join(strings.Fields(string(b)), " "), nil
}

// Conflicts says which applications cannot run on one node, because they publish the same
// port of it or name the same container.
func (c Catalog) Conflicts() (problems []error) {
	ports, names := map[manifest.NodePort]string{}, map[string]string{}
	for _, id := range c.IDs() {
		for _, m := range c[id].Containers {
			if other, dup := names[m.Name]; dup {
				problems = append(problems, fmt.Errorf("apps %s and %s both name a container %q", other, id, m.Name))
			}
			names[m.Name] = id
		}
		for _, p := range c[id].NodePorts() {
			if other, dup := ports[p]; dup {
				problems = append(problems, fmt.Errorf("apps %s and %s both use port %s of the node", other, id, p))
			}
			ports[p] = id
		}
	}
	return problems
}

// IDs are the applications' ids, sorted.
func (c Catalog) IDs() []string { return slices.Sorted(maps.Keys(c)) }

// Ports are the TCP ports by which a node with the whole catalog is asked from outside:
// the daemon's and the applications', those included that must not answer there.
func (c Catalog) Ports() []int {
	ports := []int{manifest.DaemonTLSPort, manifest.ByNamePort}
	for _, e := range c {
		for _, p := range e.NodePorts() {
			if !p.UDP {
				ports = append(ports, p.Number)
			}
		}
	}
	slices.Sort(ports)
	return ports
}

// Select returns the applications with these ids, or all of them if none are given.
func (c Catalog) Select(ids ...string) (Catalog, error) {
	if len(ids) == 0 {
		return c, nil
	}
	out := Catalog{}
	var problems []error
	for _, id := range ids {
		m, ok := c[id]
		if !ok {
			problems = append(problems, fmt.Errorf("%w %q: the catalog has %s", ErrUnknownApp, id, strings.Join(c.IDs(), ", ")))
			continue
		}
		out[id] = m
	}
	return out, errors.Join(problems...)
}
