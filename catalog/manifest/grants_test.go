package manifest

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const plain = `apiVersion: archipelago/v1
id: hub
name: Hub
version: "1.0"
containers:
  - name: hub
    image: {build: image}
    user: "1000:1000"
  - name: hub-db
    image: {build: db}
    user: "0"
settings: [{name: stick, default: usb-Stick-if00}, {name: key, secret: true}]
network: {internet: true}
requires: [{app: chain}]
`

// asks is plain with fields of its first container, in one line.
func asks(fields string) string {
	return strings.Replace(plain, "    user: \"1000:1000\"\n", "    user: \"1000:1000\"\n    secrets: [{name: key, env: KEY}]\n    "+fields+"\n", 1)
}

func TestWhatAContainerMayAskForIsRead(t *testing.T) {
	m, err := Parse("m.yaml", []byte(asks(`capabilities: [NET_RAW, NET_ADMIN]
    devices: [{class: serial, id: "{{setting:stick}}", path: /dev/ttyACM0}, {class: video, id: usb-Cam-video-index0, path: /dev/video0}, {class: usb, id: "1a6e:089a"}, {class: gpu}, {class: tun}]
    storage: [{name: photos, path: /photos, access: read_write}, {name: music, path: /music, access: read_only}]
    cpus: 0.29
    pids: 200
    extra_hosts: {db: hub-db}`)))
	if err != nil {
		t.Fatal(err)
	}
	published, err := ParseCanonical("m.json", m.Canonical())
	if err != nil || !reflect.DeepEqual(m, published) {
		t.Fatalf("%v\n%+v\n%+v", err, m, published)
	}
	if c := m.Containers[0]; c.CPUPercent() != 29 || c.Pids != 200 || !slices.Equal(m.Aliases("hub-db"), []string{"db"}) || len(m.Aliases("hub")) > 0 {
		t.Errorf("%+v", c)
	}
	filled, err := m.With(map[string]string{"stick": "usb-Other#1.2-if00"}, Node{})
	if err != nil {
		t.Fatal(err)
	}
	var on []string
	for _, d := range filled.Devices() {
		on = append(on, d.Argument())
	}
	if want := []string{"/dev/serial/by-id/usb-Other#1.2-if00:/dev/ttyACM0", "/dev/v4l/by-id/usb-Cam-video-index0:/dev/video0", "/dev/archipelago/usb-1a6e-089a", "/dev/dri/renderD128", "/dev/net/tun"}; !slices.Equal(on, want) {
		t.Errorf("%q, expected %q", on, want)
	}
	if m.Containers[0].Devices[0].ID != "{{setting:stick}}" {
		t.Error("filling in settings changes the manifest")
	}
	want := []string{
		"makes network tunnels in its container hub",
		"may change the addresses, routes and filters of its own networks (NET_ADMIN) in its container hub",
		"may send and read any packets in its own networks (NET_RAW) in its container hub",
		"reads and writes your folder photos in its container hub",
		"reads your folder music in its container hub",
		"uses the node's USB device 1a6e:089a in its container hub",
		"uses the node's camera or video device usb-Cam-video-index0 in its container hub",
		"uses the node's graphics processor in its container hub",
		"uses the node's serial device that its setting stick names in its container hub",
	}
	if got := m.Grants(); !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
	for _, g := range want {
		if !slices.Contains(m.Privileges(), g) {
			t.Errorf("%q is no privilege", g)
		}
	}
	on = m.WithFolders(map[string]Folder{"photos": {Dir: "/srv/photos"}}).Grants()
	if !slices.Contains(on, "reads and writes your folder photos (/srv/photos) in its container hub") || !slices.Contains(on, want[4]) || !slices.Equal(m.Grants(), want) {
		t.Errorf("on a node: %q", on)
	}
	if got := m.Storage(); !slices.Equal(got, []string{"music", "photos"}) {
		t.Errorf("%q", got)
	}
	if got := filled.Devices()[2].Rule("plugdev"); got != `SUBSYSTEM=="usb", ATTR{idVendor}=="1a6e", ATTR{idProduct}=="089a", SYMLINK+="archipelago/usb-1a6e-089a", GROUP="plugdev", MODE="0660"` {
		t.Error(got)
	}
}

