// Package upgrade replaces the daemon's own program. A new one is on trial until it has
// served: before each start of the unit, dist/rollback.sh counts the starts of a program
// on trial, and puts the previous one back after too many.
package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/internal/transfer"
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
	err = transfer.File{Name: fresh, Mode: 0o755, Max: maxSize, SHA256: sum, Durable: true}.Receive(from)
	if errors.Is(err, transfer.ErrDamaged) || errors.Is(err, transfer.ErrTooLarge) {
		return "", fmt.Errorf("%w: %w", ErrRefused, err)
	} else if err != nil {
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

// Passed ends the trial of the running program, if it is on one.
func Passed(program string) error {
	if err := os.Remove(program + Trial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
