package nodes

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// DataDir is where a node keeps applications' data and the daemon's state.
const DataDir = "/var/lib/archipelago"

// DaemonUnit is the user unit that runs the daemon.
const DaemonUnit = "archipelago.service"

const (
	daemonPath   = ".local/bin/archipelago"
	daemonAnswer = 30 * time.Second
)

// Deployment is what a node gets.
type Deployment struct {
	Binary      string            // path of the daemon, statically linked for the node
	Catalog     map[string][]byte // application id -> published manifest
	Environment []string          // more of the daemon's environment, "NAME=value"
}

// trial counts the starts of a daemon that has not served yet, and puts the one
// before it back at the third: whatever is wrong with the new one, a shell can.
const trial = `p=%h/` + daemonPath + `; [ -e $$p.trial ] || exit 0; read n < $$p.trial || n=0; ` +
	`if [ "$$n" -lt 2 ]; then echo $$((n + 1)) > $$p.trial; exit 0; fi; ` +
	`echo "the new daemon did not come up: the previous one returns"; mv -f $$p.previous $$p; rm -f $$p.trial`

// unit renders the daemon's unit. It needs no privilege of its own: what takes the
// user namespace is done by Podman and systemd at its request.
func (d Deployment) unit() string {
	var env strings.Builder
	for _, e := range d.Environment {
		fmt.Fprintf(&env, "Environment=%q\n", e)
	}
	return `[Unit]
Description=Archipelago: keeps this node's applications at their desired state
Wants=podman.socket
After=podman.socket dbus.socket

[Service]
Type=notify
ExecStartPre=/bin/sh -ec '` + trial + `'
ExecStart=%h/` + daemonPath + ` daemon
TimeoutStartSec=20
Restart=always
RestartSec=1
Environment=GOMEMLIMIT=180MiB
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
` + env.String() + `
[Install]
WantedBy=default.target
`
}

// engineUnit keeps Podman's service up while the daemon follows its events: by
// default it ends after five idle seconds, streams notwithstanding.
const engineUnit = `[Service]
ExecStart=
ExecStart=/usr/bin/podman system service --time=0
`

// Deploy brings the daemon and its catalog onto a node, each replaced atomically,
// restarts the daemon where anything has changed, waits until it answers, and
// gives the access token.
func (c *Client) Deploy(ctx context.Context, d Deployment) (token string, err error) {
	binary, err := os.ReadFile(d.Binary)
	if err != nil {
		return "", fmt.Errorf("deploying: %w", err)
	}
	sum := sha256.Sum256(binary)
	want := hex.EncodeToString(sum[:])
	have, err := c.Run(ctx, "sha256sum ~/"+daemonPath+" 2>/dev/null | cut -d' ' -f1")
	if err != nil {
		return "", err
	}
	changed := strings.TrimSpace(have) != want
	if changed {
		script := fmt.Sprintf(`set -e; mkdir -p ~/.local/bin; f=$(mktemp ~/.local/bin/.archipelago.XXXXXX); trap 'rm -f "$f"' EXIT
cat > "$f"; [ "$(sha256sum < "$f" | cut -d' ' -f1)" = %s ] || { echo "the binary arrived damaged" >&2; exit 1; }
chmod 755 "$f"; sync "$f"; mv -f "$f" ~/%s; trap - EXIT`, want, daemonPath)
		if err := c.Stream(ctx, script, bytes.NewReader(binary), io.Discard); err != nil {
			return "", fmt.Errorf("deploying the daemon: %w", err)
		}
	}
	archive, err := d.archive()
	if err != nil {
		return "", err
	}
	sum = sha256.Sum256(archive)
	mark := hex.EncodeToString(sum[:])
	own := DataDir + "/_daemon"
	script := fmt.Sprintf(`set -e; umask 077; mkdir -p %[1]s ~/.config/systemd/user; cd %[1]s
[ "$(cat catalog.digest 2>/dev/null)" = %[2]s ] && [ -e ~/.config/systemd/user/%[3]s ] && { echo same; exit; }
rm -rf new; mkdir new; tar -x -C new
mv -f new/%[3]s ~/.config/systemd/user/; mkdir -p ~/.config/systemd/user/podman.service.d; mv -f new/engine.conf ~/.config/systemd/user/podman.service.d/archipelago.conf; rm -rf old; [ ! -e catalog ] || mv catalog old; mv new/catalog catalog; rm -rf old new
echo %[2]s > catalog.digest; sync -f .`, own, mark, DaemonUnit)
	var out bytes.Buffer
	if err := c.Stream(ctx, script, bytes.NewReader(archive), &out); err != nil {
		return "", fmt.Errorf("deploying the catalog: %w", err)
	}
	changed = changed || strings.TrimSpace(out.String()) != "same"
	verb := "start"
	if changed {
		verb = "stop podman.service && systemctl --user restart"
	}
	if _, err := c.Run(ctx, "systemctl --user daemon-reload && systemctl --user enable -q --now podman.socket && systemctl --user enable -q "+DaemonUnit+" && systemctl --user "+verb+" "+DaemonUnit); err != nil {
		return "", fmt.Errorf("starting the daemon: %w", err)
	}
	if err := c.AwaitDaemon(ctx); err != nil {
		return "", err
	}
	token, err = c.Run(ctx, "cat "+own+"/state/token")
	return strings.TrimSpace(token), err
}

func (d Deployment) archive() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, body []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(body))}); err != nil {
			return err
		}
		_, err := w.Write(body)
		return err
	}
	if err := add(DaemonUnit, []byte(d.unit())); err != nil {
		return nil, err
	}
	if err := add("engine.conf", []byte(engineUnit)); err != nil {
		return nil, err
	}
	if err := w.WriteHeader(&tar.Header{Name: "catalog/", Typeflag: tar.TypeDir, Mode: 0o700}); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(d.Catalog)) {
		if err := add("catalog/"+id+"/manifest.yaml", d.Catalog[id]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// AwaitDaemon waits until the daemon's port answers on the node itself.
func (c *Client) AwaitDaemon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, daemonAnswer)
	defer cancel()
	address := fmt.Sprintf("127.0.0.1:%d", manifest.DaemonPort)
	tick := time.NewTicker(retryPause)
	defer tick.Stop()
	for {
		conn, err := c.Dial(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		if errors.Is(err, ErrLost) || errors.Is(err, ErrRefused) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := c.Run(context.WithoutCancel(ctx), "journalctl --user -u "+DaemonUnit+" -n 5 --no-pager -o cat")
			return fmt.Errorf("%s: waited %s for the daemon to answer: %w; its last words: %s", c.Node, daemonAnswer, err, strings.TrimSpace(log))
		}
	}
}

// ServeThere serves HTTP on an address of the node, by a tunnel that is made anew
// whenever the node was away, until the context ends.
func (n *Node) ServeThere(ctx context.Context, address string, h http.Handler, log func(error)) {
	c := NewClient(n)
	defer c.Close()
	for ctx.Err() == nil {
		l, err := c.Listen(ctx, address)
		if err == nil {
			server := &http.Server{Handler: h, BaseContext: func(net.Listener) context.Context { return ctx }}
			stop := context.AfterFunc(ctx, func() { server.Close() })
			server.Serve(l)
			stop()
			server.Close()
		} else if ctx.Err() == nil && !errors.Is(err, ErrLost) {
			log(err)
		}
		c.Drop()
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}
