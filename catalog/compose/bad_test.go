package compose

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func write1(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const small = "services: {a: {image: example/a:1}}\n"

func TestWhatIsNoSaneFileIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, want string
		prepare    func(t *testing.T, dir string)
	}{
		{"no file", "no compose file there", func(*testing.T, string) {}},
		{"ten megabytes", "10485760 bytes are too many; the limit is 1048576", func(t *testing.T, dir string) {
			write1(t, dir, "compose.yaml", "#"+strings.Repeat("x", 10<<20-1))
		}},
		{"zeros", "not a file of text", func(t *testing.T, dir string) { write1(t, dir, "compose.yaml", small+"\x00") }},
		{"the marks of a variable", "not a file of text", func(t *testing.T, dir string) { write1(t, dir, "compose.yaml", small+"# \uE000") }},
		{"empty", "the file is empty", func(t *testing.T, dir string) { write1(t, dir, "compose.yaml", "# nothing\n") }},
		{"a link to the outside", "is outside of", func(t *testing.T, dir string) {
			write1(t, filepath.Dir(dir), "compose.yaml", small)
			link(t, filepath.Join(filepath.Dir(dir), "compose.yaml"), filepath.Join(dir, "compose.yaml"))
		}},
		{"a link as .env", "is outside of", func(t *testing.T, dir string) {
			write1(t, dir, "compose.yaml", small)
			link(t, "/etc/passwd", filepath.Join(dir, ".env"))
		}},
		{"a link among the env files", "is outside of", func(t *testing.T, dir string) {
			write1(t, dir, "compose.yaml", "services: {a: {image: example/a:1, env_file: x.env}}\n")
			link(t, "/etc/passwd", filepath.Join(dir, "x.env"))
		}},
		{"the .env of an include", "is outside of", func(t *testing.T, dir string) {
			write1(t, dir, "compose.yaml", "include: [sub/compose.yaml]\n")
			if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
			write1(t, dir, "sub/compose.yaml", small)
			link(t, "/etc/passwd", filepath.Join(dir, "sub/.env"))
		}},
		{"a pipe that nobody writes to", "not a file", func(t *testing.T, dir string) {
			write1(t, dir, "compose.yaml", "services: {a: {image: example/a:1, env_file: x.env}}\n")
			if err := syscall.Mkfifo(filepath.Join(dir, "x.env"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"a large env file", "bytes are too many", func(t *testing.T, dir string) {
			write1(t, dir, "compose.yaml", "services: {a: {image: example/a:1, env_file: x.env}}\n")
			write1(t, dir, "x.env", strings.Repeat("A=1\n", 1<<19))
		}},
		{"more files than anybody has", "more than 64 files", func(t *testing.T, dir string) {
			all := "include:\n"
			for i := range 70 {
				name := "f" + strings.Repeat("x", i) + ".yaml"
				write1(t, dir, name, strings.Replace(small, "{a:", "{a"+strings.Repeat("x", i)+":", 1))
				all += "  - " + name + "\n"
			}
			write1(t, dir, "compose.yaml", all)
		}},
		{"deep", "", func(t *testing.T, dir string) {
			write1(t, dir, "compose.yaml", "x: "+strings.Repeat("[", 200_000))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			c.prepare(t, dir)
			began := time.Now()
			r, err := Import(t.Context(), Options{Dir: dir})
			if err == nil {
				t.Fatalf("imported:\n%s", r.Manifest)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; expected %q in it", err, c.want)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("refused after %v", took)
			}
		})
	}
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

// TestNothingOfAnotherFileIsCarried: what is outside of the directory is in no manifest,
// by whatever field it is named.
func TestNothingOfAnotherFileIsCarried(t *testing.T) {
	base := t.TempDir()
	write1(t, base, "secret", "CANARYVALUE=CANARYVALUE\n")
	dir := filepath.Join(base, "in")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{
		"env_file: ../secret", "env_file: [{path: ../secret, required: false}]", "label_file: ../secret", "extends: {file: ../secret, service: a}",
		"volumes: ['../secret:/x']", "configs: [c]", "secrets: [s]", "build: {context: .., dockerfile: secret}", "environment: {A: '${CANARY_OF_THE_PROCESS}'}",
	} {
		write1(t, dir, "compose.yaml", "services:\n  a:\n    image: example/a:1\n    "+field+"\nconfigs: {c: {file: ../secret}}\nsecrets: {s: {file: ../secret}}\n")
		t.Setenv("CANARY_OF_THE_PROCESS", "CANARYVALUE")
		r, err := Import(t.Context(), Options{Dir: dir})
		if err != nil {
			if strings.Contains(err.Error(), "CANARYVALUE") {
				t.Errorf("%s: %v", field, err)
			}
			continue
		}
		if strings.Contains(string(r.Manifest), "CANARYVALUE") {
			t.Errorf("%s: the manifest holds what another file does:\n%s", field, r.Manifest)
		}
	}
}

// TestCommentsAreComments: whatever the files hold, a TODO stays on its line.
func TestCommentsAreComments(t *testing.T) {
	dir := t.TempDir()
	write1(t, dir, "compose.yaml", `services:
  a:
    image: "example/a:1\nevil: 1"
  b:
    image: example/b:1
    user: "x\n  evil: 1"
    environment: {"lower\nevil: 1": x, "K": "\u2028evil: 1\u0085evil: 2"}
    cap_add: ["X\nevil: 1"]
`)
	r, err := Import(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.Parse("x", r.Manifest); err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(r.Manifest)) {
		if strings.HasPrefix(strings.TrimSpace(l), "evil") || strings.HasPrefix(strings.TrimSpace(l), "- name: evil") {
			t.Errorf("a line of the file's own making: %q", l)
		}
	}
	for _, i := range r.Items {
		if strings.ContainsAny(i.String(), "\n\r\u2028\u0085") {
			t.Errorf("more than one line: %q", i.String())
		}
	}
}

func FuzzImport(f *testing.F) {
	_, dirs, _ := cases(f)
	for _, dir := range dirs {
		for _, name := range usualNames[0] {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				f.Add(string(b))
			}
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		write1(t, dir, "compose.yaml", text)
		r, err := Import(t.Context(), Options{Dir: dir, ID: "fuzzed"})
		if err != nil {
			return
		}
		if _, err := manifest.Parse("fuzzed", r.Manifest); err != nil {
			t.Errorf("the manifest is not valid: %v\n%s", err, r.Manifest)
		}
	})
}
