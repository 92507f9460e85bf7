package runner

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
)

// ErrHeld is wrapped when another run works on a node.
var ErrHeld = errors.New("node is held")

// Holder says who works on a node.
type Holder struct {
	Process
	Run   string    `json:"run"`
	Since time.Time `json:"since"`
}

func (h Holder) String() string {
	return fmt.Sprintf("run %s, process %d on %s, since %s", h.Run, h.PID, h.Host, h.Since.Local().Format("2006-01-02 15:04:05"))
}

const (
	lockDir       = nodes.DataDir + "/_gate.lock"
	lockTimeout   = time.Minute
	unlockTimeout = 10 * time.Second
	takeovers     = 3 // a node that names one dead holder after the other lies
)

//go:embed lock.sh
var lockScript string

// lockCommand takes the lock in dir for a holder, once one that stale left is removed;
// without a holder, it only removes that.
func lockCommand(dir, holder, stale string) string {
	return "sh -c " + nodes.Quote(lockScript) + " lock " + nodes.Quote(dir) + " " + nodes.Quote(holder) + " " + nodes.Quote(stale)
}

// Lock takes every node of a fleet for this process, or none. A node that another run
// holds is refused with the holder's name; the lock of a process of this machine that
// has died is taken over.
func Lock(ctx context.Context, f *fleet.Fleet, run string) (unlock func(), err error) {
	process, err := Self()
	if err != nil {
		return nil, err
	}
	me := Holder{process, run, time.Now().UTC()}
	var taken []*fleet.Node
	unlock = func() {
		for _, n := range taken {
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
			release(bounded, n, me) // a lock that stays is taken over, because its process is gone
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
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, fmt.Errorf("%w: its lock could not be taken within %s", nodes.ErrLost, lockTimeout))
	defer cancel()
	b, err := json.Marshal(me)
	if err != nil {
		return err
	}
	stale := ""
	for range takeovers {
		out, err := n.SSH.Run(ctx, lockCommand(lockDir, string(b), stale))
		if err != nil {
			return err
		}
		out = strings.TrimSpace(out)
		if out == "taken" {
			return nil
		}
		if err := judgeHolder(out, me); err != nil {
			return fmt.Errorf("%s: %w; 'gate nodes unlock %s' removes the lock", n.Node, err, n.Name)
		}
		stale = out
	}
	return fmt.Errorf("%s: %w: its lock %s comes back with another holder whenever it is taken over; 'gate nodes unlock %s' removes the lock", n.Node, ErrHeld, lockDir, n.Name)
}

// judgeHolder takes what the lock says of its holder, and refuses unless that one is gone.
func judgeHolder(text string, me Holder) error {
	var h Holder
	switch err := json.Unmarshal([]byte(text), &h); {
	case text == "":
		return fmt.Errorf("%w: its lock %s names no holder: whoever took it was cut off; if no run works on the node", ErrHeld, lockDir)
	case err != nil || h.PID <= 0:
		return fmt.Errorf("%w: its lock %s cannot be read: %.200q; if no run works on the node", ErrHeld, lockDir, text)
	case !h.gone(me.Process, probe):
		return fmt.Errorf("%w by %s; wait for it, or if that run is gone", ErrHeld, h)
	}
	return nil
}

// release gives a node back, if it is still this one's.
func release(ctx context.Context, n *fleet.Node, me Holder) error {
	b, err := json.Marshal(me)
	if err != nil {
		return err
	}
	_, err = n.SSH.Run(ctx, lockCommand(lockDir, "", string(b)))
	return err
}

// Unlock removes a node's lock, whoever holds it.
func Unlock(ctx context.Context, n *fleet.Node) error {
	_, err := n.SSH.Run(ctx, "rm -rf "+lockDir)
	return err
}
