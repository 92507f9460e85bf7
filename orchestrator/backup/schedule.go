package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/subscription"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

const (
	every      = time.Minute        // it is looked whether something is due
	retry      = time.Hour          // after a backup, or a look, that failed
	lookEvery  = 24 * time.Hour     // at what is in a repository, which others may have changed
	checkEvery = 7 * 24 * time.Hour // a part of what is in a repository is read
	checkRetry = 6 * time.Hour      // after a check that failed
	tryEvery   = 7 * 24 * time.Hour // the newest backup is restored on trial
	tryRetry   = 24 * time.Hour     // after a trial that failed
	checkParts = 10                 // in which all of it is read
	grace      = 2                  // a backup or a trial is overdue when the last is older than so many of its intervals

	knownFile = "backups.json"

	waitingFor = "waiting for " // begins why a repository is away whose disk is
)

// kept is what is known of a repository.
type kept struct {
	Looked  time.Time           `json:"looked"`  // when what is in it was last listed
	Tried   time.Time           `json:"tried"`   // when that was last tried
	Checked time.Time           `json:"checked"` // when a part of it was last found to be whole
	Check   time.Time           `json:"check"`   // when that was last tried
	Part    int                 `json:"part"`    // the last that was read
	Away    string              `json:"away,omitempty"`
	Damaged string              `json:"damaged,omitempty"`
	Every   time.Duration       `json:"every"` // as the owner set it
	Apps    map[string]standing `json:"apps"`
}

// standing is what is known of an application's backups in one repository.
type standing struct {
	Since   time.Time `json:"since"`  // when one was first wanted
	Newest  time.Time `json:"newest"` // zero where there is none
	Size    int64     `json:"size"`
	Tried   time.Time `json:"tried"`
	Problem string    `json:"problem,omitempty"` // why the last try failed

	Proven    time.Time `json:"proven"`              // when one was last restored on trial
	Started   time.Time `json:"started,omitzero"`    // when the application last came up from one
	DataOnly  string    `json:"data_only,omitempty"` // why it was not started from the last that was restored on trial
	Trial     time.Time `json:"trial"`               // when that was last tried
	Unproven  string    `json:"unproven,omitempty"`  // why that failed
	Postponed string    `json:"postponed,omitempty"` // why it could not be tried, which says nothing of the backup
}

// unproven is since when no backup was restored on trial: the first trial is due a week after
// the first backup was wanted.
func (a standing) unproven() time.Time {
	if a.Proven.IsZero() {
		return a.Since
	}
	return a.Proven
}

