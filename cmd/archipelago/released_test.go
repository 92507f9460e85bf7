package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/quadlettest"
)

// released are the manifests of each release, which 'make keep' adds before it is made.
const released = "../../catalog/manifest/testdata/released/*/*/manifest.yaml"

// TestEveryManifestEverReleasedIsRenderedByThisDaemon has each one read, rendered by the
// command that the gate asks, too, and its units taken by Podman's generator. The record that
// a node has kept of it says the same.
func TestEveryManifestEverReleasedIsRenderedByThisDaemon(t *testing.T) {
	files, err := filepath.Glob(released)
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		app := filepath.Dir(file)
		t.Run(filepath.Base(filepath.Dir(app))+" "+filepath.Base(app), func(t *testing.T) {
			m, err := manifest.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			publish(m)
			units := renderedBy(t, m.Canonical())
			if want := len(m.Containers) + 1; len(units) < want { // and a network
				t.Errorf("%d unit files, expected %d: %v", len(units), want, units)
			}
			if err := quadlettest.Generate(units); err != nil {
				t.Error(err)
			}
			var kept manifest.Manifest
			if err := json.Unmarshal(m.Canonical(), &kept); err != nil || kept.Digest() != m.Digest() {
				t.Errorf("from a record, it is %s, expected %s; %v", kept.Digest(), m.Digest(), err)
			}
		})
	}
}

// TestEveryManifestOfTheCatalogIsTakenByPodman does the same with what the next release ships.
func TestEveryManifestOfTheCatalogIsTakenByPodman(t *testing.T) {
	var files []string
	for _, dir := range []string{"apps", "field", "upstream", "previous"} {
		of, err := filepath.Glob("../../catalog/" + dir + "/*/manifest.yaml")
		if err != nil || len(of) < 3 {
			t.Fatal(dir, of, err)
		}
		files = append(files, of...)
	}
	for _, file := range files {
		m, err := manifest.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		publish(m)
		if err := quadlettest.Generate(renderedBy(t, m.Canonical())); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// publish pins the images that are built, as their publisher does.
func publish(m *manifest.Manifest) {
	for i := range m.Containers {
		if c := &m.Containers[i]; c.Image.Build != "" {
			c.Image = manifest.Image{Ref: "registry.invalid/" + c.Name, Digest: fmt.Sprintf("sha256:%064x", i)}
		}
	}
}

// renderedBy are the unit files that 'archipelago render' prints for a manifest, by name.
func renderedBy(t *testing.T, text []byte) map[string]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifest.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := renderCommand()
	c.SetArgs([]string{file, "--json"})
	c.SetOut(&out)
	var r rendered
	if err := c.Execute(); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r.Files
}
