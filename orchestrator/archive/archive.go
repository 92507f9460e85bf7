// Package archive owns the form of a backup in one file: a zip file with four members,
// encrypted as a whole with age. The daemon writes it, and the client opens it on the owner's
// machine; neither needs the other.
package archive

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// Members of a backup.
const (
	Header  = "backup.json" // what the backup is of
	Secrets = "secrets.age" // a JSON object of names and values, encrypted with age
	Volumes = "volumes.tar" // with numeric owners, as seen in the application's user namespace
	Sums    = "SHA256SUMS"  // as of sha256sum(1), over the others
)

// Format is the version that is written and read.
const Format = 1

// maxMember bounds every member but the volumes, in bytes.
const maxMember = 1 << 20

// ErrNotBackup is wrapped when a file is not a backup, or a damaged one.
var ErrNotBackup = errors.New("not a backup")

// Contents is an opened backup. Its header and secrets match their checksums; whoever
// reads the volumes to their end compares them with VolumesSHA256.
type Contents struct {
	Header        []byte
	Secrets       []byte
	Volumes       io.ReadCloser
	VolumesSHA256 string // in hex
}

// intro is how every file begins that age has encrypted.
const intro = "age-encryption.org/"

// Seal gives the writer of a backup's zip file, which encrypts all of it to the recipients.
// Only once it has been closed, the backup is whole: a part of it is refused when it is read.
func Seal(w io.Writer, recipients []age.Recipient) (io.WriteCloser, error) {
	return age.Encrypt(w, recipients...)
}

// Unseal gives the zip file of a backup of size bytes. Those of release 0.1, whose
// secrets alone are encrypted, are zip files themselves.
func Unseal(file io.ReaderAt, size int64, identities []age.Identity) (*zip.Reader, error) {
	begin := make([]byte, len(intro))
	if _, err := file.ReadAt(begin, 0); err == nil && string(begin) == intro {
		if file, size, err = age.DecryptReaderAt(file, size, identities...); err != nil {
			return nil, err
		}
	}
	z, err := zip.NewReader(file, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotBackup, err)
	}
	return z, nil
}

// Open reads a backup's members. The caller closes the volumes.
func Open(z *zip.Reader) (*Contents, error) {
	list, err := member(z, Sums)
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(list)) {
		if sum, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			sums[name] = sum
		}
	}
	c := &Contents{VolumesSHA256: sums[Volumes]}
	for name, into := range map[string]*[]byte{Header: &c.Header, Secrets: &c.Secrets} {
		b, err := member(z, name)
		if err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != sums[name] {
			return nil, fmt.Errorf("%w: %s is damaged: its SHA-256 is not the one in %s", ErrNotBackup, name, Sums)
		}
		*into = b
	}
	if c.Volumes, err = z.Open(Volumes); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotBackup, err)
	}
	return c, nil
}

func member(z *zip.Reader, name string) ([]byte, error) {
	f, err := z.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotBackup, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMember+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotBackup, name, err)
	}
	if len(b) > maxMember {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrNotBackup, name, maxMember)
	}
	return b, nil
}