// Run makes the backups that are due, thins them out and checks repositories, one thing at a
// time, until the context ends.
func (m *Manager) Run(ctx context.Context) {
	m.Recall()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		m.Due(ctx, time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Recall takes up what the daemon before knew of backups.
func (m *Manager) Recall() {
	known := map[string]kept{}
	if err := m.Store.Recall(knownFile, &known); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.Log.Warn("what is known of backups", "error", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = known
	}
}

// learn changes what is known of a repository, and remembers it.
func (m *Manager) learn(name string, change func(*kept)) {
	m.mu.Lock()
	all := maps.Clone(m.known)
	if all == nil {
		all = map[string]kept{}
	}
	k := all[name]
	k.Apps = maps.Clone(k.Apps)
	if k.Apps == nil {
		k.Apps = map[string]standing{}
	}
	change(&k)
	all[name] = k
	m.known = all
	m.mu.Unlock()
	if err := m.Store.Remember(knownFile, all); err != nil {
		m.Log.Error("what is known of backups", "error", err)
	}
}

// knows gives what is known of a repository.
func (m *Manager) knows(name string) kept {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[name]
}

// forget drops what is known of repositories that are not there any more.
func (m *Manager) forget(all []*repository.Repository) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := maps.Clone(m.known)
	maps.DeleteFunc(known, func(name string, _ kept) bool {
		return !slices.ContainsFunc(all, func(r *repository.Repository) bool { return r.Name == name })
	})
	m.known = known
}

// Due does what is due now.
func (m *Manager) Due(ctx context.Context, now time.Time) {
	all, err := m.To.List()
	if err != nil {
		m.Log.Error("repositories", "error", err)
		return
	}
	m.forget(all)
	if err := m.To.Sweep(now); err != nil {
		m.Log.Error("recovery keys of removed repositories", "error", err)
	}
	if err := m.Drills.Tidy(ctx); err != nil && ctx.Err() == nil {
		m.Log.Error("what a restore drill has left", "error", err)
	}
	for _, r := range all {
		if r.Problem != "" {
			continue
		}
		if !m.there(r) {
			continue
		}
		m.look(ctx, r, now)
		window, err := subscription.ParseWindow(r.Settings.Window)
		if err != nil {
			m.Log.Error("repository", "repository", r.Name, "error", err)
		}
		interval := r.Settings.Every()
		if m.knows(r.Name).Every != interval {
			m.learn(r.Name, func(k *kept) { k.Every = interval })
		}
		for _, app := range m.wanted() {
			a := m.expect(r.Name, app, now)
			if interval == 0 || ctx.Err() != nil || !window.Open(now) || ago(now, a.Newest) < interval || ago(now, a.Tried) < min(retry, interval) {
				continue
			}
			m.one(ctx, r, app, now)
		}
		for _, app := range m.wanted() {
			a := m.knows(r.Name).Apps[app]
			if ctx.Err() == nil && window.Open(now) && m.knows(r.Name).Away == "" && !a.Newest.IsZero() && ago(now, a.unproven()) >= tryEvery && ago(now, a.Trial) >= tryRetry {
				if _, err := m.Prove(ctx, app, r.Name, "schedule", func(Step) {}); err != nil {
					m.Log.Error("restoring on trial", "app", app, "repository", r.Name, "error", err)
				}
			}
		}
		if k := m.knows(r.Name); ctx.Err() == nil && window.Open(now) && k.Away == "" && ago(now, k.Checked) >= checkEvery && ago(now, k.Check) >= checkRetry {
			m.check(ctx, r, now)
		}
	}
}

// there tells whether a repository is on its disk, as far as that is known. What a disk that was
// away has kept from being done is due once it is back.
func (m *Manager) there(r *repository.Repository) bool {
	why, k := m.Node.Absent(r.URL), m.knows(r.Name)
	if why != "" {
		why = waitingFor + why
	}
	if k.Away != why && (why != "" || strings.HasPrefix(k.Away, waitingFor)) {
		m.learn(r.Name, func(k *kept) {
			if k.Away = why; why != "" {
				return
			}
			k.Tried = time.Time{}
			for app, a := range k.Apps {
				if a.Problem != "" {
					a.Tried = time.Time{}
				}
				k.Apps[app] = a
			}
		})
	}
	return why == ""
}

// ago is how long ago something was. What is dated ahead, by a clock that was wrong, was long
// ago: waiting until it is past could take years.
func ago(now, at time.Time) time.Duration {
	if repository.Ahead(at, now) {
		return math.MaxInt64
	}
	return now.Sub(at)
}

// wanted are the applications that are to be backed up.
func (m *Manager) wanted() (apps []string) {
	for _, d := range m.Store.All() {
		if d.Manifest != nil && d.Goal != state.Absent && d.Goal != "" {
			apps = append(apps, d.App)
		}
	}
	return apps
}

// expect has a backup of an application be wanted from now on, where it was not.
func (m *Manager) expect(name, app string, now time.Time) standing {
	a, ok := m.knows(name).Apps[app]
	if !ok || repository.Ahead(a.Since, now) {
		a.Since = now
		m.learn(name, func(k *kept) { k.Apps[app] = a })
	}
	return a
}

// look lists what is in a repository.
func (m *Manager) look(ctx context.Context, r *repository.Repository, now time.Time) {
	k := m.knows(r.Name)
	if ago(now, k.Looked) < lookEvery && k.Away == "" || ago(now, k.Tried) < retry {
		return
	}
	all, err := r.Snapshots(ctx, "")
	if ctx.Err() != nil {
		return
	}
	m.learn(r.Name, func(k *kept) {
		k.Tried = now
		if k.Away = said(err); err != nil {
			return
		}
		k.Looked = now
		newest := map[string]repository.Snapshot{}
		for _, s := range slices.Backward(all) {
			if r.Own(s) && !repository.Ahead(s.Made, now) {
				newest[s.App] = s
			}
		}
		for _, app := range slices.Sorted(maps.Keys(k.Apps)) {
			a, s := k.Apps[app], newest[app]
			if !a.Newest.Equal(s.Made) {
				a.Newest, a.Size = s.Made, s.Size
			}
			k.Apps[app] = a
		}
		for app, s := range newest {
			if _, ok := k.Apps[app]; !ok {
				k.Apps[app] = standing{Since: now, Newest: s.Made, Size: s.Size}
			}
		}
	})
	if err != nil {
		m.Log.Error("repository", "repository", r.Name, "error", err)
		return
	}
	m.Node.Found(r.URL)
}

// one makes a backup, and forgets those that it makes superfluous.
func (m *Manager) one(ctx context.Context, r *repository.Repository, app string, now time.Time) {
	begin := time.Now()
	s, err := m.BackUp(ctx, app, r.Name, "schedule", func(Step) {})
	if ctx.Err() != nil {
		return
	}
	if k := m.knows(r.Name); s.ID != "" && (k.Damaged != "" || k.Apps[app].Unproven != "") {
		// An older one may be all that can be restored.
		m.Log.Warn("no old backup is forgotten until the newest is known to be whole", "app", app, "repository", r.Name)
	} else if s.ID != "" {
		if err := r.Forget(ctx, app, r.Settings.Rule()); err != nil {
			m.Log.Error("forgetting old backups", "app", app, "repository", r.Name, "error", err)
		}
	}
	m.learn(r.Name, func(k *kept) {
		a := k.Apps[app]
		a.Tried, a.Problem = now, said(err)
		k.Apps[app] = a
	})
	if err != nil {
		m.Log.Error("backup", "app", app, "repository", r.Name, "error", err)
		return
	}
	m.Log.Info("backed up", "app", app, "repository", r.Name, "snapshot", s.ID[:8], "bytes", s.Size, "new", s.New, "took", time.Since(begin).Round(time.Millisecond))
}

// made is told of each snapshot.
func (m *Manager) made(name string, s repository.Snapshot) {
	m.learn(name, func(k *kept) {
		a := k.Apps[s.App]
		if a.Since.IsZero() {
			a.Since = s.Made
		}
		a.Newest, a.Size, a.Problem = s.Made, s.Size, ""
		k.Apps[s.App], k.Away = a, ""
	})
}

// Prove restores on trial, and remembers the outcome.
func (m *Manager) Prove(ctx context.Context, app, from, who string, tell func(Step)) (Trial, error) {
	now := time.Now()
	t, err := m.Try(ctx, app, from, who, tell)
	if ctx.Err() != nil || errors.Is(err, operation.ErrBusy) || errors.Is(err, repository.ErrUnknown) || errors.Is(err, repository.ErrNoSnapshot) {
		return t, err // nothing was tried
	}
	m.learn(from, func(k *kept) {
		a := k.Apps[app]
		a.Trial, a.Postponed = now, ""
		switch {
		case err == nil:
			a.Proven, a.Unproven, a.DataOnly = now, "", t.NotStarted
			if t.NotStarted == "" {
				a.Started = now
			}
		case errors.Is(err, errNoSpace), errors.Is(err, repository.ErrNone), errors.Is(err, repository.ErrLocked), errors.Is(err, host.ErrUnavailable):
			a.Postponed = said(err)
		default:
			a.Unproven = said(err)
		}
		k.Apps[app] = a
	})
	return t, err
}

// check reads the next part of what is there, and deletes what no snapshot refers to.
func (m *Manager) check(ctx context.Context, r *repository.Repository, now time.Time) {
	part := m.knows(r.Name).Part%checkParts + 1
	// First of all the check: nothing is deleted from what may have to be repaired.
	err := r.Check(ctx, part, checkParts)
	if err == nil {
		err = r.Prune(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	m.learn(r.Name, func(k *kept) {
		k.Check = now
		switch {
		case err == nil:
			k.Checked, k.Part, k.Damaged = now, part, ""
		case errors.Is(err, repository.ErrNone), errors.Is(err, repository.ErrLocked):
			k.Away = said(err)
		default:
			k.Damaged = said(err)
		}
	})
	if err != nil {
		m.Log.Error("checking a repository", "repository", r.Name, "part", part, "error", err)
		return
	}
	m.Log.Info("checked a repository", "repository", r.Name, "part", part, "of", checkParts)
}

// said is an error on one line, for those who look at a list; the log has all of it.
func said(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// Health is what is known of a repository.
type Health struct {
	Checked time.Time // when a part of it was last found to be whole
	Problem string    // why it is not well; empty where nothing is known against it
}

// Health gives what is known of a repository.
func (m *Manager) Health(name string) Health {
	k := m.knows(name)
	return Health{k.Checked, cmp.Or(k.Damaged, k.Away)}
}

// Backups says of each application that is to be backed up how old its newest backup is, and
// what is wrong with that. It does not wait for the disk.
func (m *Manager) Backups(now time.Time) map[string]view.Backup {
	m.mu.Lock()
	known := m.known
	m.mu.Unlock()
	if len(known) == 0 {
		return nil
	}
	out := map[string]view.Backup{}
	for _, app := range m.wanted() {
		var b view.Backup
		wrong := func(what string) { b.Problem = strings.TrimPrefix(b.Problem+"; "+what, "; ") }
		for _, name := range slices.Sorted(maps.Keys(known)) {
			k := known[name]
			a, ok := k.Apps[app]
			if !ok {
				continue
			}
			if a.Newest.After(b.Made) {
				b.Made, b.Size, b.Repository = a.Newest, a.Size, name
			}
			if a.Proven.After(b.Proven) {
				b.Proven, b.DataOnly = a.Proven, a.DataOnly
			}
			if a.Started.After(b.Started) {
				b.Started = a.Started
			}
			if a.Unproven != "" {
				wrong("the newest backup in " + name + " could not be restored on trial: " + a.Unproven)
			}
			if a.Postponed != "" && ago(now, a.unproven()) > grace*tryEvery {
				wrong("not restored on trial from " + name + " since " + a.unproven().Format(time.DateOnly) + ": " + a.Postponed)
			}
			if why := overdue(k.Every, a, now); why != "" {
				wrong("backup overdue: " + why + " in " + name + ": " + cmp.Or(a.Problem, k.Away, "it has not been made"))
			}
			if k.Damaged != "" {
				wrong("the repository " + name + " is damaged: " + k.Damaged)
			}
		}
		if !b.Made.IsZero() || b.Problem != "" {
			out[app] = b
		}
	}
	return out
}

// overdue says since when there should have been a backup; empty where there need not.
func overdue(interval time.Duration, a standing, now time.Time) string {
	from := a.Newest
	if from.IsZero() {
		from = a.Since
	}
	switch late := ago(now, from); {
	case interval == 0 || late <= grace*interval:
		return ""
	case repository.Ahead(a.Newest, now):
		return "the newest is dated " + a.Newest.Format(time.DateTime) + ", ahead of the node's clock"
	case a.Newest.IsZero():
		return "there is none"
	default:
		return fmt.Sprintf("the newest is %d hours old", int(late.Hours()))
	}
}
