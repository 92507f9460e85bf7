package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// generator is Podman's generator of user units, which systemd runs at boot.
const generator = "/usr/lib/systemd/user-generators/podman-user-generator"

// Generate turns unit files into services with Podman's own generator, the one on the
// lab's nodes, and returns its output. A file that the generator rejects is an error. It
// runs without a network, as at a node's boot.
func (e *Engine) Generate(ctx context.Context, files map[string]string) (string, error) {
	image, err := e.nodeImage(ctx, io.Discard)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "archipelago-units-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o644); err != nil {
			return "", err
		}
	}
	ulimits, err := limits()
	if err != nil {
		return "", err
	}
	argv := []string{"run", "--rm", "--privileged", "--network=none", "--pids-limit=-1", "--volume", dir + ":/units:ro", "--env", "QUADLET_UNIT_DIRS=/units"}
	for _, u := range ulimits {
		argv = append(argv, "--ulimit", fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	var out bytes.Buffer
	if err := e.Podman(ctx, &out, append(argv, "--entrypoint", generator, image, "-user", "-dryrun")...); err != nil {
		return "", fmt.Errorf("podman-user-generator: %w", err)
	}
	return out.String(), nil
}