// What names a device must not lead anywhere else, whoever names it.
func TestASettingNamesNothingButADevice(t *testing.T) {
	m, err := Parse("m.yaml", []byte(asks(`devices: [{class: serial, id: "{{setting:stick}}", path: /dev/ttyACM0}]`)))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"../../sda", "a/b", "a:/dev/sda", "..", "a b", "", "%h", "$HOME", "a\tb", strings.Repeat("a", 201)} {
		if filled, err := m.With(map[string]string{"stick": id}, Node{}); err == nil {
			t.Errorf("%q leads to %s", id, filled.Devices()[0].Argument())
		}
	}
}

func TestWhatNoContainerMayAskForIsRefused(t *testing.T) {
	for fields, want := range map[string]string{
		"capabilities: [SYS_ADMIN]":                                                             "m.yaml:10:20: containers[0].capabilities[0]: not a capability that a container may have; expected one of CHOWN, DAC_OVERRIDE, FOWNER, KILL, NET_ADMIN, NET_BIND_SERVICE, NET_RAW, SETGID, SETUID, SYS_NICE",
		"capabilities: [KILL, ALL]":                                                             "containers[0].capabilities[1]: not a capability",
		"capabilities: [CAP_KILL]":                                                              "containers[0].capabilities[0]: not a capability",
		"capabilities: [KILL, KILL]":                                                            "containers[0].capabilities:",
		"capabilities: [\"KILL\\nPodmanArgs=x\"]":                                               "not a capability",
		"cap_add: [KILL]":                                                                       "m.yaml:10:5: containers[0].cap_add: unknown field; a container's 'capabilities' are those of a list",
		"privileged: true":                                                                      "unknown field; applications run rootless and unprivileged",
		"network_mode: host":                                                                    "unknown field; every application has its own network",
		"lan_discovery: true":                                                                   "unknown field; multicast of the node's network does not reach containers",
		"subpath: a":                                                                            "unknown field; what one container has of another's volume is a volume of its own",
		"devices: [{class: disk}]":                                                              "m.yaml:10:23: containers[0].devices[0].class:",
		"devices: [/dev/sda]":                                                                   "containers[0].devices[0]:",
		"devices: [{class: gpu, path: /dev/dri/card0}]":                                         "containers[0].devices[0].path: a gpu device is where the node has it",
		"devices: [{class: gpu, id: card0}]":                                                    "m.yaml:10:32: containers[0].devices[0].id: a node has one gpu device",
		"devices: [{class: gpu}, {class: gpu}]":                                                 `containers[0].devices[1]: "/dev/dri/renderD128" is already used by containers[0].devices[0]`,
		"devices: [{class: serial, path: /dev/ttyUSB0}]":                                        "containers[0].devices[0]: missing property 'id': which serial device; expected a name as in /dev/serial/by-id, or {{setting:NAME}}",
		"devices: [{class: serial, id: usb-x}]":                                                 "containers[0].devices[0]: missing property 'path'",
		"devices: [{class: serial, id: ../../mem, path: /dev/x}]":                               `containers[0].devices[0].id: "../../mem" names no serial device; expected a name as in /dev/serial/by-id, or {{setting:NAME}}`,
		"devices: [{class: serial, id: \"a:/dev/mem\", path: /dev/x}]":                          "names no serial device",
		"devices: [{class: serial, id: \"a-{{setting:stick}}\", path: /dev/x}]":                 "names no serial device",
		"devices: [{class: serial, id: \"{{setting:no}}\", path: /dev/x}]":                      `containers[0].devices[0].id: no setting is named "no"`,
		"devices: [{class: serial, id: \"{{setting:key}}\", path: /dev/x}]":                     `containers[0].devices[0].id: the setting "key" is secret`,
		"devices: [{class: usb, id: \"{{setting:stick}}\"}]":                                    `settings[0].default: "usb-Stick-if00" names no usb device; expected VENDOR:PRODUCT, as lsusb shows it`,
		"devices: [{class: usb, id: 1a6e089a}]":                                                 "names no usb device",
		"devices: [{class: serial, id: a, path: /dev/null}]":                                    "containers[0].devices[0].path: expected a name of its own in /dev",
		"devices: [{class: serial, id: a, path: /etc/x}]":                                       "containers[0].devices[0].path: expected a name of its own in /dev",
		"devices: [{class: serial, id: a, path: /dev/a/b}]":                                     "containers[0].devices[0].path: expected a name of its own in /dev",
		"devices: [{class: serial, id: a, path: /dev/x}, {class: serial, id: b, path: /dev/x}]": `containers[0].devices[1]: "/dev/x" is already used by containers[0].devices[0]`,
		"devices: [{class: tun}]":                                                               "containers[0].devices[0].class: a tunnel needs the capability NET_ADMIN, too",
		"devices: [{class: gpu, mode: rwm}]":                                                    "containers[0].devices[0].mode: unknown field",
		"storage: [{name: photos, path: /photos}]":                                              "m.yaml:10:15: containers[0].storage[0]: missing property 'access'",
		"storage: [{name: photos, access: read_only}]":                                          "containers[0].storage[0]: missing property 'path'",
		"storage: [{path: /photos, access: read_only}]":                                         "containers[0].storage[0]: missing property 'name'",
		"storage: [{name: photos, path: /photos, access: write}]":                               "m.yaml:10:53: containers[0].storage[0].access:",
		"storage: [{name: photos, path: /photos, access: read_only, dir: /srv}]":                "containers[0].storage[0].dir: unknown field",
		"storage: [{name: ../x, path: /photos, access: read_only}]":                             "containers[0].storage[0].name:",
		"storage: [{name: photos, path: photos, access: read_only}]":                            "containers[0].storage[0].path:",
		"storage: [{name: photos, path: /a/../etc, access: read_only}]":                         `containers[0].storage[0].path: "/a/../etc" is not a clean absolute path`,
		"storage: [{name: photos, path: /proc/x, access: read_only}]":                           "containers[0].storage[0].path: /proc belongs to the engine",
		"storage: [{name: photos, path: /a, access: read_only}, {name: photos, path: /b, access: read_only}]": `m.yaml:10:67: containers[0].storage[1].name: the container has the folder "photos" already, as storage[0]`,
		"storage: [{name: photos, path: /a, access: read_only}, {name: music, path: /a, access: read_only}]":  `containers[0].storage[1].path: "/a" is already used by containers[0].storage[0].path`,
		"storage: []":                      "containers[0].storage:",
		"cpus: 0":                          "m.yaml:10:11: containers[0].cpus: 0 is less than 1/20",
		"cpus: 33":                         "containers[0].cpus: 33 is more than 32",
		"cpus: 0.123":                      "containers[0].cpus:",
		"cpus: half":                       "containers[0].cpus:",
		"pids: 1":                          "m.yaml:10:11: containers[0].pids: 1 is less than 8",
		"pids: 2049":                       "m.yaml:10:11: containers[0].pids: 2049 is more than 2048",
		"extra_hosts: {db: miniflux}":      `m.yaml:10:23: containers[0].extra_hosts.db: no container is named "miniflux"`,
		"extra_hosts: {db: 192.0.2.1}":     "containers[0].extra_hosts.db:",
		"extra_hosts: {hub: hub-db}":       `m.yaml:10:19: containers[0].extra_hosts.hub: "hub" is the name of a container already`,
		"extra_hosts: {chain: hub-db}":     `containers[0].extra_hosts.chain: "chain" is the name of what the application requires`,
		"extra_hosts: {localhost: hub-db}": "localhost is the container itself",
		"extra_hosts: {a.b: hub-db}":       "not a valid name",
	} {
		_, err := Parse("m.yaml", []byte(asks(fields)))
		var all *Error
		if !errors.As(err, &all) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", fields, err, want)
		}
	}
}

