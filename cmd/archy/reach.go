package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/archipelago-cloud/archipelago/cmd/internal/usage"
)

// nodeUser is whom the installer has the daemon run as.
const nodeUser = "archipelago"

// reach is how commands are run on a node as its daemon's user: the words to which the
// command, in the shell's language, is added. Whoever can do that has the node's
// applications in hand already, so that nothing is opened for it on the node.
type reach []string

// reachFlag adds the flag that says how.
func reachFlag(c *cobra.Command, ssh *string) {
	c.Flags().StringVar(ssh, "ssh", "", "where OpenSSH finds the node's shell, as the daemon's user; default: "+nodeUser+"@ the node that you are signed in to, a node of the lab through gate, and this machine for http://127.0.0.1")
}

// reach gives the way to the node that a person is signed in to.
func (a *app) reach(ssh string) (reach, error) {
	if strings.HasPrefix(ssh, "-") {
		return nil, usage.Wrap(fmt.Errorf("--ssh %q: expected USER@HOST, or a host of OpenSSH's configuration", ssh))
	}
	if ssh != "" {
		return openSSH(ssh)
	}
	c, err := a.signedIn()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(c.Node)
	if err != nil {
		return nil, usage.Wrap(err)
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	switch {
	case u.Scheme == "http": // on loopback, or it had been refused
		return reach{"sh", "-c"}, nil
	case ip.Is4() && ip.IsLoopback() && ip != netip.AddrFrom4([4]byte{127, 0, 0, 1}):
		gate, err := program("gate")
		if err != nil {
			return nil, fmt.Errorf("%s is a node of the lab: %w", c.Node, err)
		}
		return reach{gate, "lab", "ssh", fmt.Sprintf(".%d", ip.As4()[3])}, nil
	}
	return openSSH(nodeUser + "@" + u.Hostname())
}

func openSSH(destination string) (reach, error) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return nil, errors.New("OpenSSH's client is not installed: apt-get install openssh-client")
	}
	return reach{ssh, destination, "--"}, nil
}

// terminal is the same way for a person at a terminal.
func (r reach) terminal() reach {
	if filepath.Base(r[0]) == "ssh" {
		return reach{r[0], "-t", r[1], r[2]}
	}
	return r
}

// maxAnswer bounds what a node says to one command, in bytes.
const maxAnswer = 4 << 20

// run runs a command, and gives what it printed. What it says besides goes to said.
func (r reach) run(ctx context.Context, command string, in io.Reader, said io.Writer) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, r[0], append(r[1:len(r):len(r)], command)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &bounded{w: &out, left: maxAnswer}, io.MultiWriter(&bounded{w: &errs, left: maxAnswer}, said)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = cleanup
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		last := strings.TrimSpace(errs.String())
		if i := strings.LastIndexByte(last, '\n'); i >= 0 {
			last = last[i+1:]
		}
		return "", fmt.Errorf("on the node, by %s: %w: %s", filepath.Base(r[0]), err, last)
	}
	return out.String(), nil
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	w    io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if n := min(len(p), b.left); n > 0 {
		b.left -= n
		if _, err := b.w.Write(p[:n]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// quoted is a word in the shell's language.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// program finds another program of the project: beside this one, or in PATH.
func program(name string) (string, error) {
	beside := ""
	if self, err := os.Executable(); err == nil {
		beside = filepath.Dir(self)
		file := filepath.Join(beside, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	file, err := exec.LookPath(name)
	if err != nil {
		return "", usage.Wrap(fmt.Errorf("the program %s is neither in %s, beside archy, nor in PATH: put that of the same release there, or build all of them with 'make build', into out/bin", name, beside))
	}
	return filepath.Abs(file)
}

// become has another program take this one's place: its terminal, its signals and its exit
// status are then the caller's.
func become(file string, args ...string) error {
	err := syscall.Exec(file, append([]string{filepath.Base(file)}, args...), os.Environ())
	return fmt.Errorf("running %s: %w", file, err)
}
