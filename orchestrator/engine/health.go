package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const checkGrace = 5 * time.Second // beyond a check's own limit, for Podman

// Probed names the running containers whose health is to be looked at.
func (p *Podman) Probed(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var list []listed
	if err := p.call(ctx, http.MethodGet, "/containers/json", url.Values{"filters": {`{"label":["` + manifest.LabelHealth + `"]}`}}, nil, &list); err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var names []string
	for _, c := range list {
		names = append(names, c.Names...)
	}
	return names, nil
}

// Check has Podman run a container's health check, and note the outcome in the
// container's health. It ends a check that takes longer than limit, which Podman does by
// itself from version 5.5 on. It must be called inside Podman's user namespace.
func (p *Podman) Check(ctx context.Context, container string, limit time.Duration) (passed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit+checkGrace)
	defer cancel()
	var ending sync.WaitGroup
	defer ending.Wait()
	over := make(chan struct{})
	defer close(over)
	ending.Go(func() {
		select {
		case <-time.After(limit):
			p.endChecks(ctx, container) // where it fails, the check ends without an outcome
		case <-over:
		}
	})
	var result struct{ Status string }
	if err := p.call(ctx, http.MethodGet, "/containers/%s/healthcheck", nil, nil, &result, container); err != nil {
		return false, fmt.Errorf("checking %s: %w", container, err)
	}
	return result.Status == "healthy", nil
}

// endChecks kills the health checks that run in a container.
func (p *Podman) endChecks(ctx context.Context, container string) error {
	var c struct {
		ID      string `json:"Id"`
		ExecIDs []string
		Config  struct{ Healthcheck struct{ Test []string } }
	}
	if err := p.call(ctx, http.MethodGet, "/containers/%s/json", nil, nil, &c, container); err != nil {
		return err
	}
	var errs []error
	for _, id := range c.ExecIDs {
		var s struct {
			Running       bool
			Pid           int
			ProcessConfig struct {
				Entrypoint string   `json:"entrypoint"`
				Arguments  []string `json:"arguments"`
			}
		}
		if err := p.call(ctx, http.MethodGet, "/exec/%s/json", nil, nil, &s, id); err != nil {
			errs = append(errs, err)
			continue
		}
		if s.Running && s.Pid > 1 && slices.Equal(append([]string{s.ProcessConfig.Entrypoint}, s.ProcessConfig.Arguments...), command(c.Config.Healthcheck.Test)) {
			errs = append(errs, kill(s.Pid, c.ID))
		}
	}
	return errors.Join(errs...)
}

// command is what Podman runs for a check, "CMD" and its words or "CMD-SHELL" and a line.
func command(test []string) []string {
	switch {
	case len(test) > 1 && test[0] == "CMD":
		return test[1:]
	case len(test) > 1 && test[0] == "CMD-SHELL":
		return []string{"/bin/sh", "-c", strings.Join(test[1:], " ")}
	}
	return test
}

// kill ends a process, if it is one of the container with this id, and not another that
// got its number.
func kill(pid int, id string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); err != nil || !strings.Contains(string(b), id) {
		return errors.Join(fmt.Errorf("process %d is not of container %.12s", pid, id), err)
	}
	return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
}
