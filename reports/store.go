package reports

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	WaiversDir      = "waivers"
	SignedFile      = "attestation.dsse.json" // the same, signed
)

// ErrDamaged is returned for a results file with a broken line that is not its last.
var ErrDamaged = errors.New("damaged results")

// Store appends results to a run's results.jsonl, one line each. A result is on disk when
// Append returns, so a killed run loses at most the cells under way.
type Store struct{ f *os.File }

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
	return &Store{f}, nil
}

// Append writes one result. If the line cannot be written whole, as on a full disk, it is
// removed again, so that earlier results stay readable.
func (s *Store) Append(r Result) error {
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
	if err := s.f.Sync(); err != nil {
		return fmt.Errorf("writing the result of %s: %w", r.Cell, err)
	}
	return nil
}

// Close closes the file.
func (s *Store) Close() error { return s.f.Close() }

// ReadResults reads a run's results in the order in which they were written. A last line
// without an end is what a killed run leaves; it is no result.
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
	lines := bufio.NewScanner(bytes.NewReader(b[:bytes.LastIndexByte(b, '\n')+1]))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r Result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%w: %s:%d: %w", ErrDamaged, file, n, err)
		}
		out = append(out, r)
	}
	return out, lines.Err()
}

// WriteJSON writes a value to a file of the run, which is replaced atomically.
func WriteJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return write(file, append(b, '\n'))
}

func write(file string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	tmp := file + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		os.Remove(tmp)
		return err
	}
	return os.Rename(tmp, file)
}
