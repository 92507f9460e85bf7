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
	"math/rand/v2"
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

// life is an application's on a node: what its owner asks for, and what they must find.
type life struct {
	t    *testing.T
	rng  *rand.Rand
	dir  string
	h    *fakeHost
	r    *Reconciler
	end  func() // of the daemon
	said []string

	catalog   *document.Document // followed; nil for none
	serial    int64
	newest    int             // version that the catalog has had
	bad       map[string]bool // versions that do not start, and spoil the data
	installed bool
	version   string
	content   string // of the data; empty: there is none
	writes    int
	kept      []string // contents of backups, by the version that made them
	made      []string
}

func (l *life) say(format string, args ...any) { l.said = append(l.said, fmt.Sprintf(format, args...)) }

func (l *life) manifest(version string) *manifest.Manifest {
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
func (l *life) begin() {
	store, err := state.Open(l.dir + "/state")
	if err != nil {
		l.t.Fatal(err)
	}
	sec, err := secrets.Open(l.dir + "/secrets")
	if err != nil {
		l.t.Fatal(err)
	}
	disk := catalog.Catalog{"pair": {Manifest: l.manifest("0.1"), Source: catalog.Source{From: catalog.FromDisk}}}
	l.r = New(disks{l.h}, store, sec, disk, l.dir+"/data", slog.New(slog.NewTextHandler(io.Discard, nil)))
	l.r.place = func(_, dir, _ string) (string, error) { return dir, nil }
	l.r.SetCatalog(l.catalog)
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.r.Run(ctx) }()
	l.end = func() { cancel(); <-done }
}

// cut has the power be cut, and come back.
func (l *life) cut() {
	l.h.set(errCut)
	l.end()
	l.h.mu.Lock()
	l.h.cut, l.h.down = 0, nil
	l.h.obs.Containers, l.h.obs.Units = map[string]host.Container{}, map[string]host.Unit{}
	l.h.mu.Unlock()
	l.begin()
}

func (l *life) places() (all []string) {
	for _, dir := range []string{"/data/pair/db", "/disk1/pair/db", "/disk2/pair/db"} {
		all = append(all, l.dir+dir)
	}
	return all
}

func (l *life) inForce() string { return l.r.store.Data("pair").Dir(l.r.dataDir, "pair", "db") }

