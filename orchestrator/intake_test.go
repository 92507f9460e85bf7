package orchestrator

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
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
