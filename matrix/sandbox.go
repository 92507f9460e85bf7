package matrix

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// chromiumVariable names, in the environment of a process that StartBrowser began, the
// Chromium that it is to become.
const chromiumVariable = "ARCHIPELAGO_CHROMIUM"

// Users that systemd, too, gives to services for as long as they run (systemd.exec(5),
// DynamicUser=), so that nobody else's are among them.
const firstUser, lastUser = 61184, 65519

// ownProgram is the program that this process runs, wherever it lies, for whoever may not
// even enter its directory.
const ownProgram = "/proc/self/exe"

// handFD is where a process that becomes a Chromium finds the socket to the program that
// began it; 3 and 4 are the pipes of DevTools.
const handFD = 5

// sandbox is what a browser is confined to: a user without rights on this machine,
// processes and a network of its own, and in that network one proxy, a tunnel. It makes
// Chromium's own sandbox no less: that one comes on top.
type sandbox struct {
	user    int
	profile string   // the only directory that is the browser's
	hand    net.Conn // to the process inside
	theirs  *os.File // its other end
	tunnel  *tunnel
}

// newSandbox makes a sandbox from which only these addresses, host and port, are reached.
func newSandbox(reach []string) (s *sandbox, err error) {
	s = &sandbox{user: os.Getuid(), tunnel: newTunnel(reach)}
	if s.user == 0 {
		if s.user, err = unusedUser(); err != nil {
			return nil, err
		}
	}
	if s.profile, err = os.MkdirTemp("", "archipelago-browser-"); err != nil {
		return nil, err
	}
	if err := os.Chown(s.profile, s.user, -1); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.profile))
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.profile))
	}
	s.theirs = os.NewFile(uintptr(pair[1]), "hand")
	ours := os.NewFile(uintptr(pair[0]), "hand")
	defer ours.Close()
	if s.hand, err = net.FileConn(ours); err != nil {
		return nil, errors.Join(err, s.theirs.Close(), os.RemoveAll(s.profile))
	}
	return s, nil
}

// unusedUser gives a user id that has no name and no process.
func unusedUser() (int, error) {
	used := map[uint32]bool{}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, p := range processes {
		var st unix.Stat_t
		if unix.Stat(p, &st) == nil {
			used[st.Uid] = true
		}
	}
	for range 100 {
		id := firstUser + rand.IntN(lastUser-firstUser+1)
		if _, err := user.LookupId(strconv.Itoa(id)); err != nil && !used[uint32(id)] {
			return id, nil
		}
	}
	return 0, fmt.Errorf("no user id from %d to %d is unused", firstUser, lastUser)
}

// environment is all that the browser is told of this one.
func (s *sandbox) environment(chromium string) []string {
	return []string{chromiumVariable + "=" + chromium, "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + s.profile, "TMPDIR=" + s.profile}
}

// confine has a command start inside. It must start this very program, which then becomes
// the Chromium (BecomeBrowser).
func (s *sandbox) confine(cmd *exec.Cmd) {
	root := os.Getuid() == 0
	own := []syscall.SysProcIDMap{{ContainerID: s.user, HostID: s.user, Size: 1}}
	cmd.Dir = s.profile
	cmd.ExtraFiles = append(cmd.ExtraFiles, s.theirs)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		UidMappings:                own,
		GidMappings:                []syscall.SysProcIDMap{{ContainerID: s.user, HostID: s.group(), Size: 1}},
		GidMappingsEnableSetgroups: root,
		Credential:                 &syscall.Credential{Uid: uint32(s.user), Gid: uint32(s.user), NoSetGroups: !root},
		AmbientCaps:                []uintptr{unix.CAP_NET_ADMIN}, // in its own network, until it has become the Chromium
		Pdeathsig:                  syscall.SIGKILL,               // it is the first of its processes: all others end with it
		Setpgid:                    true,
	}
}

func (s *sandbox) group() int {
	if os.Getuid() == 0 {
		return s.user
	}
	return os.Getgid()
}

