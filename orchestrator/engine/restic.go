package engine

import (
	"bytes"
	"context"
	"fmt"
)

// maxLine bounds a line that a command writes, in bytes: the daemon holds all of one, and what
// is in a repository decides how long it is.
const maxLine = 16 << 20

// Restic runs a program that backs volumes up or restores them: inside the user namespace,
// where files can belong to its ids. It calls line for each line that the program writes to
// standard output as it comes. One that is longer than maxLine ends the program.
func (e *Engine) Restic(ctx context.Context, line func([]byte), argv ...string) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var rest []byte
	var endless error
	err := e.follows(ctx, patient, "archipelago: a repository of backups", func(b []byte) {
		if endless != nil {
			return
		}
		rest = append(rest, b...)
		for {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			if line != nil {
				line(rest[:i])
			}
			rest = rest[i+1:]
		}
		if len(rest) > maxLine {
			rest, endless = nil, fmt.Errorf("it wrote a line of more than %d bytes", maxLine)
			end(endless)
		}
	}, append([]string{"/usr/bin/podman", "unshare"}, argv...)...)
	if endless != nil {
		return endless
	}
	if len(rest) > 0 && line != nil {
		line(rest)
	}
	return err
}
