package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

const reloadTimeout = time.Minute

// systemd is the user's service manager.
type systemd struct {
	mu     sync.Mutex // one reload at a time
	conn   *dbus.Conn
	helper int // numbers transient units
}

func openSystemd(ctx context.Context) (*systemd, error) {
	// The connection outlives the context: what is under way when the daemon ends
	// is finished in good order.
	conn, err := dbus.NewUserConnectionContext(context.WithoutCancel(ctx))
	if err != nil {
		return nil, fmt.Errorf("connecting to the user's systemd: %w", err)
	}
	if err := conn.Subscribe(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("subscribing to systemd: %w", err)
	}
	return &systemd{conn: conn}, nil
}

func (s *systemd) close() { s.conn.Close() }

func (s *systemd) list(ctx context.Context) (map[string]orchestrator.Unit, error) {
	list, err := s.conn.ListUnitsByPatternsContext(ctx, nil, []string{"*.service"})
	if err != nil {
		return nil, fmt.Errorf("listing units: %w", err)
	}
	out := make(map[string]orchestrator.Unit, len(list))
	for _, u := range list {
		out[u.Name] = orchestrator.Unit{Active: u.ActiveState, Sub: u.SubState}
	}
	return out, nil
}

// WriteUnits makes the Quadlet directory hold these files, removes those named in
// gone, and has systemd read it anew.
func (e *Engine) WriteUnits(ctx context.Context, files map[string]string, gone []string) error {
	e.systemd.mu.Lock()
	defer e.systemd.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := state.WriteFile(filepath.Join(e.quadlet, name), []byte(files[name]), 0o644); err != nil {
			return fmt.Errorf("writing unit %s: %w", name, err)
		}
	}
	for _, name := range gone {
		if err := os.Remove(filepath.Join(e.quadlet, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing unit %s: %w", name, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	if err := e.systemd.conn.ReloadContext(ctx); err != nil {
		return fmt.Errorf("reloading systemd: %w", err)
	}
	return nil
}

// ErrJob is wrapped where systemd could not carry out a job.
var ErrJob = errors.New("systemd job")

// StartUnits starts units together, clearing a failed state first, and waits until
// every job has ended. systemd orders them by their dependencies.
func (e *Engine) StartUnits(ctx context.Context, units []string) error {
	for _, u := range units {
		// Fails where the unit has not failed, or is not loaded: nothing to clear.
		e.systemd.conn.ResetFailedUnitContext(ctx, u)
	}
	return e.jobs(ctx, "start", units, e.systemd.conn.StartUnitContext)
}

// StopUnit stops one unit and waits until it is down. That a container ended by
// signal leaves its unit failed is a clean stop all the same.
func (e *Engine) StopUnit(ctx context.Context, unit string) error {
	err := e.jobs(ctx, "stop", []string{unit}, e.systemd.conn.StopUnitContext)
	e.systemd.conn.ResetFailedUnitContext(ctx, unit)
	var missing godbus.Error
	if errors.As(err, &missing) && missing.Name == "org.freedesktop.systemd1.NoSuchUnit" {
		return nil
	}
	return err
}

func (e *Engine) jobs(ctx context.Context, verb string, units []string, submit func(context.Context, string, string, chan<- string) (int, error)) error {
	results := make([]chan string, len(units))
	for i, u := range units {
		results[i] = make(chan string, 1)
		if _, err := submit(ctx, u, "replace", results[i]); err != nil {
			return fmt.Errorf("%w: %s %s: %w", ErrJob, verb, u, err)
		}
	}
	var problems []error
	for i, u := range units {
		select {
		case r := <-results[i]:
			if r != "done" && r != "skipped" {
				problems = append(problems, fmt.Errorf("%w: %s %s: %s%s", ErrJob, verb, u, r, lastWords(ctx, u, r)))
			}
		case <-ctx.Done():
			return errors.Join(append(problems, fmt.Errorf("%w: %s %s: %w", ErrJob, verb, u, context.Cause(ctx)))...)
		}
	}
	return errors.Join(problems...)
}

// lastWords is what a failed unit said last, for the error that people see.
func lastWords(ctx context.Context, unit, result string) string {
	if result != "failed" {
		return ""
	}
	out, err := exec.CommandContext(ctx, "journalctl", "--user", "--unit", unit, "--lines", "20", "--no-pager", "--output", "cat").Output()
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, l := range slices.Backward(lines) {
		if strings.HasPrefix(l, "Error:") || strings.HasPrefix(l, "error:") {
			return ": " + l
		}
	}
	return ""
}

// EnsureVolumes has each directory exist, owned by the id that the container's
// user is mapped to. It runs where the user namespace's ids can be given: in
// "podman unshare", started by systemd, so that the daemon itself needs no
// privilege.
func (e *Engine) EnsureVolumes(ctx context.Context, volumes []orchestrator.VolumeOwner) error {
	for _, v := range volumes {
		if err := os.MkdirAll(filepath.Dir(v.Dir), 0o711); err != nil {
			return fmt.Errorf("volume %s: %w", v.Dir, err)
		}
		if _, err := os.Stat(v.Dir); err == nil {
			continue
		}
		// Made beside its place and renamed, so that it never exists with another owner.
		script := `mkdir -p "$1.new" && chown "$2" "$1.new" && chmod 0700 "$1.new" && mv -T "$1.new" "$1"`
		if err := e.unshare(ctx, "/bin/sh", "-ec", script, "sh", v.Dir, fmt.Sprintf("%d:%d", v.UID, v.GID)); err != nil {
			return fmt.Errorf("volume %s: %w", v.Dir, err)
		}
		if err := state.SyncDir(filepath.Dir(v.Dir)); err != nil {
			return fmt.Errorf("volume %s: %w", v.Dir, err)
		}
	}
	return nil
}

// DeleteTree destroys a directory that holds files of mapped owners.
func (e *Engine) DeleteTree(ctx context.Context, dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return e.unshare(ctx, "/bin/rm", "-rf", "--one-file-system", "--", dir)
}

// unshare runs a program in the user namespace of rootless Podman, as a transient
// unit.
func (e *Engine) unshare(ctx context.Context, argv ...string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	e.systemd.mu.Lock()
	e.systemd.helper++
	name := fmt.Sprintf("archipelago-unshare-%d-%d.service", os.Getpid(), e.systemd.helper)
	e.systemd.mu.Unlock()
	cmd := append([]string{"/usr/bin/podman", "unshare"}, argv...)
	result := make(chan string, 1)
	_, err := e.systemd.conn.StartTransientUnitContext(ctx, name, "replace", []dbus.Property{
		dbus.PropDescription("archipelago: volumes"),
		dbus.PropType("oneshot"),
		dbus.PropExecStart(cmd, false),
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
	}, result)
	if err != nil {
		return fmt.Errorf("podman unshare: %w", err)
	}
	select {
	case r := <-result:
		if r != "done" {
			return fmt.Errorf("podman unshare %s: %s; see journalctl --user -u %s", strings.Join(argv, " "), r, name)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("podman unshare %s: %w", strings.Join(argv, " "), ctx.Err())
	}
}

// UnitChanges calls wake whenever systemd says that a service has changed, until
// the context ends.
func (e *Engine) UnitChanges(ctx context.Context, wake func(unit string)) {
	updates := make(chan *dbus.PropertiesUpdate, 256)
	errs := make(chan error, 16)
	e.systemd.conn.SetPropertiesSubscriber(updates, errs)
	for {
		select {
		case u := <-updates:
			if strings.HasSuffix(u.UnitName, ".service") {
				if _, ok := u.Changed["ActiveState"]; ok {
					wake(u.UnitName)
				}
			}
		case <-errs: // the channel was full: something has changed
			wake("")
		case <-ctx.Done():
			return
		}
	}
}

// ActiveSince tells when a unit became active, the zero time where it is not.
func (e *Engine) ActiveSince(ctx context.Context, unit string) (time.Time, error) {
	p, err := e.systemd.conn.GetUnitPropertyContext(ctx, unit, "ActiveEnterTimestamp")
	if err != nil {
		return time.Time{}, fmt.Errorf("asking systemd of %s: %w", unit, err)
	}
	usec, _ := p.Value.Value().(uint64)
	if usec == 0 {
		return time.Time{}, nil
	}
	return time.UnixMicro(int64(usec)), nil
}