func TestWhatOneFieldExcludesInAnotherIsRefused(t *testing.T) {
	simple := strings.Replace(plain, ", {name: key, secret: true}", "", 1)
	for _, c := range []struct{ name, old, by, want string }{
		{"whatever user the image has", `user: "1000:1000"`, "capabilities: [KILL]", "m.yaml:8:5: containers[0].capabilities: say also which user has them, with 'user'"},
		{"a way out", "network: {internet: true}", "network: {internet: false}", "m.yaml:12:20: containers[1].capabilities[0]: excludes network: {internet: false}"},
		{"a name that leads to two", `user: "1000:1000"`, "extra_hosts: {db: hub-db}", `m.yaml:13:23: containers[1].extra_hosts.db: "db" already leads to hub-db for another container`},
	} {
		src := strings.Replace(simple, `    user: "0"`, "    user: \"0\"\n    capabilities: [NET_RAW]\n    extra_hosts: {db: hub}", 1)
		if strings.Replace(src, c.old, c.by, 1) == src {
			t.Fatalf("%s: not planted", c.name)
		}
		if _, err := Parse("m.yaml", []byte(strings.Replace(src, c.old, c.by, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", c.name, err, c.want)
		}
	}
}

func TestWiderLimitsOfAContainerAreAsked(t *testing.T) {
	of := func(cpus float64, pids int) *Manifest {
		return &Manifest{ID: "a", Containers: []Container{{Name: "a", User: "1", CPUs: cpus, Pids: pids}}}
	}
	for _, c := range []struct {
		from, to *Manifest
		want     []string
	}{
		{of(0, 0), of(1, 8), nil},
		{of(2, 100), of(1.5, 50), nil},
		{of(1.5, 50), of(2, 100), []string{"may use 2 processors instead of 1.5 in its container a", "may have 100 processes instead of 50 in its container a"}},
		{of(1, 50), of(0, 0), []string{"may use any number of processors instead of 1 in its container a", "may have any number of processes instead of 50 in its container a"}},
		{&Manifest{ID: "a"}, of(4, 4000), nil},
	} {
		got := slices.DeleteFunc(NewPrivileges(c.from, c.to), func(p string) bool { return !strings.Contains(p, "process") })
		if !slices.Equal(got, c.want) {
			t.Errorf("%q, expected %q", got, c.want)
		}
	}
}

// The classes stand in the schema, too.
func TestSchemaAndClassesAgree(t *testing.T) {
	var schema struct {
		Defs struct {
			Container struct {
				Properties struct {
					Devices struct {
						Items struct {
							Properties struct{ Class struct{ Enum []string } }
						}
					}
				}
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(schemaJSON, &schema); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(slices.Values(schema.Defs.Container.Properties.Devices.Items.Properties.Class.Enum)), slices.Sorted(maps.Keys(classes)); !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
	dirs, single := DevicePlaces()
	if !slices.Equal(dirs, []string{"/dev/serial/by-id", "/dev/archipelago", "/dev/v4l/by-id"}) || !slices.Equal(single, []string{"/dev/dri/renderD128", "/dev/net/tun"}) {
		t.Errorf("looked for are %q and %q", dirs, single)
	}
}

// What an application sets of another one is asked for; that it joins the network of one which
// exports nothing is said, to the owner and to whoever reads what a catalog changes.
func TestWhatAnApplicationDoesToOthersIsSaid(t *testing.T) {
	m := &Manifest{ID: "a", Requires: []Requirement{{App: "b", Config: map[string]string{"k": "x"}}, {App: "c", Uses: []string{}}}}
	sets, joins := `changes the setting k of b to "x"`, "joins the network of b, and reaches every port of its main container"
	if got := m.Grants(); !slices.Equal(got, []string{sets}) {
		t.Errorf("asked for is %q", got)
	}
	if got := m.Privileges(); !slices.Contains(got, sets) || !slices.Contains(got, "requires b, joins its network, and installs it where it is missing") || !slices.Contains(got, "requires c, and installs it where it is missing") {
		t.Errorf("privileges: %q", got)
	}
	if got := m.Shares(); !slices.Equal(got, []string{joins, sets}) {
		t.Errorf("between it and others: %q", got)
	}
	exporting := &Manifest{ID: "b", Exports: map[string]Export{"api": {Port: 80}}}
	if err := m.Lacks(m.Requires[0], exporting); err == nil || !strings.Contains(err.Error(), "lets nothing be reached but its exports: api") {
		t.Errorf("an application that says what may be reached is joined as a whole: %v", err)
	}
}
