package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"
	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/archive"
)

const pieceSize = 256 << 10 // of the volumes on their way to the node

// Backup is an opened backup, its secrets decrypted.
type Backup struct {
	header  *api.RestoreHeader
	volumes io.ReadCloser
}

// Accept says what the owner agrees to, where the backup's manifest is not the catalog's.
func (b *Backup) Accept(consent []string) { b.header.Consent = consent }

// Close releases the backup.
func (b *Backup) Close() error { return b.volumes.Close() }

// SaveBackup writes a backup of an application to w, encrypted to age recipients, and
// returns its size in bytes.
func (c *Client) SaveBackup(ctx context.Context, app string, recipients []string, w io.Writer) (size int, err error) {
	stream, err := c.Backup(ctx, connect.NewRequest(&api.BackupRequest{Id: app, Recipients: recipients}))
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	for stream.Receive() {
		n, err := w.Write(stream.Msg().Data)
		if size += n; err != nil {
			return size, err
		}
	}
	return size, stream.Err()
}

// RestoreBackup sends a backup to the node. When it returns, the daemon has restored the
// data and is starting the application.
func (c *Client) RestoreBackup(ctx context.Context, b *Backup) (*api.Operation, error) {
	stream := c.Restore(ctx)
	err := stream.Send(&api.RestoreRequest{Part: &api.RestoreRequest_Header{Header: b.header}})
	for buffer := make([]byte, pieceSize); err == nil; {
		var n int
		n, err = io.ReadFull(b.volumes, buffer)
		if n > 0 {
			if sendErr := stream.Send(&api.RestoreRequest{Part: &api.RestoreRequest_Volumes{Volumes: buffer[:n]}}); sendErr != nil {
				err = sendErr
			}
		}
	}
	op, answer := stream.CloseAndReceive()
	switch {
	case answer != nil:
		return nil, answer // if sending failed, this says why
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	}
	return op.Msg, nil
}

// OpenBackup decrypts a backup of size bytes, and checks its header and secrets against their
// checksums. The node checks the volumes when it has received them. The file stays open as
// long as the backup is used.
func OpenBackup(file io.ReaderAt, size int64, identities []age.Identity) (*Backup, error) {
	z, err := archive.Unseal(file, size, identities)
	if err != nil {
		return nil, err
	}
	c, err := archive.Open(z)
	if err != nil {
		return nil, err
	}
	values, err := unseal(c.Secrets, identities)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", archive.Secrets, err), c.Volumes.Close())
	}
	return &Backup{&api.RestoreHeader{Backup: c.Header, Secrets: values, VolumesSha256: c.VolumesSHA256}, c.Volumes}, nil
}

func unseal(sealed []byte, identities []age.Identity) (values map[string]string, err error) {
	plain, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	if err != nil {
		return nil, err
	}
	err = json.NewDecoder(plain).Decode(&values)
	return values, err
}
