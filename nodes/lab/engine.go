package lab

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

const (
	engineStartTimeout = 30 * time.Second
	engineStopTimeout  = 20 * time.Second
)

//go:embed scripts/with-cgroup2.sh
var withCgroup2 string

// Engine is the Podman service that runs the lab's nodes and builds images. It
// has its own storage, apart from the user's containers.
type Engine struct {
	storage string // images and containers, kept as a cache
	run     string // what does not outlive the machine's uptime: socket, pid, mounts
}

// OpenEngine returns the engine of this user without starting it.
func OpenEngine() (*Engine, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding a cache directory: %w", err)
	}
	return &Engine{
		storage: filepath.Join(cache, "archipelago", "engine"),
		run:     runDir,
	}, nil
}

// URL is where the engine's API listens.
func (e *Engine) URL() string         { return "unix://" + filepath.Join(e.run, "podman.sock") }
func (e *Engine) pidFile() string     { return filepath.Join(e.run, "podman.pid") }
func (e *Engine) logFile() string     { return filepath.Join(e.run, "podman.log") }
func (e *Engine) storageRoot() string { return filepath.Join(e.storage, "storage") }

// Running reports whether the service answers.
func (e *Engine) Running() bool {
	c, err := net.DialTimeout("unix", strings.TrimPrefix(e.URL(), "unix://"), time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Start starts the service unless it runs.
//
// Where /sys/fs/cgroup is not a cgroup2 mount (hybrid hierarchies), crun refuses to run.
// The service then gets a mount namespace of its own that has one. All containers must
// share that namespace, because mounts made in another are invisible; so everything goes
// through this service.
func (e *Engine) Start(ctx context.Context) error {
	if err := e.foreign(); err != nil {
		return err
	}
	if e.Running() {
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("the lab runs systemd in privileged containers, which takes root: run this with sudo")
	}
	// Remains of a killed service would be taken for living containers.
	if err := e.sweep(); err != nil {
		return err
	}
	for _, d := range []string{e.storageRoot(), e.run} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("starting the engine: %w", err)
		}
	}
	ulimits, err := limits()
	if err != nil {
		return err
	}
	var defaults []string
	for _, u := range ulimits {
		defaults = append(defaults, fmt.Sprintf("%q", fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard)))
	}
	conf := fmt.Sprintf("[containers]\npids_limit = 0\ndefault_ulimits = [%s]\n[engine]\nevents_logger = \"file\"\n%s[network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = %q\n",
		strings.Join(defaults, ", "), managerLine(), filepath.Join(e.storage, "networks"))
	confFile := filepath.Join(e.run, "containers.conf")
	if err := os.WriteFile(confFile, []byte(conf), 0o600); err != nil {
		return err
	}
	argv := []string{"podman", "--root", e.storageRoot(), "--runroot", filepath.Join(e.run, "run"), "--tmpdir", filepath.Join(e.run, "tmp"), "--storage-driver", "overlay",
		"system", "service", "--time=0", e.URL()}
	if !unifiedCgroups() {
		argv = append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c", withCgroup2, "with-cgroup2.sh"}, argv...)
	}
	log, err := os.Create(e.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/" // it outlives this process, and perhaps this process's directory
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+confFile)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := keepInherited(); err != nil {
		return fmt.Errorf("starting the engine: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the engine: %w", err)
	}
	if err := os.WriteFile(e.pidFile(), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		cmd.Process.Kill()
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	deadline := time.After(engineStartTimeout)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !e.Running() {
		select {
		case <-tick.C:
		case err := <-exited:
			b, _ := os.ReadFile(e.logFile())
			return fmt.Errorf("the engine ended at once: %v: %s", err, strings.TrimSpace(string(b)))
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("waited %s for the engine's socket %s", engineStartTimeout, e.URL())
		}
	}
	return nil
}

