package orchestrator

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/sequence"
	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// sequences is how many random lives an application has in TestTheOwnersDataIsNeverLost. More
// are had with SEQUENCES=500, and one again with SEQUENCE=its number.
const sequences = 20

// inMemory is a directory for a test that cuts no real power, and need not wait for a disk.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "archipelago-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// disks is a host whose volumes are on this machine's disk. What it does with them it does as
// the engine's scripts do, step by step: power may be cut between any two.
type disks struct{ *fakeHost }

func (d disks) step() error { return d.do("step", nil) }

func (d disks) CopyVolumes(_ context.Context, dirs []string, dir string) error {
	if err := d.do("copy", nil); err != nil {
		return err
	}
	err := errors.Join(os.RemoveAll(dir), os.RemoveAll(dir+".new"), os.RemoveAll(dir+".old"), os.MkdirAll(dir+".new", 0o700), d.step())
	for _, from := range dirs {
		if err == nil {
			err = errors.Join(os.CopyFS(filepath.Join(dir+".new", filepath.Base(from)), os.DirFS(from)), d.step())
		}
	}
	if err != nil {
		return err
	}
	return os.Rename(dir+".new", dir)
}

// fill has a directory hold what another one does.
func (d disks) fill(dir, from string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err = errors.Join(err, d.step()); err != nil {
		return err
	}
	return errors.Join(os.CopyFS(dir, os.DirFS(from)), d.step())
}

func (d disks) PutBack(_ context.Context, dir, home string) error {
	if err := d.do("put-back", nil); err != nil {
		return err
	}
	copies, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := errors.Join(err, os.MkdirAll(dir+".old", 0o700), os.MkdirAll(home, 0o700), d.step()); err != nil {
		return err
	}
	for _, c := range copies {
		from, to, old := filepath.Join(dir, c.Name()), filepath.Join(home, c.Name()), filepath.Join(dir+".old", c.Name())
		if err := os.RemoveAll(old); err != nil {
			return err
		}
		if there(to) {
			if err := errors.Join(os.Rename(to, old), d.step()); err != nil {
				return err
			}
		}
		if err := errors.Join(os.Rename(from, to), d.step()); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(dir), d.step(), os.RemoveAll(dir+".old"))
}

func (d disks) Refill(_ context.Context, from, dir string) error {
	if err := d.do("refill", nil); err != nil || !there(from) {
		return err
	}
	if err := d.fill(dir, from); err != nil {
		return err
	}
	old := filepath.Join(filepath.Dir(from)+".old", filepath.Base(from))
	return errors.Join(os.MkdirAll(filepath.Dir(old), 0o700), os.RemoveAll(old), os.Rename(from, old))
}

func (d disks) BeginExchange(_ context.Context, _ []string, _, to string) error {
	if err := d.do("begin-exchange", nil); err != nil { // all of them can be moved
		return err
	}
	return errors.Join(os.RemoveAll(to), os.RemoveAll(to+".swap"), os.MkdirAll(to+".swap", 0o700), d.step())
}

func (d disks) Exchange(ctx context.Context, dirs []string, from, to string) error {
	if err := d.do("exchange", nil); err != nil {
		return err
	}
	swap := to + ".swap"
	switch {
	case there(from) && !there(swap):
		if err := d.BeginExchange(ctx, dirs, from, to); err != nil {
			return err
		}
	case !there(from) && !there(swap) && !there(to):
		return errors.New(from + " is gone")
	}
	if there(from) && !there(swap+"/.away") {
		for _, dir := range dirs {
			if into := filepath.Join(swap, filepath.Base(dir)); there(dir) && !there(into) {
				if err := errors.Join(os.Rename(dir, into), d.step()); err != nil {
					return err
				}
			}
		}
		if err := errors.Join(os.Mkdir(swap+"/.away", 0o700), d.step()); err != nil {
			return err
		}
	}
	if there(from) {
		for _, dir := range dirs {
			if of := filepath.Join(from, filepath.Base(dir)); there(of) {
				if err := errors.Join(os.Rename(of, dir), d.step()); err != nil {
					return err
				}
			}
		}
		if err := errors.Join(os.Remove(from), d.step()); err != nil {
			return err
		}
	}
	if !there(swap) {
		return nil
	}
	return errors.Join(os.RemoveAll(swap+"/.away"), d.step(), os.RemoveAll(to), os.Rename(swap, to), d.step())
}

func (d disks) CopyTo(_ context.Context, from, to string) error {
	if err := d.do("copy-to", nil); err != nil {
		return err
	}
	if there(to) {
		return errors.New(to + " is there already")
	}
	if err := errors.Join(os.RemoveAll(to+incomplete), os.MkdirAll(to+incomplete, 0o700), d.step()); err != nil {
		return err
	}
	if err := errors.Join(os.CopyFS(to+incomplete, os.DirFS(from)), d.step()); err != nil {
		return err
	}
	return errors.Join(os.Rename(to+incomplete, to), d.step())
}

