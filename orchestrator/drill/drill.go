// Package drill sees whether an application comes up from what a backup of it has brought
// back. It starts a second one beside the one that runs: under other names, in a network of
// its own that leads nowhere, with no port of the node's, and with bounded memory. What it
// makes is on record before it is there, and is removed, by the next daemon where this one
// was cut off. It never touches the application itself, its data, its ports or its secrets,
// and generates none.
package drill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
	"github.com/archipelago-cloud/archipelago/orchestrator/render"
)

const (
	memoryReserve = 256 << 20       // bytes that a drill leaves free
	pageTimeout   = time.Minute     // until the page of what is healthy answers as it should
	pageEvery     = time.Second     // it is asked
	steadyFor     = 5 * time.Second // that all members stay as they are
	removeTimeout = 10 * time.Minute
)

// ErrNotStarted is wrapped where an application was not started, which says nothing of its
// backup: the error says why.
var ErrNotStarted = errors.New("not started")

// Engine is the host as drills use it.
type Engine interface {
	HasImage(ctx context.Context, name string) (bool, error)
	EnsureVolumes(ctx context.Context, volumes []host.VolumeOwner) error
	PutSecret(ctx context.Context, name, app, value string) error
	PutFiles(ctx context.Context, dir string, files []host.File) error
	WriteUnits(ctx context.Context, files map[string]string, gone []string) error
	StopUnit(ctx context.Context, unit string) error
	Inspect(ctx context.Context, container string) (host.Inspection, error)
	// Page asks a port of a container for a page, from inside the container's network; as is
	// the host that a proxy has the page under, empty to ask without one.
	Page(ctx context.Context, container string, port int, path, as string) (host.Page, error)
	// Remove deletes containers, and an application's secrets and networks.
	Remove(ctx context.Context, app string, containers []string) error
	// FreeMemory is how many bytes can be used without swapping.
	FreeMemory() (int64, error)
}

// Drills starts applications from backups, one at a time.
type Drills struct {
	Engine  Engine
	Start   func(ctx context.Context, m *manifest.Manifest, units []string) error // until all of it is healthy, within its budget
	DataDir string
	Steady  time.Duration // that all members must stay as they are
	Log     *slog.Logger

	turn chan struct{} // holds one while a drill is under way, or what one has left is removed
}

// New prepares drills on a node whose applications' folders are in dataDir.
func New(engine Engine, start func(context.Context, *manifest.Manifest, []string) error, dataDir string, log *slog.Logger) *Drills {
	return &Drills{Engine: engine, Start: start, DataDir: dataDir, Steady: steadyFor, Log: log, turn: make(chan struct{}, 1)}
}

// Source is what a backup has brought back.
type Source struct {
	Manifest *manifest.Manifest // with its settings filled in, and with the images that the node has of it
	Node     string             // the name under which the proxy has web interfaces; may be empty
	Values   map[string]string  // of all secrets and secret settings, by name
	Dir      string             // has the volumes, each under its name
}

// Under tells whether a drill is under way.
func (d *Drills) Under() bool { return len(d.turn) > 0 }

func (d *Drills) begin(ctx context.Context) error {
	select {
	case d.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (d *Drills) end() { <-d.turn }

// Run starts an application from what a backup has brought back, sees that every member is
// healthy and stays so, and that its pages answer as its manifest says, and removes it again.
// It says what was seen. ErrNotStarted is wrapped where it did not come to that.
func (d *Drills) Run(ctx context.Context, s Source, say func(string)) (seen string, err error) {
	if why := Unfit(s.Manifest); why != "" {
		return "", fmt.Errorf("%w: %s", ErrNotStarted, why)
	}
	if err := d.begin(ctx); err != nil {
		return "", err
	}
	defer d.end()
	if err := d.tidy(ctx); err != nil {
		return "", fmt.Errorf("%w: an earlier drill is in the way: %w", ErrNotStarted, err)
	}
	m := Isolated(s.Manifest, s.Dir)
	if err := d.room(ctx, m); err != nil {
		return "", err
	}
	u := quadlet.Render(m, d.DataDir, false)
	r := record{App: m.ID, Files: slices.Sorted(maps.Keys(u.Files))}
	for _, c := range m.Ordered() {
		r.Containers = append(r.Containers, c.Name)
	}
	if err := d.write(r); err != nil {
		return "", err
	}
	defer func() {
		say("removing it again")
		// Where that fails, the record stays, and Tidy tries again.
		if err := d.remove(context.WithoutCancel(ctx), r); err != nil {
			d.Log.Error("a restore drill is not removed yet", "app", r.App, "error", err)
		}
	}()
	if err := d.prepare(ctx, m, s.Values); err != nil {
		return "", err
	}
	if err := d.Engine.WriteUnits(ctx, u.Files, nil); err != nil {
		return "", err
	}
	say("starting it from the backup")
	if err := d.Start(ctx, m, render.Services(r.Containers)); err != nil {
		return "", fmt.Errorf("%w%s", err, offline(s.Manifest))
	}
	return d.look(ctx, m, pages(s.Manifest, s.Node), say)
}

// offline is said of an application that fails, since it may be why.
func offline(m *manifest.Manifest) string {
	if !m.Internet() {
		return ""
	}
	return " (in a drill it has no internet)"
}

// room wants the images to be there, and the memory.
func (d *Drills) room(ctx context.Context, m *manifest.Manifest) error {
	for _, c := range m.Containers {
		there, err := d.Engine.HasImage(ctx, c.Image.Pinned())
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%w: the image %s is not on this node", ErrNotStarted, c.Image.Pinned())
		}
	}
	free, err := d.Engine.FreeMemory()
	if err != nil {
		return err
	}
	if need := m.Memory() + memoryReserve; need > free {
		return fmt.Errorf("%w: it may use %d MiB of memory, and %d MiB are free, of which %d MiB must stay", ErrNotStarted, m.Memory()>>20, free>>20, memoryReserve>>20)
	}
	return nil
}

// prepare has the secrets and files of the backup be there under the drill's names, and the
// volumes that had no data yet.
func (d *Drills) prepare(ctx context.Context, m *manifest.Manifest, of map[string]string) error {
	values := map[string]string{}
	for _, s := range m.Settings {
		if s.Secret {
			values[s.Name] = "" // where it is not set
		}
	}
	maps.Copy(values, of)
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if err := d.Engine.PutSecret(ctx, quadlet.SecretName(m.ID, name), m.ID, of[name]); err != nil {
			return err
		}
	}
	var files []host.File
	var volumes []host.VolumeOwner
	for _, c := range m.Containers {
		for _, v := range c.Volumes {
			volumes = append(volumes, host.VolumeOwner{Dir: v.At, UID: v.UID, GID: v.GID})
		}
		uid, gid := c.IDs()
		for _, f := range c.Files {
			files = append(files, host.File{Name: quadlet.FileName(c, f), Content: f.Text(values), Mode: f.Perm(), UID: uid, GID: gid})
		}
	}
	if err := d.Engine.EnsureVolumes(ctx, volumes); err != nil || len(files) == 0 {
		return err
	}
	return d.Engine.PutFiles(ctx, quadlet.FilesDir(d.DataDir, m.ID), files)
}

