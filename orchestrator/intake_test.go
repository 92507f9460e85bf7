package orchestrator

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

func TestASecretThatDataDependsOnIsNotReplaced(t *testing.T) {
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest.Manifest{ID: "mail", Secrets: []manifest.GeneratedSecret{{Name: "key"}}, Containers: []manifest.Container{{Name: "mail"}}}
	r := New(nil, store, sec, catalog.Catalog{"mail": {Manifest: m}}, t.TempDir(), slog.New(slog.DiscardHandler))
	for _, value := range []string{"first", "second"} {
		if err := r.ImportSecret("mail", "key", value, "test"); err != nil {
			t.Errorf("without data: %v", err)
		}
	}
	if err := store.PutData(state.Data{App: "mail", Volumes: []string{"box"}}); err != nil {
		t.Fatal(err)
	}
	if err := r.ImportSecret("mail", "key", "third", "test"); !errors.Is(err, secrets.ErrInUse) {
		t.Errorf("with data: %v", err)
	}
	if values, err := sec.All(m); err != nil || values["key"] != "second" {
		t.Errorf("%v, %v", values, err)
	}
}

func TestNeitherAuditNorLogHoldsWhatTheOwnerTypedIntoASetting(t *testing.T) {
	dir := t.TempDir()
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest.Manifest{APIVersion: manifest.APIVersion, ID: "mail", Name: "Mail", Version: "1", Containers: []manifest.Container{{Name: "mail"}},
		Settings: []manifest.Setting{{Name: "key"}, {Name: "mode", Default: "plain", Values: []string{"plain", "tls"}}, {Name: "api-key", Secret: true}}}
	var log strings.Builder
	r := New(nil, store, sec, catalog.Catalog{"mail": {Manifest: m}}, t.TempDir(), slog.New(slog.NewTextHandler(&log, nil)))
	for _, config := range []map[string]string{
		{"key": "hunter2", "mode": "tls"},
		{"kye": "hunter2"},   // mistyped
		{"key": "hunter2\n"}, // refused
		{"mode": "hunter2"},  // into the wrong one
		{"api-key": "hunter2"},
		{"api-key": "hunter2\n"},
	} {
		r.Request(request.Request{App: "mail", Verb: request.Install, Config: config, Who: "test"})
	}
	r.Request(request.Request{App: "mial", Verb: request.Install, Config: map[string]string{"key": "hunter2"}, Who: "test"})
	b, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "hunter2") || strings.Contains(log.String(), "hunter2") {
		t.Errorf("audit:\n%slog:\n%s", b, &log)
	}
	if !strings.Contains(string(b), "install key mode=tls") || strings.Count(string(b), "\n") != 7 {
		t.Errorf("audit:\n%s", b)
	}
}

// gate lets nothing through until it is opened, and says when something has come.
type gate struct {
	once         sync.Once
	come, opened chan struct{}
}

func newGate() *gate { return &gate{come: make(chan struct{}), opened: make(chan struct{})} }

func (g *gate) Write(b []byte) (int, error) {
	g.once.Do(func() { close(g.come); <-g.opened })
	return len(b), nil
}

func (g *gate) Read([]byte) (int, error) {
	g.once.Do(func() { close(g.come); <-g.opened })
	return 0, io.ErrUnexpectedEOF
}

// TestNothingMeetsABackupHalfWay: what is being restored is not installed meanwhile, and what
// is being backed up is not deleted for ever.
func TestNothingMeetsABackupHalfWay(t *testing.T) {
	r := nodeWith(t, empty(), t.TempDir(), nil)
	r.SetCatalog(signedCatalog(t, 1, "1", nil))
	m, _ := r.Offer().Manifest("pair")
	refused := func(req request.Request, why backup.Work) {
		t.Helper()
		req.App = "pair"
		if _, err := r.Request(req); !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "pair: "+string(why)) {
			t.Errorf("%s: %v", req.Verb, err)
		}
	}
	done := make(chan error, 1)

	tar := newGate()
	go func() {
		b := backup.Backup{Format: archive.Format, App: "pair", Manifest: m, Data: state.Data{App: "pair"}}
		_, err := r.Backups().Restore(t.Context(), b, nil, tar, "", "owner")
		done <- err
	}()
	<-tar.come
	refused(request.Request{Verb: request.Install}, backup.Restoring)
	close(tar.opened)
	if err := <-done; err == nil {
		t.Error("restored from nothing")
	}
	if err := ask(t, r, request.Install); err != nil {
		t.Fatal(err)
	}

	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := newGate()
	go func() {
		done <- r.Backups().Write(t.Context(), "pair", []age.Recipient{id.Recipient()}, "owner", file)
	}()
	<-file.come
	refused(request.Request{Verb: request.Uninstall, Purge: true}, backup.Making)
	close(file.opened)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := r.Request(request.Request{App: "pair", Verb: request.Uninstall, Purge: true}); err != nil {
		t.Error("once it has ended:", err)
	}
}
