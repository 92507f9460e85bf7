// Package repository drives restic: it keeps which repositories the owner's backups go to,
// with their keys, and makes, lists, restores, thins out and checks snapshots in them. What
// is in a snapshot of an application, and when one is made, is not its business.
//
// A repository is on a local disk, or reached by SFTP, S3 or REST. All that leaves the node
// is encrypted by restic with a key that is generated once, when the repository is added:
// the recovery key, without which nobody reads anything. It, and what the owner gave to
// reach the repository, is in files of mode 0600, and in no command line, log or error.
package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
)

var (
	// ErrNone is wrapped where there is no repository at its address: it was never made, or
	// the disk is not there.
	ErrNone = errors.New("there is no repository")
	// ErrKey is wrapped where the recovery key does not open the repository.
	ErrKey = errors.New("the recovery key does not open the repository")
	// ErrLocked is wrapped where another machine works in the repository.
	ErrLocked = errors.New("the repository is locked")
	// ErrDamaged is wrapped where what is in the repository is not what was put there.
	ErrDamaged = errors.New("the repository is damaged")
)

// Runner runs a program where files can belong to the users of containers, in Podman's user
// namespace. It calls line for each line of the program's standard output as it comes; what
// the program says on standard error is the error's text.
type Runner interface {
	Restic(ctx context.Context, line func([]byte), argv ...string) error
}

// restic is what runs restic: it reads the environment from a file, so that no secret is in
// a process list, and works in a directory, so that what is in a snapshot does not depend on
// where the node keeps copies. Its locks bear the name of the machine, and of those of its own
// name restic removes any whose process it does not see: so it gets a name that no other node
// has, where it is root, as it is in Podman's user namespace.
const restic = `set -eu; cd "$1"; shift; set -a; . "$1"; set +a; shift
[ "$(id -u)" = 0 ] || { shift; exec restic "$@"; }
exec unshare --uts /bin/sh -euc 'hostname "$1"; shift; exec restic "$@"' restic "$@"`

// skew is how much clocks may differ.
const skew = 10 * time.Minute

// Ahead tells whether something is dated after a time by more than clocks differ: by a clock
// that was wrong then, or is now.
func Ahead(at, now time.Time) bool { return at.After(now.Add(skew)) }

// Progress is how far long work has come, from 0 to 1.
type Progress func(done float64)

// Snapshot is one backup of one application.
type Snapshot struct {
	ID   string // 64 hexadecimal digits
	App  string
	Host string
	Made time.Time
	Size int64 // bytes of what was backed up, and
	New  int64 // of what it added to the repository; known of one that has just been made
}

// tag is what marks the snapshots of an application.
func tag(app string) string { return "app:" + app }

// run runs restic in dir ("" for anywhere) in the repository.
func (r *Repository) run(ctx context.Context, dir string, line func([]byte), args ...string) error {
	if dir == "" {
		dir = r.dir
	}
	return r.runs(ctx, []string{restic, "restic", dir, filepath.Join(r.dir, environmentFile), r.host}, line, args...)
}

// runs runs restic by a script, with the words that come first.
func (r *Repository) runs(ctx context.Context, script []string, line func([]byte), args ...string) error {
	argv := append([]string{"/bin/sh", "-c"}, script...)
	argv = append(argv, "--repository-file", filepath.Join(r.dir, locationFile), "--password-file", filepath.Join(r.dir, passwordFile), "--json")
	if r.cache == "" {
		argv = append(argv, "--no-cache")
	} else {
		argv = append(argv, "--cache-dir", r.cache)
	}
	argv = append(argv, r.options...)
	return explained(r.Name, r.runner.Restic(ctx, line, append(argv, args...)...))
}

// Uncached is the repository as one who has nothing of it on his own disk finds it: restic's
// cache holds what says which pieces a file is of, and would hide that these are damaged.
func (r *Repository) Uncached() *Repository {
	bare := *r
	bare.cache = ""
	return &bare
}

