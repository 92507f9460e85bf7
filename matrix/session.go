package matrix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
	"github.com/archipelago-cloud/archipelago/reports"
)

const probeTimeout = 10 * time.Second

// Session is what the steps of one shard share: the connection to the node, the
// daemon's client, the witnesses and the browser.
type Session struct {
	shard   *Shard
	ssh     *nodes.Client
	rpc     *client.Client
	witness *Witness

	mu      sync.Mutex
	browser *Browser
	mend    map[string]bool // applications that may be brought to a step's beginning, once
}

// NewSession connects lazily; Close ends everything it started.
func NewSession(s *Shard) *Session {
	ssh := nodes.NewClient(&s.Node)
	mend := map[string]bool{}
	for _, app := range s.Resumed {
		mend[app] = true
	}
	return &Session{shard: s, ssh: ssh, rpc: client.New(s.RPC, s.Token, ""), witness: NewWitness(ssh, s.Node.Address), mend: mend}
}

// mayMend tells, once for each application, whether what is not as a step needs it
// was left so by an interrupted session.
func (s *Session) mayMend(app string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	may := s.mend[app]
	delete(s.mend, app)
	return may
}

// Close ends connections and the browser, if one was started here.
func (s *Session) Close() {
	s.mu.Lock()
	if s.browser != nil {
		s.browser.Close()
	}
	s.mu.Unlock()
	s.witness.Close()
	s.ssh.Close()
}

func (s *Session) openBrowser() (b *Browser, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.browser != nil {
		return s.browser, nil
	}
	if s.shard.Browser != "" {
		b, err = ConnectBrowser(context.Background(), s.shard.Browser)
	} else {
		b, err = StartBrowser(context.Background())
	}
	if err == nil {
		s.browser = b
	}
	return b, err
}

// cell is the work on one cell: its clock, its notes, what it saw.
type cell struct {
	*Session
	app   *manifest.Manifest
	step  string
	begin time.Time
	split reports.Split

	seconds float64 // total, once the clock has stopped
	note    string
	files   []string // evidence, relative to the run's directory

	before *Snapshot
	held   []*Snapshot // every snapshot taken, for the invariants
}

func (s *Session) cell(app *manifest.Manifest, step string) *cell {
	return &cell{Session: s, app: app, step: step, begin: time.Now()}
}

// finish completes the split: what nobody claimed is the gate's own.
func (c *cell) finish() (seconds float64, split reports.Split) {
	if c.seconds > 0 {
		return c.seconds, c.split
	}
	total := time.Since(c.begin).Seconds()
	p := c.split
	p.Gate = max(0, total-p.Engine-p.App-p.Witness-p.Browser)
	return total, p
}

// do asks the daemon for an operation and waits for its end.
func (c *cell) do(ctx context.Context, verb string, purge bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout(c.app), fmt.Errorf("%s was accepted and not done within %s", verb, operationTimeout(c.app)))
	defer cancel()
	begin := time.Now()
	p, err := c.rpc.Do(ctx, verb, c.app.ID, purge, nil)
	spent := time.Since(begin).Seconds()
	if p != nil {
		c.split.App += min(p.AppSeconds, spent)
		c.split.Engine += max(0, spent-p.AppSeconds)
	} else {
		c.split.Engine += spent
	}
	if err != nil {
		if cause := context.Cause(ctx); ctx.Err() != nil && cause != nil {
			err = cause
		}
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

// operationTimeout is longer than any operation that keeps to the budget: what the
// daemon itself gives up on, it says.
func operationTimeout(m *manifest.Manifest) time.Duration {
	const images = 10 * time.Minute
	return 2*m.StartBudget() + images
}

// blame tells a failure of what is tested from a node that is gone: whatever
// failed, a node that does not answer on a new connection is lost, and one that is
// on another boot than the cell began on went away under the cell.
func (c *cell) blame(ctx context.Context, err error) error {
	if err == nil || broken(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	c.ssh.Drop()
	boot, gone := c.ssh.BootID(ctx)
	switch {
	case gone != nil:
		return fmt.Errorf("%w: %w (%w)", nodes.ErrLost, gone, err)
	case c.step != RebootSurvive && len(c.held) > 0 && c.held[0].Boot != boot:
		return fmt.Errorf("%w: it rebooted during the step (%w)", nodes.ErrLost, err)
	}
	return err
}

// Look takes a snapshot, with its time on the witnesses' account.
func (c *cell) look(ctx context.Context) (*Snapshot, error) {
	begin := time.Now()
	defer func() { c.split.Witness += time.Since(begin).Seconds() }()
	s, err := c.witness.Look(ctx, c.app, c.begin)
	if err == nil {
		c.held = append(c.held, s)
	}
	return s, err
}

// user gives a client with the credentials that the daemon shows the owner.
func (c *cell) user(ctx context.Context) (*User, error) {
	r, err := c.rpc.Credentials(ctx, connect.NewRequest(&api.CredentialsRequest{Id: c.app.ID}))
	if err != nil {
		return nil, fmt.Errorf("asking for credentials: %w", err)
	}
	return NewUser(c.ssh, c.shard.Node.Address, r.Msg.Secrets), nil
}

func (c *cell) plant(ctx context.Context) error {
	u, err := c.user(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	defer func() { c.split.Witness += time.Since(begin).Seconds() }()
	if err := u.Write(ctx, c.app, c.shard.canary(c.app.ID)); err != nil {
		return err
	}
	return c.shard.rememberPlanted(c.app.ID)
}

func (c *cell) readCanary(ctx context.Context) error {
	u, err := c.user(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	defer func() { c.split.Witness += time.Since(begin).Seconds() }()
	return u.Read(ctx, c.app, c.shard.canary(c.app.ID))
}

// keep writes a file of evidence.
func (c *cell) keep(name string, content []byte) error {
	rel := filepath.Join(c.shard.evidenceDir(c.app.ID, c.step), name)
	file := filepath.Join(c.shard.Dir, rel)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		return err
	}
	c.files = append(c.files, rel)
	return nil
}

// url is where a web interface is, on the published port or through the proxy.
func (c *cell) url(offset int) (string, manifest.Interface, bool) {
	in, port, ok := c.app.Web()
	if !ok {
		return "", in, false
	}
	path := in.Path
	if path == "" {
		path = "/"
	}
	return "http://" + net.JoinHostPort(c.shard.Node.Address, strconv.Itoa(port.Host+offset)) + path, in, true
}

// verdict joins what is wrong into an error; nil where nothing is.
// Verdict is nil where nothing is wrong, and an error that says all of it otherwise.
func Verdict(wrong ...[]string) error {
	var all []string
	for _, w := range wrong {
		all = append(all, w...)
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "; "))
}
