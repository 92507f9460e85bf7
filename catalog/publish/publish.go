// Package publish turns manifests into what nodes can install. It builds images from
// their build contexts, serves them from an OCI registry, and pins every image by
// digest. Nodes never build.
package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/buildcontext"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// Registry is where nodes reach the gate's own registry: on their loopback, through a
// tunnel from the gate.
const Registry = "localhost:5000"

// Builder builds images and pushes them; package lab's engine is one.
type Builder interface {
	Base(ctx context.Context, progress io.Writer) (string, error)
	Build(ctx context.Context, dir, tag string, args map[string]string, progress io.Writer) error
	Push(ctx context.Context, tag, destination string, progress io.Writer) error
}

// Publisher owns a registry that keeps its content in a cache directory.
type Publisher struct {
	dir     string
	lock    *os.File // keeps it from being pruned
	builder Builder
	handler http.Handler // all of the registry, for this side alone

	mu    sync.Mutex
	known map[string]cached // by digest
	seen  map[string]bool   // images that are whole, by digest
}

// buildsAtOnce is how many images are built at one time: half of a build is waiting, for
// downloads and for one process that packs layers.
const buildsAtOnce = 3

func (p *Publisher) blobs() string { return filepath.Join(p.dir, "blobs") }

// Open prepares the registry. The builder builds only what the cache lacks.
func Open(dir string, builder Builder) (*Publisher, error) {
	p := &Publisher{dir: dir, builder: builder, known: map[string]cached{}, seen: map[string]bool{}}
	for _, d := range []string{p.blobs(), filepath.Join(dir, "manifests")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("opening the registry: %w", err)
		}
	}
	var err error
	if p.lock, err = share(dir, unix.LOCK_SH); err != nil {
		return nil, fmt.Errorf("opening the registry: %w", err)
	}
	if err := sweep(dir, time.Now()); err != nil {
		return nil, fmt.Errorf("opening the registry: %w", err)
	}
	p.handler = registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(p.blobs())), registry.Logger(log.New(io.Discard, "", 0)))
	// Whatever was published before is served again: a signed catalog may refer to it. What
	// is broken is not: it is built again when it is needed.
	files, err := filepath.Glob(filepath.Join(dir, "manifests", "*.json"))
	if err != nil {
		return nil, fmt.Errorf("opening the registry: %w", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("opening the registry: %w", err)
		}
		var c cached
		if json.Unmarshal(b, &c) != nil || c.Repo == "" {
			continue
		}
		if _, err := c.manifest(); err != nil {
			continue
		}
		c.file = f
		if err := p.put(c); err != nil {
			return nil, fmt.Errorf("opening the registry: %s: %w", f, err)
		}
	}
	return p, nil
}

// cached is an image manifest in the registry.
type cached struct {
	Repo      string `json:"repo"`
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
	Data      []byte `json:"data"`

	file string // that says so; its time is that of its last use
}

