package catalog

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/buildcontext"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// earlierWrong says why one release is none that owners of another one may have had before:
// what they keep over an update is the same in both, and what they run is not.
func earlierWrong(previous, now *manifest.Manifest) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if CompareVersions(previous.Version, now.Version) >= 0 {
		say("version %s is not lower than %s", previous.Version, now.Version)
	}
	if previous.Migration > now.Migration {
		say("its data has format %d, which version %s, of format %d, would refuse", previous.Migration, now.Version, now.Migration)
	}
	if a, b := previous.NodePorts(), now.NodePorts(); !reflect.DeepEqual(a, b) {
		say("it publishes the ports %v, not %v", a, b)
	}
	if a, b := mounted(previous), mounted(now); !reflect.DeepEqual(a, b) {
		say("its volumes are %v, not %v", a, b)
	}
	if a, b := previous.Secrets, now.Secrets; !reflect.DeepEqual(a, b) {
		say("its secrets are %v, not %v", a, b)
	}
	if !reflect.DeepEqual(previous.Canary, now.Canary) {
		say("its canary is another one, which is not read over the update")
	}
	return wrong
}

// mounted are the volumes of each container, by its name.
func mounted(m *manifest.Manifest) map[string][]manifest.Volume {
	out := map[string][]manifest.Volume{}
	for _, c := range m.Containers {
		out[c.Name] = c.Volumes
	}
	return out
}

// TestEarlierReleasesAreOfApplicationsOfTheCatalog holds what previous has to what the gate
// can update: releases of what is offered now, older, of the same data, and built of other files.
func TestEarlierReleasesAreOfApplicationsOfTheCatalog(t *testing.T) {
	now, err := Load("apps", "field")
	if err != nil {
		t.Fatal(err)
	}
	previous, err := Load("previous")
	if err != nil {
		t.Fatal(err)
	}
	const enough = 10
	if len(previous) < enough {
		t.Errorf("%d applications have an earlier release, expected %d or more", len(previous), enough)
	}
	for _, id := range previous.IDs() {
		p, m := previous[id], now[id]
		if m == nil {
			t.Errorf("previous/%s: neither apps nor field has %s; move its manifest there, or remove this one", id, id)
			continue
		}
		for _, wrong := range earlierWrong(p.Manifest, m.Manifest) {
			t.Errorf("previous/%s: %s", id, wrong)
		}
		for _, c := range p.Containers {
			same, there := m.Container(c.Name)
			if !there || c.Image.Build == "" || same.Image.Build == "" {
				continue
			}
			before, after := contextOf(t, p.Dir, c), contextOf(t, m.Dir, *same)
			if before == after {
				t.Errorf("previous/%s/%s: the same files as those of version %s: its image is no earlier one", id, c.Image.Build, m.Version)
			}
		}
	}
}

func contextOf(t *testing.T, dir string, c manifest.Container) string {
	t.Helper()
	digest, err := buildcontext.Digest(os.DirFS(filepath.Join(dir, c.Image.Build)))
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// TestWhatIsNoEarlierReleaseIsFound plants each fault in an earlier release that has none.
func TestWhatIsNoEarlierReleaseIsFound(t *testing.T) {
	previous, err := Load("previous")
	if err != nil {
		t.Fatal(err)
	}
	id := slices.Sorted(maps.Keys(previous))[0]
	now, err := Load("apps", "field")
	if err != nil {
		t.Fatal(err)
	}
	for want, plant := range map[string]func(m *manifest.Manifest){
		"is not lower than":      func(m *manifest.Manifest) { m.Version = now[id].Version },
		"would refuse":           func(m *manifest.Manifest) { m.Migration = now[id].Migration + 1 },
		"it publishes the ports": func(m *manifest.Manifest) { m.Containers[0].Ports[0].Host++ },
		"its volumes are":        func(m *manifest.Manifest) { m.Containers[0].Volumes[0].UID++ },
		"its secrets are":        func(m *manifest.Manifest) { m.Secrets = nil },
		"its canary is another":  func(m *manifest.Manifest) { m.Canary = nil },
		"":                       func(*manifest.Manifest) {}, // nothing is planted
	} {
		m, err := manifest.ParseFile(filepath.Join("previous", id, "manifest.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		plant(m)
		wrong := earlierWrong(m, now[id].Manifest)
		if want == "" && len(wrong) > 0 || want != "" && (len(wrong) != 1 || !strings.Contains(wrong[0], want)) {
			t.Errorf("%q, expected one that says %q", wrong, want)
		}
	}
}
