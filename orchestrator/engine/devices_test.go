package engine

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// A file of the test's cannot be a device, so that links to one of the machine's stand for
// those that udev makes.
func TestDevicesAreFoundByTheirNames(t *testing.T) {
	root := t.TempDir()
	for name, leads := range map[string]string{
		"dev/serial/by-id/usb-a-if00":     "/dev/null",
		"dev/serial/by-id/usb-gone":       "/dev/nothing",
		"dev/v4l/by-id/usb-file":          "/etc/passwd",
		"dev/archipelago/usb-1a6e-089a":   "/dev/zero",
		"dev/net/tun":                     "/dev/null",
		"dev/ttyUSB0":                     "/dev/null",
		"dev/serial/by-path/pci-0-usb-if": "/dev/null",
	} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(leads, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	found := devices(root)
	if got, want := slices.Sorted(maps.Keys(found)), []string{"/dev/archipelago/usb-1a6e-089a", "/dev/net/tun", "/dev/serial/by-id/usb-a-if00"}; !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
	if d := found["/dev/net/tun"]; !d.Open || d.Group == "" {
		t.Errorf("%+v", d)
	}
	if none := devices(t.TempDir()); none == nil || len(none) > 0 {
		t.Errorf("%v, expected none, and that it was looked for", none)
	}
}

type node struct {
	mode fs.FileMode
	gid  uint32
}

func (n node) Name() string       { return "" }
func (n node) Size() int64        { return 0 }
func (n node) Mode() fs.FileMode  { return fs.ModeDevice | fs.ModeCharDevice | n.mode }
func (n node) ModTime() time.Time { return time.Time{} }
func (n node) IsDir() bool        { return false }
func (n node) Sys() any           { return &syscall.Stat_t{Gid: n.gid} }

func TestWhoMayUseADevice(t *testing.T) {
	for _, c := range []struct {
		node
		held, open bool
	}{
		{node{0o660, 990020}, true, false},
		{node{0o640, 990020}, false, false},
		{node{0o660, 990021}, false, false},
		{node{0o666, 990021}, false, true},
		{node{0o664, 990021}, false, false},
		{node{0o600, 990020}, false, false},
		{node{0o660, overflowGroup}, false, false},
		{node{0o666, overflowGroup}, false, true},
	} {
		if got, want := deviceOf(c.node, c.gid == 990020), (host.Device{Group: map[uint32]string{990020: "990020", 990021: "990021"}[c.gid], Held: c.held, Open: c.open}); got != want {
			t.Errorf("%o of %d: %+v, expected %+v", c.mode, c.gid, got, want)
		}
	}
}
