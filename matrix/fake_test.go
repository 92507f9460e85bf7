package matrix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/api/apiconnect"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// fakeNode is a node with one application, of which daemon, containers, disk and proxy are a few
// variables. It does what it is asked; what a test plants in it is all that is wrong. Nothing of
// it is on a network, so that its time is a bubble's.
type fakeNode struct {
	apiconnect.UnimplementedOrchestratorHandler
	m      *manifest.Manifest // under test
	serves http.Handler       // the daemon

	mu        sync.Mutex
	installed *manifest.Manifest // nil: no
	offered   *manifest.Manifest // by a channel; nil: the disk offers m
	runs      bool
	data      bool // volumes and secrets are there
	starts    int  // how often its containers were made
	boot      int
	daemon    int // its process
	observed  int // passes
	canary    string
	asked     []string // operations
	pages     []string // that were asked for, of the proxy and in the browser

	see     func(s *Snapshot)               // plants something in what is seen
	say     func(a *api.App)                // and in what the daemon says
	page    func(p *Page)                   // and in what a browser sees
	idle    string                          // the operation that does nothing
	fails   string                          // the operation that fails
	slow    time.Duration                   // what each takes
	refuses error                           // answers who wants to uninstall what the application requires; nil: nobody refuses
	after   func(what string, n *fakeNode)  // called after an operation, a command or a reboot
	gone    func(path string) (status int)  // what the proxy answers; nil: 200
	writes  func(canary string) (err error) // what becomes of a canary

	rebooting, age time.Duration // how long a reboot takes, and the boot has been on then

	catalogs, broken, still, mute, blind, deaf error // what fails: to take a catalog, a command, a reboot, to show credentials, the browser, a container's shell
}

// family is stack with what a cycle does to an application: a sign-in, another page, a canary.
func family() *manifest.Manifest {
	m := stack()
	m.Interfaces = map[string]manifest.Interface{
		"web": {Port: "web", Login: &manifest.Login{User: "owner", Secret: "password", Form: &manifest.LoginForm{User: "#u", Password: "#p", Submit: "#s"}},
			Expect: manifest.Expect{Title: "Pair", Selector: "#page", SignedIn: &manifest.SignedIn{Selector: "#out"}}},
		"admin": {Port: "web", Path: "/admin", Expect: manifest.Expect{Title: "Admin", Selector: "#admin"}},
		"api":   {Port: "web", Path: "/api"},
		"wire":  {Port: "mqtt", Protocol: "tcp", Handshake: &manifest.Handshake{Exec: &manifest.ExecHandshake{Container: "pair", Argv: []string{"hello"}, Expect: "there"}}},
	}
	m.Canary = &manifest.Canary{Exec: &manifest.ExecCanary{Container: "pair", Write: []string{"put", blank}, Read: []string{"get"}}}
	return m
}

// fake gives a session on a fake node in the first cycle, and the node.
func fake(t *testing.T, m *manifest.Manifest) (*Session, *fakeNode) {
	t.Helper()
	n := &fakeNode{m: m, age: time.Second, refuses: connect.NewError(connect.CodeFailedPrecondition, errors.New("refused: chain is required by pair; uninstall that first"))}
	n.serves = n.handler()
	s := NewSession(&Shard{Dir: t.TempDir(), Cycle: 1, Node: nodes.Node{Name: "n", Address: "192.0.2.7"}, Host: "node-1", RPC: "https://192.0.2.7:7443", Token: "sesame",
		Browse: true, Steps: StepNames(), Apps: []*manifest.Manifest{m}, Requirers: map[string][]Requirer{"pair": {{App: "wallet"}}}})
	t.Cleanup(s.Close)
	inside := &http.Client{Transport: n, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	s.SSH, s.Daemon = n, &client.Client{OrchestratorClient: apiconnect.NewOrchestratorClient(inside, s.Shard.RPC)}
	s.words.daemon, s.words.http.Transport = s.Daemon, n
	s.sees = func(_ context.Context, m *manifest.Manifest, _ time.Time) (*Snapshot, error) {
		return n.snapshot(m), nil
	}
	s.glances = newShared(glanceEvery, func(context.Context) (*Snapshot, error) { return n.snapshot(m), nil })
	s.probe = func(context.Context) (nodes.BootID, error) { return n.bootID(), nil }
	s.web = func(string) *http.Client { return inside }
	s.visit = n.visit
	return s, n
}

// perform takes the application through a step.
func perform(t *testing.T, s *Session, m *manifest.Manifest, step string) (outcome, error) {
	t.Helper()
	found, ok := FindStep(step)
	if !ok {
		t.Fatalf("no step %s", step)
	}
	g := s.group(found, m)
	g.perform(t.Context())
	return g.conclude(t.Context(), 0)
}

func (n *fakeNode) bootID() nodes.BootID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return nodes.BootID(fmt.Sprint("boot/", n.boot+1))
}

