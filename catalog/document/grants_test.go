package document

import (
	"fmt"
	"slices"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// What a container is given is a privilege, by its name, in whichever order it stands.
func TestDiffShowsWhatAContainerIsGiven(t *testing.T) {
	entry := func(c manifest.Container) *Document {
		c.Name = "hub"
		m := &manifest.Manifest{ID: "hub", Version: "1", Containers: []manifest.Container{c}}
		return &Document{Entries: []Entry{{ID: "hub", Version: "1", Manifest: m.Canonical()}}}
	}
	before := entry(manifest.Container{Capabilities: []string{"CHOWN", "KILL"}, Pids: 100})
	after := entry(manifest.Container{
		Capabilities: []string{"SETUID", "KILL", "CHOWN"}, CPUs: 1.5, Pids: 200, ExtraHosts: map[string]string{"db": "hub"},
		Devices: []manifest.Device{{Class: "gpu"}, {Class: "serial", ID: "usb-a", Path: "/dev/ttyUSB0"}},
		Storage: []manifest.StorageMount{{Name: "photos", Path: "/photos", Access: manifest.ReadWrite}},
	})
	var lines []string
	for _, l := range Diff(before, after)[0].Lines {
		lines = append(lines, fmt.Sprintf("%s %s %q %q", l.Kind, l.Path, l.Old, l.New))
	}
	want := []string{
		`privilege containers.hub.capabilities.SETUID "" "SETUID"`,
		`privilege containers.hub.cpus "" "1.5"`,
		`privilege containers.hub.devices./dev/ttyUSB0.class "" "serial"`,
		`privilege containers.hub.devices./dev/ttyUSB0.id "" "usb-a"`,
		`privilege containers.hub.devices./dev/ttyUSB0.path "" "/dev/ttyUSB0"`,
		`privilege containers.hub.devices.gpu.class "" "gpu"`,
		`privilege containers.hub.pids "100" "200"`,
		`privilege containers.hub.storage.photos.access "" "read_write"`,
		`privilege containers.hub.storage.photos.name "" "photos"`,
		`privilege containers.hub.storage.photos.path "" "/photos"`,
		`other containers.hub.extra_hosts.db "" "hub"`,
	}
	if !slices.Equal(lines, want) {
		t.Errorf("%q\nexpected\n%q", lines, want)
	}
}

// What goes between applications is said in sentences, of a new application, too.
func TestDiffSaysWhatGoesBetweenApplications(t *testing.T) {
	entry := func(uses ...string) *Document {
		m := &manifest.Manifest{ID: "wallet", Version: "1", Containers: []manifest.Container{{Name: "wallet"}}}
		for _, name := range uses {
			m.Containers[0].Imports = append(m.Containers[0].Imports, manifest.Import{App: "chain." + name, Path: "/" + name, ReadOnly: true})
		}
		if len(uses) > 0 {
			m.Requires = []manifest.Requirement{{App: "chain", Uses: uses}}
			m.Exports = map[string]manifest.Export{"api": {Port: 80}}
		}
		return &Document{Entries: []Entry{{ID: "wallet", Version: "1", Manifest: m.Canonical()}}}
	}
	all := []string{"it reads the data that chain exports as blocks", "it lets applications that require it reach its container wallet, which serves api at port 80"}
	for name, c := range map[string]struct {
		before, after *Document
		words         []string
	}{
		"new":     {nil, entry("blocks"), all},
		"updated": {entry(), entry("blocks"), all},
		"more":    {entry("blocks"), entry("blocks", "index"), []string{"it reads the data that chain exports as index"}},
		"less":    {entry("blocks", "index"), entry("blocks"), nil},
	} {
		got := Diff(c.before, c.after)[0]
		if !slices.Equal(got.Words, c.words) {
			t.Errorf("%s: %q, expected %q", name, got.Words, c.words)
		}
		if len(got.Lines) == 0 || got.Lines[0].Kind != Privilege {
			t.Errorf("%s: %v", name, got.Lines)
		}
	}
	lines := Diff(entry(), entry("blocks"))[0].Lines
	if i := slices.IndexFunc(lines, func(l Line) bool { return l.Path == "exports.api.port" }); i < 0 || lines[i].Kind != Exposure {
		t.Errorf("%v", lines)
	}
	if !slices.ContainsFunc(lines, func(l Line) bool { return l.Path == "requires.chain.uses.blocks" }) {
		t.Errorf("%v", lines)
	}
}
