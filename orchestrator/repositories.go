package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/subscription"
)

const maxHours = 31 * 24 // between two backups

// repositories are those that the node's backups go to.
func repositories(run repository.Runner, dataDir string) *repository.Store {
	return repository.Open(filepath.Join(dataDir, manifest.OwnDir, "repositories"), nodeName(), dataDir, run)
}

// nodeName is what the node calls itself where others read it.
func nodeName() string {
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "node"
}

// Repositories gives the repositories that backups go to, sorted by name.
func (r *Reconciler) Repositories() ([]*repository.Repository, error) { return r.backups.To.List() }

// AddRepository gives a repository a name, and its recovery key.
func (r *Reconciler) AddRepository(ctx context.Context, a repository.Added, who string) (added *repository.Repository, key string, err error) {
	added, err = r.backups.To.Add(ctx, a)
	what := "repository add " + a.Name
	if !errors.Is(err, repository.ErrRefused) { // one that is may have a password in it
		what += " " + a.URL
	}
	r.audit(who, "", what, err)
	if err != nil {
		return nil, "", err
	}
	if filepath.IsAbs(added.URL) {
		r.useDisk(added.URL)
	}
	key, err = r.backups.To.Key(a.Name)
	return added, key, err
}

// SetRepository changes when backups are made, and which are kept.
func (r *Reconciler) SetRepository(name string, to repository.Settings, who string) (*repository.Repository, error) {
	w, err := subscription.ParseWindow(to.Window)
	if err != nil {
		err = fmt.Errorf("%w: %w", request.ErrRefused, err)
	} else if to.Hours > maxHours {
		err = fmt.Errorf("%w: %d hours between two backups are more than %d", request.ErrRefused, to.Hours, maxHours)
	} else {
		err = r.backups.To.Set(name, to)
	}
	r.audit(who, "", fmt.Sprintf("repository set %s every %d h, %q, keep %+v", name, to.Hours, w, to.Keep), err)
	if err != nil {
		return nil, err
	}
	return r.backups.To.Get(name)
}

// RemoveRepository forgets a repository, and gives its recovery key.
func (r *Reconciler) RemoveRepository(name, who string) (key string, err error) {
	key, err = r.backups.To.Remove(name, time.Now())
	r.audit(who, "", "repository remove "+name, err)
	return key, err
}

// RecoveryKey gives what opens a repository when the node is gone.
func (r *Reconciler) RecoveryKey(name, who string) (key string, err error) {
	key, err = r.backups.To.Key(name)
	r.audit(who, "", "repository key "+name, err)
	return key, err
}

// Snapshots gives those of an application, or of all where app is empty.
func (r *Reconciler) Snapshots(ctx context.Context, name, app string) ([]repository.Snapshot, error) {
	in, err := r.backups.To.Get(name)
	if err != nil {
		return nil, err
	}
	return in.Snapshots(ctx, app)
}

// overdue names what is wrong with the backups in repositories.
func (r *Reconciler) overdue() host.Finding {
	const name = "repositories"
	all, err := r.Repositories()
	if err != nil {
		return host.Finding{Name: name, Detail: err.Error()}
	}
	if len(all) == 0 {
		return host.Finding{Name: name, OK: true, Detail: "none: no application is backed up by itself; 'archy repository add' makes one"}
	}
	var wrong []string
	for _, p := range r.troubled(all) {
		wrong = append(wrong, p.Name+": "+p.What)
	}
	backups := r.backups.Backups(time.Now())
	for _, app := range slices.Sorted(maps.Keys(backups)) {
		if why := backups[app].Problem; why != "" {
			wrong = append(wrong, app+": "+why)
		}
	}
	return named(name, wrong, "plug in or reach what is missing, then 'archy backup APP --to NAME'; of a damaged repository, keep what is there, and add another", "")
}
