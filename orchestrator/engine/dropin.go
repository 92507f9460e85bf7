package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

// stopOnce is a drop-in for the services that Podman's generator makes. As it makes them, a
// container is removed when its service stops and, in case it ended by itself, once more:
// a quarter of all processes of Podman's, for nothing. Podman removes the file of a
// container's id with the container.
const stopOnce = `# Written by archipelago; changes are overwritten.
[Service]
ExecStopPost=
ExecStopPost=-/bin/sh -c '[ ! -e %t/%N.cid ] || exec /usr/bin/podman rm -v -f -i --cidfile=%t/%N.cid'
`

// dropIns gives the drop-ins of those of these unit files that are containers'.
func dropIns(units string, names []string) (files []string) {
	for _, name := range names {
		if container, ok := strings.CutSuffix(name, ".container"); ok {
			files = append(files, filepath.Join(units, quadlet.Service(container)+".d", dist.DropIn))
		}
	}
	slices.Sort(files)
	return files
}

// writeDropIns has the services of these unit files stop by stopOnce.
func writeDropIns(units string, names []string) (changed bool, err error) {
	text := []byte(stopOnce)
	if fault.Planted(fault.DropInMore) {
		text = append(text, "RuntimeMaxSec=1h\n"...)
	}
	for _, file := range dropIns(units, names) {
		if same(file, text) {
			continue
		}
		changed = true
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return changed, err
		}
		if err := atomicfile.Write(file, text, 0o644); err != nil {
			return changed, fmt.Errorf("writing a drop-in: %w", err)
		}
	}
	return changed, nil
}

// removeDropIns removes what writeDropIns has written; what else a service has stays.
func removeDropIns(units string, names []string) error {
	if fault.Planted(fault.DropInLeft) {
		return nil
	}
	for _, file := range dropIns(units, names) {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing a drop-in: %w", err)
		}
		os.Remove(filepath.Dir(file)) // where the owner has drop-ins too, it stays
	}
	return nil
}
