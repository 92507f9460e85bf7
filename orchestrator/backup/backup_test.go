package backup_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/drill"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// pair is an application of two members, of which one has data and a secret.
func pair() *manifest.Manifest {
	image := manifest.Image{Ref: "localhost:5000/pair", Digest: "sha256:" + strings.Repeat("0", 64)}
	return &manifest.Manifest{APIVersion: manifest.APIVersion, ID: "pair", Name: "Pair", Version: "1",
		Secrets: []manifest.GeneratedSecret{{Name: "password"}}, Canary: &manifest.Canary{Exec: &manifest.ExecCanary{Container: "pair", Write: []string{"put", "{{canary}}"}, Read: []string{"get"}}},
		Containers: []manifest.Container{
			{Name: "pair", Image: image, DependsOn: []manifest.Dependency{{Container: "pair-db"}}},
			{Name: "pair-db", Image: image, Volumes: []manifest.Volume{{Name: "db", Path: "/data"}}, Secrets: []manifest.SecretMount{{Name: "password", Path: "/run/password"}}},
		}}
}

// node is an engine in memory, and a loop that starts what is wanted as soon as
// nobody holds it.
type node struct {
	*operation.Tracker
	store *state.Store
	data  string // directory of applications' data

	mu      sync.Mutex
	calls   []string
	fail    map[string]error  // by method
	kill    string            // a call after which the daemon is killed
	absent  map[string]string // by directory: which disk is not there
	copied  func()            // called while the volumes are copied
	renews  func()            // called before what has changed is marked
	size    int64             // of volumes that are to be read in place
	changed int64             // of what has changed of that
	copies  func([]string)    // called with their directories
	up      bool
	broken  bool // it does not come up any more

	restored []state.Desired
	admit    error

	drilled  []drill.Source // what was to be started from a backup
	drilling func(context.Context, drill.Source) (seen string, err error)
	tidied   int
	watches  atomic.Int32           // how often an application was looked at
	unpacks  func(dir string) error // what a backup's volumes hold; nil: the volume db
}

func (n *node) do(call string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, call)
	if call == n.kill {
		panic(errKilled)
	}
	method, _, _ := strings.Cut(call, " ")
	return n.fail[method]
}

var errKilled = errors.New("killed")

func (n *node) StopUnit(_ context.Context, unit string) error {
	n.mu.Lock()
	n.up = false
	n.mu.Unlock()
	return n.do("stop " + unit)
}

func (n *node) CopyVolumes(_ context.Context, dirs []string, dir string) error {
	if n.copied != nil {
		n.copied()
	}
	if n.copies != nil {
		n.copies(dirs)
	}
	for i := range dirs {
		dirs[i] = filepath.Base(dirs[i])
	}
	return n.do("copy " + strings.Join(dirs, " ") + " to " + filepath.Base(dir))
}

func (n *node) InPlace(context.Context, []string, string) (int64, error) { return n.size, nil }

// Renew does what the engine's script does; see TestWhatHasChangedIsReadAgain in the engine.
func (n *node) Renew(_ context.Context, dirs []string, since time.Time) (int64, error) {
	if n.renews != nil {
		n.renews()
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			info, err := e.Info()
			if err != nil || time.Unix(info.Sys().(*syscall.Stat_t).Ctim.Unix()).Before(since) {
				return err
			}
			return os.Chmod(file, info.Mode())
		})
		if err != nil {
			return 0, err
		}
	}
	return n.changed, n.do("renew")
}

func (n *node) Archive(_ context.Context, _, file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, "the volumes")
	return errors.Join(err, f.Close(), n.do("archive"))
}

func (n *node) Extract(_ context.Context, file, dir string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if n.unpacks != nil {
		err = n.unpacks(dir)
	} else {
		err = os.MkdirAll(filepath.Join(dir, "db"), 0o700)
	}
	if err != nil {
		return err
	}
	return n.do("extract " + string(b))
}

func (n *node) PutBack(_ context.Context, _, home string) error {
	return n.do("put-back " + filepath.Base(home))
}

func (n *node) DeleteTree(_ context.Context, dir string) error {
	return n.do("delete " + filepath.Base(dir))
}

