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