// explained says in our words what restic says in its own.
func explained(name string, err error) error {
	if err == nil {
		return nil
	}
	said := err.Error()
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(said, w) })
	}
	switch {
	case has("Is there a repository at the following location", "repository does not exist"):
		err = fmt.Errorf("%w: %w", ErrNone, err)
	case has("wrong password or no key found", "an empty password"):
		err = fmt.Errorf("%w: %w", ErrKey, err)
	case has("unable to create lock"):
		err = fmt.Errorf("%w: %w", ErrLocked, err)
	case has("ciphertext verification failed", "repository contains errors", "does not match id", "wrong data returned", "invalid data returned", "hash does not match", "unexpected pack id", "blob not found", "not found in index", "not found in repository", "unexpected EOF", "file does not exist", "packs with differing"):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fmt.Errorf("repository %s: %w", name, err)
}

// reply collects what a command says.
func reply(into *bytes.Buffer) func([]byte) {
	return func(line []byte) { into.Write(line); into.WriteByte('\n') }
}

// Open tells whether the repository is there, and its key opens it.
func (r *Repository) Open(ctx context.Context) error {
	var said bytes.Buffer
	return r.run(ctx, "", reply(&said), "cat", "config")
}

// Ready tells whether the repository is there, and its key opens it, and removes locks that
// nobody holds any more: of a process of this node that has ended, or half an hour old, as a
// power cut leaves them. Those in use stay.
func (r *Repository) Ready(ctx context.Context) error {
	return r.run(ctx, "", nil, "unlock")
}

// stored is what restic says of a snapshot that it has made.
type stored struct {
	Type  string `json:"message_type"`
	ID    string `json:"snapshot_id"`
	Size  int64  `json:"total_bytes_processed"`
	Added int64  `json:"data_added"`
}

// following takes what restic says while it makes a snapshot.
func (end *stored) following(progress Progress) func([]byte) {
	return func(line []byte) {
		var m struct {
			Type string  `json:"message_type"`
			Done float64 `json:"percent_done"`
		}
		switch json.Unmarshal(line, &m); m.Type {
		case "status":
			if progress != nil {
				progress(m.Done)
			}
		case "summary":
			json.Unmarshal(line, end)
		}
	}
}

// Backup makes a snapshot of what is in dir, in a repository that is Ready.
func (r *Repository) Backup(ctx context.Context, app, dir string, progress Progress) (s Snapshot, err error) {
	r.working.Lock()
	defer r.working.Unlock()
	var end stored
	// --force reads every file: a copy has new inodes and times, and what only looks
	// unchanged is not taken for it.
	err = r.run(ctx, dir, end.following(progress), "backup", "--force", "--host", r.host, "--tag", tag(app), ".")
	return r.made(ctx, app, end, err)
}

// made is the snapshot that restic says it has made, unless there was an error.
func (r *Repository) made(ctx context.Context, app string, end stored, err error) (s Snapshot, _ error) {
	if end.ID != "" && err != nil {
		// Not all could be read: it must not be taken for a backup.
		err = errors.Join(err, r.run(context.WithoutCancel(ctx), "", nil, "forget", end.ID))
	}
	if err != nil {
		return s, err
	}
	all, err := r.snapshots(ctx, app)
	if err != nil {
		return s, err
	}
	i := slices.IndexFunc(all, func(s Snapshot) bool { return strings.HasPrefix(s.ID, end.ID) })
	if end.ID == "" || i < 0 {
		return s, fmt.Errorf("repository %s: restic says that it is done, and its snapshot %q is not there", r.Name, end.ID)
	}
	s = all[i]
	s.Size, s.New = end.Size, end.Added
	return s, nil
}

// Snapshots gives those of an application, or of all where app is empty; the newest first.
func (r *Repository) Snapshots(ctx context.Context, app string) ([]Snapshot, error) {
	r.working.RLock()
	defer r.working.RUnlock()
	return r.snapshots(ctx, app)
}

