package prober

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

// The test starts itself twice more: as the prober, in a user namespace as 'podman
// unshare' makes one, and as a container, in a network of its own below that.
const role = "ARCHIPELAGO_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "container":
		err = beContainer()
	case "prober":
		err = beProber()
	case "bench":
		err = beBench()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, os.Getenv(role)+":", err)
		os.Exit(1)
	}
}

func again(as string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), role+"="+as)
	cmd.Stderr = os.Stderr
	return cmd
}

// beContainer serves one page on the loopback of a new network, and prints the port.
func beContainer() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(ifr))); e != 0 {
		return e
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	_, err = io.Copy(io.Discard, os.Stdin) // until the prober ends
	return err
}

// contained starts a container, and gives its process and the port on which it serves.
func contained() (pid, port int, end func() error, err error) {
	cmd := again("container")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return 0, 0, nil, errors.Join(err, cmd.Wait())
	}
	port, err = strconv.Atoi(strings.TrimSpace(line))
	return cmd.Process.Pid, port, func() error { return errors.Join(in.Close(), cmd.Wait()) }, err
}

// cgroup is a text that stands for a container's id.
const cgroup = "::/"

// beProber enters a container's network, and finds out that it does no more than that.
func beProber() error {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	pid, port, end, err := contained()
	if err != nil {
		return err
	}
	if _, err := Enter(pid, "another container"); err == nil {
		return errors.New("it takes the process of another container")
	}
	in, err := Enter(pid, cgroup)
	if err != nil {
		return err
	}
	page := quadlet.Probe{Port: port, Path: "/", Status: 200, Timeout: time.Second}
	for range 50 {
		if err := ask(context.Background(), in, page); err != nil {
			return err
		}
	}
	if got, err := Page(context.Background(), in, port, "/", ""); err != nil || got.Status != 200 {
		return fmt.Errorf("the page in there: %+v, %v", got, err)
	}
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		conn.Close()
		return errors.New("the page is there in the prober's own network, too: the test proves nothing")
	}
	if err := awaitThreadsIn(own); err != nil {
		return err
	}
	if err := end(); err != nil {
		return err
	}
	if err := ask(context.Background(), in, page); err == nil || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("of a container that has ended: %v", err)
	}
	return in.Close()
}

// awaitThreadsIn wants every thread of this program to be in a network, soon: one ends a
// moment after its goroutine.
func awaitThreadsIn(own string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); ; <-tick.C {
		threads, err := filepath.Glob("/proc/self/task/*/ns/net")
		if err != nil || len(threads) == 0 {
			return fmt.Errorf("%d threads: %w", len(threads), err)
		}
		stays := ""
		for _, thread := range threads {
			if net, err := os.Readlink(thread); err == nil && net != own {
				stays = thread
			}
		}
		if stays == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s stays in the container's network; the main thread is %d", stays, os.Getpid())
		}
	}
}

// unshared runs this program as podman unshare does.
func unshared(t testing.TB, as string, args ...string) string {
	t.Helper()
	cmd := again(as)
	cmd.Args = append(cmd.Args, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	cmd.Stderr = nil
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	return string(out)
}

func TestContainersNetworkIsEnteredFromPodmansUserNamespace(t *testing.T) { unshared(t, "prober") }

// beBench prints what one probe costs, in nanoseconds of the processor.
func beBench() error {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	pid, port, end, err := contained()
	if err != nil {
		return err
	}
	in, err := Enter(pid, cgroup)
	if err != nil {
		return err
	}
	var before, after unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &before)
	for range n {
		if err := ask(context.Background(), in, quadlet.Probe{Port: port, Path: "/", Status: 200, Timeout: time.Second}); err != nil {
			return err
		}
	}
	unix.Getrusage(unix.RUSAGE_SELF, &after)
	fmt.Println(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano(), after.Maxrss)
	return errors.Join(in.Close(), end())
}

// BenchmarkProbe measures a native HTTP probe of a container, in the prober alone.
func BenchmarkProbe(b *testing.B) {
	var cpu, rss int
	if _, err := fmt.Sscan(unshared(b, "bench", strconv.Itoa(b.N)), &cpu, &rss); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpu)/float64(b.N)/1000, "cpu-µs/probe")
	b.ReportMetric(float64(rss)/1024, "MiB")
}
