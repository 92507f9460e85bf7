package engine

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Volumes that hold less than both are copied faster than restic opens a repository, and the
// application would be stopped for longer.
const (
	leastInPlace = 1 << 30 // bytes
	manyInPlace  = 10_000  // files
)

// InPlace says how many bytes volumes hold whose backup is better made by reading them where
// they are, first while their application runs: a copy in beside would be a full one, and their
// file systems tell by a file's ctime whether it has changed. It is 0 of others. What was
// written before is on disk then, so that what is written later is seen.
func (e *Engine) InPlace(ctx context.Context, dirs []string, beside string) (bytes int64, err error) {
	if err := os.MkdirAll(beside, 0o700); err != nil {
		return 0, fmt.Errorf("looking at volumes: %w", err)
	}
	bytes, err = e.counted(ctx, "in-place.sh", append([]string{beside, strconv.Itoa(leastInPlace), strconv.Itoa(manyInPlace)}, dirs...)...)
	if err != nil {
		return 0, fmt.Errorf("looking at volumes: %w", err)
	}
	return bytes, nil
}

// Renew gives every file of volumes whose ctime is later than since a new ctime, and says how
// many bytes these files hold. Whoever compares with what he saw since then reads them again.
func (e *Engine) Renew(ctx context.Context, dirs []string, since time.Time) (bytes int64, err error) {
	bytes, err = e.counted(ctx, "renew.sh", append([]string{strconv.FormatInt(since.Unix(), 10)}, dirs...)...)
	if err != nil {
		return 0, fmt.Errorf("marking what may have changed: %w", err)
	}
	return bytes, nil
}

// counted runs a script inside the user namespace that says a number.
func (e *Engine) counted(ctx context.Context, name string, args ...string) (int64, error) {
	argv, err := inShell(name, args)
	if err != nil {
		return 0, err
	}
	out, err := e.helper(ctx, patient, "archipelago: volumes", append([]string{"/usr/bin/podman", "unshare"}, argv...)...)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(out), 10, 64)
}