// keepInherited keeps what this process was started with, beside its standard streams,
// from the programs that it starts from now on. A lock of the caller's, such as that of
// flock(1), would otherwise be held for as long as the engine runs.
func keepInherited() error {
	err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return nil // before Linux 5.11
	}
	return err
}

// Stop ends the service and empties its run directory. Remove the containers first.
func (e *Engine) Stop(ctx context.Context) error {
	if err := e.foreign(); err != nil {
		return err
	}
	if b, err := os.ReadFile(e.pidFile()); err == nil {
		if pid, err := strconv.Atoi(string(b)); err == nil && isPodman(pid) {
			unix.Kill(pid, unix.SIGTERM)
			ctx, cancel := context.WithTimeout(ctx, engineStopTimeout)
			defer cancel()
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for isPodman(pid) {
				select {
				case <-tick.C:
				case <-ctx.Done():
					unix.Kill(pid, unix.SIGKILL)
					return fmt.Errorf("waited %s for the engine (process %d) to end", engineStopTimeout, pid)
				}
			}
		}
	}
	return e.sweep()
}

// sweep kills container processes of this engine that have lost their service, unmounts
// what it mounted and empties the run directory.
func (e *Engine) sweep() error {
	for pid := range e.monitors() {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid))
		if err == nil {
			for _, f := range strings.Fields(string(children)) {
				if child, err := strconv.Atoi(f); err == nil {
					unix.Kill(child, unix.SIGKILL)
				}
			}
		}
		unix.Kill(pid, unix.SIGKILL)
	}
	if out, err := exec.Command("findmnt", "-rno", "TARGET").Output(); err == nil {
		for _, m := range strings.Fields(string(out)) {
			if strings.HasPrefix(m, e.run+"/") || strings.HasPrefix(m, e.storage+"/") {
				unix.Unmount(m, unix.MNT_DETACH)
			}
		}
	}
	if err := os.RemoveAll(e.run); err != nil {
		return fmt.Errorf("clearing the engine's run directory: %w", err)
	}
	return nil
}

// monitors returns the process ids of the engine's conmon processes: those that work on
// its storage.
func (e *Engine) monitors() iter.Seq[int] {
	return func(yield func(int) bool) {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return
		}
		for _, d := range entries {
			pid, err := strconv.Atoi(d.Name())
			if err != nil {
				continue
			}
			cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err != nil {
				continue
			}
			argv := strings.Split(string(cmdline), "\x00")
			if filepath.Base(argv[0]) == "conmon" && strings.Contains(string(cmdline), e.storageRoot()) && !yield(pid) {
				return
			}
		}
	}
}

func isPodman(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(b), "system\x00service")
}

// Bindings returns a context for calls through Podman's bindings.
func (e *Engine) Bindings(ctx context.Context) (context.Context, error) {
	if err := e.foreign(); err != nil {
		return nil, err
	}
	return bindings.NewConnection(ctx, e.URL())
}

