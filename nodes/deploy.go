package nodes

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/dist"
)

// DataDir is where a node keeps applications' data and the daemon's state.
const DataDir = manifest.DataDir

// OfferedMark is a file that says of the channel a node follows that it is one of the gate's,
// made for a run and undone after it.
const OfferedMark = DataDir + "/" + manifest.OwnDir + "/state/subscription/_gate"

// DaemonUnit is the user unit that runs the daemon.
const DaemonUnit = dist.Unit

const daemonAnswer = 30 * time.Second

// Any process of a node can connect to what is served there: what it holds on to is its own
// node's share.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 64 << 10 // bytes
)

// Deployment is what a node gets.
type Deployment struct {
	Binary      string            // path of the daemon, statically linked for the node
	Catalog     map[string][]byte // application id -> published manifest
	Pictures    map[string][]byte // of these manifests, by the names of their files
	Environment []string          // added to the daemon's environment, "NAME=value"
}

// Deploy installs the daemon, the files of package dist and the catalog on a node, each
// replaced atomically. It restarts the daemon if anything has changed, waits until it
// answers, and returns the access token.
func (c *Client) Deploy(ctx context.Context, d Deployment) (token string, err error) {
	want, replaced, err := c.Bring(ctx, d.Binary, dist.Program)
	if err != nil {
		return "", fmt.Errorf("deploying the daemon: %w", err)
	}
	change := ""
	if replaced {
		change = "changed"
	}
	// The gate may reach the node under an address that it does not know itself.
	d.Environment = append([]string{"ARCHIPELAGO_NAMES=" + c.Node.Address}, d.Environment...)
	archive, err := d.archive()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(archive)
	own := manifest.DataDir + "/" + manifest.OwnDir
	out, err := c.script(ctx, "replace-files.sh", bytes.NewReader(archive), own, hex.EncodeToString(sum[:]))
	if err != nil {
		return "", fmt.Errorf("deploying the catalog: %w", err)
	}
	if strings.TrimSpace(out) != "same" {
		change = "changed"
	}
	if _, err := c.script(ctx, "start-daemon.sh", nil, want, change); err != nil {
		return "", fmt.Errorf("starting the daemon: %w", err)
	}
	if err := c.AwaitDaemon(ctx); err != nil {
		return "", err
	}
	token, err = c.Run(ctx, "cat "+own+"/state/token")
	return strings.TrimSpace(token), err
}

// Bring has a program on the node, below the home directory, with the very bytes of a file of
// this machine, and gives their SHA-256 digest in hex. replaced: others were there, or none.
func (c *Client) Bring(ctx context.Context, file, program string) (digest string, replaced bool, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", false, err
	}
	sum := sha256.Sum256(b)
	digest = hex.EncodeToString(sum[:])
	have, err := c.Run(ctx, "sha256sum ~/"+program+" 2>/dev/null | cut -d' ' -f1")
	if err != nil || strings.TrimSpace(have) == digest {
		return digest, false, err
	}
	_, err = c.script(ctx, "replace-program.sh", bytes.NewReader(b), program, digest)
	return digest, true, err
}

// archive packs what replace-files.sh installs: home/ and catalog/.
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
	files := dist.Files()
	if len(d.Environment) > 0 {
		// The unit itself is the one that owners install; what this deployment adds is a drop-in.
		for _, unit := range []string{dist.Unit, dist.ProberUnit} {
			files[dist.UserUnits+unit+".d/deployment.conf"] = dropIn(d.Environment)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := add("home/"+name, files[name]); err != nil {
			return nil, err
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: "catalog/", Typeflag: tar.TypeDir, Mode: 0o700}); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(d.Catalog)) {
		if err := add("catalog/"+id+"/manifest.yaml", d.Catalog[id]); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Pictures)) {
		if err := add("catalog/"+manifest.PicturesDir+"/"+name, d.Pictures[name]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func dropIn(environment []string) []byte {
	var b bytes.Buffer
	b.WriteString("[Service]\n")
	for _, e := range environment {
		fmt.Fprintf(&b, "Environment=%q\n", e)
	}
	return b.Bytes()
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

// ServeThere serves HTTP on an address of the node until the context ends, through a
// tunnel that is opened again whenever the node was away. Beyond maxCarried connections at the
// same time, one is answered 429.
func (n *Node) ServeThere(ctx context.Context, address string, h http.Handler, log func(error)) {
	c := NewClient(n)
	defer c.Close()
	for ctx.Err() == nil {
		l, err := c.Listen(ctx, address)
		if err == nil {
			server := &http.Server{Handler: h, BaseContext: func(net.Listener) context.Context { return ctx }, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader}
			stop := context.AfterFunc(ctx, func() { server.Close() })
			server.Serve(newCrowd(l, maxCarried))
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
