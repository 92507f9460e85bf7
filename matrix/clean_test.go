package matrix

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// offers has the node follow the gate's channel, which offers a release of the application.
func offers(t *testing.T, s *Session, n *fakeNode, m *manifest.Manifest) {
	t.Helper()
	file := filepath.Join(s.Shard.Dir, OffersDir, "n.json")
	o, err := readOffered(file)
	if err != nil {
		t.Fatal(err)
	}
	o.Follows, o.Releases["pair"], n.offered = true, m, m
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := o.write(file); err != nil {
		t.Fatal(err)
	}
}

// install has a release of the application run.
func (n *fakeNode) install(m *manifest.Manifest) { n.installed, n.runs, n.data = m, true, true }

// TestAnInstallThatIsRunAgainBeginsClean cuts an update short, at each of its stages.
func TestAnInstallThatIsRunAgainBeginsClean(t *testing.T) {
	purge := "uninstall --purge"
	for _, c := range []struct {
		name  string
		plant func(s *Session, n *fakeNode)
		whole bool // the cycle before was not interrupted
		asked []string
		want  string // empty: it passes
	}{
		{name: "nothing was done", plant: func(*Session, *fakeNode) {}, asked: []string{Install}},
		{name: "the earlier release is offered", plant: func(s *Session, n *fakeNode) { offers(t, s, n, older()) }, asked: []string{Install}},
		{name: "it is installed, too", plant: func(s *Session, n *fakeNode) { offers(t, s, n, older()); n.install(older()) }, asked: []string{purge, Install}},
		{name: "it is stopped", plant: func(s *Session, n *fakeNode) { offers(t, s, n, older()); n.install(older()); n.runs = false }, asked: []string{purge, Install}},
		{name: "the next one is offered", plant: func(s *Session, n *fakeNode) { offers(t, s, n, stack()); n.install(older()) }, asked: []string{purge, Install}},
		{name: "the next one is installed", plant: func(s *Session, n *fakeNode) { offers(t, s, n, stack()); n.install(stack()) }, asked: []string{purge, Install}},
		{name: "the channel is gone with its session", plant: func(_ *Session, n *fakeNode) { n.install(older()) }, asked: []string{purge, Install}},
		{name: "only data is left", plant: func(_ *Session, n *fakeNode) { n.data = true }, asked: []string{purge, Install}},
		{name: "it cannot be removed", plant: func(_ *Session, n *fakeNode) { n.install(older()); n.fails = purge }, asked: []string{purge}, want: "clearing what an interrupted cycle left: uninstall: operation failed"},
		{name: "something is left of it", plant: func(_ *Session, n *fakeNode) { n.data, n.idle = true, purge }, asked: []string{purge}, want: "before the install, something is left"},
		{name: "the cycle before was whole, and its update's release is offered", whole: true, plant: func(s *Session, n *fakeNode) { offers(t, s, n, stack()) }, asked: []string{Install}},
		{name: "the cycle before was whole, and left something", whole: true, plant: func(_ *Session, n *fakeNode) { n.data = true }, want: "before the install, something is left"},
		{name: "an update is due", whole: true, plant: func(s *Session, _ *fakeNode) { s.Shard.Previous = map[string]*manifest.Manifest{"pair": older()} }, want: "offering the earlier release 0.9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := fake(t, family())
				s.mend["pair"] = !c.whole
				c.plant(s, n)
				_, err := perform(t, s, n.m, Install)
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, expected %q", err, c.want)
				}
				if !slices.Equal(n.asked, c.asked) {
					t.Errorf("asked for %q, expected %q", n.asked, c.asked)
				}
				if err == nil && (n.offered != nil || n.installed != n.m) {
					t.Errorf("%v is installed, %v is offered by the channel", n.installed, n.offered)
				}
			})
		})
	}
}