// serve takes over the listener inside, and serves the proxy there until close. Without
// one, there is nothing that the browser reaches.
func (s *sandbox) serve() {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := s.hand.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), rights)
	if err != nil {
		return
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return
	}
	f := os.NewFile(uintptr(fds[0]), "listener")
	defer f.Close()
	if l, err := net.FileListener(f); err == nil {
		s.tunnel.serve(l)
	}
}

// close ends the proxy and removes the profile; the browser has ended.
func (s *sandbox) close() {
	s.hand.Close()
	s.theirs.Close()
	s.tunnel.close()
	os.RemoveAll(s.profile)
}

// BecomeBrowser makes a process that StartBrowser began a Chromium, and does nothing in
// any other. A program that starts browsers calls it before anything else.
func BecomeBrowser() {
	path := os.Getenv(chromiumVariable)
	if path == "" {
		return
	}
	fmt.Fprintln(os.Stderr, "becoming Chromium inside its sandbox:", become(path))
	os.Exit(1)
}

func become(path string) error {
	runtime.LockOSThread()
	unix.CloseOnExec(handFD)
	if err := furnish(); err != nil {
		return fmt.Errorf("its network: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", tunnelAddress)
	if err != nil {
		return err
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(handFD, []byte{0}, unix.UnixRights(int(f.Fd())), nil, 0); err != nil {
		return fmt.Errorf("handing the listener out: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	os.Unsetenv(chromiumVariable)
	return unix.Exec(path, append([]string{path}, os.Args[1:]...), os.Environ())
}

// furnish brings up the loopback of a new network, where the proxy listens, and a pair of
// interfaces that lead to one another and nowhere else: a Chromium that sees no interface but
// the loopback tells pages that they are offline (navigator.onLine).
func furnish() error {
	if err := addPair(pairName); err != nil {
		return fmt.Errorf("a pair of interfaces (veth): %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	changes, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(changes)
	if err := unix.Bind(changes, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(changes, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		return err
	}
	for _, name := range []string{"lo", pairName, "veth0"} {
		r, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		// Without NOARP, the kernel looks for others with the same address before it uses one,
		// and Chromium takes one that comes late for another network, and is offline meanwhile.
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_NOARP)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for { // the kernel notices some time later that both ends are up
		r, err := unix.NewIfreq(pairName)
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil || r.Uint16()&unix.IFF_RUNNING != 0 {
			return err
		}
		if _, _, err := unix.Recvfrom(changes, make([]byte, os.Getpagesize()), 0); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for %s to be up: %w", pairName, err)
		}
	}
}

const pairName = "page" // the kernel names its other end veth0

// addPair asks the kernel for a pair of interfaces (rtnetlink(7), RTM_NEWLINK).
func addPair(name string) error {
	attribute := func(kind uint16, value []byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
		b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
		return append(b, make([]byte, (4-len(b)%4)%4)...)
	}
	body := make([]byte, unix.SizeofIfInfomsg)
	body = append(body, attribute(unix.IFLA_IFNAME, append([]byte(name), 0))...)
	body = append(body, attribute(unix.IFLA_LINKINFO, attribute(unix.IFLA_INFO_KIND, []byte("veth\x00")))...)
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	m = binary.NativeEndian.AppendUint16(m, unix.RTM_NEWLINK)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	m = append(append(m, make([]byte, 8)...), body...)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, os.Getpagesize())
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 {
		return io.ErrUnexpectedEOF
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// unconfined says what a machine needs that cannot confine a browser.
func unconfined(err error) error {
	if s := err.Error(); !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EUSERS) && !strings.Contains(s, "sandbox") {
		return err
	}
	return fmt.Errorf("%w; it runs only inside its sandbox, which needs user namespaces: sysctl user.max_user_namespaces must not be 0, kernel.unprivileged_userns_clone, where there is one, must be 1, kernel.apparmor_restrict_unprivileged_userns 0; a container that the gate runs in must allow them, too", err)
}
