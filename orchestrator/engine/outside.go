package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
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

const progressEvery = 15 * time.Second // how often it is looked whether a command gets on

// progress tells whether a command gets on, by the processor time that it has used.
type progress struct {
	used  uint64 // ns
	since time.Time
}

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
	ctx, cancel := context.WithTimeoutCause(ctx, l.total, fmt.Errorf("it took longer than %s", l.total))
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer end(nil)
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
	if l.stall > 0 {
		watching.Go(func() { e.await(ctx, name, l.stall, end) })
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
