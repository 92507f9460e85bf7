package reports

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/archipelago-cloud/archipelago/internal/atomicfile"
)

// Names of a run's files.
const (
	ResultsFile     = "results.jsonl"
	PlanFile        = "plan.json"
	ReportFile      = "report.json"
	HTMLFile        = "report.html"
	JUnitFile       = "junit.xml"
	SummaryFile     = "summary.md"
	AttestationFile = "attestation.json"
	ManifestsDir    = "manifests" // what was published to the nodes, in canonical form, by application
	WaiversDir      = "waivers"
	SignedFile      = "attestation.dsse.json" // the same, signed
)

// ErrDamaged is returned for a results file with a broken line that is not its last, or
// with a line that does not follow the one before it.
var ErrDamaged = errors.New("damaged results")

// Store appends results to a run's results.jsonl, one line each. A result is on disk when
// Append returns, so a killed run loses at most the cells under way. Every line holds the
// digest of the one before: a line that is taken out, put in or edited breaks the chain.
type Store struct {
	Cut int // bytes of the unfinished line that was cut off

	f    *os.File
	last string // digest of the last line
}

// OpenStore opens or creates the store of the run in dir. It cuts off the unfinished last
// line that a killed run can leave.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, ResultsFile)
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	whole := bytes.LastIndexByte(b, '\n') + 1
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	if whole < len(b) {
		if err := f.Truncate(int64(whole)); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	if b == nil {
		if err := atomicfile.SyncDir(dir); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	lines := bytes.Split(bytes.TrimSuffix(b[:whole], []byte("\n")), []byte("\n"))
	return &Store{Cut: len(b) - whole, f: f, last: Digest(lines[len(lines)-1])}, nil
}

// Digest is a SHA-256, in hex. Before the first line of a file stands an empty one.
func Digest(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// Append writes one result. If the line cannot be written whole, as on a full disk, it is
// removed again, so that earlier results stay readable. Of a reason or a note, MaxText
// bytes are written.
func (s *Store) Append(r Result) error {
	r.Prev, r.Reason, r.Note = s.last, Text(r.Reason), Text(r.Note)
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	if _, err := s.f.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("writing the result of %s: %w", r.Cell, errors.Join(err, s.f.Truncate(info.Size())))
	}
	s.last = Digest(b)
	if err := s.f.Sync(); err != nil {
		return fmt.Errorf("writing the result of %s: %w", r.Cell, err)
	}
	return nil
}

// Close closes the file.
func (s *Store) Close() error { return s.f.Close() }

// Encode gives results as the lines that a Store would write.
func Encode(results []Result) ([]byte, error) {
	var out []byte
	last := Digest(nil)
	for _, r := range results {
		r.Prev = last
		b, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		last = Digest(b)
		out = append(append(out, b...), '\n')
	}
	return out, nil
}

// ReadResults reads a run's results in the order in which they were written. A last line
// without an end is what a killed run leaves; it is no result. A line that does not follow
// the one before is ErrDamaged, unless no line says which one that is: so runs were written
// once, and they can release nothing.
func ReadResults(dir string) ([]Result, error) {
	file := filepath.Join(dir, ResultsFile)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Result
	last := Digest(nil)
	n := 0
	for line := range bytes.Lines(b[:bytes.LastIndexByte(b, '\n')+1]) {
		n++
		line = bytes.TrimSuffix(line, []byte("\n"))
		var r Result
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%w: %s:%d: %w", ErrDamaged, file, n, err)
		}
		if (r.Prev != "" || n > 1 && out[0].Prev != "") && r.Prev != last {
			return nil, fmt.Errorf("%w: %s:%d: the line before it is not the one that it was written after: one was edited, taken out or put in", ErrDamaged, file, n)
		}
		last = Digest(line)
		out = append(out, r)
	}
	return out, nil
}

// FileDigest is the SHA-256 of a file, in hex.
func FileDigest(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("digest of %s: %w", file, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// WriteJSON writes a value to a file of the run, which is replaced atomically.
func WriteJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return Write(filepath.Dir(file), filepath.Base(file), append(b, '\n'))
}

// Write replaces a file of the run in dir, so that a gate that is killed, or a power cut, leaves
// the old content or the new, and makes the folders above it. Whatever name and links the run
// has, nothing outside it is written.
func Write(dir, name string, b []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteIn(root, name, b, 0o644)
}

// readFile reads a file of the run in dir, and none outside it.
func readFile(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.ReadFile(name)
}
