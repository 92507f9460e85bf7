package request_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/offer"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
)

// TestEarlierReleasesOfTheCatalogAreUpdated asks for the updates that the gate does: from each
// earlier release of the repository's catalog to the one that it has now, with no more consent
// than the installation had, and back, as far as the data's format allows it.
func TestEarlierReleasesOfTheCatalogAreUpdated(t *testing.T) {
	offered, err := catalog.Load("../../catalog/apps", "../../catalog/field")
	if err != nil {
		t.Fatal(err)
	}
	previous, err := catalog.Load("../../catalog/previous")
	if err != nil || len(previous) == 0 {
		t.Fatal(len(previous), err)
	}
	to := func(from *catalog.Entry, c catalog.Catalog) (string, error) {
		got, err := request.Decide(records(installed(from.Manifest)), offer.New(nil, c, nil, now), host.Observation{}, now, request.Request{App: from.ID, Verb: request.Update})
		return says(got), err
	}
	for _, id := range previous.IDs() {
		p, m := previous[id], offered[id]
		if m == nil {
			t.Errorf("%s: the catalog does not have it", id)
			continue
		}
		if got, err := to(p, offered); err != nil || got != id+" to "+m.Version {
			t.Errorf("from %s to %s: %s, %v", p.Version, m.Version, got, err)
		}
		got, err := to(m, previous)
		switch {
		case p.Migration >= m.Migration:
			if err != nil || got != id+" to "+p.Version {
				t.Errorf("from %s back to %s: %s, %v", m.Version, p.Version, got, err)
			}
		case !errors.Is(err, request.ErrRefused) || !strings.Contains(err.Error(), "knows only"):
			t.Errorf("from %s back to %s, which does not know its data: %s, %v", m.Version, p.Version, got, err)
		}
	}
}
