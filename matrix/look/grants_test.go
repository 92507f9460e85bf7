package look

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func put(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What a container's processes are limited to may stand above them, up to its unit; what is
// above that is of others too.
func TestTheLeastLimitOfProcessesInTheUnitCounts(t *testing.T) {
	const unit = "/user.slice/app.slice/pair.service"
	const payload = unit + "/libpod-payload-b"
	for name, c := range map[string]struct {
		group  string
		limits map[string]string
		want   string
	}{
		"its own":        {payload, map[string]string{payload: "200", unit: "max"}, "200"},
		"above it":       {payload + "/inner", map[string]string{payload + "/inner": "max", payload: "200", unit: "300"}, "200"},
		"less below":     {payload + "/inner", map[string]string{payload + "/inner": "100", payload: "200"}, "100"},
		"less above":     {payload + "/inner", map[string]string{payload + "/inner": "200", payload: "100"}, "100"},
		"of its unit":    {payload, map[string]string{payload: "2048", unit: "100"}, "2048"},
		"none":           {payload, map[string]string{payload: "max", unit: "max"}, ""},
		"no controller":  {payload, nil, ""},
		"of all of them": {payload, map[string]string{payload: "max", "/user.slice": "50"}, ""},
	} {
		root := t.TempDir()
		for dir, limit := range c.limits {
			put(t, root+dir+"/pids.max", limit+"\n")
		}
		if got := pidsLimit(root, c.group); got != c.want {
			t.Errorf("%s: %q, expected %q", name, got, c.want)
		}
	}
}

func TestItIsToldWhereADeviceLeads(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/ttyUSB3", "")
	if err := os.Symlink("ttyUSB3", dir+"/usb-a"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a := &answer{w: bufio.NewWriter(&out), left: most}
	put(t, dir+"/mounts", "29 1 0:5 / /dev rw - devtmpfs x rw\n30 29 0:55 /19 "+dir+"/ttyUSB4 rw - tmpfs none rw\n")
	put(t, dir+"/ttyUSB4", "")
	a.device(dir+"/usb-a", dir+"/mounts")
	a.device(dir+"/ttyUSB4", dir+"/mounts")
	a.device(dir+"/usb-b", dir+"/mounts")
	a.w.Flush()
	if want := "device " + dir + "/usb-a " + dir + "/ttyUSB3\ndevice " + dir + "/ttyUSB4 " + dir + "/ttyUSB4\nelsewhere " + dir + "/ttyUSB4 /19\ndevice " + dir + "/usb-b absent\n"; out.String() != want {
		t.Errorf("%q, expected %q", out.String(), want)
	}
}