// look sees that all members run, are healthy and stay so, and that the pages answer.
func (d *Drills) look(ctx context.Context, m *manifest.Manifest, pages []page, say func(string)) (seen string, err error) {
	begun := map[string]time.Time{}
	for _, c := range m.Containers {
		if begun[c.Name], err = d.runs(ctx, c); err != nil {
			return "", err
		}
	}
	seen = fmt.Sprintf("%d of %[1]d containers run", len(m.Containers))
	if !slices.ContainsFunc(m.Containers, func(c manifest.Container) bool { return c.Health == nil }) {
		seen += " and are healthy"
	}
	for _, p := range pages {
		say("asking for its page " + p.path)
		said, err := d.page(ctx, p)
		if err != nil {
			return "", err
		}
		seen += "; " + said
	}
	if err := wait(ctx, d.Steady); err != nil {
		return "", err
	}
	for _, c := range m.Containers {
		again, err := d.runs(ctx, c)
		if err != nil {
			return "", err
		}
		if !again.Equal(begun[c.Name]) {
			own, _ := Of(c.Name)
			return "", fmt.Errorf("%s ended and was started again", own)
		}
	}
	return seen, nil
}

// runs says since when a member runs; it is an error where it does not, or is not healthy.
func (d *Drills) runs(ctx context.Context, c manifest.Container) (since time.Time, err error) {
	own, _ := Of(c.Name)
	i, err := d.Engine.Inspect(ctx, c.Name)
	switch {
	case errors.Is(err, host.ErrGone):
		return since, fmt.Errorf("%s has ended", own)
	case err != nil:
		return since, err
	case i.State != "running":
		return since, fmt.Errorf("%s is %s", own, i.State)
	case c.Health != nil && i.Health != "healthy":
		return since, fmt.Errorf("%s is %s", own, i.Health)
	}
	return i.StartedAt, nil
}

// page asks until a page is as it should be, as the node itself has it or as its proxy does.
func (d *Drills) page(ctx context.Context, p page) (said string, err error) {
	deadline := time.Now().Add(pageTimeout)
	for {
		for _, as := range slices.Compact([]string{"", p.host}) {
			got, askErr := d.Engine.Page(ctx, p.container, p.port, p.path, as)
			if askErr == nil {
				if said, askErr = p.check(got); askErr == nil {
					return said, nil
				}
			}
			if err == nil || as == "" {
				err = askErr
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("its page %s of the interface %s: %w", p.path, p.name, err)
		}
		if err := wait(ctx, pageEvery); err != nil {
			return "", err
		}
	}
}

// check compares a page with what the manifest says of it, as far as the page itself tells: a
// script may give it another title.
func (p page) check(got host.Page) (said string, err error) {
	if got.Status != p.status && (p.status != 0 || got.Status < 200 || got.Status > 299) {
		want := "200 to 299"
		if p.status != 0 {
			want = fmt.Sprint(p.status)
		}
		return "", fmt.Errorf("it answers with status %d, expected %s", got.Status, want)
	}
	said = fmt.Sprintf("%s answers with status %d", p.path, got.Status)
	if got.Status == http.StatusUnauthorized {
		said += ", to whoever has not signed in"
	}
	switch {
	case p.title == "":
		return said, nil
	case strings.Contains(got.Title, p.title):
		return said + fmt.Sprintf(" and the title %q", got.Title), nil
	case got.Scripted:
		return said + "; its title is left to its scripts", nil
	}
	return "", fmt.Errorf("its title is %q, expected one with %q", got.Title, p.title)
}

// wait gives the context's error if that ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
