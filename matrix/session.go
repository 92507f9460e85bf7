package matrix

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// Session is what the cells of one shard share: the connection to the node, the
// daemon's client and the witnesses.
type Session struct {
	Shard   *Shard
	SSH     machine
	Daemon  *client.Client
	Witness *Witness
	words   *Listener
	glances *shared[*Snapshot]

	probe func(context.Context) (nodes.BootID, error)                                                  // the node's boot, asked over a new connection
	sees  func(ctx context.Context, m *manifest.Manifest, since time.Time) (*Snapshot, error)          // Witness.Look
	web   func(address string) *http.Client                                                            // that trusts the node's authority; see pinned
	visit func(ctx context.Context, url string, in manifest.Interface, password string) (*Page, error) // by the session's browser

	mu      sync.Mutex
	browser *Browser
	owners  map[string]manifest.Folder // the folders of the node's owner that the gate has made, by name
	mend    map[string]bool            // applications that may be brought to where a step begins, once

	prepared sync.Once
	fixture  error // why the first cell could not be begun
}

// machine is what the harness has a node do: what a nodes.Client does.
type machine interface {
	shell
	Run(ctx context.Context, command string) (string, error)
	Reboot(ctx context.Context) (nodes.BootID, error)
	PowerCut(ctx context.Context) (nodes.BootID, error)
	Age(ctx context.Context) (time.Duration, error)
	AwaitDaemon(ctx context.Context) error
	Close()
}

// NewSession connects lazily; Close ends everything it started.
func NewSession(s *Shard) *Session {
	ssh := nodes.NewClient(&s.Node)
	mend := map[string]bool{}
	for _, app := range s.Resumed {
		mend[app] = true
	}
	probe := func(ctx context.Context) (nodes.BootID, error) {
		ssh.Drop()
		return ssh.BootID(ctx)
	}
	witness := NewWitness(ssh, s.Node.Address, s.Look)
	daemon := client.New(s.RPC, s.Token, s.Trusted.Fingerprint())
	out := &Session{Shard: s, SSH: ssh, Daemon: daemon, Witness: witness, glances: newShared(glanceEvery, witness.Glance), words: NewListener(daemon, s.RPC, s.Token, s.Trusted, s.Archy), probe: probe, sees: witness.Look, mend: mend}
	out.web = func(address string) *http.Client { return pinned(s.Trusted, address) }
	out.visit = out.browse
	return out
}

// Close ends all connections, and the browser.
func (s *Session) Close() {
	if s.browser != nil {
		s.browser.Close()
	}
	s.words.Close()
	s.glances.close()
	s.Witness.Close()
	s.SSH.Close()
}

// group makes the cells of a step; their clocks start.
func (s *Session) group(step Step, apps ...*manifest.Manifest) *Group {
	g := &Group{Session: s, step: step}
	for _, m := range apps {
		g.cells = append(g.cells, &cell{env: &Environment{Session: s, App: m}, rec: newRecorder(s.Shard, m.ID, step.Name)})
	}
	return g
}

// mayMend tells, once for each application, whether an interrupted run may have left
// it in mid-step.
func (s *Session) mayMend(app string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	may := s.mend[app]
	delete(s.mend, app)
	return may
}

// openBrowser gives the session's browser, which reaches what the shard is about. It is
// started when it is needed first, and again if it has ended.
func (s *Session) openBrowser() (b *Browser, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.browser != nil && s.browser.root.Err() == nil {
		return s.browser, nil
	}
	if s.browser != nil {
		s.browser.Close()
	}
	s.browser, err = StartBrowser(context.Background(), s.Shard.reach(), s.Shard.Trusted)
	return s.browser, err
}

// browse opens a page in the session's browser.
func (s *Session) browse(ctx context.Context, url string, in manifest.Interface, password string) (*Page, error) {
	b, err := s.openBrowser()
	if err != nil {
		return nil, err
	}
	return b.Visit(ctx, url, in, password)
}

// Environment is what a step may use on an application: the application's manifest,
// the shard's facts, and the means to act and to look.
type Environment struct {
	*Session
	App *manifest.Manifest
}

// expectation is what the application must be on this node, which has a host name.
func (e *Environment) expectation(host string) (*Expectation, error) {
	id := e.App.ID
	return ExpectationOf(e.App, Facts{DataDir: nodes.DataDir, Folders: e.foldersOf(e.App), Node: NodeOf(host), Config: e.Shard.Config[id], Requirers: e.Shard.Requirers[id], Apps: e.Shard.there})
}

// lookAt is a look at an application as its settings make it, of which one may name a device,
// and with the owner's folders where the gate has them.
func (s *Session) lookAt(ctx context.Context, m *manifest.Manifest, since time.Time) (*Snapshot, error) {
	if filled, err := m.With(s.Shard.Config[m.ID], manifest.Node{}); err == nil {
		m = filled
	}
	m, err := s.placed(ctx, m)
	if err != nil {
		return nil, err
	}
	return s.sees(ctx, m, since)
}

// look has the witnesses take a snapshot, compares the daemon's words with it, and holds it
// for the invariants.
func (e *Environment) look(ctx context.Context, rec *Recorder) (*Snapshot, error) {
	defer rec.charge(&rec.timing.Witness)()
	s, err := e.lookAt(ctx, e.App, rec.begin)
	if err != nil {
		return nil, err
	}
	err = e.heed(ctx, rec, s)
	rec.held = append(rec.held, s)
	return s, err
}

// user gives a client with the credentials that the daemon shows the owner.
func (e *Environment) user(ctx context.Context) (*User, error) {
	r, err := e.Daemon.Credentials(ctx, connect.NewRequest(&api.CredentialsRequest{Id: e.App.ID}))
	if err != nil {
		return nil, fmt.Errorf("asking for credentials: %w", err)
	}
	return &User{address: e.Shard.Node.Address, trusted: e.Shard.Trusted, secrets: r.Msg.Secrets, shell: e.SSH}, nil
}

// plantCanary writes a new value, in place of an earlier one, and reads it back.
func (e *Environment) plantCanary(ctx context.Context, rec *Recorder) error {
	u, err := e.user(ctx)
	if err != nil {
		return err
	}
	defer rec.charge(&rec.timing.Witness)()
	canary := newCanary()
	if err := u.Write(ctx, e.App, canary); err != nil {
		return err
	}
	if err := e.Shard.rememberPlanted(e.App.ID, canary); err != nil {
		return err
	}
	return u.Read(ctx, e.App, canary)
}

func (e *Environment) readCanary(ctx context.Context, rec *Recorder) error {
	u, err := e.user(ctx)
	if err != nil {
		return err
	}
	defer rec.charge(&rec.timing.Witness)()
	canary, err := e.Shard.planted(e.App.ID)
	if err != nil {
		return err
	}
	if canary == "" {
		return errors.New("reading the canary back: none was planted in this cycle")
	}
	return u.Read(ctx, e.App, canary)
}
