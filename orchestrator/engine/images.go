package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
)

// HasImage looks for one image by name, without walking the store.
func (e *Engine) HasImage(ctx context.Context, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	resp, err := e.request(ctx, http.MethodGet, "/images/%s/exists", nil, nil, name)
	if err != nil {
		return false, fmt.Errorf("looking for image %s: %w", name, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNoContent:
		return true, nil
	case http.StatusNotFound:
		return false, nil
	}
	return false, fmt.Errorf("looking for image %s: %w", name, resp.Process(nil))
}

// EnsureImage pulls an image by digest, unless the store has it.
func (e *Engine) EnsureImage(ctx context.Context, pinned string, progress func(string)) error {
	if there, err := e.HasImage(ctx, pinned); err != nil || there {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	progress("pulling " + pinned)
	pull, err := e.request(ctx, http.MethodPost, "/images/pull", url.Values{"reference": {pinned}, "policy": {"missing"}}, nil)
	if err != nil {
		return fmt.Errorf("pulling %s: %w", pinned, err)
	}
	defer pull.Body.Close()
	if !pull.IsSuccess() {
		return fmt.Errorf("pulling %s: %w", pinned, pull.Process(nil))
	}
	dec := json.NewDecoder(pull.Body)
	for {
		var line struct{ Stream, Error string }
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("pulling %s: %w", pinned, err)
		}
		if line.Error != "" {
			return fmt.Errorf("pulling %s: %s", pinned, line.Error)
		}
		if s := strings.TrimSpace(line.Stream); s != "" {
			progress(s)
		}
	}
}

// RemoveImage removes an image. One that a container has, or that somebody has given another
// name, stays, which is an error; there may be none.
func (e *Engine) RemoveImage(ctx context.Context, pinned string) error {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	if err := e.call(ctx, http.MethodDelete, "/images/%s", url.Values{"force": {"false"}}, nil, nil, pinned); err != nil && !notFound(err) {
		return fmt.Errorf("removing image %s: %w", pinned, err)
	}
	return nil
}

// ImageSpace is how many bytes are free in the file system of the user's containers and images.
func (e *Engine) ImageSpace() (free int64, err error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return 0, err
	}
	s, err := disk.Of(filepath.Join(home, ".local", "share"))
	return s.Free, err
}
