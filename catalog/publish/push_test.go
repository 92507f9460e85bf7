package publish

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func TestARegistryMustServeExactlyWhatWasPushed(t *testing.T) {
	p, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(1024, 2)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	built, err := name.NewDigest("localhost/feeds/feeds@"+digest.String(), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(built, image, remote.WithTransport(p)); err != nil {
		t.Fatal(err)
	}
	other := "sha256:" + strings.Repeat("1", 64)
	lie := ""
	there := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lie != "" && r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Docker-Content-Digest", lie)
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Content-Length", "2")
			return
		}
		there.ServeHTTP(w, r)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	published := func(digest string) catalog.Catalog {
		return catalog.Catalog{"feeds": {Manifest: &manifest.Manifest{ID: "feeds", Containers: []manifest.Container{
			{Name: "feeds", Image: manifest.Image{Ref: reference(host+"/cloud/", "feeds", "feeds"), Digest: digest}}}}}}
	}
	mine := map[string]bool{"feeds": true}
	if err := p.Push(t.Context(), published(digest.String()), mine, io.Discard); err != nil {
		t.Fatal(err)
	}
	pulled, err := name.NewDigest(host + "/cloud/feeds/feeds@" + digest.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Image(pulled); err != nil {
		t.Errorf("what was pushed is not there: %v", err)
	}
	if err := p.Push(t.Context(), published(other), nil, io.Discard); err == nil || !strings.Contains(err.Error(), "is not served") {
		t.Errorf("an upstream image that the registry does not have: %v", err)
	}
	lie = other
	if err := p.Push(t.Context(), published(digest.String()), nil, io.Discard); err == nil {
		t.Error("another digest than the catalog's was taken")
	}
}
