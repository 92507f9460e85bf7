package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

const reloadTimeout = time.Minute

// systemd is the user's service manager.
type systemd struct {
	mu     sync.Mutex
	conn   *dbus.Conn
	helper int // numbers transient units

	path     []string // directories that it reads units from, without those of generators
	signals  *godbus.Conn
	followed map[godbus.ObjectPath]string // units whose changes are asked for
}

func openSystemd(ctx context.Context) (*systemd, error) {
	// The connection outlives the context, so that work in progress can finish when the
	// daemon ends.
	conn, err := dbus.NewUserConnectionContext(context.WithoutCancel(ctx))
	if err != nil {
		return nil, fmt.Errorf("connecting to the user's systemd: %w", err)
	}
	// A connection of its own receives changes, and only those of followed units: one
	// health check alone makes systemd send some thirty signals.
	signals, err := godbus.ConnectSessionBus()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connecting to the user's bus: %w", err)
	}
	s := &systemd{conn: conn, signals: signals, followed: map[godbus.ObjectPath]string{}}
	manager := signals.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	if err := manager.Call("org.freedesktop.systemd1.Manager.Subscribe", 0).Err; err != nil {
		s.close()
		return nil, fmt.Errorf("subscribing to systemd: %w", err)
	}
	if err := manager.StoreProperty("org.freedesktop.systemd1.Manager.UnitPath", &s.path); err != nil {
		s.close()
		return nil, fmt.Errorf("asking systemd where units are: %w", err)
	}
	// Quadlet makes our own there, and commands outside the sandbox are transient.
	s.path = slices.DeleteFunc(s.path, func(dir string) bool {
		base := filepath.Base(dir)
		return base == "transient" || strings.HasPrefix(base, "generator")
	})
	return s, nil
}

func (s *systemd) close() { s.conn.Close(); s.signals.Close() }

func (s *systemd) list(ctx context.Context) (map[string]host.Unit, error) {
	list, err := s.conn.ListUnitsByPatternsContext(ctx, nil, []string{"*.service"})
	if err != nil {
		return nil, fmt.Errorf("listing units: %w", err)
	}
	out := make(map[string]host.Unit, len(list))
	for _, u := range list {
		out[u.Name] = host.Unit{Active: u.ActiveState, Sub: u.SubState, Job: u.JobType}
	}
	return out, nil
}

// WriteUnits has these files be in the Quadlet directory, and none of those named in gone;
// where that changes anything, systemd reads them.
func (e *Engine) WriteUnits(_ context.Context, files map[string]string, gone []string) error {
	return e.reloads.after(func() (bool, error) {
		dropped, err := writeDropIns(e.drops, slices.Collect(maps.Keys(files)))
		if err != nil {
			return dropped, err
		}
		wrote, err := writeUnits(e.quadlet, files, e.Reserve.Write)
		if err != nil {
			return dropped || wrote, err
		}
		removed, err := removeUnits(e.quadlet, gone, atomicfile.SyncDir)
		if err != nil {
			return dropped || wrote || removed, err
		}
		return dropped || wrote || removed, removeDropIns(e.drops, gone)
	})
}

// writeUnits writes those files into a directory that are not there as they are to be.
func writeUnits(dir string, files map[string]string, write func(name string, data []byte, mode fs.FileMode) error) (changed bool, err error) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file, body := filepath.Join(dir, name), []byte(files[name])
		if same(file, body) {
			continue
		}
		changed = true
		if err := write(file, body, 0o644); err != nil {
			return changed, fmt.Errorf("writing unit %s: %w", name, err)
		}
	}
	return changed, nil
}

// same tells whether a file holds just this.
func same(file string, body []byte) bool {
	have, err := os.ReadFile(file)
	return err == nil && bytes.Equal(have, body)
}

// removeUnits removes files from a directory, durably: after a power cut, a unit that came
// back would start what was uninstalled.
func removeUnits(dir string, gone []string, sync func(dir string) error) (changed bool, err error) {
	for _, name := range gone {
		switch err := os.Remove(filepath.Join(dir, name)); {
		case err == nil:
			changed = true
		case !errors.Is(err, fs.ErrNotExist):
			return changed, fmt.Errorf("removing unit %s: %w", name, err)
		}
	}
	if len(gone) == 0 {
		return changed, nil
	}
	// Also what somebody else has removed: only then is it gone for good.
	if err := sync(dir); err != nil {
		return changed, fmt.Errorf("removing units: %w", err)
	}
	return changed, nil
}

