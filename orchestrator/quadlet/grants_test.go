package quadlet

import (
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func granted(t *testing.T, config map[string]string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.ParseFile("testdata/granted.yaml")
	if err == nil {
		m, err = m.With(config, manifest.Node{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWhatIsGrantedIsAsTheGoldenFiles(t *testing.T) {
	asGolden(t, Render(granted(t, nil), "/var/lib/archipelago", true).Files)
}

func TestADeviceIsTheOneThatTheSettingNames(t *testing.T) {
	u := Render(granted(t, map[string]string{"stick": "usb-Other_Stick-if00"}), "/d", true)
	if got := values(u.Files["granted.container"], "AddDevice"); got[0] != "/dev/serial/by-id/usb-Other_Stick-if00:/dev/ttyACM0" {
		t.Errorf("%q", got)
	}
	if u.Specs["granted"] == Render(granted(t, nil), "/d", true).Specs["granted"] {
		t.Error("the container would go on with the old device")
	}
}

// Of the networks of a container, only the application's own holds nobody else.
func TestFurtherNamesAreInTheApplicationsOwnNetworkAlone(t *testing.T) {
	m := granted(t, nil)
	m.Containers[1].ExtraHosts = map[string]string{"web": "granted", "www": "granted"}
	m.Requires = []manifest.Requirement{{App: "chain"}}
	u := Render(m, "/d", true, Requirer{"wallet", []string{m.ID}})
	want := []string{"archipelago-granted.network:alias=web,alias=www", "archipelago-granted.chain.network"}
	if got := values(u.Files["granted.container"], "Network"); !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
	if got := values(u.Files["granted.container"], "ExecStartPost"); len(got) != 1 || strings.Contains(got[0], "alias") {
		t.Errorf("%q", got)
	}
}

// Everybody may make tunnels; what the node gives to a group needs it.
func TestOnlyADeviceOfAGroupKeepsTheGroups(t *testing.T) {
	m := granted(t, nil)
	m.Containers[0].Storage = nil
	c := &m.Containers[0]
	for class, want := range map[string][]string{"tun": nil, "gpu": {"keep-groups"}} {
		c.Devices = []manifest.Device{{Class: class}}
		if got := values(Render(m, "/d", true).Files["granted.container"], "GroupAdd"); !slices.Equal(got, want) {
			t.Errorf("%s: %q, expected %q", class, got, want)
		}
	}
}

// What is on the node has its place from the owner; without, an example stands for it.
func TestAFolderIsWhereTheOwnerHasIt(t *testing.T) {
	m := granted(t, nil).WithFolders(map[string]manifest.Folder{"photos": {Dir: "/mnt/My disk/photos"}})
	u := Render(m, "/d", true).Files["granted.container"]
	if got := values(u, "Volume"); !slices.Equal(got, []string{"/mnt/My disk/photos:/photos"}) {
		t.Errorf("%q", got)
	}
	if got := values(u, "ExecStartPre"); !slices.Equal(got, []string{`/usr/bin/test -e "/mnt/My disk/photos/.archipelago-photos"`}) {
		t.Errorf("%q", got)
	}
	if got := values(Render(m, "/d", true).Files["granted-db.container"], "Volume"); !slices.Equal(got, []string{"/mnt/My disk/photos:/photos:ro", "/srv/music:/music"}) {
		t.Errorf("%q", got)
	}
}