func (n *node) Hold(ctx context.Context, app, why string) (func(), error) {
	release, err := n.Tracker.Hold(ctx, app, why)
	if err != nil {
		return nil, err
	}
	return func() { release(); n.pass(app) }, nil
}

// pass starts what is wanted, where nothing else is under way.
func (n *node) pass(app string) {
	d, err := n.store.Get(app)
	if err != nil || d.Goal != state.Running || n.broken {
		return
	}
	if turn := n.TryBegin(operation.Proposal{App: app, Turns: n.Status(app).Turns, Generation: d.Generation, Actions: true}); turn.Begin {
		n.mu.Lock()
		n.up = true
		n.calls = append(n.calls, "start")
		n.mu.Unlock()
		n.Done(app, d.Generation, false)
	}
}

func (n *node) Watch(app string) (v view.View, busy bool, changed <-chan struct{}, err error) {
	n.watches.Add(1)
	op, changed := n.Tracker.Watch(app)
	d, err := n.store.Get(app)
	v.Goal, v.State, v.Error = d.Goal, view.Starting, op.Error
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case d.Goal == state.Stopped:
		v.State = view.Down
	case op.Error != "":
		v.State = view.Failed
	case n.up:
		v.State = view.Up
	}
	return v, op.Busy, changed, err
}

func (n *node) Filled(m *manifest.Manifest, config map[string]string) (*manifest.Manifest, string, error) {
	filled, err := m.With(config, manifest.Node{})
	return filled, "box.local", err
}

func (n *node) Run(ctx context.Context, s drill.Source, _ func(string)) (string, error) {
	n.drilled = append(n.drilled, s)
	if n.drilling != nil {
		return n.drilling(ctx, s)
	}
	return "it runs", nil
}

func (n *node) Tidy(context.Context) error { n.tidied++; return nil }

func (n *node) Absent(dir string) string { return n.absent[dir] }

func (n *node) Found(string) {}

func (n *node) Admit(state.Desired, []string) error { return n.admit }

func (n *node) Restore(d state.Desired, _ []string) (uint64, error) {
	n.restored = append(n.restored, d)
	return 7, n.do("restore")
}

// accept has the owner ask for a goal.
func (n *node) accept(t *testing.T, goal state.Goal, changes ...func(*state.Desired)) {
	t.Helper()
	d := state.Desired{App: "pair", Goal: goal, Manifest: pair()}
	for _, change := range changes {
		change(&d)
	}
	out, err := n.store.Accept([]state.Desired{d})
	if err != nil {
		t.Fatal(err)
	}
	n.Accepted("pair", out[0].Generation)
}

func (n *node) seen() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.calls, ", ")
}