func (d disks) DeleteTree(_ context.Context, dir string) error {
	if err := d.do("delete", nil); err != nil {
		return err
	}
	os.Remove(filepath.Join(dir, "db", "file")) // half of it
	return errors.Join(d.step(), os.RemoveAll(dir))
}

func (d disks) Archive(_ context.Context, dir, file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	return errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), f.Close(), d.do("archive", nil))
}

func (d disks) Extract(_ context.Context, file, dir string) error {
	if err := errors.Join(d.do("extract", nil), os.RemoveAll(dir)); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return d.step()
		}
		if err != nil {
			return err
		}
		b, err := io.ReadAll(r)
		name := filepath.Join(dir, h.Name)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, b, 0o600), d.step()); err != nil {
			return err
		}
	}
}

// lived is a node in memory that an application lives on, with its data on this machine's disk.
type lived struct {
	t   *testing.T
	dir string
	h   *fakeHost
	r   *Reconciler
	end func() // of the daemon

	catalog *document.Document // followed; nil for none
	serial  int64
	bad     map[string]bool // versions that do not start, and spoil the data
}

func (l *lived) manifest(version string) *manifest.Manifest {
	m, err := manifest.Parse("pair", fmt.Appendf(nil, `
apiVersion: archipelago/v1
id: pair
name: Pair
version: %q
containers:
  - name: pair
    image: {ref: localhost:5000/pair, digest: "sha256:%s"}
    volumes: [{name: db, path: /data}]
canary: {exec: {container: pair, write: [put, "{{canary}}"], read: [get]}}
`, version, strings.Repeat("0", 64)))
	if err != nil {
		l.t.Fatal(err)
	}
	return m
}

// begin starts a daemon on what is on the disk.
func (l *lived) begin() {
	store, err := state.Open(l.dir + "/state")
	if err != nil {
		l.t.Fatal(err)
	}
	sec, err := secrets.Open(l.dir + "/secrets")
	if err != nil {
		l.t.Fatal(err)
	}
	disk := catalog.Catalog{"pair": {Manifest: l.manifest(sequence.OnDisk), Source: catalog.Source{From: catalog.FromDisk}}}
	l.r = New(disks{l.h}, store, sec, disk, l.dir+"/data", slog.New(slog.NewTextHandler(io.Discard, nil)))
	l.r.space, l.r.backups.Space = l.h.space, l.h.space
	l.r.place = func(_, dir, _ string) (string, error) { return dir, nil }
	l.r.SetCatalog(l.catalog)
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.r.Run(ctx) }()
	l.end = func() { cancel(); <-done }
}

// CutAt counts calls of the daemon to the node.
func (l *lived) CutAt(moment int) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.h.cut = moment
}

func (l *lived) Cut() {
	l.h.set(errCut)
	l.end()
	l.h.mu.Lock()
	l.h.cut, l.h.down = 0, nil
	l.h.obs.Containers, l.h.obs.Units = map[string]host.Container{}, map[string]host.Unit{}
	l.h.mu.Unlock()
	l.begin()
}

// spoiled has a version that is bad, if a unit is of one, spoil the data that it has.
func (l *lived) spoiled(unit string) bool {
	for version, bad := range l.bad {
		if bad && strings.Contains(unit, " of pair "+version+";") {
			_, dir, _ := strings.Cut(unit, "\nVolume=")
			dir, _, _ = strings.Cut(dir, ":")
			os.WriteFile(dir+"/file", []byte("spoiled by "+version), 0o600)
			return true
		}
	}
	return false
}

func (l *lived) inForce() string { return l.r.store.Data("pair").Dir(l.r.dataDir, "pair", "db") }

func (l *lived) Offer(version string, bad bool, revoked ...string) {
	l.serial++
	d := &document.Document{Schema: document.Schema, Channel: "feature", Serial: l.serial, Created: time.Now(), Expires: time.Now().Add(10000 * time.Hour)}
	if version != "" {
		l.bad[version] = bad
		e, err := document.NewEntry(l.manifest(version), "test", "")
		if err != nil {
			l.t.Fatal(err)
		}
		d.Entries = append(d.Entries, e)
	}
	for _, v := range revoked {
		d.Revoked = append(d.Revoked, document.Revocation{ID: "pair", Version: v, Reason: "it leaks", Since: time.Now()})
	}
	l.catalog = d
	l.r.SetCatalog(d)
}

func (l *lived) Unfollow() {
	l.catalog = nil
	l.r.SetCatalog(nil)
}

func (l *lived) request(q request.Request) error {
	q.App, q.Who = "pair", "owner"
	_, err := l.r.Request(q)
	return err
}

func (l *lived) Install() error { return l.request(request.Request{Verb: request.Install}) }
func (l *lived) Update() error  { return l.request(request.Request{Verb: request.Update}) }
func (l *lived) Rollback() error {
	return l.request(request.Request{Verb: request.Rollback})
}
func (l *lived) Uninstall(purge bool) error {
	return l.request(request.Request{Verb: request.Uninstall, Purge: purge})
}