// snapshot is what the witnesses see.
func (n *fakeNode) snapshot(m *manifest.Manifest) *Snapshot {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := absent()
	switch {
	case n.installed != nil && n.runs:
		s = healthy()
		for i := range s.Containers[:2] {
			s.Containers[i].ID += fmt.Sprint("/", n.starts)
			s.Containers[i].StartedAt = s.Containers[i].StartedAt.Add(time.Duration(n.starts) * time.Minute)
		}
	case n.installed != nil:
		s = stopped()
	}
	if !n.data {
		s.Volumes, s.Secrets = map[string]VolSeen{}, map[string]FileSeen{}
	}
	s.Boot = nodes.BootID(fmt.Sprint("boot/", n.boot+1))
	if n.see != nil {
		n.see(s)
	}
	return s
}

// app is what the daemon says.
func (n *fakeNode) app() *api.App {
	n.mu.Lock()
	defer n.mu.Unlock()
	offered := cmp.Or(n.offered, n.m)
	a := gone(api.State_STATE_NOT_INSTALLED)
	switch {
	case n.installed != nil && n.runs:
		a = truthful()
		for _, c := range a.Containers {
			c.Id += fmt.Sprint("/", n.starts)
		}
	case n.installed != nil:
		a = gone(api.State_STATE_STOPPED)
	}
	a.Version = cmp.Or(n.installed, offered).Version
	if n.say != nil {
		n.say(a)
	}
	return a
}

// operate does what is requested, and has Watch say how it went.
func (n *fakeNode) operate(verb, id string, purge bool) (*connect.Response[api.Operation], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if id != n.m.ID {
		if n.refuses != nil {
			return nil, n.refuses
		}
		return connect.NewResponse(&api.Operation{App: id, Generation: 1}), nil
	}
	what := verb
	if purge {
		what += " --purge"
	}
	n.asked = append(n.asked, what)
	if what != n.idle {
		switch verb {
		case Install:
			n.installed, n.data, n.runs = cmp.Or(n.installed, n.offered, n.m), true, true
			n.starts++
		case Start, Restart:
			n.runs = true
			n.starts++
		case Stop:
			n.runs = false
		case Uninstall:
			n.installed, n.runs = nil, false
			if purge {
				n.data, n.canary = false, ""
			}
		}
	}
	if n.after != nil {
		n.after(what, n)
	}
	return connect.NewResponse(&api.Operation{App: id, Generation: uint64(len(n.asked))}), nil
}

func (n *fakeNode) Install(_ context.Context, r *connect.Request[api.InstallRequest]) (*connect.Response[api.Operation], error) {
	return n.operate(Install, r.Msg.Id, false)
}

func (n *fakeNode) Start(_ context.Context, r *connect.Request[api.StartRequest]) (*connect.Response[api.Operation], error) {
	return n.operate(Start, r.Msg.Id, false)
}

func (n *fakeNode) Stop(_ context.Context, r *connect.Request[api.StopRequest]) (*connect.Response[api.Operation], error) {
	return n.operate(Stop, r.Msg.Id, false)
}

func (n *fakeNode) Restart(_ context.Context, r *connect.Request[api.RestartRequest]) (*connect.Response[api.Operation], error) {
	return n.operate(Restart, r.Msg.Id, false)
}

func (n *fakeNode) Uninstall(_ context.Context, r *connect.Request[api.UninstallRequest]) (*connect.Response[api.Operation], error) {
	return n.operate(Uninstall, r.Msg.Id, r.Msg.Purge)
}

func (n *fakeNode) Watch(_ context.Context, _ *connect.Request[api.WatchRequest], out *connect.ServerStream[api.Progress]) error {
	n.mu.Lock()
	last, fails, slow := n.asked[len(n.asked)-1], n.fails, n.slow
	n.mu.Unlock()
	time.Sleep(slow) // of a bubble
	p := &api.Progress{Done: true}
	if last == fails {
		p.Error = "planted"
	}
	return out.Send(p)
}

func (n *fakeNode) ListApps(context.Context, *connect.Request[api.ListAppsRequest]) (*connect.Response[api.ListAppsResponse], error) {
	return connect.NewResponse(&api.ListAppsResponse{Apps: []*api.App{n.app()}}), nil
}

func (n *fakeNode) GetApp(context.Context, *connect.Request[api.GetAppRequest]) (*connect.Response[api.App], error) {
	return connect.NewResponse(n.app()), nil
}

