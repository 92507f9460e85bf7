package backup_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// content is a backup of the pair.
type content struct {
	backup.Backup
	values  map[string]string
	volumes string
	sum     string
}

func whole() content {
	sum := sha256.Sum256([]byte("the volumes"))
	return content{
		backup.Backup{Format: archive.Format, App: "pair", Goal: state.Running, Manifest: pair(), Data: state.Data{App: "pair", Version: "1", Volumes: []string{"db"}}},
		map[string]string{"password": "secret"}, "the volumes", hex.EncodeToString(sum[:]),
	}
}

func restore(t *testing.T, m *backup.Manager, c content) (uint64, error) {
	t.Helper()
	return m.Restore(t.Context(), c.Backup, c.values, strings.NewReader(c.volumes), c.sum, "owner")
}

func TestRestore(t *testing.T) {
	for backedUp, want := range map[state.Goal]state.Goal{state.Running: state.Running, state.Stopped: state.Stopped, "": state.Running} {
		t.Run(string(backedUp), func(t *testing.T) {
			m, n := manager(t)
			c := whole()
			c.Goal = backedUp
			if gen, err := restore(t, m, c); err != nil || gen != 7 {
				t.Fatal(gen, err)
			}
			// The record comes last: until then a cut leaves nothing that starts.
			if got, want := n.seen(), "extract the volumes, put-back pair, restore"; got != want {
				t.Errorf("%s, expected %s", got, want)
			}
			d := n.restored[0]
			if d.App != "pair" || d.Goal != want || d.Source != "backup" || !d.Installed || d.Manifest.Version != "1" {
				t.Errorf("%+v", d)
			}
			if data := n.store.Data("pair"); data.Version != "1" || len(data.Volumes) != 1 {
				t.Errorf("%+v", data)
			}
			if values, err := m.Secrets.All(pair()); err != nil || !maps.Equal(values, c.values) {
				t.Errorf("%v, %v", values, err)
			}
			if turn := n.TryBegin(operation.Proposal{App: "pair", Turns: n.Status("pair").Turns, Generation: 7, Actions: true}); !turn.Begin {
				t.Errorf("it is held still: %+v", turn)
			}
		})
	}
}

// A hash that is brought back stays the one of its backup, whatever its name: its source comes
// first, which has what is made of it made anew.
func TestRestoreKeepsWhatIsDerived(t *testing.T) {
	m, _ := manager(t)
	c := whole()
	c.Manifest.Secrets = append(c.Manifest.Secrets, manifest.GeneratedSecret{Name: "a-hash", Derive: &manifest.Derivation{From: "password", As: manifest.AsBcrypt}})
	c.values["a-hash"] = "$2a$10$of-the-backup"
	if _, err := restore(t, m, c); err != nil {
		t.Fatal(err)
	}
	if values, err := m.Secrets.Ensure(c.Manifest, true); err != nil || !maps.Equal(values, c.values) {
		t.Errorf("%v, %v", values, err)
	}
}