func (r *Repository) snapshots(ctx context.Context, app string) (all []Snapshot, err error) {
	args := []string{"snapshots", "--no-lock"}
	if app != "" {
		args = append(args, "--tag", tag(app))
	}
	var said bytes.Buffer
	if err := r.run(ctx, "", reply(&said), args...); err != nil {
		return nil, err
	}
	var listed []struct {
		ID      string    `json:"id"`
		Time    time.Time `json:"time"`
		Host    string    `json:"hostname"`
		Tags    []string  `json:"tags"`
		Summary struct {
			Size  int64 `json:"total_bytes_processed"`
			Added int64 `json:"data_added"`
		} `json:"summary"` // since restic 0.17
	}
	if err := json.Unmarshal(said.Bytes(), &listed); err != nil {
		return nil, fmt.Errorf("repository %s: what restic says of its snapshots: %w", r.Name, err)
	}
	for _, l := range listed {
		for _, t := range l.Tags {
			if of, ok := strings.CutPrefix(t, tag("")); ok && nameForm.MatchString(of) && (app == "" || of == app) {
				all = append(all, Snapshot{ID: l.ID, App: of, Host: printable(l.Host), Made: l.Time, Size: l.Summary.Size, New: l.Summary.Added})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Snapshot) int { return b.Made.Compare(a.Made) })
	return all, nil
}

// printable is a name that may come from anybody: a terminal would obey what is in it.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, name[:min(len(name), 255)])
}

// Find gives a snapshot of an application by the beginning of its id. Where id is empty, it is
// the newest of this node's, or of the only node that has made any.
func (r *Repository) Find(ctx context.Context, app, id string) (s Snapshot, err error) {
	all, err := r.Snapshots(ctx, app)
	if err != nil {
		return s, err
	}
	if id == "" {
		return r.newest(app, all)
	}
	found := slices.DeleteFunc(all, func(s Snapshot) bool { return !strings.HasPrefix(s.ID, id) })
	switch len(found) {
	case 0:
		return s, fmt.Errorf("%w: repository %s has no snapshot %s of %s", ErrNoSnapshot, r.Name, id, app)
	case 1:
		return found[0], nil
	}
	return s, fmt.Errorf("%w: %s begins the ids of %d snapshots of %s", ErrNoSnapshot, id, len(found), app)
}

// newest is the first of snapshots of an application that count, of which the newest is the
// first. One that is dated ahead counts only where all are.
func (r *Repository) newest(app string, all []Snapshot) (s Snapshot, err error) {
	now := time.Now()
	last := map[string]Snapshot{} // by node
	for _, s := range all {
		if l, ok := last[s.Host]; !ok || Ahead(l.Made, now) && !Ahead(s.Made, now) {
			last[s.Host] = s
		}
	}
	s, own := last[r.host]
	switch {
	case own:
		return s, nil
	case len(last) == 0:
		return s, fmt.Errorf("%w: repository %s has no snapshot of %s", ErrNoSnapshot, r.Name, app)
	case len(last) > 1:
		var each []string
		for _, host := range slices.Sorted(maps.Keys(last)) {
			each = append(each, fmt.Sprintf("%.8s of %s", last[host].ID, host))
		}
		return s, fmt.Errorf("%w: repository %s has snapshots of %s by several nodes, and none by this one; name the one that you mean; the newest are %s", ErrNoSnapshot, r.Name, app, strings.Join(each, ", "))
	}
	return all[slices.IndexFunc(all, func(a Snapshot) bool { return a.ID == last[a.Host].ID })], nil
}

// ErrNoSnapshot is wrapped where a snapshot is not there.
var ErrNoSnapshot = errors.New("no such snapshot")

// Dump gives a file of a snapshot, of at most limit bytes.
func (r *Repository) Dump(ctx context.Context, s Snapshot, file string, limit int) ([]byte, error) {
	r.working.RLock()
	defer r.working.RUnlock()
	ctx, end := context.WithCancel(ctx)
	defer end()
	var said bytes.Buffer
	err := r.run(ctx, "", func(line []byte) {
		if said.Len() > limit {
			return
		}
		if reply(&said)(line); said.Len() > limit {
			end() // it need not end by itself
		}
	}, "dump", "--no-lock", s.ID, "/"+file)
	if said.Len() > limit {
		return nil, fmt.Errorf("repository %s: %s of snapshot %.8s is larger than %d bytes", r.Name, file, s.ID, limit)
	}
	return said.Bytes(), err
}