// manager is one over a node on which nothing is installed.
func manager(t *testing.T) (*backup.Manager, *node) {
	t.Helper()
	dir := t.TempDir()
	store, err := state.Open(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(filepath.Join(dir, "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Tracker: operation.New(), store: store, data: filepath.Join(dir, "data"), fail: map[string]error{}}
	snapshots := filepath.Join(dir, "snapshots")
	if err := os.Mkdir(snapshots, 0o700); err != nil {
		t.Fatal(err)
	}
	return &backup.Manager{Engine: n, Node: n, Store: store, Secrets: sec, DataDir: filepath.Join(dir, "data"), Snapshots: snapshots, Drills: n, Log: slog.New(slog.DiscardHandler)}, n
}

// running is one over a node on which the pair runs.
func running(t *testing.T) (*backup.Manager, *node) {
	t.Helper()
	m, n := manager(t)
	n.accept(t, state.Running)
	n.up = true
	if err := n.store.PutData(state.Data{App: "pair", Version: "1", Volumes: []string{"db"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Secrets.Ensure(pair(), false); err != nil {
		t.Fatal(err)
	}
	return m, n
}

// owner is who can read the backups of a test.
var owner = sync.OnceValue(func() *age.X25519Identity {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		panic(err)
	}
	return id
})

func write(t *testing.T, m *backup.Manager, w io.Writer) error {
	t.Helper()
	return m.Write(t.Context(), "pair", []age.Recipient{owner().Recipient()}, "owner", w)
}

// unsealed is what the owner finds in a backup, of which nothing is in the clear.
func unsealed(t *testing.T, file []byte) *zip.Reader {
	t.Helper()
	plain, size, err := age.DecryptReaderAt(bytes.NewReader(file), int64(len(file)), owner())
	if err != nil {
		t.Fatal("the file as a whole is not encrypted to its owner: ", err)
	}
	z, err := zip.NewReader(plain, size)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// header reads what a backup is of.
func header(t *testing.T, file []byte) (b backup.Backup) {
	t.Helper()
	c, err := archive.Open(unsealed(t, file))
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := io.ReadAll(c.Volumes)
	if err != nil || string(volumes) != "the volumes" {
		t.Errorf("volumes %q, %v", volumes, err)
	}
	if err := json.Unmarshal(c.Header, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

const stopped = "stop pair.service, stop pair-db.service, copy db to pair.backup"

func TestBackupOfWhatRuns(t *testing.T) {
	m, n := running(t)
	var file bytes.Buffer
	if err := write(t, m, &file); err != nil {
		t.Fatal(err)
	}
	if got, want := n.seen(), stopped+", start, archive, delete pair.backup"; got != want {
		t.Errorf("%s\nexpected %s", got, want)
	}
	b := header(t, file.Bytes())
	if b.App != "pair" || b.Goal != state.Running || b.Manifest.Version != "1" || !slices.Equal(b.Data.Volumes, []string{"db"}) || b.Format != archive.Format {
		t.Errorf("%+v", b)
	}
	if turn := n.TryBegin(operation.Proposal{App: "pair", Turns: n.Status("pair").Turns, Generation: 1, Actions: true}); !turn.Begin {
		t.Errorf("it is held still: %+v", turn)
	}
}

func TestBackupOfWhatIsStopped(t *testing.T) {
	m, n := running(t)
	n.accept(t, state.Stopped)
	n.up = false
	var file bytes.Buffer
	if err := write(t, m, &file); err != nil {
		t.Fatal(err)
	}
	if b := header(t, file.Bytes()); b.Goal != state.Stopped {
		t.Errorf("%+v", b)
	}
	if strings.Contains(n.seen(), "start") {
		t.Errorf("it was started: %s", n.seen())
	}
}

// TestOwnersWordCountsWhileABackupWaits: the record is read once the backup holds the
// application, not when the backup was asked for.
func TestOwnersWordCountsWhileABackupWaits(t *testing.T) {
	for _, c := range []struct {
		goal state.Goal
		want error
	}{{state.Stopped, nil}, {state.Absent, request.ErrNotInstalled}} {
		t.Run(string(c.goal), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, n := running(t)
				begin := time.Now()
				n.TryBegin(operation.Proposal{App: "pair", Turns: n.Status("pair").Turns, Generation: 1, Actions: true})
				var file bytes.Buffer
				done := make(chan error, 1)
				go func() { done <- write(t, m, &file) }()
				synctest.Wait()
				if got := n.seen(); got != "" {
					t.Fatalf("before it is its turn: %s", got)
				}
				n.accept(t, c.goal)
				n.mu.Lock()
				n.up = false
				n.mu.Unlock()
				n.Done("pair", 2, false)
				if err := <-done; !errors.Is(err, c.want) {
					t.Fatalf("%v, expected %v", err, c.want)
				}
				if took := time.Since(begin); took > 0 {
					t.Errorf("it waited %s for what is not wanted running", took)
				}
				if c.want != nil {
					if got := n.seen(); got != "" || file.Len() > 0 {
						t.Errorf("not installed any more, and yet %s", got)
					}
					return
				}
				if b := header(t, file.Bytes()); b.Goal != state.Stopped {
					t.Errorf("the backup is of the goal before: %+v", b)
				}
				if strings.Contains(n.seen(), "start") {
					t.Errorf("it was started against its owner's word: %s", n.seen())
				}
			})
		})
	}
}

func TestOwnersWordCountsWhileVolumesAreCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := running(t)
		begin := time.Now()
		n.copied = func() { n.accept(t, state.Stopped) }
		if err := write(t, m, io.Discard); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 0 || strings.Contains(n.seen(), "start") {
			t.Errorf("after %s: %s", took, n.seen())
		}
	})
}

func TestBackupThatFailsLeavesTheApplicationToBeStarted(t *testing.T) {
	for method, want := range map[string]string{
		"stop":    "stop pair.service, start",
		"copy":    stopped + ", start",
		"archive": stopped + ", start, archive, delete pair.backup",
		"delete":  stopped + ", start, archive, delete pair.backup",
	} {
		t.Run(method, func(t *testing.T) {
			m, n := running(t)
			planted := errors.New("planted")
			n.fail[method] = planted
			if err := write(t, m, io.Discard); !errors.Is(err, planted) {
				t.Errorf("%v", err)
			}
			if got := n.seen(); got != want || !n.up {
				t.Errorf("%s\nexpected %s", got, want)
			}
		})
	}
}

func TestBackupSaysWhenTheApplicationDoesNotComeUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := running(t)
		n.broken = true
		begin := time.Now()
		err := write(t, m, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "pair did not come up again within its budget of 1m0s") || time.Since(begin) != time.Minute {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
	})
	m, n := running(t)
	n.broken = true
	n.Fail("pair", 1, "no such image", false)
	if err := write(t, m, io.Discard); err == nil || !strings.Contains(err.Error(), "did not come up again: no such image") {
		t.Error(err)
	}
}

