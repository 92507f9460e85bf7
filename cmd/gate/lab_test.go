//go:build lab

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
	"github.com/archipelago-cloud/archipelago/reports"
)

const deadline = 5 * time.Minute

// command prepares the gate as 'make build' left it, at the root of the source tree.
func command(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(root, "out", "bin", "gate"), args...)
	cmd.Dir = root
	both := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = both, both
	return cmd, both
}

// gateRun runs the gate to its end and gives its exit status and what it said.
func gateRun(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd, said := command(t, args...)
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	t.Logf("gate %s: exit status %d\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), said)
	return cmd.ProcessState.ExitCode(), said.String()
}

func openLab(t *testing.T) (*lab.Lab, *nodes.Inventory) {
	t.Helper()
	if status, said := gateRun(t, "lab", "up"); status != 0 {
		t.Fatal(said)
	}
	l, err := lab.Open(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := nodes.LoadInventory(l.InventoryFile())
	if err != nil {
		t.Fatal(err)
	}
	return l, inv
}

func node(t *testing.T, inv *nodes.Inventory, name string) *nodes.Client {
	t.Helper()
	n, err := inv.Node(name)
	if err != nil {
		t.Fatal(err)
	}
	c := nodes.NewClient(n)
	t.Cleanup(c.Close)
	return c
}

// newKey writes a private key that no node knows, and gives the public one.
func newKey(t *testing.T) (file, public string) {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return file, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func TestWrongKeysAreRefused(t *testing.T) {
	_, inv := openLab(t)
	unknown, otherHost := newKey(t)
	right := inv.Nodes[0].HostKey
	for name, c := range map[string]struct {
		edit func(*nodes.Node)
		want string
	}{
		"host key of another machine": {func(n *nodes.Node) { n.HostKey = otherHost }, "another machine, or someone in between"},
		"key that is not accepted":    {func(n *nodes.Node) { n.Key = unknown }, "is not accepted for user archipelago"},
		"host key that is not known":  {func(n *nodes.Node) { n.HostKey = "" }, "record it with 'gate nodes trust .228'"},
	} {
		t.Run(name, func(t *testing.T) {
			edited := &nodes.Inventory{Nodes: []nodes.Node{inv.Nodes[0]}}
			c.edit(&edited.Nodes[0])
			file := filepath.Join(t.TempDir(), "nodes.yaml")
			if err := edited.Save(file); err != nil {
				t.Fatal(err)
			}
			status, said := gateRun(t, "run", "--nodes", file, "--cycles", "1", "--out", t.TempDir())
			if status != exitUsage || !strings.Contains(said, c.want) {
				t.Errorf("exit status %d, expected %d and %q", status, exitUsage, c.want)
			}
			if status, said := gateRun(t, "nodes", "trust", ".228", "--yes", "--nodes", file); status != 0 || !strings.Contains(said, "SHA256:") {
				t.Errorf("trust: exit status %d", status)
			}
			after, err := nodes.LoadInventory(file)
			if err != nil || after.Nodes[0].HostKey != right {
				t.Errorf("recorded %+v, %v", after, err)
			}
		})
	}
}

func TestSecondRunOnANodeIsRefusedNamingTheHolder(t *testing.T) {
	_, inv := openLab(t)
	ssh := node(t, inv, ".228")
	process, err := runner.Self()
	if err != nil {
		t.Fatal(err)
	}
	hold := func(pid int) {
		process.PID = pid
		b, err := json.Marshal(runner.Holder{Process: process, Run: "the-other-run", Since: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ssh.Run(t.Context(), "mkdir -p "+nodes.DataDir+"/_gate.lock && echo "+nodes.Quote(string(b))+" > "+nodes.DataDir+"/_gate.lock/holder"); err != nil {
			t.Fatal(err)
		}
	}
	hold(os.Getpid())
	status, said := gateRun(t, "run", "--cycles", "1", "--only", ".228", "--apps", "mosquitto", "--steps", "install", "--out", t.TempDir())
	if status != exitUsage || !strings.Contains(said, "run the-other-run, process "+fmt.Sprint(os.Getpid())) {
		t.Errorf("exit status %d", status)
	}
	// The lock of a process that is no more is taken over.
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	hold(dead.Process.Pid)
	if status, _ := gateRun(t, "run", "--cycles", "1", "--only", ".228", "--apps", "mosquitto", "--steps", "install", "--out", t.TempDir()); status != 0 {
		t.Errorf("exit status %d over the lock of a dead process", status)
	}
}

// waitFor polls the file of a run's results until it holds text.
func waitFor(t *testing.T, out, text string) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if b, err := os.ReadFile(filepath.Join(out, "latest", reports.ResultsFile)); err == nil && bytes.Contains(b, []byte(text)) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited two minutes for %s in the results", text)
		}
	}
}

func TestNodeLostInMidCycleLeavesAResumableRun(t *testing.T) {
	l, _ := openLab(t)
	out := t.TempDir()
	cmd, said := command(t, "run", "--cycles", "1", "--only", ".198", "--apps", "mosquitto", "--out", out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, out, `"step":"stop"`)
	const name = "archipelago-node-198"
	if err := l.Engine.Podman(t.Context(), io.Discard, "stop", "--time=0", name); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	t.Log(said)
	if status := cmd.ProcessState.ExitCode(); status != exitIncomplete || !strings.Contains(said.String(), "node lost") {
		t.Errorf("exit status %d (%v), expected %d and that the node is lost", status, err, exitIncomplete)
	}
	if strings.Contains(said.String(), " failed ") {
		t.Error("a lost node made a cell red")
	}
	if status, _ := gateRun(t, "resume", "--out", out); status != exitGreen {
		t.Errorf("resumed: exit status %d", status)
	}
}

func TestInterruptEndsCleanlyAndCanBeResumed(t *testing.T) {
	_, inv := openLab(t)
	out := t.TempDir()
	cmd, said := command(t, "run", "--cycles", "1", "--only", ".228", "--apps", "mosquitto", "--out", out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, out, `"step":"install"`)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	t.Log(said)
	if status := cmd.ProcessState.ExitCode(); status != exitIncomplete {
		t.Errorf("exit status %d, expected %d", status, exitIncomplete)
	}
	if procs, err := exec.Command("pgrep", "-f", out).Output(); err == nil {
		t.Errorf("processes are left: %s", procs)
	}
	// As an interrupt in the middle of a stop would leave it.
	ssh := node(t, inv, ".228")
	token, err := ssh.Run(t.Context(), "cat "+nodes.DataDir+"/_daemon/state/token")
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := ssh.Authority(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rpc := client.New("https://127.0.0.228:7443", strings.TrimSpace(token), trusted.Fingerprint())
	if _, err := rpc.Do(t.Context(), "stop", "mosquitto", false, nil); err != nil {
		t.Fatal(err)
	}
	status, again := gateRun(t, "resume", "--out", out)
	if status != exitGreen {
		t.Errorf("resumed: exit status %d", status)
	}
	if strings.Contains(again, "cycle 1, install (") {
		t.Error("a cell that had passed was run again")
	}
}

func TestBrokenBrowserIsNeverRedForTheApplication(t *testing.T) {
	openLab(t)
	for name, script := range map[string]string{"missing": "", "crashes": "#!/bin/sh\nexit 1\n"} {
		t.Run(name, func(t *testing.T) {
			// A PATH with everything but a working Chromium.
			dir := t.TempDir()
			for _, d := range filepath.SplitList(os.Getenv("PATH")) {
				entries, err := os.ReadDir(d)
				if err != nil {
					continue
				}
				for _, e := range entries {
					if !strings.Contains(e.Name(), "chrom") {
						os.Symlink(filepath.Join(d, e.Name()), filepath.Join(dir, e.Name()))
					}
				}
			}
			if script != "" {
				if err := os.WriteFile(filepath.Join(dir, "chromium-headless-shell"), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd, said := command(t, "run", "--cycles", "1", "--only", ".228", "--apps", "mosquitto", "--steps", "install,ui-reachable", "--out", t.TempDir())
			cmd.Env = append(os.Environ(), "PATH="+dir)
			cmd.Run()
			t.Log(said)
			if status := cmd.ProcessState.ExitCode(); status != exitIncomplete || !strings.Contains(said.String(), "browser") {
				t.Errorf("exit status %d, expected %d and that it was the browser", status, exitIncomplete)
			}
		})
	}
}

func TestFullDiskOnTheGatesSideLosesNothing(t *testing.T) {
	openLab(t)
	out := t.TempDir()
	mount := func(options string) {
		t.Helper()
		if b, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", out).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
	}
	// Room for the run's programs, and little more.
	programs := int64(0)
	for _, name := range []string{"archipelago", "matrix.test", "look", "archy"} {
		info, err := os.Stat(filepath.Join("../../out/bin", name))
		if err != nil {
			t.Fatal(err)
		}
		programs += (info.Size() + 4095) &^ 4095
	}
	mount(fmt.Sprintf("size=%d", programs+80<<10))
	t.Cleanup(func() { exec.Command("umount", out).Run() })
	status, said := gateRun(t, "run", "--cycles", "2", "--only", ".228", "--apps", "mosquitto", "--out", out)
	if status != exitIncomplete || !strings.Contains(said, "no space left on device") {
		t.Errorf("exit status %d, expected %d and that the disk is full", status, exitIncomplete)
	}
	before, err := reports.ReadResults(filepath.Join(out, "latest"))
	if err != nil || len(before) == 0 {
		t.Fatalf("%d results before the disk was full, %v", len(before), err)
	}
	mount(fmt.Sprintf("remount,size=%d", programs+64<<20))
	if status, _ := gateRun(t, "resume", "--out", out); status != exitGreen {
		t.Errorf("resumed with room: exit status %d", status)
	}
}

// TestARootOfANodeIsNobodyOnThisMachine has root on a node of the lab reach for what belongs to
// the machine, without harm where it gets it. What the node itself must be able to do is the
// control.
func TestARootOfANodeIsNobodyOnThisMachine(t *testing.T) {
	l, _ := openLab(t)
	for _, c := range []struct {
		name, script string
		may          bool
	}{
		{"be root on the machine", `[ "$(awk '$1 == 0 {print $2}' /proc/self/uid_map)" = 0 ]`, false},
		{"set the program that is run for a core dump", `: >>/proc/sys/kernel/core_pattern`, false},
		{"set the program that is run for a device", `: >>/sys/kernel/uevent_helper`, false},
		{"open the kernel's emergency keys", `: >>/proc/sysrq-trigger`, false},
		{"set the memory's policy", `: >>/proc/sys/vm/overcommit_memory`, false},
		{"see the machine's devices", `mount -t devtmpfs none /mnt && umount /mnt`, false},
		{"see the machine's security file system", `mount -t securityfs none /mnt && umount /mnt`, false},
		{"have the machine's disk", `find /dev -type b | grep -q .`, false},
		{"have the kernel's log", `[ -e /dev/kmsg ] || dmesg`, false},
		{"have the machine's memory", `[ -e /dev/mem ] || [ -e /dev/port ] || head -c 1 /proc/kcore`, false},
		{"have virtual machines", `[ -e /dev/kvm ]`, false},
		{"make a device", `mknod /run/planted b 7 0`, false},
		{"set the network", `ip link set eth0 mtu 1400`, false},
		{"mount a disk of its own", `mount -t tmpfs none /mnt && umount /mnt`, true},
		{"become another user", `setpriv --reuid 1000 --regid 1000 --clear-groups true`, true},
		{"have what rootless containers need", `[ -c /dev/fuse ] && [ -c /dev/net/tun ]`, true},
	} {
		var said bytes.Buffer
		if err := l.Exec(t.Context(), ".198", &said, c.script); (err == nil) != c.may {
			t.Errorf("root on a node may %s: %v, expected %v: %v: %s", c.name, err == nil, c.may, err, said.String())
		}
	}
}
