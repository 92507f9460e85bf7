package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"
)

// reading tags a snapshot that is no backup: what restic has read while an application ran.
// Backups are known by the tag of their application, which this has not, so that no daemon,
// older ones neither, lists, restores, proves or thins it out.
const reading = "reading"

// inPlace is restic as above, but in a directory where volumes are seen under their names
// without being moved there: in a mount namespace of its own, which ends with it, and which
// follows what is unmounted on the node. Nothing is ever mounted for anybody else.
const inPlace = `set -eu; cd "$1"; set -a; . "$2"; set +a; shift 2
exec unshare --uts --mount --propagation slave /bin/sh -euc 'hostname "$1"; shift
while [ "$1" != -- ]; do mount --rbind "$1" "./${1##*/}"; shift; done
shift; exec restic "$@"' restic "$@"`

// BackupInPlace makes a snapshot of what is in dir, in a repository that is Ready, where each
// volume is a directory of that name in dir, and is read where it is. It is read twice: first
// while the application runs, which gives no backup; then, once stop has returned, only what
// is not of the same inode, size and times as it was then. Until start is called, nothing may
// change; stop has to see to it that whatever may have changed unnoticed has another ctime. It
// is told how long the first reading took. The second is given up after most. Of the first reading, nothing stays but data that
// the snapshot refers to.
func (r *Repository) BackupInPlace(ctx context.Context, app, dir string, volumes []string, most time.Duration, stop func(took time.Duration) (start func(), err error), progress Progress) (s Snapshot, err error) {
	// Held from the beginning: an application must not stay stopped for another's backup.
	r.working.Lock()
	defer r.working.Unlock()
	read := func(ctx context.Context, progress Progress, args ...string) (end stored, err error) {
		script := append([]string{inPlace, "restic", dir, filepath.Join(r.dir, environmentFile), r.host}, volumes...)
		err = r.runs(ctx, append(script, "--"), end.following(progress), append([]string{"backup", "--host", r.host}, args...)...)
		return end, err
	}
	if err := r.forgetReadings(ctx); err != nil {
		return s, err
	}
	begin := time.Now()
	first, err := read(ctx, progress, "--force", "--tag", reading, ".")
	if first.ID == "" {
		return s, errors.Join(err, fmt.Errorf("repository %s: restic read %s while it ran, and made no snapshot of it", r.Name, app))
	}
	// An error is not one here: files come and go under what reads them.
	// What is left, where this fails, is forgotten before the next backup.
	defer func() { r.run(context.WithoutCancel(ctx), "", nil, "forget", first.ID) }()
	start, err := stop(time.Since(begin))
	if err != nil {
		return s, err
	}
	start = sync.OnceFunc(start)
	defer start()
	brief, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	end, err := read(brief, progress, "--parent", first.ID, "--tag", tag(app), ".")
	start()
	if s, err = r.made(ctx, app, end, err); err == nil {
		s.New += first.Added
	}
	return s, err
}

// forgetReadings forgets what was read of applications while they ran, by backups of this node
// that were cut off. The caller holds working, so that none is being made.
func (r *Repository) forgetReadings(ctx context.Context) error {
	var said bytes.Buffer
	if err := r.run(ctx, "", reply(&said), "snapshots", "--no-lock", "--host", r.host, "--tag", reading); err != nil {
		return err
	}
	var listed []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(said.Bytes(), &listed); err != nil {
		return fmt.Errorf("repository %s: what restic says of its snapshots: %w", r.Name, err)
	}
	if len(listed) == 0 {
		return nil
	}
	args := []string{"forget"}
	for _, l := range listed {
		args = append(args, l.ID)
	}
	return r.run(ctx, "", nil, args...)
}
