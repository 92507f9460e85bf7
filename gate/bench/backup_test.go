//go:build lab

package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/labtest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// What is backed up, unless BENCH_BACKUP_MIB and BENCH_BACKUP_FILES say otherwise. The node
// needs four times as much disk. From 1 GiB or 10,000 files on, no copy is made of it.
const (
	backedUpMiB   = 10 << 10
	backedUpFiles = 100_000
	backupAims    = "aims: first backup and restoration at most 1.15 times as long as plain restic; second backup after a change of 1 % at most 5 % of the first's bytes"
)

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv(name))
	if os.Getenv(name) == "" {
		return otherwise
	}
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: expected a number", name, os.Getenv(name))
	}
	return n
}

// made writes files of random bytes, no two alike, a thousand in a directory.
const made = `set -eu; cd "$1"; left=$2; size=$3; d=0
while [ $left -gt 0 ]; do
	n=1000; [ $left -ge $n ] || n=$left
	mkdir -p bench/$d
	head -c $((n * size)) /dev/urandom | split -a 4 -d -b $size - bench/$d/
	left=$((left - n)); d=$((d + 1))
done`

// changed writes every hundredth of them anew.
const changed = `set -eu; cd "$1/bench"; find . -type f | sort | awk 'NR % 100 == 0' >/tmp/changed; while read -r f; do head -c $2 /dev/urandom >"$f"; done </tmp/changed; rm /tmp/changed`

// TestBackupAgainstPlainRestic backs an application up and restores it, and has restic alone
// do the same with the same directory, in one run. The daemon's figures include that the
// application is stopped, its volume copied or read a second time, and all put right again.
func TestBackupAgainstPlainRestic(t *testing.T) {
	const app, dir = "mosquitto", "/srv/bench"
	mib, files := number(t, "BENCH_BACKUP_MIB", backedUpMiB), number(t, "BENCH_BACKUP_FILES", backedUpFiles)
	f, l := labtest.OneNode(t, root, filepath.Join(root, "catalog", "apps"))
	node := f.Nodes[0]
	m := f.Published[app].Manifest
	volume := manifest.VolumeDir(nodes.DataDir, app, m.Volumes()[0])
	rpc := node.Client()
	run := func(format string, args ...any) string {
		t.Helper()
		out, err := node.SSH.Run(t.Context(), fmt.Sprintf(format, args...))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	asRoot := func(script string) error {
		var out bytes.Buffer
		if err := l.Exec(t.Context(), node.Name, &out, script); err != nil {
			return fmt.Errorf("%w: %s", err, out.String())
		}
		return nil
	}
	if err := asRoot("rm -rf " + dir + "; install -d -o archipelago " + dir); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := asRoot("rm -rf " + dir); err != nil {
			t.Error(err)
		}
	}()
	if _, err := rpc.Do(t.Context(), "install", app, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.AddRepository(t.Context(), connect.NewRequest(&api.AddRepositoryRequest{Name: "bench", Url: dir + "/daemon"})); err != nil {
		t.Fatal(err)
	}
	defer rpc.RemoveRepository(t.Context(), connect.NewRequest(&api.RemoveRepositoryRequest{Name: "bench"}))
	if _, err := rpc.SetRepository(t.Context(), connect.NewRequest(&api.SetRepositoryRequest{Name: "bench", Schedule: &api.Schedule{Hours: -1}})); err != nil {
		t.Fatal(err)
	}
	run("podman unshare bash -c %s bash %s %d %d", nodes.Quote(made), volume, files, (mib<<20)/files)
	run("echo plain >%[1]s/key; restic -q -r %[1]s/plain -p %[1]s/key init", dir)

	follow := func(stream *connect.ServerStreamForClient[api.SnapshotProgress], err error) (*api.SnapshotProgress, error) {
		if err != nil {
			return nil, err
		}
		defer stream.Close()
		var last *api.SnapshotProgress
		for stream.Receive() {
			last = stream.Msg()
		}
		return last, stream.Err()
	}
	backUp := func() error {
		_, err := follow(rpc.MakeSnapshot(t.Context(), connect.NewRequest(&api.MakeSnapshotRequest{Id: app, Repository: "bench"})))
		return err
	}
	plain := func(what string) func() error {
		return func() error {
			_, err := node.SSH.Run(t.Context(), fmt.Sprintf("podman unshare sh -c 'cd %[1]s && exec restic -q -r %[2]s/plain -p %[2]s/key %[3]s'", volume, dir, what))
			return err
		}
	}
	restore := func() error {
		last, err := follow(rpc.RestoreSnapshot(t.Context(), connect.NewRequest(&api.RestoreSnapshotRequest{Id: app, Repository: "bench"})))
		if err == nil {
			_, err = rpc.Await(t.Context(), last.GetOperation(), nil)
		}
		return err
	}
	bytesIn := func(repository string) (n int64) {
		t.Helper()
		if _, err := fmt.Sscan(run("du -sb %s/%s", dir, repository), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	nothing := func() error { return nil }
	fmt.Printf("\n%s with %d files, %d MiB in all\n%-16s %9s %9s %7s %9s %9s %7s\n", app, files, mib, "", "daemon s", "restic s", "ratio", "CPU-s", "CPU-s", "ratio")
	compare := func(what string, bare, between, own func() error) {
		t.Helper()
		b, bc := costOf(t, node, bare)
		if err := between(); err != nil {
			t.Fatal(err)
		}
		d, dc := costOf(t, node, own)
		fmt.Printf("%-16s %9.1f %9.1f %6.2fx %9.1f %9.1f %6.2fx\n", what, d, b, d/b, dc, bc, dc/bc)
	}
	compare("first backup", plain("backup ."), nothing, backUp)
	first, firstPlain := bytesIn("daemon"), bytesIn("plain")
	run("podman unshare bash -c %s bash %s %d", nodes.Quote(changed), volume, (mib<<20)/files)
	compare("second, 1 % new", plain("backup ."), nothing, backUp)
	second, secondPlain := bytesIn("daemon")-first, bytesIn("plain")-firstPlain

	sums := fmt.Sprintf("podman unshare sh -c 'cd %s/bench && find . -type f | sort | xargs sha256sum | sha256sum'", volume)
	want := run("%s", sums)
	compare("restoration", plain("restore latest --target "+dir+"/restored"), func() error {
		run("podman unshare rm -rf %s/restored", dir) // the disk need not hold both
		_, err := rpc.Do(t.Context(), "uninstall", app, true, nil)
		return err
	}, restore)
	if got := run("%s", sums); got != want {
		t.Errorf("what was restored is not what was backed up: %s; expected %s", got, want)
	}
	fmt.Printf("bytes: first %d, restic %d (%.2fx); second %.2f %% of the first, restic %.2f %%\n%s\n", first, firstPlain, float64(first)/float64(firstPlain), 100*float64(second)/float64(first), 100*float64(secondPlain)/float64(firstPlain), backupAims)
}
