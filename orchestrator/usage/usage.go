// Package usage owns what each application has used of the node in the last 24 hours:
// processors, memory, network and disk. It looks once a minute at what the kernel counts
// anyway, starts no process for that, and writes once an hour: a node that idles stays idle,
// and its card lasts. What it loses at a power cut is an hour of a drawing.
package usage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

const (
	// Span is the time that a point stands for.
	Span = 10 * time.Minute
	// Spans is how many of them are kept.
	Spans = int(24 * time.Hour / Span)

	every   = time.Minute // between two looks
	written = time.Hour   // between two times that it is written
	sized   = 24 * time.Hour
	resized = time.Hour // until a look at the disk that failed is tried again
	asking  = 10 * time.Second

	most    = 200     // applications
	largest = 1 << 53 // of which sums of all that is kept do not overflow
	file    = "usage.json"
)

// Unknown is a value that could not be read.
const Unknown = -1

// Point is what an application has used within a span; Unknown where that could not be read.
type Point struct {
	Span     int64 // its number, since 1970
	Milli    int64 // thousandths of a processor, on average
	Memory   int64 // bytes, at most
	Received int64 // bytes
	Sent     int64 // bytes
	Disk     int64 // bytes
}

// At is when the span begins.
func (p Point) At() time.Time { return time.Unix(p.Span*int64(Span.Seconds()), 0) }

// MarshalJSON writes a point as a list of numbers: there are thousands of them.
func (p Point) MarshalJSON() ([]byte, error) {
	return json.Marshal([6]int64{p.Span, p.Milli, p.Memory, p.Received, p.Sent, p.Disk})
}

// UnmarshalJSON reads it back.
func (p *Point) UnmarshalJSON(b []byte) error {
	var n []int64
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	if len(n) != 6 || slices.Min(n) < Unknown || slices.Max(n) > largest {
		return fmt.Errorf("%d are no point", n)
	}
	*p = Point{n[0], n[1], n[2], n[3], n[4], n[5]}
	return nil
}

// Engine is the node as it is looked at.
type Engine interface {
	// Use reads what services have used since each began; one that does not run is left out.
	Use(services []string) map[string]host.Use
	// Traffic gives what running containers have received and sent since each began, by name.
	Traffic(ctx context.Context) (map[string]host.Traffic, error)
	// Sizes gives the bytes of directories; one that is not there is left out.
	Sizes(ctx context.Context, dirs []string) (map[string]int64, error)
}

// Memory keeps something over a restart of the daemon.
type Memory interface {
	Remember(name string, v any) error
	Recall(name string, v any) error
}

// App is an installed application.
type App struct {
	Services map[string]string // of its containers, by the container's name
	Volumes  []string          // directories
}

// kept is what is written.
type kept struct {
	Sized time.Time          `json:"sized"` // when the disk was last looked at
	Sizes map[string]int64   `json:"sizes"` // then
	Apps  map[string][]Point `json:"apps"`
}

// tally is what an application has used in the span that is not over.
type tally struct {
	cpu, watched   time.Duration
	memory         int64
	received, sent int64
}

// Recorder looks at the applications of a node. Of and Now may be called by anyone at any time.
type Recorder struct {
	engine Engine
	memory Memory
	apps   func() map[string]App
	log    *slog.Logger

	mu      sync.Mutex
	kept    kept
	span    int64 // that is not over
	open    map[string]*tally
	writing time.Time // when it was last written

	looked  time.Time                // these are of the one that runs it
	cpu     map[string]time.Duration // by service, at the last look
	traffic map[string]host.Traffic  // by container, at the end of the last span
	again   time.Time                // until then, the disk is not looked at
}

// New gives a recorder of the applications that apps gives, with what an earlier one has kept.
// What cannot be read is begun anew.
func New(engine Engine, memory Memory, apps func() map[string]App, log *slog.Logger) *Recorder {
	r := &Recorder{engine: engine, memory: memory, apps: apps, log: log, open: map[string]*tally{}}
	if err := memory.Recall(file, &r.kept); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("what applications have used is begun anew", "error", err)
		}
		r.kept = kept{}
	}
	if r.kept.Apps == nil {
		r.kept.Apps = map[string][]Point{}
	}
	for app, points := range r.kept.Apps { // whoever wrote them
		slices.SortFunc(points, func(a, b Point) int { return cmp.Compare(a.Span, b.Span) })
		r.kept.Apps[app] = points[max(0, len(points)-Spans):]
	}
	return r
}

// Run looks until the context ends, and then writes what it has seen.
func (r *Recorder) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	r.writing, r.again = time.Now(), time.Now().Add(Span)
	r.look(ctx, time.Now())
	for {
		select {
		case <-tick.C:
			r.look(ctx, time.Now())
		case <-ctx.Done():
			r.mu.Lock()
			defer r.mu.Unlock()
			r.close(nil)
			r.write(time.Now())
			return
		}
	}
}

