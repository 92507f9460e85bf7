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
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/archipelago-cloud/archipelago/catalog/buildcontext"
	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/nodes"
)

//go:embed all:image
var imageFiles embed.FS

// suite is Debian's release that nodes and applications are built on: the first
// whose Podman has Quadlet with health notification.
const suite = "trixie"

const (
	repository   = "localhost/archipelago"
	registryBase = "docker.io/library/debian:" + suite
	baseTag      = repository + "/base:" + suite // of the bare Debian here
)

// baseAge is how long a bare Debian is built on. What is built on a newer one is built
// anew, and so has the security fixes of the meantime.
const baseAge = 7 * 24 * time.Hour

// Base returns the id of an image of a bare Debian. On first use, and when it is older
// than a week, the image is pulled or, if the registry does not answer, bootstrapped from
// Debian's archive. If neither answers, an old one is still built on, and w is told.
func (e *Engine) Base(ctx context.Context, w io.Writer) (string, error) {
	id, made, err := e.image(ctx, baseTag)
	if err != nil {
		return "", err
	}
	if id != "" && time.Since(made) < baseAge {
		return id, nil
	}
	if err := e.newBase(ctx, baseTag, w); err != nil {
		if id == "" || ctx.Err() != nil {
			return "", err
		}
		fmt.Fprintf(w, "building on the Debian %s of %s, because a newer one cannot be had: %v\n", suite, made.Format(time.DateOnly), err)
		return id, nil
	}
	id, _, err = e.image(ctx, baseTag)
	if err == nil && id == "" {
		err = fmt.Errorf("the engine has no image %s after making it", baseTag)
	}
	return id, err
}

func (e *Engine) newBase(ctx context.Context, tag string, w io.Writer) error {
	if err := e.Podman(ctx, io.Discard, "pull", "--quiet", registryBase); err == nil {
		return e.Podman(ctx, w, "tag", registryBase, tag)
	}
	fmt.Fprintf(w, "no image registry; bootstrapping Debian %s from its archive\n", suite)
	tmp, err := os.MkdirTemp("", "archipelago-base-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	tar := filepath.Join(tmp, "base.tar")
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--quiet", "--variant=minbase", suite, tar)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("bootstrapping Debian %s: %w: %s", suite, err, lastLines(string(out), 5))
	}
	return e.Podman(ctx, w, "import", "--quiet", tar, tag)
}

const giveTimeout = 5 * time.Minute // 120 MB, perhaps to a slow disk

// GiveBase gives a node the Debian that images are built on, under the name by which their
// Containerfiles know it: it may reach no registry. A node that has one keeps it.
func (e *Engine) GiveBase(ctx context.Context, node *nodes.Client, w io.Writer) error {
	if _, err := node.Run(ctx, "podman image exists "+registryBase); err == nil {
		return nil
	}
	if _, err := e.Base(ctx, w); err != nil {
		return err
	}
	fmt.Fprintf(w, "bringing Debian %s to node %s, for images that are built there\n", suite, node.Node.Name)
	ctx, cancel := context.WithTimeout(ctx, giveTimeout)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	out, in := io.Pipe()
	g.Go(func() error {
		err := e.Podman(ctx, in, "save", "--quiet", baseTag)
		in.CloseWithError(err) // which ends what is sent, well or badly
		return err
	})
	g.Go(func() error {
		err := node.Stream(ctx, "podman load --quiet >/dev/null && podman tag "+baseTag+" "+registryBase+" && podman untag "+baseTag+" "+baseTag, out, w)
		out.CloseWithError(err)
		return err
	})
	return g.Wait()
}

// What the nodes' Containerfile builds: a node by default, or the stage before it.
const (
	aNode     = "node"
	bareStage = "bare"
)

// nodeImage returns the name of the nodes' image, which is built if its files have changed.
func (e *Engine) nodeImage(ctx context.Context, w io.Writer) (string, error) {
	return e.machineImage(ctx, aNode, w)
}

// machineImage returns the name of the image of a stage of the nodes' Containerfile.
func (e *Engine) machineImage(ctx context.Context, stage string, w io.Writer) (string, error) {
	files, err := fs.Sub(imageFiles, "image")
	if err != nil {
		return "", err
	}
	base, err := e.Base(ctx, w)
	if err != nil {
		return "", err
	}
	digest, err := buildcontext.Digest(files, suite, base, string(dist.NodeScript()))
	if err != nil {
		return "", err
	}
	tag := repository + "/" + stage + ":" + digest[:16]
	if id, _, err := e.image(ctx, tag); err != nil || id != "" {
		return tag, err
	}
	tmp, err := os.MkdirTemp("", "archipelago-node-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.CopyFS(tmp, files); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(tmp, "node.sh"), dist.NodeScript(), 0o755); err != nil {
		return "", err
	}
	if err := os.Chmod(filepath.Join(tmp, "init"), 0o755); err != nil {
		return "", err
	}
	fmt.Fprintf(w, "building the %s image\n", stage)
	var target []string
	if stage != aNode {
		target = []string{"--target", stage}
	}
	return tag, e.build(ctx, tmp, tag, map[string]string{"BASE": base}, w, target...)
}
