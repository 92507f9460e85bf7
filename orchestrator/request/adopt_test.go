package request_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// containers is an observation: "NAME" is unmanaged, "NAME APP" an application's.
func containers(all ...string) host.Observation {
	obs := host.Observation{Containers: map[string]host.Container{}}
	for _, c := range all {
		name, owner, _ := strings.Cut(c, " ")
		obs.Containers[name] = host.Container{Name: name, App: owner}
	}
	return obs
}

func TestAdopt(t *testing.T) {
	m := app("a", func(m *manifest.Manifest) {
		m.Containers = append(m.Containers, manifest.Container{Name: "a-db"})
		m.Adopts = []manifest.Adoption{{Container: "old-a"}, {Container: "older-a"}, {Container: "old-db", As: "a-db"}}
	})
	for _, c := range []struct {
		name       string
		verb       string
		containers []string // "NAME" is unmanaged, "NAME APP" is an application's
		want       map[string]string
		refused    bool
	}{
		{"one that the manifest names", request.Adopt, []string{"old-a"}, map[string]string{"a": "old-a"}, false},
		{"none that the manifest names on install", request.Install, []string{"old-a"}, nil, true},
		{"the first that the manifest names", request.Adopt, []string{"older-a", "old-a"}, map[string]string{"a": "old-a"}, false},
		{"one for each member", request.Adopt, []string{"old-a", "old-db"}, map[string]string{"a": "old-a", "a-db": "old-db"}, false},
		{"one of a member's own name, where it is asked for", request.Adopt, []string{"a-db"}, map[string]string{"a-db": "a-db"}, false},
		{"one that is named goes before one of the same name", request.Adopt, []string{"a", "old-a"}, map[string]string{"a": "old-a"}, false},
		{"one of a member's own name is in the way of an install", request.Install, []string{"a"}, nil, true},
		{"one that is managed is none", request.Install, []string{"old-a b"}, nil, false},
		{"none on install", request.Install, nil, nil, false},
		{"none where it is asked for", request.Adopt, []string{"old-a b", "other"}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := request.Decide(records(), disk(m), containers(c.containers...), now, request.Request{App: "a", Verb: c.verb})
			if c.refused {
				if !errors.Is(err, request.ErrRefused) || got != nil {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err != nil || len(got) != 1 || !maps.Equal(got[0].Adopted, c.want) {
				t.Errorf("%+v, %v, expected %v", got, err, c.want)
			}
		})
	}
	// What is installed is not adopted once more.
	got, err := request.Decide(records(installed(m)), disk(m), containers("old-a"), now, request.Request{App: "a", Verb: request.Adopt})
	if err != nil || len(got) != 1 || got[0].Adopted != nil {
		t.Errorf("%+v, %v", got, err)
	}
	// Its data is not the application's own yet.
	adopted := installed(m, func(d *state.Desired) { d.Adopted = map[string]string{"a": "old-a"} })
	decide(t, []decision{{name: "uninstall of what was adopted", records: records(adopted), offer: disk(m), request: request.Request{App: "a", Verb: request.Uninstall}, refused: request.ErrRefused, because: []string{"restart it first"}}})
}

// TestAdoptionDoesNotKeepOlderDataSilently: a volume that exists is not taken over, so what
// the container holds would be left behind.
func TestAdoptionDoesNotKeepOlderDataSilently(t *testing.T) {
	left := records()
	left.Data = map[string]state.Data{"a": {App: "a", Version: "0.9", Volumes: []string{"db"}}}
	adopt := request.Request{App: "a", Verb: request.Adopt}
	got, err := request.Decide(left, disk(app("a")), containers("a"), now, adopt)
	if !errors.Is(err, request.ErrRefused) || got != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, word := range []string{"version 0.9", "(db)", "the container a", "'archy uninstall a --purge'"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v; it does not name %s", err, word)
		}
	}
	left.Data = map[string]state.Data{"a": {App: "a", Version: "0.9"}}
	if got, err := request.Decide(left, disk(app("a")), containers("a"), now, adopt); err != nil || len(got) != 1 {
		t.Errorf("without volumes: %+v, %v", got, err)
	}
}
