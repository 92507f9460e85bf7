// Package restictest runs the real restic for tests, as a node does, but outside Podman's
// user namespace.
package restictest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Runner runs restic on this machine, and keeps what it was called with.
type Runner struct {
	mu     sync.Mutex
	argv   []string
	said   strings.Builder
	Before func(argv []string) error // where it is set, called before each; what it returns comes back in place of the program
}

// New fails the test where restic is missing.
func New(t *testing.T) *Runner {
	t.Helper()
	if _, err := exec.LookPath("restic"); err != nil {
		t.Fatal("the tests of backups run the real restic: apt-get install restic")
	}
	return &Runner{}
}

// Restic runs a program; see repository.Runner.
func (r *Runner) Restic(ctx context.Context, line func([]byte), argv ...string) error {
	r.mu.Lock()
	r.argv = append(r.argv, strings.Join(argv, " "))
	before := r.Before
	r.mu.Unlock()
	if before != nil {
		if err := before(argv); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var failed bytes.Buffer
	cmd.Stderr = &failed
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(out)
	for {
		b, err := lines.ReadBytes('\n')
		if len(b) > 0 {
			r.note(string(b))
			if line != nil {
				line(bytes.TrimSuffix(b, []byte("\n")))
			}
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	r.note(failed.String())
	if err != nil {
		return errors.New(strings.TrimSpace(failed.String()) + ": " + err.Error())
	}
	if argv[len(argv)-1] == "init" {
		return cheapenIn(argv)
	}
	return nil
}

// cheapenIn cheapens the keys of the repository that a command is for, where that is a
// directory of this machine.
func cheapenIn(argv []string) error {
	of := func(option string) (string, error) {
		b, err := os.ReadFile(argv[slices.Index(argv, option)+1])
		return strings.TrimSpace(string(b)), err
	}
	dir, err := of("--repository-file")
	if err != nil || !filepath.IsAbs(dir) {
		return err
	}
	password, err := of("--password-file")
	if err != nil {
		return err
	}
	return cheapen(dir, password)
}

func (r *Runner) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said.WriteString(text)
}

// Seen is all that anybody who sees process lists and journals could have seen.
func (r *Runner) Seen() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.argv, "\n") + "\n" + r.said.String()
}
