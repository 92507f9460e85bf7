package repository_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
)

// node has a store of repositories, and a directory on another disk for them.
type node struct {
	*repository.Store
	run       *restictest.Runner
	dir, disk string
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{run: restictest.New(t), dir: filepath.Join(dir, "data", "repositories"), disk: filepath.Join(dir, "disk", "backups")}
	n.Store = repository.Open(n.dir, "nodename", filepath.Join(dir, "data"), n.run)
	return n
}

func (n *node) add(t *testing.T, name string) *repository.Repository {
	t.Helper()
	r, err := n.Add(t.Context(), repository.Added{Name: name, URL: n.disk})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// files makes a directory of files by their names.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, []byte(text), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSnapshotsAreMadeListedRestoredAndForgotten(t *testing.T) {
	n := newNode(t)
	r := n.add(t, "disk")
	dir := files(t, map[string]string{"backup.json": "{}", "db/one": "first", "db/deep/two": "2"})
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "db", "link")); err != nil {
		t.Fatal(err)
	}
	var steps []float64
	first, err := r.Backup(t.Context(), "pair", dir, func(done float64) { steps = append(steps, done) })
	if err != nil || first.App != "pair" || !strings.HasPrefix(first.Host, "nodename-") || first.Size < 8 || first.New == 0 || len(first.ID) != 64 || len(steps) == 0 {
		t.Fatalf("%+v, %v, %v", first, steps, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "db", "one"), []byte("later"), 0o640); err != nil {
		t.Fatal(err)
	}
	second, err := r.Backup(t.Context(), "pair", dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Backup(t.Context(), "pairs", dir, nil); err != nil {
		t.Fatal(err)
	}
	all, err := r.Snapshots(t.Context(), "pair")
	if err != nil || len(all) != 2 || all[0].ID != second.ID || all[1].ID != first.ID {
		t.Fatalf("%+v, %v", all, err)
	}
	if newest, err := r.Find(t.Context(), "pair", ""); err != nil || newest.ID != second.ID {
		t.Errorf("%+v, %v", newest, err)
	}
	if old, err := r.Find(t.Context(), "pair", first.ID[:8]); err != nil || old.ID != first.ID {
		t.Errorf("%+v, %v", old, err)
	}
	for _, app := range []string{"other", "pai"} {
		if s, err := r.Find(t.Context(), app, ""); !errors.Is(err, repository.ErrNoSnapshot) {
			t.Errorf("%s: %+v, %v", app, s, err)
		}
	}

	if b, err := r.Dump(t.Context(), first, "backup.json", 100); err != nil || strings.TrimSpace(string(b)) != "{}" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := r.Dump(t.Context(), first, "backup.json", 1); err == nil || !strings.Contains(err.Error(), "larger than 1 bytes") {
		t.Error(err)
	}
	to := filepath.Join(t.TempDir(), "restored")
	if err := r.Restore(t.Context(), first, to, []string{"backup.json"}, nil); err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink(filepath.Join(to, "db", "link"))
	info, infoErr := os.Stat(filepath.Join(to, "db", "one"))
	if got := read(t, filepath.Join(to, "db", "one")); got != "first" || link != "/etc/passwd" || errors.Join(err, infoErr) != nil || info.Mode() != 0o640 {
		t.Errorf("%q, %q, %v, %v", got, link, info, errors.Join(err, infoErr))
	}
	if _, err := os.Stat(filepath.Join(to, "backup.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was to be left out: %v", err)
	}

	if err := r.Forget(t.Context(), "pair", repository.Keep{}); err != nil {
		t.Fatal(err)
	}
	if all, err := r.Snapshots(t.Context(), "pair"); err != nil || len(all) != 2 {
		t.Fatalf("no rule forgets nothing: %+v, %v", all, err)
	}
	if err := errors.Join(r.Forget(t.Context(), "pair", repository.Keep{Last: 1}), r.Prune(t.Context()), r.Check(t.Context(), 1, 1)); err != nil {
		t.Fatal(err)
	}
	if all, err := r.Snapshots(t.Context(), ""); err != nil || len(all) != 2 || all[0].App != "pairs" || all[1].ID != second.ID {
		t.Fatalf("%+v, %v", all, err)
	}
}

