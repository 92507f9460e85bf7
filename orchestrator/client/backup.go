package client

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"connectrpc.com/connect"
	"filippo.io/age"

	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

const (
	pieceSize  = 256 << 10 // of the volumes on their way to the node
	maxHeader  = 1 << 20
	maxSecrets = 1 << 20
)

// Backup is one that has been opened: its secrets are decrypted.
type Backup struct {
	header  *api.RestoreHeader
	volumes io.ReadCloser
}

// Close ends the reading of the backup.
func (b *Backup) Close() error { return b.volumes.Close() }

// SaveBackup writes a backup of an application to w, its secrets encrypted to age
// recipients, and gives its size in bytes.
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

// RestoreBackup sends a backup to the node; when it returns, the daemon has it on
// disk and starts the application.
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
		return nil, answer // it says why sending failed, where it did
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	}
	return op.Msg, nil
}

// OpenBackup checks a backup's digests and decrypts its secrets.
func OpenBackup(z *zip.Reader, identities []age.Identity) (*Backup, error) {
	sums := map[string]string{}
	b, err := entry(z, orchestrator.BackupSums, maxHeader)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		if sum, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			sums[name] = sum
		}
	}
	checked := func(name string, limit int64) ([]byte, error) {
		b, err := entry(z, name, limit)
		if err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != sums[name] {
			return nil, fmt.Errorf("%s is damaged: its SHA-256 is not the one in %s", name, orchestrator.BackupSums)
		}
		return b, nil
	}
	head, err := checked(orchestrator.BackupHeader, maxHeader)
	if err != nil {
		return nil, err
	}
	sealed, err := checked(orchestrator.BackupSecrets, maxSecrets)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(strings.NewReader(string(sealed)), identities...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", orchestrator.BackupSecrets, err)
	}
	var values map[string]string
	if err := json.NewDecoder(plain).Decode(&values); err != nil {
		return nil, fmt.Errorf("%s: %w", orchestrator.BackupSecrets, err)
	}
	volumes, err := z.Open(orchestrator.BackupVolumes)
	if err != nil {
		return nil, err
	}
	return &Backup{&api.RestoreHeader{Backup: head, Secrets: values, VolumesSha256: sums[orchestrator.BackupVolumes]}, volumes}, nil
}

func entry(z *zip.Reader, name string, limit int64) ([]byte, error) {
	f, err := z.Open(name)
	if err != nil {
		return nil, fmt.Errorf("not a backup: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return b, err
}
