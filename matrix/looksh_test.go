package matrix

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// part runs a part of the script in place of the whole, over a copy of the kernel's files.
func part(t *testing.T, command, root, stdin string, arguments ...string) string {
	t.Helper()
	alone := strings.NewReplacer(`"$0" | head -c "$most"`, command, `"/proc/"`, `"`+root+`/proc/"`, `"/sys/fs/cgroup"`, `"`+root+`/cgroup"`).Replace(script)
	cmd := exec.Command("bash", append([]string{"-c", alone, "look"}, arguments...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func put(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What a container's processes are limited to may stand above them, up to its unit; what is
// above that is of others too.
func TestTheLeastLimitOfProcessesInTheUnitCounts(t *testing.T) {
	const unit = "/user.slice/app.slice/pair.service"
	const payload = unit + "/libpod-payload-b"
	for name, c := range map[string]struct {
		limits map[string]string
		want   string
	}{
		"its own":        {map[string]string{payload: "200", unit: "max"}, "pids 200 200"},
		"above it":       {map[string]string{payload + "/inner": "max", payload: "200", unit: "300"}, "pids 200 200"},
		"less below":     {map[string]string{payload + "/inner": "100", payload: "200"}, "pids 200 100"},
		"less above":     {map[string]string{payload + "/inner": "200", payload: "100"}, "pids 200 100"},
		"of its unit":    {map[string]string{payload: "2048", unit: "100"}, "pids 200 2048"},
		"none":           {map[string]string{payload: "max", unit: "max"}, ""},
		"no controller":  {nil, ""},
		"of all of them": {map[string]string{payload: "max", "/user.slice": "50"}, ""},
	} {
		root := t.TempDir()
		proc := filepath.Join(root, "proc/200")
		at := payload
		if c.limits[payload+"/inner"] != "" {
			at += "/inner"
		}
		put(t, proc+"/status", "Uid:\t1 1 1 1\nGid:\t1 1 1 1\nGroups:\t\nCapInh:\t0\nCapPrm:\t0\nCapEff:\t0\nCapBnd:\t0\nCapAmb:\t0\nNoNewPrivs:\t1\nSeccomp:\t2\n")
		put(t, proc+"/uid_map", "0 1000 1\n")
		put(t, proc+"/cgroup", "0::"+at+"\n")
		put(t, proc+"/limits", "Limit                     Soft Limit           Hard Limit           Units\nMax processes             1                    1                    processes\n")
		for dir, limit := range c.limits {
			put(t, root+"/cgroup"+dir+"/pids.max", limit+"\n")
		}
		out := part(t, "processes", root, "/proc/200/exe /bin/serve\n/proc/200/ns/pid pid:[200]\n", "", "", "", "", "", "", "200:200", "", "", "")
		if !strings.Contains(out, "cgroup 200 "+at+"\n") || strings.Contains(out, "gone") {
			t.Fatalf("%s: %s", name, out)
		}
		if got := strings.Contains(out, "pids "); got != (c.want != "") || !strings.Contains(out, c.want) {
			t.Errorf("%s: expected %q:\n%s", name, c.want, out)
		}
	}
}

func TestTheScriptSaysWhereADeviceLeads(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/ttyUSB3", "")
	if err := os.Symlink("ttyUSB3", dir+"/usb-a"); err != nil {
		t.Fatal(err)
	}
	want := "device " + dir + "/usb-a " + dir + "/ttyUSB3\ndevice " + dir + "/usb-b absent\n"
	if got := part(t, "devices", "", "", "", "", "", "", "", "", "", "", "", dir+"/usb-a "+dir+"/usb-b"); got != want {
		t.Errorf("%q, expected %q", got, want)
	}
}

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
	if got := asMeant(nil).ask(m, nodes.DataDir, noon).arguments(); got[len(got)-1] != "/dev/dri/renderD128 /dev/net/tun" {
		t.Errorf("asked for are %q", got[len(got)-1])
	}
}
