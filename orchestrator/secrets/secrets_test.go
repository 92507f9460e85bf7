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