// ErrJob is wrapped if systemd could not carry out a job.
var ErrJob = errors.New("systemd job")

// StartUnits starts units together, clearing a failed state first, and waits until
// every job has ended. systemd orders them by their dependencies. It reads their files
// first where it may not have: a daemon that was killed wrote them, or a reload failed.
func (e *Engine) StartUnits(ctx context.Context, units []string) error {
	if err := e.reloads.after(func() (bool, error) { return false, nil }); err != nil {
		return err
	}
	return e.startUnits(ctx, units)
}

func (e *Engine) startUnits(ctx context.Context, units []string) error {
	for _, u := range units {
		// Fails where the unit has not failed, or is not loaded: nothing to clear.
		e.systemd.conn.ResetFailedUnitContext(ctx, u)
	}
	return e.jobs(ctx, "start", units, e.systemd.conn.StartUnitContext)
}

// RestartStarting restarts a unit that systemd has not been told is ready, and reports
// whether there was one. systemd merges the jobs, so whoever waits for the old start
// waits for the new one. Podman ends the container then; see endStarting.
func (e *Engine) RestartStarting(ctx context.Context, unit string) (bool, error) {
	// Activating too is one that has been told and joins networks: its SubState is start-post.
	p, err := e.systemd.conn.GetUnitPropertyContext(ctx, unit, "SubState")
	if err != nil || p.Value.Value() != "start" {
		return false, err
	}
	if _, err := e.systemd.conn.RestartUnitContext(ctx, unit, "replace", nil); err != nil {
		return false, fmt.Errorf("%w: restart %s: %w", ErrJob, unit, err)
	}
	return true, nil
}

// StopUnit stops one unit and waits until it is down. A container that ends by signal
// leaves its unit failed; that counts as a clean stop.
func (e *Engine) StopUnit(ctx context.Context, unit string) error {
	// While a unit is starting, its main process waits for the container to become
	// healthy and does not pass the signal on, so Podman stops the container.
	if p, err := e.systemd.conn.GetUnitPropertyContext(ctx, unit, "ActiveState"); err == nil && p.Value.Value() == "activating" {
		if err := e.stopContainer(ctx, strings.TrimSuffix(unit, ".service")); err != nil {
			return err
		}
	}
	err := e.jobs(ctx, "stop", []string{unit}, e.systemd.conn.StopUnitContext)
	e.systemd.conn.ResetFailedUnitContext(ctx, unit)
	if noSuchUnit(err) {
		return nil
	}
	return err
}

// noSuchUnit tells whether systemd knows no such unit. Podman's generator leaves out what it does
// not understand, and ends with status 0 all the same.
func noSuchUnit(err error) bool {
	e, ok := errors.AsType[godbus.Error](err)
	return ok && e.Name == "org.freedesktop.systemd1.NoSuchUnit"
}

func (e *Engine) jobs(ctx context.Context, verb string, units []string, submit func(context.Context, string, string, chan<- string) (int, error)) error {
	begin := time.Now()
	results := make([]chan string, len(units))
	for i, u := range units {
		results[i] = make(chan string, 1)
		if _, err := submit(ctx, u, "replace", results[i]); err != nil {
			err = fmt.Errorf("%w: %s %s: %w", ErrJob, verb, u, err)
			if verb == "start" && noSuchUnit(err) {
				return fmt.Errorf("%w: Podman's generator made no service of its unit file; 'journalctl --user' on the node says why", err)
			}
			return err
		}
	}
	var problems []error
	for i, u := range units {
		select {
		case r := <-results[i]:
			if r != "done" && r != "skipped" {
				problems = append(problems, fmt.Errorf("%w: %s %s: %s%s", ErrJob, verb, u, r, lastWords(ctx, u, r, begin)))
			}
		case <-ctx.Done():
			return errors.Join(append(problems, fmt.Errorf("%w: %s %s: %w", ErrJob, verb, u, context.Cause(ctx)))...)
		}
	}
	return errors.Join(problems...)
}

