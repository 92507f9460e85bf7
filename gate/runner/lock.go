package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
)

// ErrHeld is wrapped when another run works on a node.
var ErrHeld = errors.New("node is held")

// Holder says who works on a node.
type Holder struct {
	Host  string    `json:"host"`
	PID   int       `json:"pid"`
	Run   string    `json:"run"`
	Since time.Time `json:"since"`
}

func (h Holder) String() string {
	return fmt.Sprintf("run %s, process %d on %s, since %s", h.Run, h.PID, h.Host, h.Since.Local().Format("2006-01-02 15:04:05"))
}

const (
	lockDir       = nodes.DataDir + "/_gate.lock"
	unlockTimeout = 10 * time.Second
)

// Lock takes every node of a fleet for this process, or none. A node that another run
// holds is refused with the holder's name; the lock of a process of this machine that
// has died is taken over.
func Lock(ctx context.Context, f *fleet.Fleet, run string) (unlock func(), err error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	me := Holder{host, os.Getpid(), run, time.Now().UTC()}
	var taken []*fleet.Node
	unlock = func() {
		for _, n := range taken {
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
			Unlock(bounded, n) // a lock that stays is taken over, because its process is gone
			cancel()
		}
	}
	for _, n := range f.Nodes {
		if err := take(ctx, n, me); err != nil {
			unlock()
			return nil, err
		}
		taken = append(taken, n)
	}
	return unlock, nil
}

func take(ctx context.Context, n *fleet.Node, me Holder) error {
	b, err := json.Marshal(me)
	if err != nil {
		return err
	}
	for {
		out, err := n.SSH.Run(ctx, fmt.Sprintf("if mkdir %[1]s 2>/dev/null; then echo %[2]s > %[1]s/holder; echo taken; else cat %[1]s/holder; fi", lockDir, nodes.Quote(string(b))))
		if err != nil {
			return err
		}
		if strings.TrimSpace(out) == "taken" {
			return nil
		}
		var h Holder
		if err := json.Unmarshal([]byte(out), &h); err != nil {
			return fmt.Errorf("%s: %w: its lock cannot be read: %q; 'gate nodes unlock %s' removes it", n.Node, ErrHeld, out, n.Name)
		}
		if h.Host != me.Host || errors.Is(syscall.Kill(h.PID, 0), nil) {
			return fmt.Errorf("%s: %w by %s; wait for it, or 'gate nodes unlock %s' if that run is gone", n.Node, ErrHeld, h, n.Name)
		}
		if err := Unlock(ctx, n); err != nil {
			return err
		}
	}
}

// Unlock removes a node's lock, whoever holds it.
func Unlock(ctx context.Context, n *fleet.Node) error {
	_, err := n.SSH.Run(ctx, "rm -rf "+lockDir)
	return err
}
