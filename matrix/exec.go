package matrix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/nodes"
)

// execTimeout is for a command in a container, with all that it takes to begin one there, on a
// node that installs thirty applications at the time. How fast an application answers is asked
// over its ports (clientTimeout).
const execTimeout = 30 * time.Second

var errTooMuch = fmt.Errorf("it prints more than %d bytes", maxAnswer)

// exec runs a command in a container of the application, as the container's user, and gives
// what it prints on its standard output. It must end with that status, within execTimeout,
// and with no more than maxAnswer bytes.
func (u *User) exec(ctx context.Context, container string, argv []string, status int) (string, error) {
	slow, cancelSlow := context.WithTimeoutCause(ctx, execTimeout, fmt.Errorf("no end within %s", execTimeout))
	defer cancelSlow()
	bounded, cancel := context.WithCancelCause(slow)
	defer cancel(nil)
	command := "podman exec " + nodes.Quote(container)
	for _, word := range argv {
		command += " " + nodes.Quote(word)
	}
	out := &answer{full: func() { cancel(errTooMuch) }}
	err := u.shell.Stream(bounded, command, nil, out)
	var exit *nodes.ExitError
	switch {
	case errors.As(err, &exit) && exit.Status == status && status != 0:
		err = nil
	case err == nil && status != 0:
		err = fmt.Errorf("it ended with status 0, expected %d", status)
	}
	if err != nil {
		return "", fmt.Errorf("%.100q in container %s: %w", strings.Join(argv, " "), container, err)
	}
	return out.kept.String(), nil
}

// answer keeps what is written, up to maxAnswer bytes; beyond that, it says that it is full.
type answer struct {
	kept bytes.Buffer
	full func()
}

func (a *answer) Write(b []byte) (int, error) {
	room := maxAnswer - a.kept.Len()
	if len(b) > room {
		a.full()
	}
	a.kept.Write(b[:min(len(b), room)])
	return len(b), nil
}
