package web

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
)

// jobShown is how long the outcome of a job stays on the page.
const jobShown = 24 * time.Hour

// job is long work that a page has begun: it goes on when the page is left, and ends with the
// daemon.
type job struct {
	Verb, App, Repository, Snapshot string
	Volume, Dir                     string // with jobMove; no Dir: back
	Message                         string // what is being done; empty at the beginning
	Percent                         int    // of it; -1 where that is not known
	Problem                         string
	Asked                           []string // what the owner has to agree to first
	Began, Ended                    time.Time
}

// What a job does.
const (
	jobBackup  = "backup"
	jobProve   = "prove"
	jobRestore = "restore"
	jobMove    = "move"
)

// doing says what a job is.
func (l tongue) doing(j job) string {
	switch j.Verb {
	case jobBackup:
		return l.t("Backup of %s to %s", j.App, j.Repository)
	case jobProve:
		return l.t("Restoration of %s from %s on trial", j.App, j.Repository)
	case jobMove:
		return l.t("Move of %s", j.Volume)
	}
	return l.t("Restoration of %s from %s", j.App, j.Repository)
}

// jobs are those under way, and the last ones of each kind that have ended.
type jobs struct {
	ctx     context.Context
	cancel  context.CancelFunc
	changed func()
	running sync.WaitGroup

	mu  sync.Mutex
	all []*job // the newest last
}

func newJobs(changed func()) *jobs {
	j := &jobs{changed: changed}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	return j
}

// end cancels what is under way, and waits for it.
func (j *jobs) end() {
	j.cancel()
	j.running.Wait()
}

// begin has work done in the background; one of a kind for an application at a time.
func (j *jobs) begin(what job, work func(ctx context.Context, tell func(backup.Step)) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ctx.Err() != nil {
		return refusing("the daemon is ending; ask again when it is back")
	}
	same := func(o *job) bool { return o.Verb == what.Verb && o.App == what.App }
	if slices.ContainsFunc(j.all, func(o *job) bool { return same(o) && o.Ended.IsZero() }) {
		return refusing("%s: that is being done already", what.App)
	}
	j.all = slices.DeleteFunc(j.all, func(o *job) bool {
		return same(o) || !o.Ended.IsZero() && time.Since(o.Ended) > jobShown
	})
	what.Began, what.Percent = time.Now(), -1
	one := &what
	j.all = append(j.all, one)
	j.running.Go(func() {
		err := work(j.ctx, func(s backup.Step) {
			percent := -1
			if s.Done > 0 {
				percent = int(100 * s.Done)
			}
			j.change(one, func(o *job) { o.Message, o.Percent = s.Message, percent })
		})
		j.change(one, func(o *job) {
			o.Ended, o.Message, o.Percent = time.Now(), "done", 100
			if err != nil {
				o.Message, o.Percent, o.Problem = "", -1, cmp.Or(err.Error(), "failed")
			}
			if missing, ok := errors.AsType[*request.Unagreed](err); ok {
				o.Asked = missing.Asked
			}
		})
	})
	j.changed()
	return nil
}

// change changes a job, and tells of it where that shows.
func (j *jobs) change(one *job, by func(*job)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	before := *one
	by(one)
	if one.Message != before.Message || one.Percent != before.Percent || one.Ended != before.Ended {
		j.changed()
	}
}

// moved gives the last move of a volume of an application.
func (j *jobs) moved(app string) *job {
	for _, o := range j.list() {
		if o.Verb == jobMove && o.App == app {
			return &o
		}
	}
	return nil
}

// list gives all jobs, the newest first.
func (j *jobs) list() []job {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []job
	for _, o := range slices.Backward(j.all) {
		if o.Ended.IsZero() || time.Since(o.Ended) < jobShown {
			out = append(out, *o)
		}
	}
	return out
}