func (n *fakeNode) Status(context.Context, *connect.Request[api.StatusRequest]) (*connect.Response[api.StatusResponse], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return connect.NewResponse(&api.StatusResponse{ObservedAt: timestamppb.New(noon.Add(time.Duration(n.observed) * time.Second))}), nil
}

func (n *fakeNode) Credentials(context.Context, *connect.Request[api.CredentialsRequest]) (*connect.Response[api.CredentialsResponse], error) {
	return connect.NewResponse(&api.CredentialsResponse{Secrets: map[string]string{"password": "secret"}}), n.mute
}

func (n *fakeNode) LoadCatalog(_ context.Context, in *connect.ClientStream[api.Chunk]) (*connect.Response[api.Subscription], error) {
	for in.Receive() {
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.catalogs != nil {
		return nil, n.catalogs
	}
	n.offered = nil // tests take releases back only
	return connect.NewResponse(&api.Subscription{}), in.Err()
}

// RoundTrip answers for the daemon and for the proxy.
func (n *fakeNode) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	if r.URL.Port() != "7443" {
		w.WriteHeader(n.served(r.URL.Path))
		return w.Result(), nil
	}
	n.serves.ServeHTTP(w, r)
	return w.Result(), nil
}

// handler is the daemon: its RPC, My Apps and metrics.
func (n *fakeNode) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(apiconnect.NewOrchestratorHandler(n))
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		state := stateWord(n.app().State)
		fmt.Fprintf(w, `<article class="app" id="app-pair" data-state="%s"><span class="state x">%s</span></article>`, state, state)
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		a := n.app()
		fmt.Fprintf(w, "archipelago_app_state{app=\"pair\",state=%q,version=%q} 1\n", stateWord(a.State), a.Version)
	})
	return mux
}

// served is the status with which the proxy answers.
func (n *fakeNode) served(path string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pages = append(n.pages, path)
	switch {
	case !n.runs:
		return http.StatusBadGateway
	case n.gone != nil:
		return n.gone(path)
	}
	return http.StatusOK
}

// visit is what a browser sees.
func (n *fakeNode) visit(_ context.Context, url string, in manifest.Interface, password string) (*Page, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.blind != nil {
		return nil, n.blind
	}
	p := &Page{Status: http.StatusOK, Title: in.Expect.Title, Selector: true, SignedIn: password == "secret", Hosts: map[string]string{}}
	n.pages = append(n.pages, "browser "+url)
	if n.page != nil {
		n.page(p)
	}
	return p, nil
}

// Run is what the node's shell does.
func (n *fakeNode) Run(_ context.Context, command string) (string, error) {
	time.Sleep(time.Second) // of a bubble: meanwhile, others ask
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.broken != nil {
		return "", n.broken
	}
	what := ""
	switch {
	case strings.Contains(command, "--property=MainPID") || strings.Contains(command, "-p MainPID"):
		return fmt.Sprintln(n.daemon + 1), nil
	case strings.Contains(command, "--signal=HUP"):
		what, n.observed = "pass", n.observed+1
	case strings.Contains(command, "--signal=SIGKILL "+nodes.DaemonUnit), command == restartCommand:
		what, n.daemon = "daemon", n.daemon+1
	case strings.Contains(command, nodes.Quote(killScript)):
		what, n.starts = "crash", n.starts+1
	default:
		return "", nil
	}
	if n.after != nil {
		n.after(what, n)
	}
	return "", nil
}

// Stream is what a container's shell does with the canary, and how it answers a handshake.
func (n *fakeNode) Stream(_ context.Context, command string, _ io.Reader, w io.Writer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	words := strings.Fields(strings.ReplaceAll(command, "'", ""))
	switch last := words[len(words)-1]; {
	case slices.Contains(words, "put"):
		if n.writes != nil {
			if err := n.writes(last); err != nil {
				return err
			}
		}
		n.canary = last
	case last == "get":
		io.WriteString(w, n.canary)
	case last == "hello":
		io.WriteString(w, "there")
		return n.deaf
	}
	return nil
}

// Reboot ends everything; what is installed comes back.
func (n *fakeNode) Reboot(context.Context) (nodes.BootID, error) {
	time.Sleep(n.rebooting) // of a bubble
	n.mu.Lock()
	n.boot++
	n.starts++
	if n.after != nil {
		n.after("reboot", n)
	}
	err := n.still
	n.mu.Unlock()
	return n.bootID(), err
}

func (n *fakeNode) PowerCut(ctx context.Context) (nodes.BootID, error) { return n.Reboot(ctx) }

func (n *fakeNode) Age(context.Context) (time.Duration, error) { return n.age, nil }

func (n *fakeNode) AwaitDaemon(context.Context) error { return nil }

func (n *fakeNode) Close() {}