// Podman runs Podman's own client against the engine; its output goes to w. The last of it is
// in the error: what a build prints, and so why it failed, comes by the standard output.
func (e *Engine) Podman(ctx context.Context, w io.Writer, args ...string) error {
	if err := e.foreign(); err != nil {
		return err
	}
	var said tail
	out := io.MultiWriter(w, &said)
	cmd := exec.CommandContext(ctx, "podman", append([]string{"--remote", "--url", e.URL()}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out // the same one: the two are not written at once
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("podman %s: %w: %s", strings.Join(args, " "), err, lastLines(string(said), 8))
	}
	return nil
}

// tail keeps the last of what is written to it: an image may be, which is large.
type tail []byte

func (t *tail) Write(b []byte) (int, error) {
	*t = append(*t, b[max(0, len(b)-tailBytes):]...)
	*t = (*t)[max(0, len(*t)-tailBytes):]
	return len(b), nil
}

const tailBytes = 4096

// trusted are the authorities that this machine trusts, in PEM, where Debian keeps them.
const trusted = "/etc/ssl/certs/ca-certificates.crt"

// Build builds a context directory into an image named tag. It isolates with chroot,
// which works on every kernel. A Containerfile whose RUN mounts the secret ca-certificates,
// because it downloads over TLS, gets the authorities of this machine: it may be behind a
// proxy of which Debian knows nothing. They are in no image.
func (e *Engine) Build(ctx context.Context, dir, tag string, args map[string]string, w io.Writer) error {
	return e.build(ctx, dir, tag, args, w)
}

func (e *Engine) build(ctx context.Context, dir, tag string, args map[string]string, w io.Writer, options ...string) error {
	argv := append([]string{"build", "--isolation=chroot", "--tag", tag}, options...)
	for k, v := range args {
		argv = append(argv, "--build-arg", k+"="+v)
	}
	if wants, err := wantsTrusted(dir); err != nil {
		return err
	} else if wants {
		argv = append(argv, "--secret", "id=ca-certificates,src="+trusted)
	}
	return e.Podman(ctx, w, append(argv, dir)...)
}

// wantsTrusted tells whether a context asks for the machine's authorities and there are
// any. The secret is given to no other, because Podman lays it into the context directory
// while it builds.
func wantsTrusted(dir string) (bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, "Containerfile"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // it may be a Dockerfile, or the build says what is missing
	}
	if err != nil || !strings.Contains(string(b), "type=secret,id=ca-certificates") {
		return false, err
	}
	_, err = os.Stat(trusted)
	return err == nil, nil
}

// Push sends an image to a registry on this machine.
func (e *Engine) Push(ctx context.Context, tag, destination string, w io.Writer) error {
	return e.Podman(ctx, w, "push", "--tls-verify=false", tag, "docker://"+destination)
}

// image gives the id of the image of that name, and when it was made; empty where the
// engine has none.
func (e *Engine) image(ctx context.Context, name string) (id string, made time.Time, err error) {
	var out strings.Builder
	if err := e.Podman(ctx, &out, "images", "--no-trunc", "--filter", "reference="+name, "--format", "json"); err != nil {
		return "", time.Time{}, err
	}
	var images []struct {
		ID      string `json:"Id"`
		Created int64  // seconds of Unix time
	}
	if err := json.Unmarshal([]byte(out.String()), &images); err != nil {
		return "", time.Time{}, fmt.Errorf("looking for the image %s: %w", name, err)
	}
	if len(images) == 0 {
		return "", time.Time{}, nil
	}
	return strings.TrimPrefix(images[0].ID, "sha256:"), time.Unix(images[0].Created, 0), nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "; ")
}

// unifiedCgroups reports whether /sys/fs/cgroup is a cgroup2 mount.
func unifiedCgroups() bool {
	var s unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &s) == nil && s.Type == unix.CGROUP2_SUPER_MAGIC
}

func managerLine() string {
	if unifiedCgroups() {
		if _, err := os.Stat("/run/systemd/system"); err == nil {
			return ""
		}
	}
	return "cgroup_manager = \"cgroupfs\"\n"
}

// limits are the nodes' ulimits, at most what this process may grant: without
// CAP_SYS_RESOURCE, Podman's defaults would fail.
func limits() ([]*container.Ulimit, error) {
	var files, procs unix.Rlimit
	if err := errors.Join(unix.Getrlimit(unix.RLIMIT_NOFILE, &files), unix.Getrlimit(unix.RLIMIT_NPROC, &procs)); err != nil {
		return nil, fmt.Errorf("reading limits: %w", err)
	}
	const enoughFiles, enoughProcs = 20000, 30000
	f, p := int64(min(files.Max, enoughFiles)), int64(min(procs.Max, enoughProcs))
	return []*container.Ulimit{{Name: "nofile", Soft: min(1024, f), Hard: f}, {Name: "nproc", Soft: p, Hard: p}}, nil
}
