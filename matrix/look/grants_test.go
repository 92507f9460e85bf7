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
