package publish

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	maxBlob     = 8 << 30 // bytes of a layer, as it is transferred
	maxManifest = 4 << 20 // bytes; what the distribution specification asks registries to take

	headerTimeout = 10 * time.Second
	// staleUploads is how old what a killed gate was receiving is when it is removed.
	staleUploads = 24 * time.Hour
	uploadDirs   = "upload-*"
)

// served is what nodes may ask for: that the registry is one, and content by its digest.
var served = regexp.MustCompile(`^/v2/(|[a-z0-9][a-z0-9/._-]*/(manifests|blobs)/sha256:[0-9a-f]{64})$`)

// Nodes serves the registry to nodes, where any process may ask: it gives what a digest
// names, and takes nothing.
func (p *Publisher) Nodes() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "this registry is read only", http.StatusMethodNotAllowed)
		case !served.MatchString(r.URL.Path):
			http.Error(w, "this registry serves manifests and blobs by their digest alone", http.StatusNotFound)
		default:
			r.Body = http.NoBody
			p.handler.ServeHTTP(w, r)
		}
	})
}

// intake is where the builder pushes one image to. It listens on loopback for as long as
// that takes, and takes only what comes under a name that nobody else of this machine was told.
type intake struct {
	repo    string // begins with that name
	address string // of the listener
	dir     string // of uploads that have not ended
	blobs   string
	max     int64        // bytes of a blob
	next    http.Handler // all but uploads
	server  *http.Server
	served  chan error

	mu    sync.Mutex
	taken *cached // the image's manifest, once it was pushed
}

// open begins to take an image for a repository; close ends that, and removes what was not
// received to its end.
func (p *Publisher) open(repo string) (*intake, error) {
	dir, err := os.MkdirTemp(p.dir, uploadDirs)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	in := &intake{repo: strings.ToLower(rand.Text()) + "/" + repo, address: l.Addr().String(), dir: dir, blobs: p.blobs(), max: maxBlob, next: p.handler, served: make(chan error, 1)}
	in.server = &http.Server{Handler: in, ReadHeaderTimeout: headerTimeout}
	go func() { in.served <- in.server.Serve(l) }()
	return in, nil
}

func (in *intake) close() error {
	in.server.Close()
	<-in.served
	return os.RemoveAll(in.dir)
}

// sweep removes what gates that were killed had received in part.
func sweep(dir string, now time.Time) error {
	dirs, err := filepath.Glob(filepath.Join(dir, uploadDirs))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if info, err := os.Stat(d); err == nil && now.Sub(info.ModTime()) > staleUploads {
			if err := os.RemoveAll(d); err != nil {
				return err
			}
		}
	}
	return nil
}

// ServeHTTP takes uploads as the OCI distribution specification has them, in pieces or at
// once, straight to disk; the rest is the registry's.
func (in *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	within, ours := strings.CutPrefix(r.URL.Path, "/v2/"+in.repo+"/")
	upload, uploading := strings.CutPrefix(within, "blobs/uploads/")
	switch {
	case r.URL.Path == "/v2/":
		in.next.ServeHTTP(w, r)
	case !ours:
		http.Error(w, "another repository is expected here", http.StatusNotFound)
	case r.Method == http.MethodDelete:
		http.Error(w, "nothing is deleted here", http.StatusMethodNotAllowed)
	case uploading:
		if status, err := in.upload(w, r, upload); err != nil {
			http.Error(w, err.Error(), status)
		}
	case r.Method == http.MethodPut:
		if status, err := in.manifest(w, r); err != nil {
			http.Error(w, err.Error(), status)
		}
	default:
		in.next.ServeHTTP(w, r)
	}
}

// manifest takes the manifest of the image, which is what the builder has pushed: whoever
// puts another one later, under the same name, is refused.
func (in *intake) manifest(w http.ResponseWriter, r *http.Request) (status int, err error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		return http.StatusRequestEntityTooLarge, err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		return http.StatusInternalServerError, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.taken != nil && in.taken.Digest != digest.String() {
		return http.StatusConflict, fmt.Errorf("the image that is pushed here is %s", in.taken.Digest)
	}
	in.taken = &cached{Digest: digest.String(), MediaType: r.Header.Get("Content-Type"), Data: b}
	r.Body = io.NopCloser(bytes.NewReader(b))
	in.next.ServeHTTP(w, r)
	return 0, nil
}

var uploadName = regexp.MustCompile(`^[0-9]+$`)

