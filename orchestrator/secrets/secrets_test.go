package secrets

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
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
	shown, err := s.Shown(app())
	if err != nil || len(shown) != 1 || shown["login"] != first["login"] {
		t.Errorf("shown %d secrets, %v", len(shown), err)
	}
}

func TestASecretHasTheFormThatIsAskedFor(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest.Manifest{ID: "a"}
	forms := map[string]string{}
	for _, c := range []struct {
		of   manifest.GeneratedSecret
		form string
	}{
		{manifest.GeneratedSecret{Name: "letters", Length: 20}, `^[A-Za-z0-9]{20}$`},
		{manifest.GeneratedSecret{Name: "hex", Form: manifest.FormHex}, `^[0-9a-f]{64}$`},
		{manifest.GeneratedSecret{Name: "short-hex", Form: manifest.FormHex, Bytes: 16}, `^[0-9a-f]{32}$`},
		{manifest.GeneratedSecret{Name: "base64", Form: manifest.FormBase64, Bytes: 64}, `^[A-Za-z0-9+/]{86}==$`},
		{manifest.GeneratedSecret{Name: "uuid", Form: manifest.FormUUID}, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`},
	} {
		m.Secrets = append(m.Secrets, c.of)
		forms[c.of.Name] = c.form
	}
	first, err := s.Ensure(m, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, form := range forms {
		if !regexp.MustCompile(form).MatchString(first[name]) {
			t.Errorf("%s is %q", name, first[name])
		}
	}
	m.Secrets[0].Form, m.Secrets[0].Length = manifest.FormHex, 0
	if again, err := s.Ensure(m, false); err != nil || !maps.Equal(again, first) {
		t.Errorf("another form made one anew: %v", err)
	}
}

func TestNobodyElseCanReadSecrets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Import(app(), "inner", "brought", false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ensure(app(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Keep("b", "api-key", "hunter2"); err != nil {
		t.Fatal(err)
	}
	files := 0
	if err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o700)
		if !e.IsDir() {
			want, files = 0o600, files+1
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, expected %o", name, info.Mode().Perm(), want)
		}
		return nil
	}); err != nil || files != 3 {
		t.Errorf("%d files, %v", files, err)
	}
}

func TestAnEmptyFileIsNoSecret(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ensure(app(), false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "inner"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ensure(app(), true); !errors.Is(err, ErrLost) {
		t.Errorf("over data: %v", err)
	}
	if values, err := s.Ensure(app(), false); err != nil || len(values["inner"]) != 40 {
		t.Errorf("without data: %d bytes, %v", len(values["inner"]), err)
	}
}

func TestImportReplacesNoSecretThatIsInUse(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	is := func(want string) {
		t.Helper()
		if values, err := s.All(app()); err != nil || values["inner"] != want {
			t.Errorf("it is %q, %v; expected %q", values["inner"], err, want)
		}
	}
	for _, bad := range []string{"", "two\nlines", "two\rlines", "nul\x00", strings.Repeat("x", maxValue+1)} {
		if err := s.Import(app(), "inner", bad, true); err == nil || strings.Contains(err.Error(), "lines") {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	if err := s.Import(app(), "unknown", "x", true); err == nil {
		t.Error("a secret that the manifest has not was taken")
	}
	if err := s.Import(app(), "inner", "first", false); err != nil {
		t.Fatal(err)
	}
	if err := s.Import(app(), "inner", "first", false); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := s.Import(app(), "inner", "second", false); !errors.Is(err, ErrInUse) || strings.Contains(err.Error(), "first") || strings.Contains(err.Error(), "second") {
		t.Errorf("another: %v", err)
	}
	is("first")
	if err := s.Import(app(), "inner", "second", true); err != nil {
		t.Errorf("another, where no data depends on it: %v", err)
	}
	is("second")
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
	// A file that is being written, and takes its name in a moment (package atomicfile).
	unfinished := filepath.Join(dir, "a", ".new-1")
	if err := os.WriteFile(unfinished, nil, 0o600); err != nil {
		t.Fatal(err)
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
	if err := os.Remove(unfinished); err != nil {
		t.Errorf("it was swept while it was being written: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "a")); err != nil || len(entries) != 1 || entries[0].Name() != "key" {
		t.Errorf("cleared, and it left %v, %v", entries, err)
	}
	if err := s.Sweep("none", nil); err != nil {
		t.Error(err)
	}
}

func TestValuesAreAllThatIsKept(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := &manifest.Manifest{ID: "feeds", Secrets: []manifest.GeneratedSecret{{Name: "password"}}}
	generated, err := s.Ensure(m, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Keep("wiki", "key", "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Keep("wiki", "key", "two"); err != nil {
		t.Fatal(err)
	}
	all, err := s.Values()
	if err != nil || len(all) != 2 || strings.TrimSpace(all["feeds/password"]) != generated["password"] || !strings.Contains(all["wiki/key"], "one\n") || !strings.Contains(all["wiki/key"], "two\n") {
		t.Errorf("%q, %v", all, err)
	}
}
