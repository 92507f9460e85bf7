package publish

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/archipelago-cloud/archipelago/catalog"
)

// RoundTrip lets the registry answer a client without a network.
func (p *Publisher) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody // which a server's requests always have
	}
	p.handler.ServeHTTP(rec, in)
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// Push pushes the images that were built here to the registry that a published catalog
// names, and then checks that every image of the catalog can be had under exactly its
// digest. The credentials are those of podman login or docker login.
func (p *Publisher) Push(ctx context.Context, published catalog.Catalog, built map[string]bool, w io.Writer) error {
	auth := remote.WithAuthFromKeychain(authn.DefaultKeychain)
	for _, id := range published.IDs() {
		for _, c := range published[id].Containers {
			to, err := name.NewDigest(c.Image.Pinned())
			if err != nil {
				return fmt.Errorf("image of %s: %w", c.Name, err)
			}
			if built[c.Name] {
				from, err := name.NewDigest("localhost/"+id+"/"+c.Name+"@"+c.Image.Digest, name.Insecure)
				if err != nil {
					return fmt.Errorf("image of %s: %w", c.Name, err)
				}
				image, err := remote.Image(from, remote.WithContext(ctx), remote.WithTransport(p))
				if err != nil {
					return fmt.Errorf("image of %s: %w", c.Name, err)
				}
				fmt.Fprintf(w, "pushing %s\n", to)
				if err := remote.Write(to, image, remote.WithContext(ctx), auth); err != nil {
					return fmt.Errorf("pushing the image of %s: %w", c.Name, err)
				}
			}
			served, err := remote.Head(to, remote.WithContext(ctx), auth)
			if err != nil {
				return fmt.Errorf("image of %s: %s is not served: %w", c.Name, to, err)
			}
			if served.Digest.String() != c.Image.Digest {
				return fmt.Errorf("image of %s: the registry serves %s as %s", c.Name, served.Digest, to)
			}
		}
	}
	return nil
}

// Built says which containers of a catalog have images that are built here.
func Built(cat catalog.Catalog) map[string]bool {
	out := map[string]bool{}
	for _, e := range cat {
		for _, c := range e.Containers {
			out[c.Name] = c.Image.Build != ""
		}
	}
	return out
}

// reference is the name of a container's image at a registry.
func reference(registry, app, container string) string {
	return strings.TrimSuffix(registry, "/") + "/" + app + "/" + container
}

// Size is how many bytes the layers of an image in the registry have, as they are
// transferred; 0 if the registry has no such image.
func (p *Publisher) Size(ctx context.Context, image string) int64 {
	ref, err := name.NewDigest(image, name.Insecure)
	if err != nil || ref.RegistryStr() != Registry {
		return 0
	}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithTransport(p))
	if err != nil {
		return 0
	}
	layers, err := img.Layers()
	if err != nil {
		return 0
	}
	sum := int64(0)
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			return 0
		}
		sum += n
	}
	return sum
}