// Restore puts what is in a snapshot into dir, which is made, but for files that are left
// out. What cannot be restored as it was is an error.
func (r *Repository) Restore(ctx context.Context, s Snapshot, dir string, except []string, progress Progress) error {
	r.working.RLock()
	defer r.working.RUnlock()
	args := []string{"restore", "--no-lock", s.ID, "--target", dir}
	for _, name := range except {
		args = append(args, "--exclude", "/"+name)
	}
	return r.run(ctx, "", func(line []byte) {
		var m struct {
			Type string  `json:"message_type"`
			Done float64 `json:"percent_done"`
		}
		if json.Unmarshal(line, &m); m.Type == "status" && progress != nil {
			progress(m.Done) // since restic 0.16
		}
	}, args...)
}

// Keep is how many snapshots of an application stay: the newest of each of so many hours,
// days, weeks and months that have any.
type Keep struct {
	Last    int `json:"last,omitempty"`
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
}

// flags are Keep in restic's words.
func (k Keep) flags() (flags []string) {
	for name, n := range map[string]int{"last": k.Last, "daily": k.Daily, "weekly": k.Weekly, "monthly": k.Monthly} {
		if n > 0 {
			flags = append(flags, fmt.Sprintf("--keep-%s=%d", name, n))
		}
	}
	slices.Sort(flags)
	return flags
}

// beside are Keep with as many more as there are snapshots that take no place.
func (k Keep) beside(ahead int) Keep {
	for _, n := range []*int{&k.Last, &k.Daily, &k.Weekly, &k.Monthly} {
		if *n > 0 {
			*n += ahead
		}
	}
	return k
}

// Forget forgets this node's snapshots of an application that are not to be kept. What they
// alone refer to stays until Prune. Those that are dated ahead, by a clock that was wrong,
// would be the newest for restic, and today's would go in their place: they stay, and take
// none.
func (r *Repository) Forget(ctx context.Context, app string, k Keep) error {
	if k == (Keep{}) {
		return nil // restic would refuse; nothing is to be forgotten
	}
	r.working.Lock()
	defer r.working.Unlock()
	all, err := r.snapshots(ctx, app)
	if err != nil {
		return err
	}
	ahead, now := 0, time.Now()
	for _, s := range all {
		if r.Own(s) && s.Made.After(now) {
			ahead++
		}
	}
	return r.run(ctx, "", nil, append([]string{"forget", "--host", r.host, "--tag", tag(app), "--group-by", "host,tags"}, k.beside(ahead).flags()...)...)
}

// Prune deletes what no snapshot refers to, and nothing but a reading that was cut off.
func (r *Repository) Prune(ctx context.Context) error {
	r.working.Lock()
	defer r.working.Unlock()
	if err := r.Ready(ctx); err != nil {
		return err
	}
	if err := r.forgetReadings(ctx); err != nil {
		return err
	}
	return r.run(ctx, "", nil, "prune")
}

// Check looks whether the repository is whole, and reads a part of its data, part of parts,
// whose digests must be right: after as many checks as there are parts, all has been read.
func (r *Repository) Check(ctx context.Context, part, parts int) error {
	r.working.Lock()
	defer r.working.Unlock()
	if err := r.Ready(ctx); err != nil {
		return err
	}
	check := func() error {
		err := r.run(ctx, "", nil, "check", fmt.Sprintf("--read-data-subset=%d/%d", part, parts))
		if err != nil && !errors.Is(err, ErrNone) && !errors.Is(err, ErrKey) && !errors.Is(err, ErrLocked) && ctx.Err() == nil && strings.Contains(err.Error(), "contains errors") {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return err
	}
	err := check()
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	// What restic could not fetch is damaged for it, too. It is only if the repository still
	// answers, and a second look says the same.
	if err := r.Ready(ctx); err != nil {
		return err
	}
	return check()
}

// quoted is a value as a shell reads it.
func quoted(value string) string { return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'" }

// unquoted is a value that was quoted.
func unquoted(value string) string {
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(value, "'"), "'"), `'\''`, "'")
}

// environment is a file of variables for a shell to read.
func environment(values map[string]string) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&b, "%s=%s\n", name, quoted(values[name]))
	}
	return b.Bytes()
}
