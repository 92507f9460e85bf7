package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// Bytes kept of what a command, a script or a hook says, and of one line in an error.
const (
	maxOutput = 64 << 10
	maxWords  = 1 << 10
)

// execStartEx is a command as systemd's D-Bus interface takes it (org.freedesktop.systemd1(5)).
type execStartEx struct {
	Path  string
	Argv  []string
	Flags []string
}

// outside runs a command outside the daemon's sandbox, as a transient unit of systemd:
// the daemon itself needs no privilege and sees no other process. It returns what the
// command wrote to standard output; if it failed, the error is what it wrote to standard
// error.
func (e *Engine) outside(ctx context.Context, timeout time.Duration, description string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	e.systemd.mu.Lock()
	e.systemd.helper++
	name := fmt.Sprintf("archipelago-helper-%d-%d.service", os.Getpid(), e.systemd.helper)
	e.systemd.mu.Unlock()
	var said, failed *os.File
	for _, f := range []**os.File{&said, &failed} {
		var err error
		if *f, err = os.CreateTemp(e.runtime, "archipelago-helper-*"); err != nil {
			return "", err
		}
		defer os.Remove((*f).Name())
		defer (*f).Close()
	}
	result := make(chan string, 1)
	_, err := e.systemd.conn.StartTransientUnitContext(ctx, name, "replace", []dbus.Property{
		dbus.PropDescription(description),
		dbus.PropType("oneshot"),
		// No expansion by systemd: it would take ${name…} for a variable of its own and,
		// worse, read $ in another way once it has reloaded.
		{Name: "ExecStartEx", Value: godbus.MakeVariant([]execStartEx{{argv[0], argv, []string{"no-env-expand"}}})},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
		{Name: "StandardOutputFileToAppend", Value: godbus.MakeVariant(said.Name())},
		{Name: "StandardErrorFileToAppend", Value: godbus.MakeVariant(failed.Name())},
	}, result)
	if err != nil {
		return "", err
	}
	select {
	case r := <-result:
		if r == "done" {
			out, err := io.ReadAll(io.LimitReader(said, maxOutput))
			return string(out), err
		}
		b, err := io.ReadAll(io.LimitReader(failed, maxOutput))
		if text := strings.TrimSpace(string(b)); err == nil && text != "" {
			return "", errors.New(text)
		}
		return "", fmt.Errorf("%s; see journalctl --user -u %s", r, name)
	case <-ctx.Done():
		// Stopped for certain: it must not change files under whatever runs next.
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
		defer cancel()
		ended := make(chan string, 1)
		if _, err := e.systemd.conn.StopUnitContext(stop, name, "replace", ended); err == nil {
			select {
			case <-ended:
			case <-stop.Done():
			}
		}
		return "", context.Cause(ctx)
	}
}
