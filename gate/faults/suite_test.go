//go:build lab

package faults

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/labtest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

const (
	project = "../.."
	poll    = 200 * time.Millisecond

	bound     = 30 * time.Second // of a recovery, unless a spec says otherwise
	bootBound = 60 * time.Second // of one that begins with a boot
	// of one that begins when the prober finds itself outside: after a minute, and then the
	// application's next try
	migrateBound = 3 * time.Minute
)

// faultsVersion is what the daemon with planted faults says: newer than any other.
const faultsVersion = "9.0.0"

//go:embed fixture
var fixture embed.FS

// node is the one that this process works on; Ginkgo gives each process its own.
var (
	node     *fleet.Node
	theFleet *fleet.Fleet
	theLab   *lab.Lab
	witness  *matrix.Witness
	rpc      *client.Client
	tamper   switchable
	binaries string
)

// TestMain lets a process of a test become the browser that it started.
func TestMain(m *testing.M) {
	matrix.BecomeBrowser()
	os.Exit(m.Run())
}

func TestFaults(t *testing.T) {
	RegisterFailHandler(Fail)
	suite, reporter := GinkgoConfiguration()
	suite.Timeout = 110 * time.Minute
	RunSpecs(t, "faults", suite, reporter)
}

func bin(name string) string { return filepath.Join(binaries, name) }

var _ = SynchronizedBeforeSuite(func(ctx SpecContext) []byte {
	dir, err := labtest.Up(ctx, project)
	Expect(err).NotTo(HaveOccurred())
	for _, args := range [][]string{
		{"-tags", "faults", "-ldflags", "-X main.version=" + faultsVersion, "-o", filepath.Join(dir, "archipelago-faults"), "./cmd/archipelago"},
		{"-o", filepath.Join(dir, "hostile"), "./gate/faults/fixture/hostile"},
	} {
		build := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
		build.Dir, build.Env = project, append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), "%s", out)
	}
	return []byte(dir)
}, func(ctx SpecContext, dir []byte) {
	binaries = string(dir)
	theFleet, theLab = labtest.Hold(GinkgoTB(), (GinkgoParallelProcess()-1)%len(lab.Nodes))
	theFleet.Registry = tamper.wrap
	node = theFleet.Nodes[0]
	witness = matrix.NewWitness(node.SSH, node.Address, bin("look"))
})

// A spec that failed leaves what the node said meanwhile.
var _ = JustAfterEach(func() {
	if !CurrentSpecReport().Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound) // the spec's own may have ended
	defer cancel()
	began := CurrentSpecReport().StartTime.Unix()
	for _, command := range []string{
		fmt.Sprintf("journalctl --user -o short-precise --no-pager --since @%d | tail -n 150 | cut -c1-300", began),
		"podman ps -a; systemctl --user list-units --all --no-pager 'page*' 'ledger*' 'chain*' 'lightning*' 'hostile*'; systemctl --user list-jobs --no-pager; ps -eo pid,etimes,stat,args | grep -E 'podman|conmon' | cut -c1-200",
	} {
		out, err := node.SSH.Run(ctx, command)
		AddReportEntry(command, fmt.Sprintf("%s\n%v", out, err), ReportEntryVisibilityFailureOrVerbose)
	}
})

// switchable stands between the nodes and the registry: it can take it down, or
// have it serve something else than was asked for.
type switchable struct {
	mu   sync.Mutex
	mode string // "", "down" or "damage"
}

func (s *switchable) set(mode string) { s.mu.Lock(); s.mode = mode; s.mu.Unlock() }

func (s *switchable) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		mode := s.mode
		s.mu.Unlock()
		switch {
		case mode == "down":
			http.Error(w, "planted: the registry is down", http.StatusServiceUnavailable)
		case mode == "damage" && strings.Contains(r.URL.Path, "/manifests/") && r.Method == http.MethodGet:
			rec := &recorder{header: http.Header{}}
			next.ServeHTTP(rec, r)
			body := bytes.Replace(rec.body.Bytes(), []byte(`"schemaVersion":2`), []byte(`"schemaVersion":2 `), 1)
			for k, v := range rec.header {
				if k != "Content-Length" {
					w.Header()[k] = v
				}
			}
			w.Write(body)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) WriteHeader(int)             {}

// edit changes an application's manifest: old and new texts, in turns.
type edit map[string][]string

