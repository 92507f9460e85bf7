// Package compose makes a manifest of what somebody wrote for another engine: compose
// files (github.com/compose-spec/compose-spec), also in the dialects of stores for home
// servers, command lines that run a container, and what an engine says of one. It says of
// everything in there what became of it. It reads files below one directory, and nothing
// else: it runs nothing, asks nobody and writes nowhere.
//
// What the manifest's language takes is for the package manifest to say: a draft is
// parsed, and what is refused there is taken out again and listed.
package compose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/plain"
)

// Options say what is imported, and how.
type Options struct {
	Dir             string            // nothing outside of it is read
	Files           []string          // compose files in Dir, the later ones over the earlier; none: those that have a usual name
	ID              string            // of the application; default: what the files, or the directory, are called
	Profiles        []string          // services of other profiles are left out
	Env             map[string]string // values of variables; over those of the file .env in Dir
	MissingEnvFiles bool              // an env_file that is not there is empty, instead of an error
	// Digest resolves a reference with a tag, such as docker.io/library/redis:7, to the
	// "sha256:…" that it means now. Where it is nil or fails, that is left to the author.
	Digest func(ctx context.Context, ref string) (string, error)
}

// Result is a manifest that parses, and what else there is to say.
type Result struct {
	ID       string
	Manifest []byte // with a TODO comment for each Item that is no note
	Items    []Item // in the order of the files
}

// Left are the items that the author has to see to.
func (r *Result) Left() (left []Item) {
	for _, i := range r.Items {
		if !i.Note {
			left = append(left, i)
		}
	}
	return left
}

// Place is a line of a file, from 1; 0 where it is the whole file.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

func (p Place) before(other Place) bool {
	return cmp.Or(cmp.Compare(p.File, other.File), cmp.Compare(p.Line, other.Line)) < 0
}

// Item is something that a manifest does not carry, or not as it was.
type Item struct {
	Place
	Field   string `json:"field"` // such as services.web.privileged
	Reason  string `json:"reason"`
	Instead string `json:"instead,omitempty"` // what would do instead; may be empty
	Note    bool   `json:"note"`              // it needs no work of the author's

	service string
}

// String is one line, whatever the files hold.
func (i Item) String() string {
	s := fmt.Sprintf("%s: %s: %s", i.Place, i.Field, i.Reason)
	if i.Instead != "" {
		s += "; instead: " + i.Instead
	}
	return plain.Clip(plain.Text(breaks.Replace(s)), 600)
}

// breaks are what ends a line, in YAML or on a terminal.
var breaks = strings.NewReplacer("\n", " ", "\r", " ", "\t", " ", "\u2028", " ", "\u2029", " ")

// importer is one import under way.
type importer struct {
	Options
	root        string             // Dir, without symbolic links
	sources     map[string]*source // by path
	order       []*source
	uses        map[string]use    // of each text with variables in it
	names       map[string]bool   // variables that are the names of containers
	amount      map[string]string // the field that each of these is, where it is an amount
	places      map[string]Place  // where each of these was first seen
	vars        map[string]*variable
	fixed       map[string]bool   // variables that also stand where the language takes none
	address     map[string]string // variable that holds a service's address -> service
	dialect     dialect
	project     *types.Project
	members     []*member // in the order of the files
	aliases     map[string]string
	items       []Item
	secrets     *secrets
	settings    []*node
	volumes     map[string]*volume
	folders     map[string]string // of the owner's: where they are -> their names
	folderNames map[string]bool
	portNames   map[string]bool
	nodePorts   map[manifest.NodePort]bool
	env         map[string]string // of the files and the caller
	filesSize   int               // of all texts that are carried, in bytes
	slowest     time.Duration     // of the times that the checks give a start
	top         *node
}

// member is a service that becomes a container.
type member struct {
	types.ServiceConfig
	name string // of the container
	node *node
	env  map[string]*string // with what env_file adds
	http int                // the container's port that is the web interface; 0: another member's
}

// Import converts compose files. An error means that nothing could be made of them.
func Import(ctx context.Context, o Options) (*Result, error) {
	im, err := newImporter(o)
	if err != nil {
		return nil, err
	}
	files := o.Files
	if len(files) == 0 {
		if files, err = im.usual(); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		if err := im.follow(f, Place{File: f}, im.root, nil); err != nil {
			return nil, err
		}
	}
	return im.convert(ctx, files)
}

