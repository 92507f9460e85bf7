package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// Render has a daemon's program render an application's unit files, by name, as for a node
// on which requirers require it, and others are installed. Nothing of this process's environment but the path reaches
// the daemon.
func Render(ctx context.Context, daemon string, m *manifest.Manifest, requirers []Requirer, others ...*manifest.Manifest) (map[string]string, error) {
	dir, err := os.MkdirTemp("", "archipelago-render-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "manifest.json")
	if err := os.WriteFile(file, m.Canonical(), 0o644); err != nil {
		return nil, err
	}
	args := []string{"render", file, "--json", "--data", nodes.DataDir}
	for _, r := range requirers {
		by := r.App
		if r.Uses != nil {
			by = strings.Join(append([]string{by}, r.Uses...), ":")
		}
		args = append(args, "--required-by", by)
	}
	for _, other := range others {
		beside := filepath.Join(dir, other.ID+".with.json")
		if err := os.WriteFile(beside, other.Canonical(), 0o644); err != nil {
			return nil, err
		}
		args = append(args, "--with", beside)
	}
	cmd := exec.CommandContext(ctx, daemon, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: the daemon does not render it: %w: %s", m.ID, err, strings.TrimSpace(stderr.String()))
	}
	var answer struct {
		App   string
		Files map[string]string
	}
	if err := json.Unmarshal(out, &answer); err != nil || answer.App != m.ID {
		return nil, fmt.Errorf("%s: the daemon rendered %q: %w", m.ID, answer.App, err)
	}
	return answer.Files, nil
}