func (l *lived) Move(disk int) error {
	to := ""
	if disk > 0 {
		to = fmt.Sprintf("%s/disk%d", l.dir, disk)
	}
	_, err := l.r.MoveVolume(l.t.Context(), "pair", "db", to, "owner", func(string) {})
	return err
}

func (l *lived) BackUp() (string, error) {
	id, err := age.GenerateX25519Identity()
	if err == nil {
		err = l.r.Backups().Write(l.t.Context(), "pair", []age.Recipient{id.Recipient()}, "owner", io.Discard)
	}
	return "", err
}

func (l *lived) Restore(made sequence.Backup) error {
	var volumes bytes.Buffer
	w := tar.NewWriter(&volumes)
	err := errors.Join(w.WriteHeader(&tar.Header{Name: "db/file", Mode: 0o600, Size: int64(len(made.Content)), Typeflag: tar.TypeReg}))
	_, wrote := io.WriteString(w, made.Content)
	if err := errors.Join(err, wrote, w.Close()); err != nil {
		l.t.Fatal(err)
	}
	sum := sha256.Sum256(volumes.Bytes())
	b := backup.Backup{Format: archive.Format, App: "pair", Goal: state.Running, Manifest: l.manifest(made.Version), Source: "catalog feature 1",
		Data:    state.Data{App: "pair", Version: made.Version, Volumes: []string{"db"}},
		Consent: made.Consent()}
	_, err = l.r.Backups().Restore(l.t.Context(), b, nil, &volumes, hex.EncodeToString(sum[:]), "owner")
	return err
}

func (l *lived) Refused(err error) bool { return errors.Is(err, request.ErrRefused) }

func (l *lived) Write(content string) error {
	return os.WriteFile(l.inForce()+"/file", []byte(content), 0o600)
}

func (l *lived) Remove(dir string) { os.RemoveAll(dir) }

func (l *lived) isDown() bool {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	return l.h.down != nil
}

func (l *lived) Settled(well func() []string) []string {
	synctest.Wait()
	if l.isDown() {
		l.Cut()
	}
	time.Sleep(20 * time.Minute)
	synctest.Wait()
	down := l.isDown()
	l.CutAt(0)
	if down {
		l.Cut()
		time.Sleep(20 * time.Minute)
		synctest.Wait()
	}
	return well()
}

func (l *lived) Look() (f sequence.Found) {
	if m := l.r.moves(); !m.OK {
		p := l.r.store.Data("pair").Places["db"]
		if p.To == "" || p.To == l.inForce() || p.Left != "" {
			f.Wrong = append(f.Wrong, fmt.Sprintf("left of a move: %+v, %+v", m, p))
		} else {
			f.Spare = p.To
		}
	}
	for _, left := range []host.Finding{l.r.leftovers(), l.r.restorations()} {
		if !left.OK {
			f.Wrong = append(f.Wrong, fmt.Sprintf("%+v", left))
		}
	}
	v, err := l.r.App("pair")
	f.Installed, f.Going = err == nil && v.Goal == state.Running, err == nil && v.Goal != ""
	f.Said = fmt.Sprintf("%s, %s: %s, %v", v.Goal, v.State, v.Error, err)
	if f.Installed {
		f.Up, f.Version = v.State == view.Up, v.Manifest.Version
	}
	f.InForce = l.inForce()
	for _, dir := range []string{"/data/pair/db", "/disk1/pair/db", "/disk2/pair/db"} {
		b, err := os.ReadFile(l.dir + dir + "/file")
		f.Places = append(f.Places, sequence.Place{Dir: l.dir + dir, There: there(l.dir + dir), Written: !os.IsNotExist(err), Content: string(b)})
	}
	return f
}

// TestTheOwnersDataIsNeverLost has an application live through random sequences of what can
// happen to it, power cuts at any step among it: its data and its version are those that its
// owner must expect, in one place, and nothing else is left. gate/faults does the same to real
// nodes.
func TestTheOwnersDataIsNeverLost(t *testing.T) {
	from, to := 0, sequences
	if n, err := strconv.Atoi(os.Getenv("SEQUENCES")); err == nil {
		to = n
	}
	if n, err := strconv.Atoi(os.Getenv("SEQUENCE")); err == nil {
		from, to = n, n+1
	}
	for n := from; n < to && !t.Failed(); n++ {
		synctest.Test(t, func(t *testing.T) {
			l := &lived{t: t, dir: inMemory(t), h: empty(), bad: map[string]bool{}}
			for _, disk := range []string{"/disk1", "/disk2"} {
				if err := os.Mkdir(l.dir+disk, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			l.h.spoils = l.spoiled
			l.begin()
			s := sequence.New(uint64(n), l)
			for range 14 {
				if wrong := s.Step(); len(wrong) > 0 {
					t.Errorf("sequence %d: %s\n%s", n, strings.Join(wrong, "; "), strings.Join(s.Said, "\n"))
				}
				if t.Failed() {
					break
				}
			}
			l.end()
		})
	}
}
