package look

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// leaks tells where the secrets' values are found, and must not be: in what Podman shows, in
// unit files, in the journal since then, in what the daemon keeps.
func (a *answer) leaks(values [][]byte, inspected io.Reader, unitFiles, since string, kept []string) {
	if len(values) == 0 {
		return
	}
	switch found, err := holds(inspected, values); {
	case found:
		a.say("leak", "inspect")
	case err != nil:
		a.say(failed, "inspect")
	}
	if below(values, unitFiles) {
		a.say("leak", "unit-files")
	}
	switch found, err := journalHolds(values, since); {
	case found:
		a.say("leak", "journal")
	case err != nil:
		a.say(failed, "journal")
	}
	if below(values, kept...) {
		a.say("leak", "catalog-or-state")
	}
}

func journalHolds(values [][]byte, since string) (bool, error) {
	cmd := exec.Command("journalctl", "--user", "--since", since, "-o", "cat")
	cmd.Stderr = os.Stderr
	said, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	found, err := holds(said, values)
	if found {
		cmd.Process.Kill() // the rest is of no interest
	}
	return found, errors.Join(err, cmd.Wait())
}

// below tells whether a file in these directories holds a value. What cannot be read, or goes
// meanwhile, holds none.
func below(values [][]byte, dirs ...string) (found bool) {
	for _, dir := range dirs {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
		filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil
			}
			f, err := os.Open(path)
			if err != nil {
				return nil
			}
			defer f.Close()
			if held, _ := holds(f, values); held {
				found = true
				return fs.SkipAll
			}
			return nil
		})
	}
	return found
}

// holds tells whether one of the values is in a text, which is read up to there.
func holds(r io.Reader, values [][]byte) (bool, error) {
	longest := 0
	for _, v := range values {
		longest = max(longest, len(v))
	}
	buf := make([]byte, longest+64<<10)
	kept := 0 // bytes of the text before, of which a value may begin
	for {
		n, err := r.Read(buf[kept:])
		text := buf[:kept+n]
		for _, v := range values {
			if bytes.Contains(text, v) {
				return true, nil
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
		kept = copy(buf, text[max(0, len(text)-longest+1):])
	}
}
