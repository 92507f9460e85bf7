package secrets

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func app() *manifest.Manifest {
	return &manifest.Manifest{ID: "a", Secrets: []manifest.GeneratedSecret{{Name: "inner", Length: 40}, {Name: "login", Shown: true}}}
}

func TestSecretsAreMadeOnceAndPrivate(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Ensure(app(), false)
	if err != nil {
		t.Fatal(err)
	}
	if len(first["inner"]) != 40 || len(first["login"]) != defaultLength || first["inner"][:32] == first["login"] {
		t.Errorf("lengths %d and %d", len(first["inner"]), len(first["login"]))
	}
	second, err := s.Ensure(app(), true)
	if err != nil || second["inner"] != first["inner"] || second["login"] != first["login"] {
		t.Errorf("made anew: %v", err)
	}
	for _, name := range []string{"a/inner", "a/login"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	shown, err := s.Shown(app())
	if err != nil || len(shown) != 1 || shown["login"] != first["login"] {
		t.Errorf("shown %d secrets, %v", len(shown), err)
	}
}

func TestLostSecretIsNotMadeAnewOverData(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	values, err := s.Ensure(app(), false)
	if err != nil {
		t.Fatal(err)
	}
	lost := filepath.Join(dir, "a", "inner")
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	_, err = s.Ensure(app(), true)
	if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), lost) || !strings.Contains(err.Error(), "--purge") {
		t.Errorf("%v", err)
	}
	for _, v := range values {
		if strings.Contains(err.Error(), v) {
			t.Error("the error holds a secret")
		}
	}
	if _, err := os.Stat(lost); err == nil {
		t.Error("it was made anew")
	}
}

func TestSecretSettingsAreKeptUntilNothingRefersToThem(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest.Manifest{ID: "a", Secrets: []manifest.GeneratedSecret{{Name: "key"}}, Settings: []manifest.Setting{{Name: "api-key", Secret: true}, {Name: "plain"}}}
	if _, err := s.Ensure(m, false); err != nil {
		t.Fatal(err)
	}
	first, err := s.Keep("a", "api-key", "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Keep("a", "api-key", "hunter2")
	if err != nil || again == first {
		t.Fatalf("%q and %q stand for one value, %v: who reads them learns that it is the same", first, again, err)
	}
	info, err := os.Stat(filepath.Join(dir, "a", "api-key."+first))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	config := map[string]string{"api-key": first, "plain": again}
	if err := s.Sweep("a", config); err != nil {
		t.Fatal(err)
	}
	if values, err := s.Settings(m, config); err != nil || len(values) != 1 || values["api-key"] != "hunter2" {
		t.Errorf("%v, %v", values, err)
	}
	if all, err := s.All(m); err != nil || len(all) != 1 {
		t.Errorf("generated: %v, %v", all, err)
	}
	if _, err := s.Settings(m, map[string]string{"api-key": again}); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "'archy configure a api-key=-'") {
		t.Errorf("swept, and yet %v", err)
	}
	if err := s.Sweep("a", nil); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "a")); err != nil || len(entries) != 1 || entries[0].Name() != "key" {
		t.Errorf("cleared, and it left %v, %v", entries, err)
	}
	if err := s.Sweep("none", nil); err != nil {
		t.Error(err)
	}
}
