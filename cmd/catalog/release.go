package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/description"
	"github.com/archipelago-cloud/archipelago/catalog/root"
)

// fetchTimeout bounds one file of a release, over a slow line.
const fetchTimeout = 10 * time.Minute

// isRelease tells whether something to verify is a release, and no catalog: a directory, or
// an address.
func isRelease(where string) bool {
	info, err := os.Stat(where)
	return err == nil && info.IsDir() || strings.HasPrefix(where, "https://") || strings.HasPrefix(where, "http://")
}

// verifyRelease checks a release in a directory or at an address: its description by the keys
// that sign catalogs, and every file by the description. In a directory, a file that it does
// not name is refused, too.
func verifyRelease(ctx context.Context, where string, p *root.Policy) (*description.Description, error) {
	open := func(name string) (io.ReadCloser, error) { return fetch(ctx, where, name) }
	local := !strings.Contains(where, "://")
	if local {
		open = func(name string) (io.ReadCloser, error) { return os.Open(filepath.Join(where, name)) }
	}
	r, err := open(description.File)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", description.ErrFiles, where, err)
	}
	defer r.Close()
	envelope, err := io.ReadAll(io.LimitReader(r, description.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", description.ErrFiles, where, err)
	}
	d, err := description.Verify(ctx, envelope, p.Catalog.Keys, p.Catalog.Threshold)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(where, description.File), err)
	}
	problems := []error{d.Check(open)}
	if local {
		there, err := os.ReadDir(where)
		problems = append(problems, err)
		for _, f := range there {
			if _, signed := d.Files[f.Name()]; !signed && f.Name() != description.File {
				problems = append(problems, fmt.Errorf("%w: %s is in %s and no file of release %s; remove it", description.ErrFiles, f.Name(), where, d.Version))
			}
		}
	}
	return d, errors.Join(problems...)
}

// fetch opens a file of a release at an address.
func fetch(ctx context.Context, where, name string) (io.ReadCloser, error) {
	at, err := url.JoinPath(where, name)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Timeout: fetchTimeout}).Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s answers %s", at, resp.Status)
	}
	return resp.Body, nil
}
