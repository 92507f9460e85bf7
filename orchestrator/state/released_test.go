package state

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// Each release has a directory in both: its manifests, and what its daemon wrote of them.
const (
	releasedManifests = "../../catalog/manifest/testdata/released"
	releasedRecords   = "testdata/released"
)

var keep = flag.String("keep", "", "a release whose records to write; 'make keep' does that")

// recordsOf are records of a release's manifests, as a daemon has them of applications in the
// course of an update, of an adoption, and otherwise.
func recordsOf(t *testing.T, release string) (out []Desired) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(releasedManifests, release, "*", "manifest.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatal(release, files, err)
	}
	for i, file := range files {
		m, err := manifest.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for j := range m.Containers {
			if c := &m.Containers[j]; c.Image.Build != "" {
				c.Image = manifest.Image{Ref: "registry.example/" + c.Name, Digest: fmt.Sprintf("sha256:%064x", i*10+j)}
			}
		}
		d := Desired{App: m.ID, Goal: Running, Manifest: m, Source: "catalog beta 7", Installed: true}
		switch i {
		case 0:
			d.Overrides, d.Note = map[string]string{m.ID: manifest.Override(m.ID, m.ID)}, "updated to "+m.Version
			d.Previous, d.Held = &Previous{Manifest: m, Source: "catalog beta 6", Volumes: m.Volumes(), Taken: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Since: time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC)}, m.Digest()
		case 1:
			next := *m
			next.Version += ".9"
			d.Update = &Update{To: &next, Source: "catalog beta 8", Phase: Switched}
		case 2:
			d.Goal, d.Adopted = Stopped, map[string]string{m.ID: "old_" + m.ID}
		}
		out = append(out, d)
	}
	return out
}

// TestRecordsOfEveryReleaseAreRead has this daemon open what the daemon of each release wrote:
// all of it is in force, and means what it meant.
func TestRecordsOfEveryReleaseAreRead(t *testing.T) {
	if *keep != "" {
		dir := filepath.Join(releasedRecords, *keep)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir)
		records := recordsOf(t, *keep)
		for _, d := range records {
			if err := s.PutData(Data{App: d.App, Version: d.Manifest.Version, Migration: d.Manifest.Migration, Volumes: d.Manifest.Volumes()}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Accept(records); err != nil {
			t.Fatal(err)
		}
		copies, err := filepath.Glob(filepath.Join(dir, "*", "*"+lastGood))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range copies {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	releases, err := os.ReadDir(releasedManifests)
	if err != nil || len(releases) == 0 {
		t.Fatal(releases, err)
	}
	for _, r := range releases {
		dir := t.TempDir() // opening a store may write to it
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(releasedRecords, r.Name()))); err != nil {
			t.Fatalf("%v; before a release is made, run 'make keep VERSION=%s'", err, r.Name())
		}
		s := open(t, dir)
		if broken := s.Broken(); len(broken) > 0 {
			t.Errorf("%s: %v", r.Name(), broken)
		}
		want := recordsOf(t, r.Name())
		if len(s.All()) != len(want) {
			t.Fatalf("%s: %d records, expected %d", r.Name(), len(s.All()), len(want))
		}
		for i, got := range s.All() {
			want := want[i]
			if got.App != want.App || got.Goal != want.Goal || got.Source != want.Source || got.Generation != 1 || got.Manifest.Digest() != want.Manifest.Digest() {
				t.Errorf("%s: %+v, expected %+v", r.Name(), got, want)
			}
			if (got.Update == nil) != (want.Update == nil) || got.Update != nil && (got.Update.Phase != Switched || got.Update.To.Containers[0].Image != want.Update.To.Containers[0].Image) {
				t.Errorf("%s: %s: the update under way is %+v, expected %+v", r.Name(), got.App, got.Update, want.Update)
			}
			if d := s.Data(got.App); d.Version != got.Manifest.Version || !slices.Equal(d.Volumes, got.Manifest.Volumes()) {
				t.Errorf("%s: of the data of %s, %+v is known", r.Name(), got.App, d)
			}
		}
	}
}
