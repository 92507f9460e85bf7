package gate

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
)

// ErrHeld is wrapped where another gate works on a node.
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

const lockDir = nodes.DataDir + "/_gate.lock"

// Lock takes every node of the fleet for this process, or none: a node that another
// run holds is refused with the holder's name. What a dead process of this machine
// left is taken over.
func (f *Fleet) Lock(ctx context.Context, run string) (unlock func(), err error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	me := Holder{host, os.Getpid(), run, time.Now().UTC()}
	var taken []*Member
	unlock = func() {
		for _, m := range taken {
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			m.SSH.Run(bounded, "rm -rf "+lockDir) // a lock that stays is taken over: its process is gone
			cancel()
		}
	}
	for _, m := range f.Nodes {
		if err := m.take(ctx, me); err != nil {
			unlock()
			return nil, err
		}
		taken = append(taken, m)
	}
	return unlock, nil
}

func (m *Member) take(ctx context.Context, me Holder) error {
	b, err := json.Marshal(me)
	if err != nil {
		return err
	}
	for {
		out, err := m.SSH.Run(ctx, fmt.Sprintf("if mkdir %[1]s 2>/dev/null; then echo %[2]s > %[1]s/holder; echo taken; else cat %[1]s/holder; fi", lockDir, nodes.Quote(string(b))))
		if err != nil {
			return err
		}
		if strings.TrimSpace(out) == "taken" {
			return nil
		}
		var h Holder
		if err := json.Unmarshal([]byte(out), &h); err != nil {
			return fmt.Errorf("%s: %w: its lock cannot be read: %q; 'gate nodes unlock %s' removes it", m.Node, ErrHeld, out, m.Name)
		}
		if h.Host != me.Host || errors.Is(syscall.Kill(h.PID, 0), nil) {
			return fmt.Errorf("%s: %w by %s; wait for it, or 'gate nodes unlock %s' if it is no more", m.Node, ErrHeld, h, m.Name)
		}
		if err := m.Unlock(ctx); err != nil {
			return err
		}
	}
}

// Unlock removes a node's lock, whoever holds it.
func (m *Member) Unlock(ctx context.Context) error {
	_, err := m.SSH.Run(ctx, "rm -rf "+lockDir)
	return err
}