func TestBackupIsRefused(t *testing.T) {
	m, _ := manager(t)
	if err := write(t, m, io.Discard); !errors.Is(err, request.ErrNotInstalled) {
		t.Errorf("not installed: %v", err)
	}
	m, n := running(t)
	if err := m.Write(t.Context(), "pair", nil, "owner", io.Discard); err == nil {
		t.Error("nobody can decrypt it")
	}
	for name, change := range map[string]func(*state.Desired){
		"being updated": func(d *state.Desired) { d.Update = &state.Update{To: pair(), Phase: state.Staged} },
		"adopted":       func(d *state.Desired) { d.Adopted = map[string]string{"pair": "old"} },
	} {
		n.accept(t, state.Running, change)
		if err := write(t, m, io.Discard); !errors.Is(err, operation.ErrBusy) {
			t.Errorf("%s: %v", name, err)
		}
	}
	n.accept(t, state.Running)
	if _, err := n.Tracker.Hold(t.Context(), "pair", "another backup is being made"); err != nil {
		t.Fatal(err)
	}
	if err := write(t, m, io.Discard); !errors.Is(err, operation.ErrBusy) || !strings.Contains(err.Error(), "another backup is being made") {
		t.Errorf("held: %v", err)
	}
	if got := n.seen(); strings.Contains(got, "stop") || strings.Contains(got, "copy") {
		t.Errorf("refused, and yet %s", got)
	}
}

// TestBackupsOfOneApplicationDoNotOverlap: both would be read from one copy, which the second
// one makes anew.
func TestBackupsOfOneApplicationDoNotOverlap(t *testing.T) {
	m, n := running(t)
	first := &reader{begun: make(chan struct{}), proceed: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- write(t, m, first) }()
	<-first.begun
	if got := m.Under("pair"); got != backup.Making {
		t.Errorf("under way: %q", got)
	}
	before := n.seen()
	if err := write(t, m, io.Discard); !errors.Is(err, operation.ErrBusy) || !strings.Contains(err.Error(), "pair: a backup of it is being made") {
		t.Errorf("the second one: %v", err)
	}
	if _, err := restore(t, m, whole()); !errors.Is(err, operation.ErrBusy) {
		t.Errorf("a restore: %v", err)
	}
	if got := n.seen(); got != before {
		t.Errorf("refused, and yet %s", strings.TrimPrefix(got, before))
	}
	close(first.proceed)
	if err := <-done; err != nil {
		t.Errorf("the first one: %v", err)
	}
	if header(t, first.file.Bytes()); m.Under("pair") != "" {
		t.Error("it has ended, and is under way still")
	}
	if err := write(t, m, io.Discard); err != nil {
		t.Errorf("one after the other: %v", err)
	}
}

// reader takes a backup, once it is told to go on.
type reader struct {
	begun, proceed chan struct{}
	once           sync.Once
	file           bytes.Buffer
}

func (r *reader) Write(b []byte) (int, error) {
	r.once.Do(func() { close(r.begun); <-r.proceed })
	return r.file.Write(b)
}