// Publish returns the catalog with every image pinned; images built here get the name of
// a registry. They are built only if the cache has none of the same context on the same base,
// or not all of it any more. Progress goes to w.
func (p *Publisher) Publish(ctx context.Context, cat catalog.Catalog, registry string, w io.Writer) (catalog.Catalog, error) {
	out := catalog.Catalog{}
	w = &oneAtATime{w: w}
	base := sync.OnceValues(func() (string, error) { return p.builder.Base(ctx, w) })
	builds, ctx := errgroup.WithContext(ctx)
	builds.SetLimit(buildsAtOnce)
	for _, id := range cat.IDs() {
		m := *cat[id].Manifest
		m.Containers = append([]manifest.Container(nil), m.Containers...)
		for i := range m.Containers {
			c := &m.Containers[i]
			builds.Go(func() (err error) {
				if c.Image, err = p.publish(ctx, cat[id].Dir, id, *c, registry, base, w); err != nil {
					return fmt.Errorf("image of %s: %w", c.Name, err)
				}
				return nil
			})
		}
		out[id] = &catalog.Entry{Manifest: &m, Notes: cat[id].Notes}
	}
	if err := builds.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// publish returns the image of a container, pinned; one that is built here is built.
func (p *Publisher) publish(ctx context.Context, dir, app string, c manifest.Container, registry string, base func() (string, error), w io.Writer) (manifest.Image, error) {
	if err := ctx.Err(); err != nil {
		return manifest.Image{}, err
	}
	if c.Image.Build != "" {
		digest, err := p.image(ctx, filepath.Join(dir, c.Image.Build), app+"/"+c.Name, base, w)
		return manifest.Image{Ref: reference(registry, app, c.Name), Digest: digest}, err
	}
	if mine, ok := p.of(c.Image.Digest); ok && strings.HasPrefix(c.Image.Ref, registry+"/") {
		if err := p.whole(ctx, mine); err != nil {
			return manifest.Image{}, fmt.Errorf("%w; build its catalog again", err)
		}
	}
	return c.Image, nil
}

// of gives what the registry knows of an image.
func (p *Publisher) of(digest string) (c cached, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok = p.known[digest]
	return c, ok
}

// oneAtATime lets several builds say how they come along.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneAtATime) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}

// image puts the image of a build context into the registry, under repo, and returns its
// digest. It is built on the newest base.
func (p *Publisher) image(ctx context.Context, dir, repo string, newest func() (string, error), w io.Writer) (string, error) {
	base, err := newest()
	if err != nil {
		return "", err
	}
	key, err := buildcontext.Digest(os.DirFS(dir), repo, base)
	if err != nil {
		return "", err
	}
	file := filepath.Join(p.dir, "manifests", key+".json")
	c, err := p.recall(ctx, file, repo)
	switch {
	case err == nil:
		return c.Digest, p.put(c)
	case errors.Is(err, errBroken):
		fmt.Fprintf(w, "building %s again: %v\n", repo, err)
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(w, "building %s\n", repo)
	default:
		return "", err
	}
	if c, err = p.build(ctx, dir, repo, key, base); err != nil {
		return "", err
	}
	b, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	if err := atomicfile.Write(file, b, 0o644); err != nil {
		return "", err
	}
	return c.Digest, p.put(c)
}

// recall gives an image that was built before, if all of it is still there.
func (p *Publisher) recall(ctx context.Context, file, repo string) (c cached, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("%w: %s: %w", errBroken, file, err)
	}
	c.Repo, c.file = repo, file
	return c, p.whole(ctx, c)
}

// build builds a context. The builder pushes the image into the registry. The image is the
// one that the builder has sent, whatever its tag names since.
func (p *Publisher) build(ctx context.Context, dir, repo, key, base string) (cached, error) {
	tag := "localhost/archipelago/" + repo + ":" + key[:16]
	if err := p.builder.Build(ctx, dir, tag, map[string]string{"BASE": base}, io.Discard); err != nil {
		return cached{}, err
	}
	in, err := p.open(repo)
	if err != nil {
		return cached{}, err
	}
	err = p.builder.Push(ctx, tag, in.address+"/"+in.repo+":"+key[:16], io.Discard)
	if err := errors.Join(err, in.close()); err != nil {
		return cached{}, err
	}
	if in.taken == nil {
		return cached{}, fmt.Errorf("the builder pushed no image of %s", repo)
	}
	c := *in.taken
	c.Repo = repo
	return c, p.whole(ctx, c)
}

// put gives the registry a manifest whose blobs it already stores.
func (p *Publisher) put(c cached) error {
	r := httptest.NewRequest(http.MethodPut, "/v2/"+c.Repo+"/manifests/"+c.Digest, bytes.NewReader(c.Data))
	r.Header.Set("Content-Type", c.MediaType)
	answer := httptest.NewRecorder()
	p.handler.ServeHTTP(answer, r)
	if answer.Code != http.StatusCreated {
		return fmt.Errorf("the registry refused the manifest of %s: %d %s", c.Repo, answer.Code, answer.Body)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[c.Digest] = c
	return nil
}
