// Package upgrade replaces the daemon's own program. A new one is on trial until it has
// served: before each start of the unit, dist/rollback.sh counts the starts of a program
// on trial, and puts the previous one back after too many.
package upgrade

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// Names beside the program.
const (
	Previous = ".previous" // suffix of the program that served last
	Trial    = ".trial"    // suffix of a file that holds the number of starts so far
)

const (
	askTimeout = 10 * time.Second
	maxSize    = 512 << 20
)

// ErrRefused is wrapped if a new program is rejected before any trial.
var ErrRefused = errors.New("the new daemon is refused")

// Stage writes a new program beside the running one, verifies that it arrived whole and
// reports its version, and puts it in the running one's place. The caller then exits, and
// systemd starts what is there.
func Stage(ctx context.Context, program string, from io.Reader, sum string) (version string, err error) {
	fresh := program + ".new"
	defer os.Remove(fresh)
	if err := receive(fresh, from, sum); err != nil {
		return "", err
	}
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out, err := exec.CommandContext(ask, fresh, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%w: it does not say its version: %w", ErrRefused, err)
	}
	// First keep the old program under another name, then begin the trial, then put the
	// new one in place: in this order, a power cut always leaves one that can serve.
	os.Remove(program + Previous)
	if err := os.Link(program, program+Previous); err != nil {
		return "", fmt.Errorf("keeping the running daemon: %w", err)
	}
	if err := atomicfile.Write(program+Trial, []byte("0\n"), 0o600); err != nil {
		return "", fmt.Errorf("beginning the trial: %w", err)
	}
	if err := os.Rename(fresh, program); err != nil {
		return "", fmt.Errorf("replacing the daemon: %w", err)
	}
	return string(bytes.TrimSpace(out)), atomicfile.SyncDir(filepath.Dir(program))
}

func receive(file string, from io.Reader, sum string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(from, maxSize+1))
	if err = errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close()); err != nil {
		return err
	}
	if n > maxSize {
		return fmt.Errorf("%w: larger than %d bytes", ErrRefused, maxSize)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fmt.Errorf("%w: it arrived damaged: SHA-256 %s, expected %s", ErrRefused, got, sum)
	}
	return nil
}

// Passed ends the trial of the running program, if it is on trial.
func Passed(program string) error {
	if err := os.Remove(program + Trial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