// TestRestoreIntoAMountPoint: somebody has mounted a new file system for the volume.
func TestRestoreIntoAMountPoint(t *testing.T) {
	m, n := manager(t)
	if err := os.MkdirAll(filepath.Join(n.data, "pair", "db", "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := restore(t, m, whole()); err != nil {
		t.Error(err)
	}
}

// TestABackupSaysNothingOfPlaces: of what was moved, its own place is copied, and a restore
// believes no file where on this node something is.
func TestABackupSaysNothingOfPlaces(t *testing.T) {
	m, n := running(t)
	places := map[string]state.Place{"db": {Dir: "/srv/big/pair/db"}}
	if err := n.store.PutData(state.Data{App: "pair", Version: "1", Volumes: []string{"db"}, Places: places}); err != nil {
		t.Fatal(err)
	}
	n.copies = func(dirs []string) {
		if len(dirs) != 1 || dirs[0] != "/srv/big/pair/db" {
			t.Errorf("copied are %v", dirs)
		}
	}
	var file bytes.Buffer
	if err := write(t, m, &file); err != nil {
		t.Fatal(err)
	}
	if b := header(t, file.Bytes()); b.Data.Places != nil {
		t.Errorf("%+v", b.Data)
	}
	m, n = manager(t)
	c := whole()
	c.Data.Places = map[string]state.Place{"db": {Dir: "/etc", Left: "/home"}}
	if _, err := restore(t, m, c); err != nil || n.store.Data("pair").Places != nil {
		t.Errorf("%v: %+v", err, n.store.Data("pair"))
	}
}

func TestABackupSaysWhereItsManifestIsFrom(t *testing.T) {
	m, n := running(t)
	n.accept(t, state.Running, func(d *state.Desired) { d.Source = "catalog beta 7" })
	var file bytes.Buffer
	if err := write(t, m, &file); err != nil {
		t.Fatal(err)
	}
	if made := header(t, file.Bytes()).Source; made != "catalog beta 7" {
		t.Error(made)
	}
	// Which document it was is not believed: with one that is far ahead, nothing would ever be
	// a step forward.
	for made, want := range map[string]string{"catalog beta 7": "catalog", "catalog stable 999999999": "catalog", "": "backup", "<b>anything</b>": "backup"} {
		m, n := manager(t)
		c := whole()
		c.Source = made
		if _, err := restore(t, m, c); err != nil || n.restored[0].Source != want {
			t.Errorf("%q: %+v, %v", made, n.restored, err)
		}
	}
}

func TestRestoreIsRefused(t *testing.T) {
	foreign := func(volume string) func(*testing.T, *node, *content) {
		return func(_ *testing.T, _ *node, c *content) { c.Data.Volumes = []string{"db", volume} }
	}
	for _, c := range []struct {
		name   string
		change func(*testing.T, *node, *content)
		want   error
		why    string
	}{
		{"what is installed", func(_ *testing.T, n *node, _ *content) { n.admit = request.ErrRefused }, request.ErrRefused, ""},
		{"data is there", func(t *testing.T, n *node, _ *content) {
			if err := n.store.PutData(state.Data{App: "pair", Volumes: []string{"db"}}); err != nil {
				t.Fatal(err)
			}
		}, request.ErrRefused, "pair has data on this node; uninstall it with --purge"},
		{"secrets of one without volumes are there", func(t *testing.T, n *node, _ *content) {
			if err := n.store.PutData(state.Data{App: "pair", Settings: map[string]string{"key": "ref"}}); err != nil {
				t.Fatal(err)
			}
		}, request.ErrRefused, "pair has data on this node; uninstall it with --purge"},
		{"data is on the disk, and not on record", func(t *testing.T, n *node, _ *content) {
			if err := os.MkdirAll(filepath.Join(n.data, "pair", "db", "file"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, request.ErrRefused, "/data/pair/db is on this node's disk, though not on record"},
		{"a link is on the disk", func(t *testing.T, n *node, _ *content) {
			if err := errors.Join(os.MkdirAll(filepath.Join(n.data, "pair"), 0o700), os.Symlink(t.TempDir(), filepath.Join(n.data, "pair", "db"))); err != nil {
				t.Fatal(err)
			}
		}, request.ErrRefused, "/data/pair/db is on this node's disk"},
		{"a link to an empty disk is there", func(t *testing.T, n *node, _ *content) {
			to := t.TempDir()
			if err := errors.Join(os.Mkdir(filepath.Join(to, "lost+found"), 0o700), os.MkdirAll(filepath.Join(n.data, "pair"), 0o700), os.Symlink(to, filepath.Join(n.data, "pair", "db"))); err != nil {
				t.Fatal(err)
			}
		}, request.ErrRefused, "/data/pair/db is on this node's disk"},
		{"a volume outside", foreign("../db"), request.ErrRefused, `"../db"`},
		{"a volume deeper", foreign("db/x"), request.ErrRefused, `"db/x"`},
		{"an absolute volume", foreign("/etc"), request.ErrRefused, `"/etc"`},
		{"the volumes' own directory", foreign("."), request.ErrRefused, `"."`},
		{"the directory above", foreign(".."), request.ErrRefused, `".."`},
		{"a volume without a name", foreign(""), request.ErrRefused, `""`},
		{"a volume that is a copy's name", foreign("db.new"), request.ErrRefused, `"db.new"`},
		{"a volume that is an option", foreign("-rf"), request.ErrRefused, `"-rf"`},
		{"a volume of two lines", foreign("a\nb"), request.ErrRefused, `"a\nb"`},
		{"a volume twice", foreign("db"), request.ErrRefused, `"db"`},
		{"another application's manifest", func(_ *testing.T, _ *node, c *content) { c.App = "other" }, request.ErrRefused, "belong to different applications"},
		{"another application's data", func(_ *testing.T, _ *node, c *content) { c.Data.App = "other" }, request.ErrRefused, "belong to different applications"},
		{"no manifest", func(_ *testing.T, _ *node, c *content) { c.Manifest = nil }, request.ErrRefused, "belong to different applications"},
		{"a name that leads outside", func(_ *testing.T, _ *node, c *content) {
			c.Manifest.ID, c.App, c.Data.App = "../pair", "../pair", "../pair"
		}, request.ErrRefused, "id"},
		{"a manifest that is not valid", func(_ *testing.T, _ *node, c *content) {
			c.Manifest.Containers[1].Volumes[0] = manifest.Volume{Name: "../db", Path: "/data"}
		}, request.ErrRefused, ""},
		{"a setting that the manifest has not", func(_ *testing.T, _ *node, c *content) { c.Config = map[string]string{"none": "x"} }, request.ErrRefused, "none"},
		{"a secret that the manifest has not", func(_ *testing.T, _ *node, c *content) { c.values["../../password"] = "x" }, request.ErrRefused, `"../../password"`},
		{"another format", func(_ *testing.T, _ *node, c *content) { c.Format++ }, request.ErrRefused, "backup format 2; this daemon reads 1"},
		{"volumes that arrived damaged", func(_ *testing.T, _ *node, c *content) { c.volumes = "the volume" }, nil, "the volumes"},
		{"an operation under way", func(t *testing.T, n *node, _ *content) {
			if _, err := n.Tracker.Hold(t.Context(), "pair", "another backup is being restored"); err != nil {
				t.Fatal(err)
			}
		}, operation.ErrBusy, "another backup is being restored"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, n := manager(t)
			b := whole()
			c.change(t, n, &b)
			had := len(n.store.Data("pair").Volumes)
			gen, err := restore(t, m, b)
			if err == nil || gen != 0 || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%d, %v; expected %v that says %q", gen, err, c.want, c.why)
			}
			if got := n.seen(); got != "" && got != "delete pair.restore" || len(n.restored) > 0 {
				t.Errorf("refused, and yet %s", got)
			}
			if values, err := m.Secrets.All(pair()); err != nil || len(values) > 0 || len(n.store.Data("pair").Volumes) != had {
				t.Errorf("refused, and yet it left %v, %v, %v", values, err, n.store.Data("pair"))
			}
		})
	}
}

// TestABackupBringsItsVolumesAndNothingElse: what its tar holds is compared with what it says
// it holds before anything of it is put in place.
func TestABackupBringsItsVolumesAndNothingElse(t *testing.T) {
	make := func(names ...string) func(string) error {
		return func(dir string) (err error) {
			for _, name := range names {
				err = errors.Join(err, os.MkdirAll(filepath.Join(dir, name), 0o700))
			}
			return err
		}
	}
	for _, c := range []struct {
		name    string
		unpacks func(dir string) error
		why     string
	}{
		{"a volume that nobody declares", make("db", "pair-wallet"), `holds "pair-wallet", which is none of its volumes (db)`},
		{"a hidden directory", make("db", ".ssh"), `holds ".ssh"`},
		{"a link in a volume's place", func(dir string) error {
			return errors.Join(os.MkdirAll(dir, 0o700), os.Symlink("/etc", filepath.Join(dir, "db")))
		}, "the volume db of the backup is no directory"},
		{"a file in a volume's place", func(dir string) error {
			return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "db"), nil, 0o600))
		}, "the volume db of the backup is no directory"},
		{"no volume", make(""), "lacks the volume db"},
	} {
		m, n := manager(t)
		n.unpacks = c.unpacks
		if _, err := restore(t, m, whole()); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, expected %q", c.name, err, c.why)
		}
		if got := n.seen(); strings.Contains(got, "put-back") || !strings.HasSuffix(got, "delete pair.restore") {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestRestoreThatFailsAcceptsNothing(t *testing.T) {
	const undone = "delete pair.restore, delete pair.restore.old, delete pair"
	for method, want := range map[string]string{"extract": "extract the volumes, delete pair.restore", "put-back": "put-back pair, " + undone, "restore": "restore, " + undone} {
		m, n := manager(t)
		planted := errors.New("planted")
		n.fail[method] = planted
		if _, err := restore(t, m, whole()); !errors.Is(err, planted) || len(n.restored) > 0 && method != "restore" || len(n.store.Data("pair").Volumes) > 0 {
			t.Errorf("%s: %v, %+v", method, err, n.restored)
		}
		// A request that came meanwhile must not find half of it, nor the next attempt.
		if got := n.seen(); !strings.HasSuffix(got, want) || m.Left("pair") {
			t.Errorf("%s: half of it is left: %s", method, got)
		}
		if values, err := m.Secrets.All(pair()); err != nil || len(values) > 0 {
			t.Errorf("%s: it left %v, %v", method, values, err)
		}
		if _, err := n.Tracker.Hold(t.Context(), "pair", "again"); err != nil {
			t.Errorf("%s: it is held still: %v", method, err)
		}
	}
}

// TestAFileThatWouldFillTheDiskIsNotUnpacked: all applications share it.
func TestAFileThatWouldFillTheDiskIsNotUnpacked(t *testing.T) {
	m, n := manager(t)
	m.Space = room(0)
	if _, err := restore(t, m, whole()); err == nil || !strings.Contains(err.Error(), "not enough space") || strings.Contains(n.seen(), "extract") {
		t.Errorf("%v, %s", err, n.seen())
	}
}

func TestRestoreWhoseSecretsAreRefusedLeavesNoData(t *testing.T) {
	m, n := manager(t)
	c := whole()
	c.values["password"] = "of\ntwo lines"
	if _, err := restore(t, m, c); err == nil || len(n.restored) > 0 {
		t.Errorf("%v, %+v", err, n.restored)
	}
	if got := n.seen(); !strings.HasSuffix(got, "delete pair.restore, delete pair.restore.old") {
		t.Errorf("its data is left for whoever installs it next: %s", got)
	}
	if values, err := m.Secrets.All(pair()); err != nil || len(values) > 0 || len(n.store.Data("pair").Volumes) > 0 {
		t.Errorf("it left %v, %v, %+v", values, err, n.store.Data("pair"))
	}
}

// TestSecretSettingsAreInABackupOnlyEncrypted: what whoever has the file can read says
// nothing of the value, and whoever has the identity brings it back.
func TestSecretSettingsAreInABackupOnlyEncrypted(t *testing.T) {
	secretly := func() *manifest.Manifest {
		m := pair()
		m.Settings = []manifest.Setting{{Name: "api-key", Secret: true}}
		m.Containers[0].Secrets = []manifest.SecretMount{{Name: "api-key", Path: "/run/api-key"}}
		return m
	}
	m, n := running(t)
	ref, err := m.Secrets.Keep("pair", "api-key", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	n.accept(t, state.Running, func(d *state.Desired) { d.Manifest, d.Config = secretly(), map[string]string{"api-key": ref} })
	var file bytes.Buffer
	if err := write(t, m, &file); err != nil {
		t.Fatal(err)
	}
	z := unsealed(t, file.Bytes())
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || bytes.Contains(b, []byte("hunter2")) {
			t.Errorf("%s holds the value in the clear, or %v", f.Name, err)
		}
	}
	opened, err := archive.Open(z)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := age.Decrypt(bytes.NewReader(opened.Secrets), owner())
	if err != nil {
		t.Fatal(err)
	}
	c := whole()
	c.values = nil
	if err := json.NewDecoder(sealed).Decode(&c.values); err != nil || c.values["api-key"] != "hunter2" {
		t.Fatal(c.values, err)
	}
	c.Backup = header(t, file.Bytes())
	other, onOther := manager(t)
	if _, err := restore(t, other, c); err != nil {
		t.Fatal(err)
	}
	back := onOther.restored[0].Config
	if values, err := other.Secrets.Settings(secretly(), back); err != nil || values["api-key"] != "hunter2" || back["api-key"] == ref {
		t.Errorf("%v, %v, referred to by %v", values, err, back)
	}
	for name, change := range map[string]func(*content){
		"in the clear":    func(c *content) { c.Config["api-key"] = "hunter2" },
		"leading outside": func(c *content) { c.Config["api-key"] = "/../../../../pair" },
		"of two lines":    func(c *content) { c.values["api-key"] = "hunter\n2" },
		"of no bytes":     func(c *content) { c.values["api-key"] = "" },
	} {
		c.Config, c.values = map[string]string{"api-key": ref}, map[string]string{"api-key": "hunter2"}
		change(&c)
		third, _ := manager(t)
		if _, err := restore(t, third, c); !errors.Is(err, request.ErrRefused) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