// look reads what has been used since the last look.
func (r *Recorder) look(ctx context.Context, now time.Time) {
	apps := r.apps()
	var services []string
	for _, a := range apps {
		services = slices.AppendSeq(services, maps.Values(a.Services))
	}
	use := r.engine.Use(services)
	span := now.Unix() / int64(Span.Seconds())
	var traffic map[string]host.Traffic
	if span != r.span {
		bounded, cancel := context.WithTimeout(ctx, asking)
		var err error
		if traffic, err = r.engine.Traffic(bounded); err != nil {
			traffic = nil
		}
		cancel()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if span != r.span {
		moved := map[string]host.Traffic{}
		for app, a := range apps {
			for name := range a.Services {
				is, ok := traffic[name]
				if before, known := r.traffic[name]; ok && known {
					m := moved[app]
					m.Received += since(before.Received, is.Received)
					m.Sent += since(before.Sent, is.Sent)
					moved[app] = m
				}
			}
		}
		if traffic != nil {
			r.traffic = traffic
		}
		if r.span != 0 {
			r.close(moved)
		}
		r.span, r.open = span, map[string]*tally{}
		for app, points := range r.kept.Apps {
			points = slices.DeleteFunc(points, func(p Point) bool { return p.Span > span || p.Span <= span-int64(Spans) })
			if _, there := apps[app]; !there || len(points) == 0 {
				delete(r.kept.Apps, app)
				continue
			}
			r.kept.Apps[app] = points
		}
		// One that is installed again has not the disk of the one before it.
		maps.DeleteFunc(r.kept.Sizes, func(app string, _ int64) bool { _, there := apps[app]; return !there })
		if now.Sub(r.writing) >= written {
			r.write(now)
		}
	}
	for app, a := range apps {
		for _, service := range a.Services {
			is, ok := use[service]
			if !ok {
				continue
			}
			t := r.open[app]
			if t == nil {
				if len(r.open) >= most {
					continue
				}
				t = &tally{received: Unknown, sent: Unknown}
				r.open[app] = t
			}
			if before, known := r.cpu[service]; known {
				t.cpu += time.Duration(since(int64(before), int64(is.CPU)))
			}
		}
	}
	for app, t := range r.open {
		var memory int64
		for _, service := range apps[app].Services {
			memory += use[service].Memory
		}
		t.memory = max(t.memory, memory)
		if !r.looked.IsZero() {
			t.watched += now.Sub(r.looked)
		}
	}
	r.looked, r.cpu = now, map[string]time.Duration{}
	for service, is := range use {
		r.cpu[service] = is.CPU
	}
	r.size(ctx, now, apps)
}

// since is how much a counter has grown; one that is lower has begun anew.
func since(before, now int64) int64 {
	if now < before {
		return now
	}
	return now - before
}

// point is what the open span has come to.
func (r *Recorder) point(app string, t *tally) Point {
	p := Point{Span: r.span, Milli: Unknown, Memory: t.memory, Received: t.received, Sent: t.sent, Disk: Unknown}
	if t.watched > 0 {
		p.Milli = 1000 * int64(t.cpu) / int64(t.watched)
	}
	if size, ok := r.kept.Sizes[app]; ok {
		p.Disk = size
	}
	return p
}

// with are points and one more; of a span in which the daemon was started anew there are two,
// which become one.
func with(points []Point, p Point) []Point {
	if n := len(points); n > 0 && points[n-1].Span == p.Span {
		before := points[n-1]
		if before.Milli != Unknown && p.Milli != Unknown {
			p.Milli = (p.Milli + before.Milli) / 2
		} else {
			p.Milli = max(p.Milli, before.Milli)
		}
		p.Memory, p.Disk = max(p.Memory, before.Memory), max(p.Disk, before.Disk)
		p.Received, p.Sent = sum(p.Received, before.Received), sum(p.Sent, before.Sent)
		points = points[:n-1]
	}
	return append(points, p)
}

// sum is that of what is known.
func sum(a, b int64) int64 {
	if a == Unknown || b == Unknown {
		return max(a, b)
	}
	return a + b
}

// close makes points of the open span, and of what was received and sent in it.
func (r *Recorder) close(moved map[string]host.Traffic) {
	for app, t := range r.open {
		if m, ok := moved[app]; ok {
			t.received, t.sent = m.Received, m.Sent
		}
		points := with(r.kept.Apps[app], r.point(app, t))
		r.kept.Apps[app] = points[max(0, len(points)-Spans):]
	}
	r.open = map[string]*tally{}
}

func (r *Recorder) write(now time.Time) {
	r.writing = now
	if err := r.memory.Remember(file, r.kept); err != nil {
		r.log.Warn("keeping what applications have used", "error", err)
	}
}

// size looks at the disk once a day, which takes a process for all applications together.
// It has the lock, and gives it up meanwhile.
func (r *Recorder) size(ctx context.Context, now time.Time, apps map[string]App) {
	if age := now.Sub(r.kept.Sized); age >= 0 && age < sized || now.Before(r.again) {
		return
	}
	r.again = now.Add(resized)
	var dirs []string
	for _, a := range apps {
		dirs = append(dirs, a.Volumes...)
	}
	r.mu.Unlock()
	slices.Sort(dirs)
	sizes, err := r.engine.Sizes(ctx, dirs)
	r.mu.Lock()
	if err != nil {
		if ctx.Err() == nil {
			r.log.Warn("how much data applications have", "error", err)
		}
		return
	}
	r.kept.Sized, r.kept.Sizes = now, map[string]int64{}
	for app, a := range apps {
		for _, dir := range a.Volumes {
			if size, ok := sizes[dir]; ok {
				r.kept.Sizes[app] += size
			}
		}
	}
}

// Of gives an application's points of the last 24 hours, the oldest first; the last one may
// be of a span that is not over.
func (r *Recorder) Of(app string) []Point {
	r.mu.Lock()
	defer r.mu.Unlock()
	points := slices.Clone(r.kept.Apps[app])
	if t := r.open[app]; t != nil && t.watched > 0 {
		points = with(points, r.point(app, t))
	}
	return points
}
