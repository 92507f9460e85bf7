package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// OffersDir is where a run keeps what its nodes are offered, below its directory. It holds
// the private keys of channels that live for one session, and is removed with them.
const OffersDir = "offers"

const (
	offeredChannel = "feature"
	offersLast     = 100 * 24 * time.Hour // longer than any session
	offerPiece     = 256 << 10            // bytes of a catalog that are sent at once
)

// offered is a channel of a node's own, which its owner brings it by hand: the releases that
// updates go from and to, both of it, as the disk's never take the place of a channel's. The
// node's disk has what is under test, and offers it wherever the channel has nothing.
type offered struct {
	Identity string                        `json:"identity"` // opens Key
	Key      []byte                        `json:"key"`
	Root     []byte                        `json:"root"`
	Follows  bool                          `json:"follows"` // the node has been told to
	Serial   int64                         `json:"serial"`
	Releases map[string]*manifest.Manifest `json:"releases"`
}

// offer has the channel offer a release of an application; nil for none, so that the node
// offers the one that is under test from its disk.
// Applications go through their installs side by side: one changes the channel at a time.
func (s *Session) offer(ctx context.Context, app string, m *manifest.Manifest) error {
	file := filepath.Join(s.Shard.Dir, OffersDir, s.Shard.Node.Name+".json")
	if m == nil {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil // no channel was ever followed
		}
	}
	unlock, err := lockFile(file + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	o, err := readOffered(file)
	if err != nil {
		return err
	}
	if !o.set(app, m) {
		return nil
	}
	if err := o.write(file); err != nil { // a serial is never used twice
		return err
	}
	envelope, err := o.envelope(ctx, time.Now())
	if err != nil {
		return err
	}
	if !o.Follows {
		// The mark first: what follows is the gate's to undo.
		if _, err := s.SSH.Run(ctx, "touch "+nodes.Quote(nodes.OfferedMark)); err != nil {
			return err
		}
		if _, err := s.Daemon.Subscribe(ctx, connect.NewRequest(&api.SubscribeRequest{Channel: offeredChannel, Root: o.Root})); err != nil {
			return fmt.Errorf("having the node follow the gate's channel: %w", err)
		}
		o.Follows = true
		if err := o.write(file); err != nil {
			return err
		}
	}
	stream := s.Daemon.LoadCatalog(ctx)
	for piece := range slices.Chunk(envelope, offerPiece) {
		if stream.Send(&api.Chunk{Data: piece}) != nil {
			break // the answer says why
		}
	}
	if _, err := stream.CloseAndReceive(); err != nil {
		return fmt.Errorf("bringing the node a catalog: %w", err)
	}
	return nil
}

// lockFile has other processes wait for their turn.
func lockFile(file string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil
}

// readOffered reads a channel, or makes one with a key of its own.
func readOffered(file string) (*offered, error) {
	o := &offered{Releases: map[string]*manifest.Manifest{}}
	b, err := os.ReadFile(file)
	if err == nil {
		return o, json.Unmarshal(b, o)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	signer, err := sign.NewSigner("gate")
	if err != nil {
		return nil, err
	}
	o.Identity = id.String()
	if o.Key, err = signer.Seal(id.Recipient()); err != nil {
		return nil, err
	}
	role := root.Role{Keys: []sign.PublicKey{signer.PublicKey}, Threshold: 1}
	o.Root, err = root.Sign(root.Policy{Version: 1, Expires: time.Now().Add(offersLast), Root: role, Catalog: role}, signer)
	return o, err
}

// set changes what is offered, and says whether that is anything else than before.
func (o *offered) set(app string, m *manifest.Manifest) bool {
	switch have := o.Releases[app]; {
	case m == nil && have == nil:
		return false
	case m == nil:
		delete(o.Releases, app)
	default: // also where it is offered already: whoever said so may not have got to it
		o.Releases[app] = m
	}
	o.Serial++
	return true
}

func (o *offered) write(file string) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return atomicfile.Write(file, b, 0o600)
}

// envelope is the channel's signed catalog.
func (o *offered) envelope(ctx context.Context, now time.Time) ([]byte, error) {
	id, err := age.ParseX25519Identity(o.Identity)
	if err != nil {
		return nil, err
	}
	signer, err := sign.OpenSigner(o.Key, id)
	if err != nil {
		return nil, err
	}
	d := document.Next(nil, offeredChannel, now.Add(-time.Minute), offersLast)
	d.Serial = o.Serial
	for _, app := range slices.Sorted(maps.Keys(o.Releases)) {
		e, err := document.NewEntry(o.Releases[app], "gate", "")
		if err != nil {
			return nil, err
		}
		if err := d.Put(e); err != nil {
			return nil, err
		}
	}
	b, err := document.Sign(ctx, d, signer)
	return bytes.Clone(b), err
}
