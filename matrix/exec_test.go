package matrix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// here is a node on which every container is this machine, in a directory of the test's own.
type here struct{ dir string }

func container(t *testing.T) here {
	t.Helper()
	h := here{t.TempDir()}
	podman := "#!/bin/sh\n[ \"$1\" = exec ] && [ \"$2\" = pair-db ] || exit 125\nshift 2\ncd \"${0%/*}\"\nexec \"$@\"\n"
	if err := os.WriteFile(filepath.Join(h.dir, "podman"), []byte(podman), 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h here) Stream(ctx context.Context, command string, _ io.Reader, w io.Writer) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+command)
	cmd.Env = append(os.Environ(), "PATH="+h.dir+":"+os.Getenv("PATH"))
	cmd.Stdout = w
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit):
		return &nodes.ExitError{Node: "n", Command: command, Status: exit.ExitCode()}
	}
	return err
}

// TestACanaryByCommands has applications that keep values, with one thing wrong with each.
func TestACanaryByCommands(t *testing.T) {
	put := []string{"sh", "-c", `echo "$1" >>kept`, "it's", "{{canary}}"}
	get := []string{"grep", "-Fx", "{{canary}}", "kept"}
	for _, c := range []struct {
		name  string
		write []string
		read  []string
		exit  int
		in    string
		want  string // in the error; empty: it is kept
	}{
		{name: "keeps it", write: put, read: get},
		{name: "shows the latest", write: put, read: []string{"tail", "-n1", "kept"}},
		{name: "ends with a status of its own", write: []string{"sh", "-c", `echo "$1" >kept; exit 3`, "-", "{{canary}}"}, read: []string{"sh", "-c", "cat kept; exit 3"}, exit: 3},
		{name: "forgets it", write: []string{"true", "{{canary}}"}, read: []string{"echo", "nothing"}, want: `the answer does not contain it: "nothing\n"`},
		{name: "shows an earlier one", write: put, read: []string{"head", "-n1", "kept"}, want: "the answer does not contain it"},
		{name: "repeats what it is asked", write: put, read: []string{"echo", "no {{canary}} here"}, want: "which was never written, is found as well"},
		{name: "cannot write", write: []string{"false", "{{canary}}"}, read: get, want: "planting the canary: \"false canary-"},
		{name: "cannot read", write: put, read: []string{"false"}, want: "reading the canary back: \"false\" in container pair-db: node n"},
		{name: "shows it, and fails", write: put, read: []string{"sh", "-c", "cat kept; exit 1"}, want: "exit status 1"},
		{name: "ends well, as it must not", write: []string{"sh", "-c", "exit 3", "{{canary}}"}, read: []string{"cat", "kept"}, exit: 3, want: "it ended with status 0, expected 3"},
		{name: "never ends its answer", write: put, read: []string{"sh", "-c", "cat kept; exec yes"}, want: "it prints more than 1048576 bytes"},
		{name: "is in no container", in: "pair-other", write: put, read: get, want: "exit status 125"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := &User{shell: container(t)}
			m := &manifest.Manifest{ID: "pair", Canary: &manifest.Canary{Exec: &manifest.ExecCanary{Container: "pair-db", Write: c.write, Read: c.read, ExpectExit: c.exit}}}
			if c.in != "" {
				m.Canary.Exec.Container = c.in
			}
			if c.name == "ends well, as it must not" {
				if err := u.Write(t.Context(), m, "x"); err != nil {
					t.Fatal(err)
				}
				os.WriteFile(filepath.Join(u.shell.(here).dir, "kept"), []byte("canary"), 0o600)
			}
			var err error
			for range 2 {
				canary := newCanary()
				err = errors.Join(err, u.Write(t.Context(), m, canary), u.Read(t.Context(), m, canary))
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, expected %q", err, c.want)
			}
		})
	}
}

// lost is a node that is gone after so many commands.
type lost struct {
	here
	after *int
}

func (l lost) Stream(ctx context.Context, command string, stdin io.Reader, w io.Writer) error {
	if *l.after--; *l.after < 0 {
		return fmt.Errorf("node n: %w", nodes.ErrLost)
	}
	return l.here.Stream(ctx, command, stdin, w)
}

// TestANodeThatIsLostProvesNothing wants it told from an answer, whenever it is lost.
func TestANodeThatIsLostProvesNothing(t *testing.T) {
	m := &manifest.Manifest{ID: "pair", Canary: &manifest.Canary{Exec: &manifest.ExecCanary{Container: "pair-db", Write: []string{"sh", "-c", "echo {{canary}} >>kept"}, Read: []string{"grep", "{{canary}}", "kept"}}}}
	for after := range 4 {
		u := &User{shell: lost{container(t), &after}}
		all := after == 3
		err := errors.Join(u.Write(t.Context(), m, "canary-1"), u.Read(t.Context(), m, "canary-1"))
		if all && err != nil || !all && !errors.Is(err, nodes.ErrLost) {
			t.Errorf("lost before command %d: %v", after+1, err)
		}
	}
}
