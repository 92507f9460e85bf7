package nodes

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
)

// Generate has the node's own generator of Podman's make services of Quadlet files, by name,
// and gives its output. systemd learns nothing of them.
func (c *Client) Generate(ctx context.Context, files map[string]string) (string, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			return "", err
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	out, err := c.script(ctx, "generate.sh", &archive)
	if err != nil {
		return "", fmt.Errorf("%s: generating services: %w", c.Node, err)
	}
	return out, nil
}
