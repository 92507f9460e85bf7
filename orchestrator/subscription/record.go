package subscription

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	recordFile = "subscription.json"
	lastGood   = ".last" // suffix of the second copy of the record
)

// record is what is kept on disk besides the catalog itself.
type record struct {
	Config
	Roots [][]byte          `json:"roots"` // the first is from the owner; each of the others succeeds the one before it
	Seen  map[string]seen   `json:"seen"`  // by channel
	ETags map[string]string `json:"etags"` // by mirror, of the document in force
}

// seen is the latest document of a channel.
type seen struct {
	Serial int64  `json:"serial"`
	Digest string `json:"digest"` // SHA-256 of its canonical form
}

// digestKey begins the record's last field: the SHA-256 of all bytes before it, in hex. A
// daemon that does not know it reads the rest all the same.
const digestKey = `,"sha256":"`

// encode gives the record as it is on disk.
func (r record) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return seal(b[:len(b)-1]), nil
}

// seal ends a JSON object that lacks its closing brace with its digest.
func seal(open []byte) []byte {
	sum := sha256.Sum256(open)
	return fmt.Appendf(bytes.Clone(open), "%s%s\"}\n", digestKey, hex.EncodeToString(sum[:]))
}

// readRecord reads one copy of the record. One without a digest is from a daemon that
// wrote none.
func readRecord(file string) (r record, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s: damaged: %w", file, err)
	}
	if i := bytes.LastIndex(b, []byte(digestKey)); i >= 0 && !bytes.Equal(seal(b[:i]), b) {
		return r, fmt.Errorf("%s: damaged: its content does not match its digest", file)
	}
	if r.Channel == "" || len(r.Roots) == 0 { // each has had both since it was first written
		return r, fmt.Errorf("%s: damaged: it names no channel, or no root", file)
	}
	return r, nil
}

// read gives the record on disk, and ErrNone where there is none. A damaged one is put
// aside, and its second copy takes its place.
func (s *Subscription) read() (record, error) {
	file := filepath.Join(s.dir, recordFile)
	r, err := readRecord(file)
	if err == nil {
		return r, nil
	}
	last, lastErr := readRecord(file + lastGood)
	gone := errors.Is(err, fs.ErrNotExist)
	switch {
	case gone && errors.Is(lastErr, fs.ErrNotExist):
		return record{}, ErrNone
	case lastErr != nil:
		return record{}, fmt.Errorf("%w: %w; nor can its second copy be read: %w; what is installed runs on; to subscribe again, remove %s on the node while the daemon is stopped", ErrDamaged, err, lastErr, s.dir)
	case !gone:
		// It is kept for whoever wants to know what happened to it.
		if err := os.Rename(file, file+".damaged-"+s.now().UTC().Format("20060102T150405.000")); err != nil {
			return last, nil // the next write replaces it
		}
	}
	_ = s.put(last) // should that fail, the next write says so
	return last, nil
}

// put writes both copies of the record, durably, the second one first: until the first is
// written, the old record stays in force.
func (s *Subscription) put(r record) error {
	b, err := r.encode()
	if err != nil {
		return err
	}
	for _, name := range []string{recordFile + lastGood, recordFile} {
		if err := s.replace(filepath.Join(s.dir, name), b, 0o600); err != nil {
			return fmt.Errorf("writing the subscription: %w", err)
		}
	}
	return nil
}

// write puts the record on disk, and then in force. The caller keeps others from refreshing,
// and does not hold mu.
func (s *Subscription) write(rec record) error {
	if err := s.put(rec); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rec = rec
	s.status.Config = rec.Config
	return nil
}
