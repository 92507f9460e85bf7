package atomicfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/internal/mountstest"
)

// TestAReserveIsWrittenFromWhileTheDiskIsFull: also where somebody takes at once what becomes
// free, until the reserve is used up.
func TestAReserveIsWrittenFromWhileTheDiskIsFull(t *testing.T) {
	if !mountstest.Inside(t) {
		return
	}
	const size = 1 << 20
	dir := mountstest.Tmpfs(t, "8m")
	held := filepath.Join(dir, "reserve")
	r := atomicfile.NewReserve(held, size)
	holds := func(want int64) {
		t.Helper()
		if info, err := os.Stat(held); err != nil || info.Size() != want || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v, expected %d bytes", info, err, want)
		}
	}
	holds(size)
	filler := mountstest.Fill(t, dir)
	file := filepath.Join(dir, "record")
	if err := atomicfile.Write(file, []byte("first"), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	written := 0
	for ; written < 100; written++ {
		if err := r.Write(file, []byte{byte(written)}, 0o600); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Error(err)
			}
			break
		}
		mountstest.Fill(t, dir)
	}
	if b, err := os.ReadFile(file); err != nil || written != 8 || len(b) != 1 || int(b[0]) != written-1 {
		t.Errorf("%d were written, the last is %v, %v", written, b, err)
	}
	// The next daemon finds what is left, and fills it once there is room.
	r = atomicfile.NewReserve(held, size)
	holds(0)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := r.Write(file, []byte("last"), 0o600); err != nil {
		t.Error(err)
	}
	holds(size)
	mountstest.Fill(t, dir)
	if err := atomicfile.NewReserve(held, size).Write(file, []byte("again"), 0o600); err != nil {
		t.Errorf("of what the daemon before held: %v", err)
	}
}