// upload begins an upload, goes on with it, or ends it. One that fails is removed.
func (in *intake) upload(w http.ResponseWriter, r *http.Request, name string) (status int, err error) {
	if r.Method == http.MethodPost {
		f, err := os.CreateTemp(in.dir, "")
		if err != nil {
			return http.StatusInternalServerError, err
		}
		return in.accepted(w, filepath.Base(f.Name()), f.Close())
	}
	if !uploadName.MatchString(name) {
		return http.StatusNotFound, errors.New("no such upload")
	}
	file := filepath.Join(in.dir, name)
	status, err = in.receive(file, r.Body)
	switch {
	case err != nil:
	case r.Method == http.MethodPatch:
		return in.accepted(w, name, nil)
	case r.Method == http.MethodPut:
		var digest v1.Hash
		if digest, err = in.take(file, r.URL.Query().Get("digest")); err == nil {
			w.Header().Set("Docker-Content-Digest", digest.String())
			w.WriteHeader(http.StatusCreated)
			return 0, nil
		}
		status = http.StatusBadRequest
	default:
		status, err = http.StatusMethodNotAllowed, errors.New("an upload is sent by PATCH and PUT")
	}
	os.Remove(file)
	return status, err
}

func (in *intake) accepted(w http.ResponseWriter, name string, err error) (int, error) {
	if err != nil {
		return http.StatusInternalServerError, err
	}
	w.Header().Set("Location", "/v2/"+in.repo+"/blobs/uploads/"+name)
	w.WriteHeader(http.StatusAccepted)
	return 0, nil
}

// receive appends to an upload.
func (in *intake) receive(file string, from io.Reader) (status int, err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return http.StatusNotFound, errors.New("no such upload")
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return http.StatusInternalServerError, err
	}
	left := in.max - info.Size()
	n, err := io.Copy(f, io.LimitReader(from, left+1))
	if err == nil && n > left {
		return http.StatusRequestEntityTooLarge, fmt.Errorf("a blob of more than %d bytes", in.max)
	}
	return http.StatusInternalServerError, err
}

// take moves an upload to its place, if it is what its digest says.
func (in *intake) take(file, digest string) (v1.Hash, error) {
	want, err := v1.NewHash(digest)
	if err != nil {
		return want, err
	}
	f, err := os.Open(file)
	if err != nil {
		return want, err
	}
	defer f.Close()
	got, _, err := v1.SHA256(f)
	if err == nil && got != want {
		err = fmt.Errorf("it is %s, and not %s", got, want)
	}
	if err != nil {
		return want, err
	}
	to := filepath.Join(in.blobs, want.Algorithm, want.Hex)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return want, err
	}
	return want, os.Rename(file, to)
}

// errBroken is wrapped where the registry lacks a part of an image, or has another in its
// place.
var errBroken = errors.New("the image is not whole")

// whole looks, once, whether all of an image is there, under its digests: a disk may have
// lost or changed what was stored.
func (p *Publisher) whole(ctx context.Context, c cached) error {
	p.mu.Lock()
	seen := p.seen[c.Digest]
	p.mu.Unlock()
	if seen {
		return nil
	}
	m, err := c.manifest()
	if err != nil {
		return err
	}
	disk := registry.NewDiskBlobHandler(p.blobs()).(registry.BlobStatHandler)
	for _, part := range append(m.Layers, m.Config) {
		if _, err := disk.Stat(ctx, c.Repo, part.Digest); err != nil { // it reads all of it
			return fmt.Errorf("%w: blob %s in %s: %w", errBroken, part.Digest, p.blobs(), err)
		}
	}
	p.mu.Lock()
	p.seen[c.Digest] = true
	p.mu.Unlock()
	if c.file == "" {
		return nil
	}
	now := time.Now()
	return os.Chtimes(c.file, now, now)
}

// manifest reads what was stored, if it is that.
func (c cached) manifest() (*v1.Manifest, error) {
	got, _, err := v1.SHA256(strings.NewReader(string(c.Data)))
	if err != nil {
		return nil, err
	}
	if got.String() != c.Digest {
		return nil, fmt.Errorf("%w: the manifest of %s is %s, and not %s", errBroken, c.Repo, got, c.Digest)
	}
	m, err := v1.ParseManifest(strings.NewReader(string(c.Data)))
	if err != nil {
		return nil, fmt.Errorf("%w: the manifest of %s: %w", errBroken, c.Repo, err)
	}
	return m, nil
}