// lastWords returns the last error that a failed unit has logged since its job began, for
// the error message: an earlier one's would mislead.
func lastWords(ctx context.Context, unit, result string, since time.Time) string {
	if result != "failed" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel() // ends journalctl, where more is said than is read
	cmd := exec.CommandContext(ctx, "journalctl", "--user", "--unit", unit, "--lines", "20",
		fmt.Sprintf("--since=@%d.%06d", since.Unix(), since.Nanosecond()/1000), "--no-pager", "--output", "cat")
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return ""
	}
	said := lastError(out)
	cancel()
	cmd.Wait()
	return said
}

// lastError is the last line that says it is an error, among the first maxOutput bytes,
// cut to maxWords.
func lastError(r io.Reader) string {
	b, err := io.ReadAll(io.LimitReader(r, maxOutput))
	if err != nil {
		return ""
	}
	for _, l := range slices.Backward(strings.Split(strings.TrimSpace(string(b)), "\n")) {
		if strings.HasPrefix(l, "Error:") || strings.HasPrefix(l, "error:") {
			return ": " + strings.ToValidUTF8(l[:min(len(l), maxWords)], "")
		}
	}
	return ""
}

// Follow has UnitChanges and MemoryKills tell of changes of these units.
func (e *Engine) Follow(units []string) error {
	if m := e.memory.Load(); m != nil {
		m.follow(units)
	}
	e.systemd.mu.Lock()
	defer e.systemd.mu.Unlock()
	for _, u := range units {
		path := godbus.ObjectPath("/org/freedesktop/systemd1/unit/" + dbus.PathBusEscape(u))
		if e.systemd.followed[path] != "" {
			continue
		}
		if err := e.systemd.signals.AddMatchSignal(godbus.WithMatchObjectPath(path), godbus.WithMatchInterface("org.freedesktop.DBus.Properties"), godbus.WithMatchMember("PropertiesChanged")); err != nil {
			return fmt.Errorf("following unit %s: %w", u, err)
		}
		e.systemd.followed[path] = u
	}
	return nil
}

// UnitChanges calls changed whenever systemd reports a change of a followed unit, until the
// context ends.
func (e *Engine) UnitChanges(ctx context.Context, changed func(unit string)) {
	signals := make(chan *godbus.Signal, 256)
	e.systemd.signals.Signal(signals)
	var ending sync.WaitGroup
	defer ending.Wait()
	before := map[string]string{} // SubState, by unit
	for {
		select {
		case s, ok := <-signals:
			if !ok {
				return // the connection has ended, and with it the daemon's life
			}
			if len(s.Body) > 1 {
				if values, ok := s.Body[1].(map[string]godbus.Variant); ok {
					if _, ok := values["ActiveState"]; ok {
						e.systemd.mu.Lock()
						unit := e.systemd.followed[s.Path]
						e.systemd.mu.Unlock()
						changed(unit)
						sub, _ := values["SubState"].Value().(string)
						if stoppedStarting(before[unit], sub) {
							ending.Go(func() { e.endStarting(ctx, unit) })
						}
						before[unit] = sub
					}
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// stoppedStarting tells, by a unit's SubState before and now, whether systemd stops it before
// it has started.
func stoppedStarting(before, now string) bool {
	return now == "stop-sigterm" && before != "stop" && before != now
}

// endStarting ends the container of a unit that systemd stops before it has started, as it
// does where a container that this one needs restarts. systemd then does not ask Podman for
// it, but sends SIGTERM alone, and kills what ignores that after all the time that a stop may
// take. Where this fails, it is left at that.
func (e *Engine) endStarting(ctx context.Context, unit string) {
	ctx, cancel := context.WithTimeout(ctx, retireTimeout)
	defer cancel()
	// By its id, and as long as the unit has not ended: the next container has the same name.
	c, err := e.Inspect(ctx, strings.TrimSuffix(unit, ".service"))
	if err != nil {
		return
	}
	if p, err := e.systemd.conn.GetUnitPropertyContext(ctx, unit, "SubState"); err == nil && p.Value.Value() == "stop-sigterm" {
		e.stopContainer(ctx, c.ID) //nolint:errcheck // systemd kills what is left
	}
}

// ActiveSince returns when a unit became active, or the zero time if it is not active.
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