func newImporter(o Options) (*importer, error) {
	abs, err := filepath.Abs(o.Dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", o.Dir, err)
	}
	return &importer{
		Options: o, root: abs, sources: map[string]*source{}, uses: map[string]use{}, names: map[string]bool{}, amount: map[string]string{}, places: map[string]Place{},
		vars: map[string]*variable{}, fixed: map[string]bool{}, address: map[string]string{}, aliases: map[string]string{},
		volumes: map[string]*volume{}, secrets: newSecrets(), folders: map[string]string{}, folderNames: map[string]bool{}, portNames: map[string]bool{}, nodePorts: map[manifest.NodePort]bool{},
	}, nil
}

// convert makes the manifest of the sources that have been read.
func (im *importer) convert(ctx context.Context, files []string) (*Result, error) {
	env, err := im.environment()
	if err != nil {
		return nil, err
	}
	im.env = env
	if im.dialect, err = im.recognise(env); err != nil {
		return nil, err
	}
	if im.project, err = im.load(ctx, files, env); err != nil {
		return nil, err
	}
	slices.SortFunc(im.items, func(a, b Item) int { // the library reads in no order
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Reason, b.Reason))
	})
	im.extensions()
	if im.ID, err = im.identify(); err != nil {
		return nil, err
	}
	if err := im.choose(); err != nil {
		return nil, err
	}
	im.name()
	for _, m := range im.members {
		if err := im.readEnv(m, env); err != nil {
			return nil, err
		}
	}
	im.share()
	im.sortSecrets()
	im.web()
	im.top = mapping()
	im.top.set("apiVersion", scalar("archipelago/v1"))
	im.describe()
	containers := sequence()
	for _, m := range im.members {
		m.node = mapping()
		im.container(ctx, m)
		containers.add(m.node)
	}
	im.top.set("containers", containers)
	im.closing()
	if err := im.judge(); err != nil {
		return nil, err
	}
	im.sortItems()
	im.annotate()
	text, _ := write(im.top, false)
	return &Result{ID: im.ID, Manifest: []byte(text), Items: im.items}, nil
}

// sortItems sorts the items by their places, each once.
func (im *importer) sortItems() {
	rank := map[string]int{}
	for i, s := range im.order {
		rank[s.name] = i
	}
	slices.SortStableFunc(im.items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(rank[a.Place.File], rank[b.Place.File]), cmp.Compare(a.Place.Line, b.Place.Line))
	})
	im.items = slices.Compact(im.items)
}

// left lists what the author has to see to, note what is only worth knowing. Field is
// below the service, or, where that is empty, below the file.
func (im *importer) left(service, field string, at Place, reason, instead string) {
	im.items = append(im.items, Item{Place: at, Field: fieldOf(service, field), Reason: reason, Instead: instead, service: service})
}

func (im *importer) note(service, field string, at Place, reason string) {
	im.items = append(im.items, Item{Place: at, Field: fieldOf(service, field), Reason: reason, Note: true, service: service})
}

func fieldOf(service, field string) string {
	switch {
	case service == "":
		return field
	case field == "":
		return "services." + service
	}
	return "services." + service + "." + field
}

var unnameable = regexp.MustCompile(`[^a-z0-9]+`)

// slug makes a name of the manifest's language of any text; it may be empty.
func slug(s string) string {
	s = strings.Trim(unnameable.ReplaceAllString(strings.ToLower(s), "-"), "-")
	if len(s) > 40 {
		s = strings.Trim(s[:40], "-")
	}
	return s
}

// identify gives the application's id.
func (im *importer) identify() (string, error) {
	if im.ID != "" {
		if slug(im.ID) != im.ID {
			return "", fmt.Errorf("%q is no id of an application: small letters, digits and hyphens", im.ID)
		}
		return im.ID, nil
	}
	for _, candidate := range []string{im.dialect.id, im.named(), filepath.Base(im.root)} {
		if s := slug(candidate); s != "" && s != "docker" && s != "compose" && s != "src" {
			return s, nil
		}
	}
	for _, name := range im.services() {
		return cmp.Or(slug(name), "app"), nil
	}
	return "", errors.New("the application has no name: give it one with --id")
}

// named is the name that the first file gives the project.
func (im *importer) named() string {
	for _, s := range im.order {
		for _, doc := range s.docs {
			if n, _ := child(doc, "name"); n != nil {
				if text, err := im.substitute(n.Value, mapped(im.Env)); err == nil && !marked(text) {
					return text
				}
			}
		}
	}
	return ""
}