// publish has the catalog hold a version, or none of the application.
func (l *life) publish(version string, revoked ...string) {
	l.serial++
	d := &document.Document{Schema: document.Schema, Channel: "feature", Serial: l.serial, Created: time.Now(), Expires: time.Now().Add(10000 * time.Hour)}
	if version != "" {
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

// request asks for something, and says whether it was accepted: then it is to be so.
func (l *life) request(q request.Request) bool {
	q.App, q.Who = "pair", "owner"
	_, err := l.r.Request(q)
	l.say("%s %v: %v", q.Verb, q.Purge, err)
	return err == nil
}

// offered is the version that an installation takes.
func (l *life) offered() string {
	e, err := l.r.Offer().Entry("pair", time.Now())
	if err != nil {
		return ""
	}
	return e.Manifest.Version
}

// next does something, and says in the model what must come of it.
func (l *life) next() {
	can := []func(){l.install, l.install, l.install, l.install, l.restore, l.restore, l.restore, l.purge, l.newer, l.newer, l.lose}
	if l.installed {
		can = []func(){l.update, l.update, l.update, l.update, l.update, l.move, l.move, l.move, l.move, l.backUp, l.backUp, l.uninstall, l.purge, l.newer, l.lose, l.revoke, l.restore, l.install}
	}
	do := can[l.rng.IntN(len(can))]
	if l.rng.IntN(2) == 0 {
		calls := 1 + l.rng.IntN(20)
		l.say("power is cut after %d calls", calls)
		l.h.mu.Lock()
		l.h.cut = calls
		l.h.mu.Unlock()
	}
	do()
}

func (l *life) install() {
	if !l.installed && l.bad[l.offered()] {
		l.newer() // there is nothing yet to which an installation could be rolled back
	}
	version, had := l.offered(), l.installed
	if l.request(request.Request{Verb: request.Install}) && !had {
		l.installed, l.version = true, version
		if l.content == "" {
			l.content = "made"
		}
	}
}

func (l *life) uninstall() {
	if l.request(request.Request{Verb: request.Uninstall}) {
		l.installed, l.version = false, ""
	}
}

func (l *life) purge() {
	if l.request(request.Request{Verb: request.Uninstall, Purge: true}) {
		l.installed, l.version, l.content = false, "", ""
	}
}

// newer has the catalog hold a version that it had not; one of three does not start.
func (l *life) newer() {
	l.newest++
	version := strconv.Itoa(l.newest)
	l.bad[version] = l.installed && l.rng.IntN(3) == 0
	l.say("the catalog has %s, bad: %v", version, l.bad[version])
	l.publish(version)
}

func (l *life) update() {
	if l.rng.IntN(3) > 0 {
		l.newer()
	}
	if version := l.offered(); l.request(request.Request{Verb: request.Update}) && !l.bad[version] {
		l.version = version
	}
}

func (l *life) lose() {
	l.say("nothing is followed any more, or another channel")
	l.catalog = nil
	l.r.SetCatalog(nil)
}

func (l *life) revoke() {
	l.say("%s is revoked", l.version)
	l.publish("", l.version)
}

func (l *life) move() {
	to := []string{"", l.dir + "/disk1", l.dir + "/disk2"}[l.rng.IntN(3)]
	at, err := l.r.MoveVolume(l.t.Context(), "pair", "db", to, "owner", func(string) {})
	l.say("move to %q: %q, %v", to, at, err)
}

func (l *life) backUp() {
	id, err := age.GenerateX25519Identity()
	if err == nil {
		err = l.r.Backups().Write(l.t.Context(), "pair", []age.Recipient{id.Recipient()}, "owner", io.Discard)
	}
	l.say("backup: %v", err)
	if err == nil {
		l.kept, l.made = append(l.kept, l.content), append(l.made, l.version)
	}
}

// restore brings the newest backup back. One that was cut its owner purges, to try again.
func (l *life) restore() {
	if len(l.kept) == 0 {
		return
	}
	content, version := l.kept[len(l.kept)-1], l.made[len(l.made)-1]
	var volumes bytes.Buffer
	w := tar.NewWriter(&volumes)
	err := errors.Join(w.WriteHeader(&tar.Header{Name: "db/file", Mode: 0o600, Size: int64(len(content)), Typeflag: tar.TypeReg}))
	_, wrote := io.WriteString(w, content)
	if err := errors.Join(err, wrote, w.Close()); err != nil {
		l.t.Fatal(err)
	}
	sum := sha256.Sum256(volumes.Bytes())
	b := backup.Backup{Format: archive.Format, App: "pair", Goal: state.Running, Manifest: l.manifest(version), Source: "catalog feature 1",
		Data:    state.Data{App: "pair", Version: version, Volumes: []string{"db"}},
		Consent: []string{"runs version " + version + " as its backup describes it, which nothing on this node vouches for"}}
	_, err = l.r.Backups().Restore(l.t.Context(), b, nil, &volumes, hex.EncodeToString(sum[:]), "owner")
	l.say("restore of %s, %q: %v", version, content, err)
	switch had := l.installed || l.content != ""; {
	case err == nil && had:
		l.t.Error("a restore took the place of data")
	case err == nil:
		l.installed, l.version, l.content = true, version, content
	case !had && !errors.Is(err, request.ErrRefused):
		l.cut()
		l.request(request.Request{Verb: request.Uninstall, Purge: true})
	}
}

// settled waits until all is done, after the power cut if there was one, and compares.
func (l *life) settled() {
	synctest.Wait()
	l.h.mu.Lock()
	cut := l.h.down != nil
	l.h.mu.Unlock()
	if cut {
		l.say("the power is cut")
		l.cut()
	}
	time.Sleep(20 * time.Minute)
	synctest.Wait()
	l.h.mu.Lock()
	cut = l.h.down != nil
	l.h.cut = 0
	l.h.mu.Unlock()
	if cut {
		l.say("the power was cut later")
		l.cut()
		time.Sleep(20 * time.Minute)
		synctest.Wait()
	}
	// What may be anybody's is its owner's to remove.
	if f := l.r.moves(); !f.OK {
		p := l.r.store.Data("pair").Places["db"]
		if p.To == "" || p.To == l.inForce() || p.Left != "" {
			l.t.Errorf("left of a move: %+v, %+v", f, p)
			return
		}
		l.say("its owner removes %s", p.To)
		os.RemoveAll(p.To)
	}
	if f := l.r.leftovers(); !f.OK {
		l.t.Errorf("%+v", f)
	}
	v, err := l.r.App("pair")
	if installed := err == nil && v.Goal == state.Running; installed != l.installed {
		l.t.Errorf("installed: %v, %s, %v", installed, v.Goal, err)
		return
	}
	if !l.installed && err == nil && v.Goal != "" {
		l.t.Errorf("it is going still: %s, %s", v.State, v.Error)
	}
	if l.installed && (v.State != view.Up || v.Manifest.Version != l.version) {
		l.t.Errorf("version %s, %s: %s; expected %s", v.Manifest.Version, v.State, v.Error, l.version)
	}
	for _, dir := range l.places() {
		b, err := os.ReadFile(dir + "/file")
		switch {
		case l.content != "" && dir == l.inForce():
			if string(b) != l.content && !(l.content == "made" && os.IsNotExist(err) && there(dir)) {
				l.t.Errorf("%s holds %q, %v; expected %q", dir, b, err, l.content)
			}
		case there(dir):
			l.t.Errorf("%s is there, and not in force", dir)
		}
	}
	if l.installed && !l.t.Failed() && l.rng.IntN(2) == 0 {
		l.writes++
		l.content = "written " + strconv.Itoa(l.writes)
		if err := os.WriteFile(l.inForce()+"/file", []byte(l.content), 0o600); err != nil {
			l.t.Error(err)
		}
		l.say("%s", l.content)
	}
}

// TestTheOwnersDataIsNeverLost has an application live through random sequences of what can
// happen to it, power cuts at any step among it: its data and its version are those that its
// owner must expect, in one place, and nothing else is left.
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
			l := &life{t: t, rng: rand.New(rand.NewPCG(uint64(n), 18)), dir: inMemory(t), h: empty(), bad: map[string]bool{}}
			for _, disk := range []string{"/disk1", "/disk2"} {
				if err := os.Mkdir(l.dir+disk, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			l.h.spoils = func(file string) bool {
				for version, bad := range l.bad {
					if bad && strings.Contains(file, " of pair "+version+";") {
						_, dir, _ := strings.Cut(file, "\nVolume=")
						dir, _, _ = strings.Cut(dir, ":")
						os.WriteFile(dir+"/file", []byte("spoiled by "+version), 0o600)
						return true
					}
				}
				return false
			}
			l.begin()
			for range 14 {
				l.next()
				if l.settled(); t.Failed() {
					t.Errorf("sequence %d:\n%s", n, strings.Join(l.said, "\n"))
					break
				}
			}
			l.end()
		})
	}
}
