package compose

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/sirupsen/logrus"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

var update = flag.Bool("update", false, "write what is expected of the corpus")

// The corpus is of archives of files: what is imported, and, in the directory want, the
// manifest and the list of what became of the rest. Those named refused-… are no
// application, whoever looks at them.
const corpus = "testdata/corpus"

// cases reads the corpus into directories of their own.
func cases(tb testing.TB) (names []string, dirs, wants map[string]string) {
	tb.Helper()
	files, err := filepath.Glob(corpus + "/*.txtar")
	if err != nil {
		tb.Fatal(err)
	}
	dirs, wants = map[string]string{}, map[string]string{}
	base := tb.TempDir()
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txtar")
		a, err := txtar.ParseFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		dir := filepath.Join(base, name)
		for _, file := range a.Files {
			if strings.HasPrefix(file.Name, "want/") {
				wants[name] += "-- " + file.Name + " --\n" + string(file.Data)
				continue
			}
			p := filepath.Join(dir, file.Name)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				tb.Fatal(err)
			}
			if err := os.WriteFile(p, file.Data, 0o644); err != nil {
				tb.Fatal(err)
			}
		}
		names, dirs[name] = append(names, name), dir
	}
	return names, dirs, wants
}

// importCase converts what a directory of the corpus holds.
func importCase(ctx context.Context, dir string) (*Result, error) {
	o := Options{Dir: dir}
	if scripts, _ := filepath.Glob(dir + "/*.sh"); len(scripts) > 0 && filepath.Base(scripts[0]) != "exports.sh" {
		text, is, err := RunLines(scripts[0])
		if err != nil || !is {
			return nil, fmt.Errorf("no run lines: %w", err)
		}
		return ImportRun(ctx, filepath.Base(scripts[0]), text, o)
	}
	return Import(ctx, o)
}

// outcome is what is expected: a manifest and a list, or an error.
func outcome(r *Result, err error, dir string) string {
	if err != nil {
		return "-- want/refused --\n" + strings.ReplaceAll(err.Error(), filepath.Dir(dir)+"/", "") + "\n"
	}
	var b strings.Builder
	b.WriteString("-- want/manifest.yaml --\n")
	b.Write(r.Manifest)
	b.WriteString("-- want/items --\n")
	for _, i := range r.Items {
		kind := "left"
		if i.Note {
			kind = "note"
		}
		fmt.Fprintf(&b, "%s: %s\n", kind, i)
	}
	return refusals.ReplaceAllString(strings.ReplaceAll(b.String(), filepath.Dir(dir)+"/", ""), "$1")
}

// refusals are in the words of the language's parser, which has tests of its own.
var refusals = regexp.MustCompile(`(the language does not take it): .*`)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // of the library
	os.Exit(m.Run())
}

func TestTheCorpusIsConvertedAsExpected(t *testing.T) {
	t.Setenv("HOME", "/home/somebody")
	names, dirs, wants := cases(t)
	if len(names) < 80 {
		t.Fatalf("only %d cases", len(names))
	}
	possible, made := 0, 0
	for _, name := range names {
		r, err := importCase(t.Context(), dirs[name])
		if refused := strings.HasPrefix(name, "refused-"); refused && err == nil {
			t.Errorf("%s was not refused", name)
		} else if !refused {
			possible++
			if err == nil {
				made++
			}
		}
		if err == nil {
			if _, err := manifest.Parse(name, r.Manifest); err != nil {
				t.Errorf("the manifest of %s is not valid: %v", name, err)
			}
		}
		got := outcome(r, err, dirs[name])
		if *update {
			writeWant(t, name, got)
		} else if got != wants[name] {
			t.Errorf("%s:\n%s\nexpected:\n%s", name, got, wants[name])
		}
	}
	t.Logf("%d of the %d cases that are possible at all give a manifest", made, possible)
	if made*10 < possible*9 {
		t.Errorf("only %d of %d cases give a manifest", made, possible)
	}
}

func writeWant(t *testing.T, name, got string) {
	t.Helper()
	f := filepath.Join(corpus, name+".txtar")
	a, err := txtar.ParseFile(f)
	if err != nil {
		t.Fatal(err)
	}
	a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return strings.HasPrefix(f.Name, "want/") })
	if err := os.WriteFile(f, bytes.Join([][]byte{txtar.Format(a), []byte(got)}, nil), 0o644); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkImport converts 400 files, each with all that is beside it.
func BenchmarkImport(b *testing.B) {
	names, dirs, _ := cases(b)
	for b.Loop() {
		for i := range 400 {
			_, _ = importCase(b.Context(), dirs[names[i%len(names)]])
		}
	}
}