// TestASecondBackupStoresOnlyWhatIsNew: where one of a hundred files has changed, it adds at
// most a twentieth of the first one, although the copy's inodes and times are all new.
func TestASecondBackupStoresOnlyWhatIsNew(t *testing.T) {
	n := newNode(t)
	r := n.add(t, "disk")
	content := map[string]string{}
	for i := range 100 {
		content[fmt.Sprintf("db/%d", i)] = noise(100 << 10)
	}
	first, err := r.Backup(t.Context(), "pair", files(t, content), nil)
	if err != nil {
		t.Fatal(err)
	}
	content["db/7"] = noise(100 << 10)
	second, err := r.Backup(t.Context(), "pair", files(t, content), nil)
	if err != nil {
		t.Fatal(err)
	}
	if second.New == 0 || second.New > first.New/20 || second.Size != first.Size {
		t.Errorf("%d bytes of %d, the first stored %d", second.New, second.Size, first.New)
	}
}

// noise is what cannot be compressed.
func noise(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return string(b)
}

// TestNothingSecretIsSeen: whoever looks at process lists, journals and other people's files
// learns no key; nobody but the owner reads what is in a repository.
func TestNothingSecretIsSeen(t *testing.T) {
	n := newNode(t)
	r := n.add(t, "disk")
	if _, err := r.Backup(t.Context(), "pair", files(t, map[string]string{"db/one": strings.Repeat("hunter2 ", 1000)}), nil); err != nil {
		t.Fatal(err)
	}
	key, err := n.Key("disk")
	if err != nil || len(key) < 26 {
		t.Fatalf("%d, %v", len(key), err)
	}
	if strings.Contains(n.run.Seen(), key) {
		t.Error("the recovery key is in a command line, or in what restic says")
	}
	err = filepath.WalkDir(filepath.Join(n.dir, "disk"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && (d.IsDir() && info.Mode().Perm() != 0o700 || !d.IsDir() && info.Mode().Perm() != 0o600) {
			t.Errorf("%s: %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	err = filepath.WalkDir(n.disk, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("hunter2")) || bytes.Contains(b, []byte(key)) {
			t.Errorf("%s: in the clear", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestTheRecoveryKeyOpensARepositoryElsewhere: the node is gone, its repository is not.
func TestTheRecoveryKeyOpensARepositoryElsewhere(t *testing.T) {
	n := newNode(t)
	r := n.add(t, "disk")
	made, err := r.Backup(t.Context(), "pair", files(t, map[string]string{"db/one": "first"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	fresh := newNode(t)
	fresh.disk = n.disk
	if _, err := fresh.Add(t.Context(), repository.Added{Name: "disk", URL: n.disk}); !errors.Is(err, repository.ErrRefused) || !strings.Contains(err.Error(), "give its recovery key") {
		t.Errorf("a repository that is there is not taken, nor written over: %v", err)
	}
	if _, err := fresh.Add(t.Context(), repository.Added{Name: "disk", URL: n.disk, Key: "guessed"}); !errors.Is(err, repository.ErrKey) {
		t.Error(err)
	}
	if all, err := fresh.List(); err != nil || len(all) > 0 {
		t.Errorf("what was refused is on record: %v, %v", all, err)
	}
	now := time.Now()
	key, err := n.Remove("disk", now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Get("disk"); !errors.Is(err, repository.ErrUnknown) {
		t.Error(err)
	}
	// The answer may never have arrived.
	const days = 24 * time.Hour
	if err := n.Sweep(now.Add(29 * days)); err != nil {
		t.Fatal(err)
	}
	if had, err := n.Key("disk"); err != nil || had != key || key == "" {
		t.Errorf("the key of what was removed is %q, expected %q: %v", had, key, err)
	}
	if all, err := n.List(); err != nil || len(all) > 0 {
		t.Errorf("what was removed is listed: %v, %v", all, err)
	}
	if err := n.Sweep(now.Add(31 * days)); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Key("disk"); !errors.Is(err, repository.ErrUnknown) {
		t.Errorf("a key stays for ever: %v", err)
	}
	again, err := fresh.Add(t.Context(), repository.Added{Name: "old", URL: n.disk, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := again.Find(t.Context(), "pair", ""); err != nil || s.ID != made.ID {
		t.Errorf("%+v, %v", s, err)
	}
	if had, err := fresh.Key("old"); err != nil || had != key {
		t.Error("another key than the one given", err)
	}
}

// TestADiskThatIsNotThere is never written to, nor given a new repository.
func TestADiskThatIsNotThere(t *testing.T) {
	n := newNode(t)
	r := n.add(t, "disk")
	away := n.disk + ".away"
	if err := os.Rename(n.disk, away); err != nil {
		t.Fatal(err)
	}
	dir := files(t, map[string]string{"db/one": "first"})
	if _, err := r.Backup(t.Context(), "pair", dir, nil); !errors.Is(err, repository.ErrNone) {
		t.Error(err)
	}
	if _, err := os.Stat(n.disk); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written where the disk is to be: %v", err)
	}
	if err := os.Rename(away, n.disk); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Backup(t.Context(), "pair", dir, nil); err != nil {
		t.Error(err)
	}
}

func TestADamagedPieceIsFound(t *testing.T) {
	n := newNode(t)
	r := n.add(t, "disk")
	s, err := r.Backup(t.Context(), "pair", files(t, map[string]string{"db/one": "first"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	packs, err := filepath.Glob(filepath.Join(n.disk, "data", "*", "*"))
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	for _, pack := range packs {
		b := []byte(read(t, pack))
		for i := range min(len(b), 64) {
			b[i] ^= 1
		}
		if err := errors.Join(os.Chmod(pack, 0o600), os.WriteFile(pack, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Check(t.Context(), 1, 1); !errors.Is(err, repository.ErrDamaged) {
		t.Errorf("check: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(n.dir, "cache")); err != nil {
		t.Fatal(err)
	}
	if err := r.Restore(t.Context(), s, filepath.Join(t.TempDir(), "to"), nil, nil); err == nil {
		t.Error("what is damaged was restored")
	}
}

// TestWhatCouldNotBeFetchedIsNotDamaged: to restic it is, when the way to a repository fails
// in the middle of a check.
func TestWhatCouldNotBeFetchedIsNotDamaged(t *testing.T) {
	n := newNode(t)
	r := n.add(t, "disk")
	if _, err := r.Backup(t.Context(), "pair", files(t, map[string]string{"db/one": "first"}), nil); err != nil {
		t.Fatal(err)
	}
	lost := errors.New("Load(<data/0>): connection reset by peer; Fatal: repository contains errors")
	for name, c := range map[string]struct {
		then func() error // once the first check has failed
		want error
	}{
		"for a moment": {func() error { return nil }, nil},
		"for good":     {func() error { return os.Rename(n.disk, n.disk+".away") }, repository.ErrNone},
	} {
		checks := 0
		n.run.Before = func(argv []string) error {
			if !slices.Contains(argv, "check") {
				return nil
			}
			if checks++; checks > 1 {
				return nil
			}
			return errors.Join(lost, c.then())
		}
		if err := r.Check(t.Context(), 1, 1); !errors.Is(err, c.want) || errors.Is(err, repository.ErrDamaged) {
			t.Errorf("%s: %v, expected %v", name, err, c.want)
		}
		if err := os.Rename(n.disk+".away", n.disk); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// TestABackupOfWhatCannotBeReadIsNone: restic makes a snapshot of the rest.
func TestABackupOfWhatCannotBeReadIsNone(t *testing.T) {
	n := newNode(t)
	n.add(t, "disk")
	planted := errors.New("at least one source file could not be read")
	run := &failing{Runner: n.run, of: "backup", err: planted}
	again := repository.Open(n.dir, "nodename", filepath.Dir(n.dir), run)
	r, err := again.Get("disk")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Backup(t.Context(), "pair", files(t, map[string]string{"db/one": "first"}), nil); !errors.Is(err, planted) {
		t.Error(err)
	}
	if all, err := r.Snapshots(t.Context(), ""); err != nil || len(all) > 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

// failing carries a command out, and says all the same that it failed.
type failing struct {
	repository.Runner
	of  string
	err error
}

func (f *failing) Restic(ctx context.Context, line func([]byte), argv ...string) error {
	err := f.Runner.Restic(ctx, line, argv...)
	for _, a := range argv {
		if a == f.of {
			return errors.Join(err, f.err)
		}
	}
	return err
}

func TestWhatIsNoRepositoryIsRefused(t *testing.T) {
	n := newNode(t)
	s3 := map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}
	for _, c := range []struct {
		a    repository.Added
		want string
	}{
		{repository.Added{Name: "../x", URL: n.disk}, "is no name"},
		{repository.Added{Name: "cache", URL: n.disk}, "is no name"},
		{repository.Added{Name: "x", URL: "disk"}, "is no address"},
		{repository.Added{Name: "x", URL: "rclone:x:y"}, "is no address"},
		{repository.Added{Name: "x", URL: filepath.Join(filepath.Dir(n.dir), "pair")}, "whose loss a backup is to outlive"},
		{repository.Added{Name: "x", URL: "/mnt/My Disk"}, "no spaces"},
		{repository.Added{Name: "x", URL: "rest:https://me:secret@host/x"}, "RESTIC_REST_PASSWORD instead"},
		{repository.Added{Name: "x", URL: "rest:host"}, "expected rest:"},
		{repository.Added{Name: "x", URL: "s3:https://host/bucket"}, "AWS_SECRET_ACCESS_KEY"},
		{repository.Added{Name: "x", URL: "s3:https://host", Environment: s3}, "expected s3:"},
		{repository.Added{Name: "x", URL: "sftp:host:/x"}, "expected sftp:"},
		{repository.Added{Name: "x", URL: "sftp:a@-oProxyCommand=x:/x"}, "expected sftp:"},
		{repository.Added{Name: "x", URL: "sftp://a:secret@host/x"}, "not by a password"},
		{repository.Added{Name: "x", URL: n.disk, Environment: map[string]string{"PATH": "/tmp"}}, "is not among the variables"},
		{repository.Added{Name: "x", URL: n.disk, Environment: map[string]string{"AWS_ACCESS_KEY_ID": "a\nPATH=/tmp"}}, "expected one line"},
	} {
		if _, err := n.Add(t.Context(), c.a); !errors.Is(err, repository.ErrRefused) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%+v: %v, expected %q", c.a, err, c.want)
		}
	}
	if seen := strings.TrimSpace(n.run.Seen()); seen != "" {
		t.Errorf("refused, and yet restic ran: %s", seen)
	}
}

// TestAKeyIsOnDiskBeforeAnythingIsEncryptedWithIt: a cut after the repository was made, and
// before it was on record, costs nothing.
func TestAKeyIsOnDiskBeforeAnythingIsEncryptedWithIt(t *testing.T) {
	n := newNode(t)
	cut := errors.New("the power is cut")
	made := false
	n.run.Before = func(argv []string) error {
		if made {
			return cut
		}
		made = argv[len(argv)-1] == "init"
		return nil
	}
	if _, err := n.Add(t.Context(), repository.Added{Name: "disk", URL: n.disk}); !errors.Is(err, cut) {
		t.Fatal(err)
	}
	n.run.Before = nil
	if all, err := n.List(); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := n.Add(t.Context(), repository.Added{Name: "disk", URL: n.disk}); err != nil {
		t.Error(err)
	}
}

// TestARepositoryWithADamagedRecordSaysSoAndGivesItsKey: only its key opens what is there.
func TestARepositoryWithADamagedRecordSaysSoAndGivesItsKey(t *testing.T) {
	for record, want := range map[string]string{"": "damaged", "{": "damaged", "null": "damaged", `{"format":1}`: "damaged", `{"format":2,"url":"/mnt/disk"}`: "install a daemon at least as new"} {
		dir := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "disk"), 0o700), os.WriteFile(filepath.Join(dir, "disk", "repository.json"), []byte(record), 0o600),
			os.WriteFile(filepath.Join(dir, "disk", "password"), []byte("the key\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		s := repository.Open(dir, "box", t.TempDir(), nil)
		all, err := s.List()
		if err != nil || len(all) != 1 || !strings.Contains(all[0].Problem, want) || !strings.Contains(all[0].Problem, filepath.Join(dir, "disk", "repository.json")) {
			t.Errorf("%q: %+v, %v", record, all, err)
		}
		if key, err := s.Key("disk"); err != nil || key != "the key" {
			t.Errorf("%q: the key is %q, %v", record, key, err)
		}
		if key, err := s.Remove("disk", time.Now()); err != nil || key != "the key" {
			t.Errorf("%q: once it is removed, the key is %q, %v", record, key, err)
		}
	}
}