// catalogWith writes the fixture's catalog, edited. The hostile application is in it only
// where the edits name it.
func catalogWith(edits edit) catalog.Catalog {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	image, err := fs.Sub(fixture, "fixture/image")
	Expect(err).NotTo(HaveOccurred())
	ids := []string{"page", "ledger", "chain", "lightning"}
	if _, ok := edits["hostile"]; ok {
		ids = append(ids, "hostile")
	}
	for _, id := range ids {
		if id == "hostile" {
			files := filepath.Join(dir, id, "image")
			Expect(os.MkdirAll(files, 0o755)).To(Succeed())
			program, err := os.ReadFile(bin("hostile"))
			Expect(err).NotTo(HaveOccurred())
			Expect(os.WriteFile(filepath.Join(files, "hostile"), program, 0o755)).To(Succeed())
			recipe, err := fixture.ReadFile("fixture/hostile/Containerfile")
			Expect(err).NotTo(HaveOccurred())
			Expect(os.WriteFile(filepath.Join(files, "Containerfile"), recipe, 0o644)).To(Succeed())
		} else {
			Expect(os.CopyFS(filepath.Join(dir, id, "image"), image)).To(Succeed())
			Expect(os.Chmod(filepath.Join(dir, id, "image", "entrypoint"), 0o755)).To(Succeed())
		}
		b, err := fixture.ReadFile("fixture/" + id + ".yaml")
		Expect(err).NotTo(HaveOccurred())
		text := string(b)
		for pair := range slices.Chunk(edits[id], 2) {
			Expect(text).To(ContainSubstring(pair[0]))
			text = strings.Replace(text, pair[0], pair[1], 1)
		}
		Expect(os.WriteFile(filepath.Join(dir, id, "manifest.yaml"), []byte(text), 0o644)).To(Succeed())
	}
	Expect(os.CopyFS(filepath.Join(dir, "ledger", "image", "db"), os.DirFS(filepath.Join(project, "catalog", "apps", "miniflux", "image", "db")))).To(Succeed())
	Expect(os.Chmod(filepath.Join(dir, "ledger", "image", "db", "entrypoint"), 0o755)).To(Succeed())
	cat, err := catalog.Load(dir)
	Expect(err).NotTo(HaveOccurred())
	return cat
}

// equip brings a daemon and a catalog onto the node; what runs there goes on.
func equip(ctx context.Context, daemon string, environment []string, edits edit) {
	GinkgoHelper()
	Expect(theFleet.Equip(ctx, bin(daemon), catalogWith(edits), theLab.Engine, environment, GinkgoWriter)).To(Succeed())
	rpc = node.Client()
}

// fresh is an empty node with the ordinary daemon.
func fresh(ctx context.Context) {
	GinkgoHelper()
	tamper.set("")
	Expect(theFleet.Clean(ctx)).To(Succeed())
	// What a spec that failed has left of repositories is no node's owner's.
	onNode(ctx, "[ ! -e %[1]s ] || find %[1]s -mindepth 1 -maxdepth 1 -type d ! -name cache -exec rm -rf {} +", nodes.DataDir+"/_daemon/repositories")
	equip(ctx, "archipelago", nil, nil)
}

// onNode runs a command on the node, as the user.
func onNode(ctx context.Context, format string, args ...any) string {
	GinkgoHelper()
	out, err := node.SSH.Run(ctx, fmt.Sprintf(format, args...))
	Expect(err).NotTo(HaveOccurred())
	return strings.TrimSpace(out)
}

// asRoot runs a command in the node's container as root.
func asRoot(ctx context.Context, script string) string {
	GinkgoHelper()
	var out bytes.Buffer
	Expect(theLab.Exec(ctx, node.Name, &out, script)).To(Succeed(), out.String)
	return strings.TrimSpace(out.String())
}

func app(id string) *manifest.Manifest { return theFleet.Published[id].Manifest }

// do asks for an operation and waits for its end.
func do(ctx context.Context, verb, id string) {
	GinkgoHelper()
	_, err := rpc.Do(ctx, verb, id, false, nil)
	Expect(err).NotTo(HaveOccurred(), "%s %s", verb, id)
}

func purge(ctx context.Context, id string) {
	GinkgoHelper()
	_, err := rpc.Do(ctx, "uninstall", id, true, nil)
	Expect(err).NotTo(HaveOccurred())
}

func look(ctx context.Context, m *manifest.Manifest) *matrix.Snapshot {
	GinkgoHelper()
	s, err := witness.Look(ctx, m, time.Now().Add(-time.Hour))
	Expect(err).NotTo(HaveOccurred())
	return s
}

// settled waits until the witnesses find an application running, complete, once,
// and with the data and secrets of before (which may be nil), and gives what they saw.
func settled(ctx context.Context, m *manifest.Manifest, before *matrix.Snapshot, within time.Duration) *matrix.Snapshot {
	GinkgoHelper()
	return eventually(ctx, m, before, within, matrix.CheckRunning)
}

