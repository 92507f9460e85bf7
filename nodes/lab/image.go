package lab

import (
	"context"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/catalog/buildcontext"
)

//go:embed all:image
var imageFiles embed.FS

// suite is Debian's release that nodes and applications are built on: the first
// whose Podman has Quadlet with health notification.
const suite = "trixie"

const (
	repository   = "localhost/archipelago"
	registryBase = "docker.io/library/debian:" + suite
)

// Base returns the name of an image of a bare Debian. On first use the image is pulled
// or, if the registry does not answer, bootstrapped from Debian's archive.
func (e *Engine) Base(ctx context.Context, w io.Writer) (string, error) {
	tag := repository + "/base:" + suite
	if e.HasImage(ctx, tag) {
		return tag, nil
	}
	if err := e.Podman(ctx, io.Discard, "pull", "--quiet", registryBase); err == nil {
		return tag, e.Podman(ctx, w, "tag", registryBase, tag)
	}
	fmt.Fprintf(w, "no image registry; bootstrapping Debian %s from its archive\n", suite)
	tmp, err := os.MkdirTemp("", "archipelago-base-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	tar := filepath.Join(tmp, "base.tar")
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--quiet", "--variant=minbase", suite, tar)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("bootstrapping Debian %s: %w: %s", suite, err, lastLines(string(out), 5))
	}
	if err := e.Podman(ctx, w, "import", "--quiet", tar, tag); err != nil {
		return "", err
	}
	return tag, nil
}

// nodeImage returns the name of the nodes' image, which is built if its files have changed.
func (e *Engine) nodeImage(ctx context.Context, w io.Writer) (string, error) {
	files, err := fs.Sub(imageFiles, "image")
	if err != nil {
		return "", err
	}
	digest, err := buildcontext.Digest(files, suite)
	if err != nil {
		return "", err
	}
	tag := repository + "/node:" + digest[:16]
	if e.HasImage(ctx, tag) {
		return tag, nil
	}
	base, err := e.Base(ctx, w)
	if err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp("", "archipelago-node-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.CopyFS(tmp, files); err != nil {
		return "", err
	}
	if err := os.Chmod(filepath.Join(tmp, "init"), 0o755); err != nil {
		return "", err
	}
	fmt.Fprintln(w, "building the node image")
	return tag, e.Build(ctx, tmp, tag, map[string]string{"BASE": base}, w)
}
