// Package upgrade replaces the daemon's own program, by one of a signed release or by one
// that comes from the node's own shell. A new one is on trial until it has served: before each start of the unit, dist/rollback.sh counts the starts of a program
// on trial, and puts the previous one back after too many.
package upgrade

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/internal/transfer"
)

// Names beside the program.
const (
	Previous = ".previous" // suffix of the program that served last
	Trial    = ".trial"    // suffix of a file that holds the number of starts so far
)

// MaxSize bounds a program, in bytes.
const MaxSize = 512 << 20

const (
	askTimeout = 10 * time.Second
	awaitPoll  = 200 * time.Millisecond
)

// ErrRefused is wrapped if a new program is rejected before any trial.
var ErrRefused = errors.New("the new daemon is refused")

// ErrReturned is returned when a new program did not come up in its trial.
var ErrReturned = errors.New("the new daemon did not come up; the previous one has returned")

// Stage writes a new program beside the running one, verifies that it has this SHA-256, in
// hex, and then that it says this version (empty: any), and puts it in the running one's
// place. It gives what the program says. Whoever restarts the daemon then starts what is
// there.
func Stage(ctx context.Context, program string, from io.Reader, sum, version string) (says string, err error) {
	unlock, err := lock(filepath.Dir(program))
	if err != nil {
		return "", err
	}
	defer unlock()
	fresh := program + ".new"
	defer os.Remove(fresh)
	err = transfer.File{Name: fresh, Mode: 0o755, Max: MaxSize, SHA256: sum, Durable: true}.Receive(from)
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
	says = string(bytes.TrimSpace(out))
	if want := "archipelago version " + version; version != "" && says != want {
		return "", fmt.Errorf("%w: it says %q, and its release %q", ErrRefused, says, want)
	}
	return says, replace(program, fresh)
}

// replace puts a new program on trial. One that is on trial already does not take the
// place of the program that served last.
func replace(program, fresh string) error {
	// First keep the old program under another name, then begin the trial, then put the
	// new one in place: in this order, a power cut always leaves one that can serve.
	if !exists(program+Trial) || !exists(program+Previous) {
		os.Remove(program + Previous)
		if err := os.Link(program, program+Previous); err != nil {
			return fmt.Errorf("keeping the running daemon: %w", err)
		}
	}
	if err := atomicfile.Write(program+Trial, []byte("0\n"), 0o600); err != nil {
		return fmt.Errorf("beginning the trial: %w", err)
	}
	if err := os.Rename(fresh, program); err != nil {
		return fmt.Errorf("replacing the daemon: %w", err)
	}
	return atomicfile.SyncDir(filepath.Dir(program))
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// Replaced tells whether another program has come into the place of the running one, and
// is not on trial any more.
func Replaced(program string) bool {
	running, err := os.Stat("/proc/self/exe")
	if err != nil || exists(program+Trial) {
		return false
	}
	there, err := os.Stat(program)
	return err == nil && !os.SameFile(running, there)
}

// lock holds the directory of the program: two upgrades at a time, one of them from the
// node's shell, would write the same files.
func lock(dir string) (unlock func() error, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: another upgrade is under way: %w", ErrRefused, err), d.Close())
	}
	return d.Close, nil
}

// Await waits until the trial of the program with this SHA-256, in hex, has ended. It gives
// an error if the previous one has returned.
func Await(ctx context.Context, program, sum string) error {
	tick := time.NewTicker(awaitPoll)
	defer tick.Stop()
	for exists(program + Trial) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting until the new daemon serves: %w", context.Cause(ctx))
		}
	}
	b, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if fmt.Sprintf("%x", sha256.Sum256(b)) != sum {
		return ErrReturned
	}
	return nil
}

// Passed ends the trial of the running program, if it is on one.
func Passed(program string) error {
	if err := os.Remove(program + Trial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
