package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/prometheus/procfs"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// Page asks a port of a container for a page, from inside the container's network, which
// takes a process of this program in Podman's user namespace. as is the host that a proxy has
// the page under, empty to ask without one.
func (e *Engine) Page(ctx context.Context, container string, port int, path, as string) (page host.Page, err error) {
	program, err := os.Executable()
	if err != nil {
		return page, err
	}
	out, err := e.helper(ctx, quick, "archipelago: a page", "/usr/bin/podman", "unshare", program, "page", "--as", as, "--", container, strconv.Itoa(port), path)
	if err != nil {
		return page, err
	}
	if err := json.Unmarshal([]byte(out), &page); err != nil {
		return page, fmt.Errorf("asking for %s: %w", path, err)
	}
	return page, nil
}

// FreeMemory is how many bytes programs can be given without swapping.
func (e *Engine) FreeMemory() (int64, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	m, err := fs.Meminfo()
	if err != nil {
		return 0, err
	}
	if m.MemAvailableBytes == nil {
		return 0, errors.New("the kernel does not say how much memory is available")
	}
	return int64(*m.MemAvailableBytes), nil
}
