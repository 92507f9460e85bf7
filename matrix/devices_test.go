package matrix

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// What was not said of a device is not taken for absent.
func TestALookThatSaysNothingOfADeviceIsIncomplete(t *testing.T) {
	m := stack()
	m.Containers[1].Devices = []manifest.Device{{Class: "gpu"}, {Class: "tun"}}
	for said, want := range map[string]string{
		"":                                   "the node said nothing of 2 of 2 devices",
		"device /dev/net/tun /dev/net/tun\n": "the node said nothing of 1 of 2 devices",
		"device /dev/net/tun absent\ndevice /dev/dri/renderD128 absent\n": "",
	} {
		_, err := lookAtOne(m, func(file, text string) string {
			if file == factsFile {
				text = strings.Replace(text, "volume db 77", said+"volume db 77", 1)
			}
			return text
		})
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, expected %q", said, err, want)
		}
	}
	if got := asMeant(nil).ask(m, nodes.DataDir, noon).arguments(); got[len(got)-3] != "/dev/dri/renderD128 /dev/net/tun" {
		t.Errorf("asked for are %q", got[len(got)-3])
	}
}

// On a node that is a container, devices are mounted one by one.
func TestADeviceThatIsMountedByItselfIsKnownByItsMount(t *testing.T) {
	s := &Snapshot{Devices: map[string]string{"/dev/net/tun": "/dev/net/tun"}, Elsewhere: map[string]string{"/dev/net/tun": "/19"}}
	for root, same := range map[string]bool{"/19": true, "/net/tun": false, "/20": false} {
		if got := s.device(&DeviceMeant{Node: "/dev/net/tun"}, Mount{Root: root, Type: "tmpfs", Options: "rw"}); strings.HasPrefix(got, "/dev/net/tun, ") != same {
			t.Errorf("%s: %q", root, got)
		}
	}
}

// Whoever looks, looks for the device that the application's settings name.
func TestALookIsForTheDeviceThatASettingNames(t *testing.T) {
	m := stack()
	m.Settings = []manifest.Setting{{Name: "stick", Default: "usb-a-if00"}}
	m.Containers[1].Devices = []manifest.Device{{Class: "serial", ID: "{{setting:stick}}", Path: "/dev/ttyACM0"}}
	s := &Session{Shard: &Shard{Config: map[string]map[string]string{m.ID: {"stick": "usb-b-if00"}}}}
	var asked []string
	s.sees = func(_ context.Context, m *manifest.Manifest, _ time.Time) (*Snapshot, error) {
		asked = devicesOf(m)
		return nil, nil
	}
	if _, err := s.lookAt(t.Context(), m, noon); err != nil || !slices.Equal(asked, []string{"/dev/serial/by-id/usb-b-if00"}) {
		t.Errorf("%v, %q", err, asked)
	}
}
