package request_test

import (
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

func with(devices ...manifest.Device) func(*manifest.Manifest) {
	return func(m *manifest.Manifest) { m.Containers[0].Devices = devices }
}

var (
	gpu   = manifest.Device{Class: "gpu"}
	tun   = manifest.Device{Class: "tun"}
	tpu   = manifest.Device{Class: "usb", ID: "1a6e:089a"}
	stick = manifest.Device{Class: "serial", ID: "usb-a", Path: "/dev/ttyUSB0"}
	ours  = manifest.Device{Class: "serial", ID: "{{setting:stick}}", Path: "/dev/ttyUSB0"}
)

// named has the owner name the stick.
func named(m *manifest.Manifest) {
	m.Settings = append(m.Settings, manifest.Setting{Name: "stick", Default: "none"})
}

func on(devices map[string]host.Device) host.Observation { return host.Observation{Devices: devices} }

func TestADeviceThatTheNodeLacksIsRefusedWithTheRemedy(t *testing.T) {
	const agreed = "uses the node's graphics processor in its container a"
	install := func(consent ...string) request.Request {
		return request.Request{App: "a", Verb: request.Install, Consent: consent}
	}
	serial := "uses the node's serial device usb-a in its container a"
	chosen := "uses the node's serial device that its setting stick names in its container a"
	held := host.Device{Group: "dialout", Held: true}
	decide(t, []decision{
		{name: "no graphics processor", records: records(), offer: disk(app("a", with(gpu))), request: install(agreed), node: on(map[string]host.Device{}), refused: request.ErrDevice, because: []string{"refused", "a needs the gpu device /dev/dri/renderD128, which this node lacks: install the driver"}},
		{name: "that is said before consent is asked for", records: records(), offer: disk(app("a", with(gpu))), request: install(), node: on(map[string]host.Device{}), refused: request.ErrDevice},
		{name: "one that only others may use", records: records(), offer: disk(app("a", with(gpu))), request: install(agreed), node: on(map[string]host.Device{"/dev/dri/renderD128": {Group: "render"}}), refused: request.ErrDevice, because: []string{"which belongs to the group render: 'sudo usermod -aG render USER' for the node's user, and reboot"}},
		{name: "one of a group that cannot be told", records: records(), offer: disk(app("a", with(gpu))), request: install(agreed), node: on(map[string]host.Device{"/dev/dri/renderD128": {}}), refused: request.ErrDevice, because: []string{"which belongs to no group of the node's user: 'stat -Lc %G /dev/dri/renderD128' names its group, 'sudo usermod -aG GROUP USER'"}},
		{name: "one of the user's group", records: records(), offer: disk(app("a", with(gpu))), request: install(agreed), node: on(map[string]host.Device{"/dev/dri/renderD128": {Group: "render", Held: true}}), want: "a"},
		{name: "one of everybody's", records: records(), offer: disk(app("a", with(gpu))), request: install(agreed), node: on(map[string]host.Device{"/dev/dri/renderD128": {Group: "root", Open: true}}), want: "a"},
		{name: "where nobody looked", records: records(), offer: disk(app("a", with(gpu))), request: install(agreed), want: "a"},
		{name: "no tunnels", records: records(), offer: disk(app("a", with(tun))), request: install("makes network tunnels in its container a"), node: on(map[string]host.Device{}), refused: request.ErrDevice, because: []string{"sudo modprobe tun"}},
		{name: "tunnels of a group, which the container does not keep", records: records(), offer: disk(app("a", with(tun))), request: install("makes network tunnels in its container a"), node: on(map[string]host.Device{"/dev/net/tun": {Group: "kvm", Held: true}}), refused: request.ErrDevice, because: []string{"sudo chmod 0666 /dev/net/tun"}},
		{name: "no USB device", records: records(), offer: disk(app("a", with(tpu))), request: install("uses the node's USB device 1a6e:089a in its container a"), node: on(map[string]host.Device{}), refused: request.ErrDevice, because: []string{"/dev/archipelago/usb-1a6e-089a, which this node lacks: plug it in", `ATTR{idVendor}=="1a6e", ATTR{idProduct}=="089a", SYMLINK+="archipelago/usb-1a6e-089a"`}},
		{name: "a USB device of root's", records: records(), offer: disk(app("a", with(tpu))), request: install("uses the node's USB device 1a6e:089a in its container a"), node: on(map[string]host.Device{"/dev/archipelago/usb-1a6e-089a": {Group: "root"}}), refused: request.ErrDevice, because: []string{"belongs to no group of the node's user", "70-archipelago.rules", `GROUP="GROUP"`}},
		{name: "another stick", records: records(), offer: disk(app("a", with(stick))), request: install(serial), node: on(map[string]host.Device{"/dev/serial/by-id/usb-b": held, "/dev/net/tun": {}}), refused: request.ErrDevice, because: []string{"/dev/serial/by-id/usb-a", "plug it in, or use what there is: usb-b"}},
		{name: "a stick that nobody has named", records: records(), offer: disk(app("a", with(ours), named)), request: install(chosen), node: on(map[string]host.Device{"/dev/serial/by-id/usb-b": held}), refused: request.ErrDevice, because: []string{"'archy install a --set stick=NAME'"}},
		{name: "a stick that is named", records: records(), offer: disk(app("a", with(ours), named)), request: request.Request{App: "a", Verb: request.Install, Config: config("stick=usb-b"), Consent: []string{chosen}}, node: on(map[string]host.Device{"/dev/serial/by-id/usb-b": held}), want: "a stick=usb-b"},
		{name: "a name that leads elsewhere", records: records(), offer: disk(app("a", with(ours), named)), request: request.Request{App: "a", Verb: request.Install, Config: config("stick=../../sda"), Consent: []string{chosen}}, node: on(map[string]host.Device{"/dev/serial/by-id/usb-b": held}), refused: request.ErrRefused, because: []string{"names no serial device"}},
		{name: "a stick that another application has", records: records(installed(app("b", with(stick)))), offer: disk(app("a", with(stick))), request: install(serial), node: on(map[string]host.Device{"/dev/serial/by-id/usb-a": held}), refused: request.ErrRefused, because: []string{"a and b both use the device /dev/serial/by-id/usb-a"}},
		{name: "a graphics processor that another has, too", records: records(installed(app("b", with(gpu)))), offer: disk(app("a", with(gpu))), request: install(agreed), node: on(map[string]host.Device{"/dev/dri/renderD128": {Held: true}}), want: "a"},
		{name: "what comes along lacks it", records: records(), offer: disk(app("a", requires("b")), app("b", with(gpu))), request: install("installs b, which uses the node's graphics processor in its container b"), node: on(map[string]host.Device{}), refused: request.ErrDevice, because: []string{"b needs the gpu device"}},
		{name: "another setting, and the stick is unplugged for now", records: records(installed(app("a", with(stick), setting("k")))), offer: disk(), request: request.Request{App: "a", Verb: request.Configure, Config: config("k=x")}, node: on(map[string]host.Device{}), want: "a k=x"},
		{name: "a setting that names one that is not there", records: records(installed(app("a", with(ours), named), set("stick=usb-b"))), offer: disk(), request: request.Request{App: "a", Verb: request.Configure, Config: config("stick=usb-c")}, node: on(map[string]host.Device{"/dev/serial/by-id/usb-b": held}), refused: request.ErrDevice, because: []string{"usb-c"}},
		{name: "an update that needs one", records: records(installed(app("a"))), offer: disk(app("a", version("2"), with(gpu))), request: request.Request{App: "a", Verb: request.Update, Consent: []string{agreed}}, node: on(map[string]host.Device{}), refused: request.ErrDevice, because: []string{"a needs the gpu device"}},
		{name: "an update that needs what it has, unplugged", records: records(installed(app("a", with(stick)))), offer: disk(app("a", version("2"), with(stick))), request: request.Request{App: "a", Verb: request.Update}, node: on(map[string]host.Device{}), want: "a to 2"},
		{name: "what is stopped has no device, and starts", records: records(installed(app("a", with(stick)), goal(state.Stopped))), offer: disk(), request: request.Request{App: "a", Verb: request.Start}, node: on(map[string]host.Device{}), want: "a"},
	})
}

func TestInstallationNeedsConsentToWhatNotAllHave(t *testing.T) {
	caps := func(names ...string) func(*manifest.Manifest) {
		return func(m *manifest.Manifest) { m.Containers[0].Capabilities = names }
	}
	const first, second = "may become any user (SETUID) in its container a", "may become any group (SETGID) in its container a"
	two := disk(app("a", caps("SETUID", "SETGID"), port(80)))
	install := func(consent ...string) request.Request {
		return request.Request{App: "a", Verb: request.Install, Consent: consent}
	}
	decide(t, []decision{
		{name: "none is given", records: records(), offer: two, request: install(), refused: request.ErrConsent, because: []string{first, second, "archy install a", "refused"}},
		{name: "one is missing", records: records(), offer: two, request: install(first), refused: request.ErrConsent, because: []string{": it " + second + ";"}},
		{name: "all is given", records: records(), offer: two, request: install(first, second), want: "a"},
		{name: "nothing is asked for what all may have", records: records(), offer: disk(app("a", port(80))), request: install(), want: "a"},
		{name: "what comes along is asked for too", records: records(), offer: disk(app("a", requires("b")), app("b", caps("KILL"))), request: install(), refused: request.ErrConsent, because: []string{"installs b, which may end any of its processes (KILL) in its container b"}},
		{name: "what is there is not", records: records(installed(app("b", caps("KILL")))), offer: disk(app("a", requires("b")), app("b", caps("KILL"))), request: install(), want: "a"},
		{name: "to install again changes nothing", records: records(installed(app("a", caps("SETUID")))), offer: two, request: install(), want: "a"},
		{name: "an update asks as ever", records: records(installed(app("a", caps("SETUID"), port(80)))), offer: disk(app("a", version("2"), caps("SETUID", "SETGID"), port(80))), request: request.Request{App: "a", Verb: request.Update}, refused: request.ErrConsent, because: []string{": " + second + ";"}},
	})
}
