package main

import (
	"bufio"
	"context"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/archipelago-cloud/archipelago/catalog/draft"
	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
)

// image gives the address of a registry with the image shop/web:1.4.2, and an archive of it.
func image(t *testing.T) (host, archive string) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	img, err := mutate.Config(empty.Image, v1.Config{User: "101:102", ExposedPorts: map[string]struct{}{"8080/tcp": {}}, Entrypoint: []string{"/usr/bin/web"}})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/shop/web:1.4.2")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	archive = filepath.Join(t.TempDir(), "web.tar")
	if err := tarball.WriteToFile(archive, ref, img); err != nil {
		t.Fatal(err)
	}
	return host, archive
}

// TestWatchSeesEveryChangeAndEndsWell saves a manifest as editors do, in place and by
// renaming, and interrupts the command.
func TestWatchSeesEveryChangeAndEndsWell(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "manifest.yaml")
	const fine = "apiVersion: archipelago/v1\nid: fine\nname: Fine\nversion: \"1\"\ncontainers: [{name: fine, image: {build: image}}]\n"
	put := func(to, text string) {
		t.Helper()
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(file, fine)
	ctx, interrupt := context.WithCancel(t.Context())
	said, w := io.Pipe()
	root := Command()
	root.SetArgs([]string{"app", "validate", dir, "--watch"})
	root.SetOut(w)
	root.SetErr(w)
	ended := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(ctx)
		w.CloseWithError(io.EOF)
		ended <- err
	}()
	lines := bufio.NewScanner(said)
	late := time.AfterFunc(3*time.Minute, func() { said.CloseWithError(context.DeadlineExceeded) })
	defer late.Stop()
	until := func(what ...string) {
		t.Helper()
		var seen strings.Builder
		for lines.Scan() {
			seen.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), what[0]) {
				if what = what[1:]; len(what) == 0 {
					return
				}
			}
		}
		t.Fatalf("%q was not said (%v):\n%s", what, lines.Err(), &seen)
	}
	until("fine 1 is valid", "watching for changes")
	put(file, strings.Replace(fine, `"1"`, "1", 1))
	until(`quote it: version: "1"`, "1 problem in 1 of 1 manifest", "watching for changes")
	put(filepath.Join(dir, "manifest.yaml.new"), fine)
	if err := os.Rename(filepath.Join(dir, "manifest.yaml.new"), file); err != nil {
		t.Fatal(err)
	}
	until("fine 1 is valid", "watching for changes")
	if err := os.Mkdir(filepath.Join(dir, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	until("watching for changes")
	put(filepath.Join(dir, "other", "manifest.yaml"), "id: Other\n")
	until("other/manifest.yaml:1:5: id: \"Other\" is not valid here", "watching for changes")
	if err := os.RemoveAll(filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	until("fine 1 is valid", "watching for changes")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	until("no manifest.yaml in it or below it", "watching for changes")
	put(file, fine)
	until("fine 1 is valid", "watching for changes")
	interrupt()
	for lines.Scan() {
	}
	if err := <-ended; err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

func opt(id, template, requires string) draft.Options {
	return draft.Options{ID: id, Template: template, Requires: requires}
}

func TestAPersonIsAskedForWhatNoFlagSays(t *testing.T) {
	for _, c := range []struct {
		given   beginning
		answers string
		want    beginning
	}{
		{beginning{}, "\n\nphotos\n", beginning{Options: opt("photos", "web", "")}},
		{beginning{}, "\n4\nphotos\n", beginning{Options: opt("photos", "static", "")}},
		{beginning{dir: "ui"}, "\ncompanion\nphotos\n", beginning{dir: "ui", Options: opt("", "companion", "photos")}},
		{beginning{}, "docker.io/library/nginx:1\n", beginning{image: "docker.io/library/nginx:1"}},
		{beginning{archive: "a.tar"}, "photos\n", beginning{archive: "a.tar", Options: opt("photos", "", "")}},
		{beginning{dir: "a", Options: opt("", "web", "")}, "", beginning{dir: "a", Options: opt("", "web", "")}},
	} {
		var out strings.Builder
		got := c.given
		if err := got.ask(t.Context(), strings.NewReader(c.answers), &out); err != nil || got != c.want {
			t.Errorf("%q: %+v, %v; expected %+v\n%s", c.answers, got, err, c.want, &out)
		}
	}
	var b beginning
	if err := b.ask(t.Context(), strings.NewReader("\n9\n"), io.Discard); !usage.Is(err) {
		t.Errorf("a template that there is not: %v", err)
	}
	b = beginning{}
	if err := b.ask(t.Context(), strings.NewReader("\n"), io.Discard); err == nil || !strings.Contains(err.Error(), "nothing is written") {
		t.Errorf("the end of the input: %v", err)
	}
	// A person who interrupts the program need not press Enter as well.
	in, _ := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b = beginning{}
	if err := b.ask(ctx, in, io.Discard); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("interrupted: %v", err)
	}
}

// BenchmarkHelp starts the program as a shell does.
func BenchmarkHelp(b *testing.B) {
	archy := filepath.Join(b.TempDir(), "archy")
	if out, err := exec.Command("go", "build", "-o", archy, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for b.Loop() {
		if out, err := exec.Command(archy, "--help").CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}
