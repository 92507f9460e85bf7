package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

// limit is how long a command may take.
type limit struct {
	total time.Duration
	stall time.Duration // without progress; 0 for no such limit
}

var (
	quick = limit{total: changeTimeout}
	// patient is for work whose time goes by the size of somebody's data: it may take long
	// as long as it gets on.
	patient = limit{total: 24 * time.Hour, stall: 10 * time.Minute}
)

const (
	progressEvery = 15 * time.Second       // how often it is looked whether a command gets on
	followEvery   = 500 * time.Millisecond // and what it has written meanwhile
)

// progress tells whether a command gets on, by the processor time that it has used.
type progress struct {
	used  uint64 // ns
	since time.Time
}

// helperStop is how long a command has to end by itself before it is killed: one that waits
// for a disk or another machine may not see that it is to end. A daemon that starts waits for
// what the one before it has left, and systemd for the daemon.
const helperStop = 4 * time.Second

// helperName begins the names of the units that commands run in, and of what they write to.
const helperName = "archipelago-helper-"

// stalled tells whether nothing has been used for so long. A time that nobody measures,
// which systemd gives as the greatest number, says nothing.
func (p *progress) stalled(now time.Time, used uint64, after time.Duration) bool {
	if used != p.used || used == math.MaxUint64 {
		p.used, p.since = used, now
	}
	return now.Sub(p.since) >= after
}

// await ends the context of a command that does not get on. It ends with it.
func (e *Engine) await(ctx context.Context, unit string, after time.Duration, end context.CancelCauseFunc) {
	p := progress{since: time.Now()}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		used := uint64(math.MaxUint64)
		if v, err := e.systemd.conn.GetUnitTypePropertyContext(ctx, unit, "Service", "CPUUsageNSec"); err == nil {
			used, _ = v.Value.Value().(uint64)
		}
		if p.stalled(time.Now(), used, after) {
			end(fmt.Errorf("it made no progress for %s", after))
			return
		}
	}
}

// outside runs a command outside the daemon's sandbox, as a transient unit of systemd:
// the daemon itself needs no privilege and sees no other process. It returns what the
// command wrote to standard output; if it failed, the error is what it wrote to standard
// error.
func (e *Engine) outside(ctx context.Context, l limit, description string, argv ...string) (string, error) {
	var said strings.Builder
	err := e.follow(ctx, l, description, func(b []byte) { said.Write(b[:min(len(b), maxOutput-said.Len())]) }, argv...)
	if err != nil {
		return "", err
	}
	return said.String(), nil
}

// follow does the same, and calls said with what the command writes to standard output as it
// comes, until it returns.
func (e *Engine) follow(ctx context.Context, l limit, description string, said func([]byte), argv ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, l.total, fmt.Errorf("it took longer than %s", l.total))
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer end(nil)
	e.systemd.mu.Lock()
	e.systemd.helper++
	name := fmt.Sprintf(helperName+"%d-%d.service", os.Getpid(), e.systemd.helper)
	e.systemd.mu.Unlock()
	var out, failed *os.File
	for _, f := range []**os.File{&out, &failed} {
		var err error
		if *f, err = os.CreateTemp(e.runtime, helperName+"*"); err != nil {
			return err
		}
		defer os.Remove((*f).Name())
		defer (*f).Close()
	}
	result := make(chan string, 1)
	_, err := e.systemd.conn.StartTransientUnitContext(ctx, name, "replace", helper(description, out.Name(), failed.Name(), argv), result)
	if err != nil {
		return err
	}
	if l.stall > 0 {
		watching.Go(func() { e.await(ctx, name, l.stall, end) })
	}
	look := time.NewTicker(followEvery)
	defer look.Stop()
	for {
		var r string
		select {
		case <-look.C:
			if err := passOn(out, said); err != nil {
				return err
			}
			continue
		case r = <-result:
		case <-ctx.Done():
			return e.endHelper(ctx, name)
		}
		if err := passOn(out, said); err != nil || r == "done" {
			return err
		}
		b, err := io.ReadAll(io.LimitReader(failed, maxOutput))
		if text := strings.TrimSpace(string(b)); err == nil && text != "" {
			return errors.New(text)
		}
		return fmt.Errorf("%s; see journalctl --user -u %s", r, name)
	}
}

// helper is the unit of a command, which writes to the files out and failed.
func helper(description, out, failed string, argv []string) []dbus.Property {
	return []dbus.Property{
		dbus.PropDescription(description),
		dbus.PropType("oneshot"),
		// No expansion by systemd: it would take ${name…} for a variable of its own and,
		// worse, read $ in another way once it has reloaded.
		{Name: "ExecStartEx", Value: godbus.MakeVariant([]execStartEx{{argv[0], argv, []string{"no-env-expand"}}})},
		{Name: "TimeoutStopUSec", Value: godbus.MakeVariant(uint64(helperStop.Microseconds()))},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
		{Name: "StandardOutputFileToAppend", Value: godbus.MakeVariant(out)},
		{Name: "StandardErrorFileToAppend", Value: godbus.MakeVariant(failed)},
	}
}

// passOn passes on what has been written since it was last called.
func passOn(from *os.File, to func([]byte)) error {
	buffer := make([]byte, maxOutput)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			to(buffer[:n])
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// endHelper stops a command whose context has ended, and says why.
func (e *Engine) endHelper(ctx context.Context, name string) error {
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
	return context.Cause(ctx)
}

// helperUnits are the units of a user's systemd.
type helperUnits interface {
	ListUnitsByPatternsContext(ctx context.Context, states, patterns []string) ([]dbus.UnitStatus, error)
	StopUnitContext(ctx context.Context, name, mode string, ended chan<- string) (int, error)
}

// EndHelpers ends what a daemon before this one has left running, where it ended without
// ending that: its commands would go on with directories that this one deletes or fills, and
// restic would keep half of a copy as a whole backup. It removes what they wrote, which may be
// secrets. Nothing may have been begun yet.
func (e *Engine) EndHelpers(ctx context.Context) error {
	return endHelpers(ctx, e.systemd.conn, e.runtime)
}

func endHelpers(ctx context.Context, units helperUnits, runtime string) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	list, err := units.ListUnitsByPatternsContext(ctx, nil, []string{helperName + "*.service"})
	if err != nil {
		return fmt.Errorf("what a daemon before this one has left running: %w", err)
	}
	var errs []error
	ended := make(chan string, len(list))
	waiting := 0
	for _, u := range list {
		if _, err := units.StopUnitContext(ctx, u.Name, "replace", ended); err != nil {
			errs = append(errs, fmt.Errorf("ending %s, which a daemon before this one has left running: %w", u.Name, err))
			continue
		}
		waiting++
	}
	for range waiting {
		select {
		case <-ended:
		case <-ctx.Done():
			return errors.Join(append(errs, fmt.Errorf("ending what a daemon before this one has left running: %w", context.Cause(ctx)))...)
		}
	}
	wrote, err := filepath.Glob(filepath.Join(runtime, helperName+"*"))
	errs = append(errs, err)
	for _, name := range wrote {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