func eventually(ctx context.Context, m *manifest.Manifest, before *matrix.Snapshot, within time.Duration, check func(*manifest.Manifest, *matrix.Snapshot) []string) *matrix.Snapshot {
	GinkgoHelper()
	var last *matrix.Snapshot
	Eventually(func() error {
		s, err := witness.Look(ctx, m, time.Now().Add(-time.Hour))
		if err != nil {
			return err
		}
		last = s
		var same []string
		if before != nil {
			same = matrix.CheckSame(before, s)
		}
		// What must never be is not waited for.
		if wrong := append(matrix.CheckInvariants(m, s), same...); len(wrong) > 0 {
			StopTrying("an invariant is broken").Wrap(matrix.Verdict(wrong)).Now()
		}
		return matrix.Verdict(check(m, s))
	}).WithContext(ctx).WithTimeout(within).WithPolling(poll).Should(Succeed(), "waiting for %s", m)
	return last
}

// canary plants a file on an application's volume, and gives what reads it back: from the
// disk, since it must be there whether the application runs or not.
func canary(ctx context.Context, m *manifest.Manifest) (check func()) {
	GinkgoHelper()
	value := fmt.Sprintf("c%d", time.Now().UnixNano())
	file := manifest.VolumeDir(nodes.DataDir, m.ID, m.Volumes()[0]) + "/." + value
	onNode(ctx, "podman unshare sh -c 'echo %s >%s && sync %s'", value, file, file)
	return func() {
		GinkgoHelper()
		ctx, cancel := context.WithTimeout(context.Background(), bound) // the one that planted it may have ended
		defer cancel()
		Expect(onNode(ctx, "podman unshare cat %s", file)).To(Equal(value))
	}
}

// installed has an application run on a fresh node, with a canary.
func installed(ctx context.Context, id string) (before *matrix.Snapshot, check func()) {
	GinkgoHelper()
	do(ctx, "install", id)
	before = settled(ctx, app(id), nil, bound)
	return before, canary(ctx, app(id))
}

func state(ctx context.Context, id string) *api.App {
	GinkgoHelper()
	var out *api.App
	Eventually(func() error {
		r, err := rpc.GetApp(ctx, connect.NewRequest(&api.GetAppRequest{Id: id}))
		if err == nil {
			out = r.Msg
		}
		return err
	}).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Succeed(), "waiting for the daemon to answer")
	return out
}

func awaitState(ctx context.Context, id string, want api.State, within time.Duration) *api.App {
	GinkgoHelper()
	var last *api.App
	Eventually(func() api.State { last = state(ctx, id); return last.State }).WithContext(ctx).WithTimeout(within).WithPolling(poll).
		Should(Equal(want), func() string { return fmt.Sprintf("%s: %s; %s", id, last.Error, last.Note) })
	return last
}

// recovered reports how long a recovery took.
func recovered(since time.Time, within time.Duration) {
	GinkgoHelper()
	took := time.Since(since)
	Expect(took).To(BeNumerically("<", within))
	AddReportEntry("recovery", recovery{Seconds: took.Seconds(), Bound: within.Seconds()}, ReportEntryVisibilityNever)
}

type recovery struct{ Seconds, Bound float64 }

var _ = ReportAfterSuite("recovery times", func(r Report) {
	took, limit := map[string][]float64{}, map[string]float64{} // by the spec's name: seeds of a cut are one fault
	for _, s := range r.SpecReports {
		for _, e := range s.ReportEntries {
			var rec recovery
			if e.Name != "recovery" || s.State != types.SpecStatePassed {
				continue
			}
			if b, err := json.Marshal(e.GetRawValue()); err != nil || json.Unmarshal(b, &rec) != nil {
				continue
			}
			name := s.FullText()
			took[name], limit[name] = append(took[name], rec.Seconds), max(limit[name], rec.Bound)
		}
	}
	var rows []string
	for name, t := range took {
		slices.Sort(t)
		rows = append(rows, fmt.Sprintf("| %s | %d | %.1f | %.1f | %.0f |", name, len(t), t[len(t)/2], t[len(t)-1], limit[name]))
	}
	file := os.Getenv("FAULTS_TABLE")
	if file == "" || len(rows) == 0 {
		return
	}
	slices.Sort(rows)
	Expect(writeTable(file, rows)).To(Succeed())
})

// writeTable writes the recovery times as Markdown; 'make docs' brings them into
// TESTING.md.
func writeTable(file string, rows []string) error {
	table := "| fault | times | median s | longest s | bound s |\n| --- | ---: | ---: | ---: | ---: |\n" + strings.Join(rows, "\n") + "\n"
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(table), 0o644))
}
