package disk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/internal/mountstest"
)

// devices are names of disks as udev makes them, of devices that are plain files.
func devices(t *testing.T) (dev string) {
	t.Helper()
	dev = t.TempDir()
	for _, d := range []string{"disk/by-uuid", "disk/by-label", "mapper"} {
		if err := os.MkdirAll(filepath.Join(dev, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"sda1", "sdb1", "dm-0"} {
		if err := os.WriteFile(filepath.Join(dev, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"disk/by-uuid/aaaa": "sda1", "disk/by-uuid/bbbb": "sdb1", "disk/by-uuid/cccc": "dm-0", `disk/by-label/MY\x20BIG`: "sdb1", "mapper/crypt": "dm-0"} {
		if err := os.Symlink(filepath.Join(dev, to), filepath.Join(dev, link)); err != nil {
			t.Fatal(err)
		}
	}
	return dev
}

func mounted(t *testing.T, dev string, lines ...string) Mounts {
	t.Helper()
	var b strings.Builder
	for i, l := range lines {
		at, source, _ := strings.Cut(l, " ")
		fmt.Fprintf(&b, "%d 1 8:1 / %s rw,relatime shared:1 - ext4 %s rw\n", 20+i, at, source)
	}
	m, err := parse(strings.NewReader(b.String()), filepath.Join(dev, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestADirectoryIsOnADiskThatHasAName(t *testing.T) {
	dev := devices(t)
	m := mounted(t, dev, "/ "+dev+"/sda1", `/mnt/my\040big `+dev+"/sdb1", "/srv systemd-1", "/srv "+dev+"/mapper/crypt", "/net server:/export")
	for dir, want := range map[string]Disk{
		"/":                      {"aaaa", "", "/"},
		"/mnt/my bigger":         {"aaaa", "", "/"},
		"/mnt/my big":            {"bbbb", "MY BIG", "/mnt/my big"},
		"/mnt/my big/pair/db":    {"bbbb", "MY BIG", "/mnt/my big"},
		"/srv/not/there/as/yet":  {"cccc", "", "/srv"},
		"/net/of/another/server": {"", "", "/net"},
	} {
		if got := m.Of(dir); got != want {
			t.Errorf("%s: %+v", dir, got)
		}
	}
	for dir, want := range map[string]bool{"/mnt/my big/x": true, "/home": false, "/srv/x": true, "/net/x": false} {
		if _, apart := m.Apart(dir, "/", "/var/lib/archipelago"); apart != want {
			t.Errorf("%s: %t", dir, apart)
		}
	}
	if _, apart := m.Apart("/srv/x", "/", "/srv/data"); apart {
		t.Error("the disk of the data is no disk apart")
	}
}

func TestADiskThatIsNotThereIsSaid(t *testing.T) {
	dev := devices(t)
	was := Disk{"bbbb", "MY BIG", "/mnt/big"}
	root := "/ " + dev + "/sda1"
	for _, c := range []struct {
		name   string
		mounts []string
		want   string
	}{
		{"it is there", []string{root, "/mnt/big " + dev + "/sdb1"}, ""},
		{"it is there as part of another mount", []string{root, "/mnt " + dev + "/sdb1"}, ""},
		{"it is late", []string{root}, "disk MY BIG (bbbb) at /mnt/big: connect and mount it"},
		{"it is late, and what is beneath has no name", []string{"/ /dev/root"}, "disk MY BIG (bbbb) at /mnt/big: connect and mount it"},
		{"it is elsewhere", []string{root, "/media/big " + dev + "/sdb1"}, "disk MY BIG (bbbb) at /mnt/big: it is mounted at /media/big; mount it where it was"},
		{"another one is there", []string{root, "/mnt/big " + dev + "/dm-0"}, "disk MY BIG (bbbb) at /mnt/big: another one is there, cccc; mount the right one"},
		{"what is there has no name", []string{root, "/mnt/big /dev/nameless"}, ""},
		{"it is covered", []string{root, "/mnt/big " + dev + "/sdb1", "/mnt/big " + dev + "/dm-0"}, "disk MY BIG (bbbb) at /mnt/big: another one is there, cccc; mount the right one"},
	} {
		if got := mounted(t, dev, c.mounts...).Absent("/mnt/big/pair/db", was); got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	if got := mounted(t, dev, root).Absent("/mnt/big", Disk{}); got != "" {
		t.Errorf("no disk is known: %q", got)
	}
}

func TestAMountIsToldOfAtOnce(t *testing.T) {
	if !mountstest.Inside(t) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	told, ended := make(chan struct{}, 64), make(chan error, 1)
	go func() { ended <- Changes(ctx, func() { told <- struct{}{} }) }()
	// Until it has begun, nobody is told: the first may come too early.
	dir := mountstest.Tmpfs(t, "64k")
	for begun := false; !begun; {
		mountstest.Tmpfs(t, "64k")
		select {
		case <-told:
			begun = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	if m, err := Mounted(); err != nil || m.Of(dir+"/x").At != dir {
		t.Errorf("%+v, %v", m, err)
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
	case err := <-ended:
		t.Fatal("it has ended:", err)
	case <-ctx.Done():
		t.Fatal("nobody was told of an unmount")
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
