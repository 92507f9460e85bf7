//go:build lab

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/sequence"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

const (
	sequenceSteps = 8
	momentOfCut   = 150 * time.Millisecond // each of sequence.Moments
	settledWithin = 2 * time.Minute        // an update that is rolled back after a power cut, at the most
)

// sequenceSeeds are those that FAULTS_SEQUENCE names, separated by commas, or 30.
func sequenceSeeds() (seeds []uint64) {
	for _, word := range strings.Split(os.Getenv("FAULTS_SEQUENCE"), ",") {
		if n, err := strconv.ParseUint(word, 10, 64); err == nil {
			seeds = append(seeds, n)
		}
	}
	for n := uint64(0); len(seeds) == 0 || os.Getenv("FAULTS_SEQUENCE") == "" && n < 30; n++ {
		seeds = append(seeds, n)
	}
	return seeds
}

// lived is the page on a real node, with its data below disks.
type lived struct {
	ctx     context.Context
	channel *channel
	serial  int64
	follows bool
	pending time.Duration // from what is asked for next to a power cut; 0: none
	cut     chan error    // gives what came of the one that is under way; nil: none is
}

// disks are what the page's volume can be moved to.
const disks = "/srv/sequences"

func (l *lived) CutAt(moment int) { l.pending = time.Duration(moment) * momentOfCut }

// power has it be cut after a while, if that is to be.
func (l *lived) power() {
	after := l.pending
	if l.pending = 0; after == 0 || l.cut != nil {
		return
	}
	l.cut = make(chan error, 1)
	go func() {
		select {
		case <-time.After(after):
			_, err := node.SSH.PowerCut(l.ctx)
			l.cut <- err
		case <-l.ctx.Done():
			l.cut <- l.ctx.Err()
		}
	}()
}

// back waits until the power that was cut is back.
func (l *lived) back() {
	GinkgoHelper()
	if l.cut == nil {
		return
	}
	Eventually(l.cut).WithContext(l.ctx).WithTimeout(bootBound).Should(Receive(Succeed()), "waiting for the power cut and the boot")
	l.cut = nil
	Expect(node.SSH.AwaitDaemon(l.ctx)).To(Succeed())
}

func (l *lived) Cut() {
	GinkgoHelper()
	if l.cut == nil {
		_, err := node.SSH.PowerCut(l.ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(node.SSH.AwaitDaemon(l.ctx)).To(Succeed())
	}
	l.back()
}

// request is answered before power is cut: of one that is not, its owner does not know what
// came of it.
func (l *lived) request(verb string, purge bool) error {
	defer l.power()
	_, err := rpc.Request(l.ctx, verb, "page", purge)
	return err
}

func (l *lived) Install() error             { return l.request("install", false) }
func (l *lived) Update() error              { return l.request("update", false) }
func (l *lived) Rollback() error            { return l.request("rollback", false) }
func (l *lived) Uninstall(purge bool) error { return l.request("uninstall", purge) }

func (l *lived) version(v string, bad bool) *manifest.Manifest {
	return version("page", v, func(m *manifest.Manifest) {
		m.Budget.Start = manifest.Duration(time.Minute)
		if bad {
			m.Containers[0].Environment = map[string]string{"MARK": v, "SPOIL": "1", "DELAY": "60"}
			m.Budget.Start = manifest.Duration(3 * time.Second)
		}
	})
}

func (l *lived) Offer(v string, bad bool, revoked ...string) {
	GinkgoHelper()
	l.serial++
	var apps []*manifest.Manifest
	if v != "" {
		apps = append(apps, l.version(v, bad))
	}
	l.channel.publish(l.serial, 0, func(d *document.Document) {
		for _, r := range revoked {
			Expect(d.Revoke(document.Revocation{ID: "page", Version: r, Reason: "it leaks", Since: time.Now()})).To(Succeed())
		}
	}, apps...)
	if !l.follows {
		_, err := rpc.Subscribe(l.ctx, connect.NewRequest(&api.SubscribeRequest{Channel: "beta", Mirrors: []string{"http://" + mirrorAddress}, Root: l.channel.files["/root/1.json"]}))
		Expect(err).NotTo(HaveOccurred())
		l.follows = true
	}
	Eventually(l.ctx, func() (int64, error) {
		if _, err := rpc.Refresh(l.ctx, connect.NewRequest(&api.RefreshRequest{})); err != nil {
			return 0, err
		}
		s, err := rpc.GetSubscription(l.ctx, connect.NewRequest(&api.GetSubscriptionRequest{}))
		if err != nil {
			return 0, err
		}
		return s.Msg.Serial, nil
	}).WithTimeout(bound).WithPolling(poll).Should(Equal(l.serial), "following the catalog")
}

func (l *lived) Unfollow() {
	GinkgoHelper()
	unfollow(l.ctx)
	l.follows = false
}

func (l *lived) Move(disk int) error {
	l.power()
	to := ""
	if disk > 0 {
		to = fmt.Sprintf("%s/disk%d", disks, disk)
	}
	stream, err := rpc.MoveVolume(l.ctx, connect.NewRequest(&api.MoveVolumeRequest{Id: "page", Volume: "data", Dir: to}))
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
	}
	return stream.Err()
}

// last is what a stream of a backup or a restoration ends with.
func last(stream *connect.ServerStreamForClient[api.SnapshotProgress], err error) (*api.SnapshotProgress, error) {
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var end *api.SnapshotProgress
	for stream.Receive() {
		end = stream.Msg()
	}
	return end, stream.Err()
}

func (l *lived) BackUp() (string, error) {
	l.power()
	end, err := last(rpc.MakeSnapshot(l.ctx, connect.NewRequest(&api.MakeSnapshotRequest{Id: "page", Repository: "sequences"})))
	if err != nil {
		return "", err
	}
	return end.GetSnapshot().GetId(), nil
}

func (l *lived) Restore(b sequence.Backup) error {
	l.power()
	_, err := last(rpc.RestoreSnapshot(l.ctx, connect.NewRequest(&api.RestoreSnapshotRequest{Id: "page", Repository: "sequences", Snapshot: b.ID, Consent: b.Consent()})))
	return err
}

func (l *lived) Refused(err error) bool { return connect.CodeOf(err) == connect.CodeFailedPrecondition }

// content is the file that the data is, as far as the model knows. A bad version of the page
// deletes it.
const content = "/.content"

func (l *lived) Write(text string) error {
	_, err := node.SSH.Run(l.ctx, fmt.Sprintf(`podman unshare sh -c 'echo "$1" >"$2" && sync "$2"' sh %s %s`, nodes.Quote(text), l.inForce()+content))
	return err
}

func (l *lived) Remove(dir string) { onNode(l.ctx, "podman unshare rm -rf %s", dir) }

// data is where the node's record says that the page's data is.
func (l *lived) data() (at struct{ Dir, To, Left string }) {
	GinkgoHelper()
	text := onNode(l.ctx, "cat %s/_daemon/state/data/page.json 2>/dev/null; true", nodes.DataDir)
	if text == "" {
		return at
	}
	var kept struct {
		Record struct {
			Places map[string]struct{ Dir, To, Left string }
		}
	}
	Expect(json.Unmarshal([]byte(text), &kept)).To(Succeed())
	return kept.Record.Places["data"]
}

func (l *lived) inForce() string {
	if dir := l.data().Dir; dir != "" {
		return dir
	}
	return manifest.VolumeDir(nodes.DataDir, "page", "data")
}

func (l *lived) Settled(well func() []string) (wrong []string) {
	GinkgoHelper()
	l.power() // of what asks the node for nothing
	l.back()
	deadline := time.NewTimer(settledWithin)
	defer deadline.Stop()
	tick := time.NewTicker(time.Second) // a look costs the node several commands
	defer tick.Stop()
	for wrong = well(); len(wrong) > 0; wrong = well() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return wrong
		case <-l.ctx.Done():
			return append(wrong, l.ctx.Err().Error())
		}
	}
	return nil
}

func (l *lived) Look() (f sequence.Found) {
	GinkgoHelper()
	r, err := rpc.Doctor(l.ctx, connect.NewRequest(&api.DoctorRequest{}))
	Expect(err).NotTo(HaveOccurred())
	f.InForce = l.inForce()
	p := l.data()
	for _, finding := range r.Msg.Findings {
		switch {
		case finding.Ok || !slices.Contains([]string{"moved volumes", "leftover copies", "restorations", "containers of no application"}, finding.Name):
		case finding.Name == "moved volumes" && p.To != "" && p.To != f.InForce && p.Left == "":
			f.Spare = p.To
		default:
			f.Wrong = append(f.Wrong, finding.Name+": "+finding.Detail)
		}
	}
	a := state(l.ctx, "page")
	f.Installed, f.Up = a.State != api.State_STATE_NOT_INSTALLED && a.State != api.State_STATE_REMOVING, a.State == api.State_STATE_RUNNING
	f.Going = a.State == api.State_STATE_REMOVING
	f.Version, f.Said = a.Version, fmt.Sprintf("%s: %s; %s", a.State, a.Error, a.Note)
	// Witnesses that are not the daemon: which version runs, where its data is, and what is there.
	mounted := onNode(l.ctx, `podman inspect page --format '{{range .Config.Env}}{{println .}}{{end}}{{range .Mounts}}{{println "at" .Source}}{{end}}' 2>/dev/null; true`) + "\n"
	if f.Up {
		if !strings.Contains(mounted, "at "+f.InForce+"\n") {
			f.Wrong = append(f.Wrong, "the container does not have "+f.InForce)
		}
		if mark := map[bool]string{true: "1", false: f.Version}[f.Version == sequence.OnDisk]; !strings.Contains(mounted, "MARK="+mark+"\n") {
			f.Wrong = append(f.Wrong, "the container is of another version than "+f.Version)
		}
	} else if !f.Installed && mounted != "\n" {
		f.Going = true
	}
	all := []string{manifest.VolumeDir(nodes.DataDir, "page", "data"), filepath.Join(disks, "disk1", "page", "data"), filepath.Join(disks, "disk2", "page", "data")}
	out := onNode(l.ctx, `podman unshare sh -c 'for d; do echo "$([ ! -d $d ] || echo there):$([ ! -f $d%[1]s ] || echo written):$(cat $d%[1]s 2>/dev/null)"; done' sh %[2]s`, content, strings.Join(all, " "))
	for i, line := range strings.Split(out, "\n") {
		words := strings.SplitN(line, ":", 3)
		f.Places = append(f.Places, sequence.Place{Dir: all[i], There: words[0] != "", Written: words[1] != "", Content: words[2]})
	}
	return f
}

var _ = Describe("a random sequence", func() {
	for _, seed := range sequenceSeeds() {
		It("of installs, writes, updates, revocations, moves, backups, purges, restorations and power cuts: version and data are the model's", Label("long", fmt.Sprintf("seed:%d", seed)), func(ctx SpecContext) {
			GinkgoWriter.Printf("FAULTS_SEQUENCE=%d\n", seed)
			fresh(ctx)
			unfollow(ctx)
			equip(ctx, "archipelago", nil, edit{"page": {`version: "1.0"`, `version: "` + sequence.OnDisk + `"`, "start: 20s", "start: 60s"}})
			c := newChannel()
			c.serve()
			DeferCleanup(func(ctx SpecContext) { unfollow(ctx) })
			asRoot(ctx, fmt.Sprintf("rm -rf %[1]s; install -d -o archipelago %[1]s %[1]s/disk1 %[1]s/disk2 %[1]s/backups", disks))
			home := loggedIn(ctx)
			DeferCleanup(func(ctx SpecContext) {
				archy(ctx, home, nil, "repository", "remove", "sequences")
				asRoot(ctx, "rm -rf "+disks)
			})
			for _, args := range [][]string{{"repository", "add", "sequences", disks + "/backups/page"}, {"repository", "set", "sequences", "--every", "-1"}} {
				out, err := archy(ctx, home, nil, args...)
				Expect(err).NotTo(HaveOccurred(), out)
			}
			s := sequence.New(seed, &lived{ctx: ctx, channel: c})
			DeferCleanup(func() {
				if CurrentSpecReport().Failed() {
					AddReportEntry(fmt.Sprintf("FAULTS_SEQUENCE=%d", seed), strings.Join(s.Said, "\n"))
				}
			})
			for range sequenceSteps {
				Expect(s.Step()).To(BeEmpty())
			}
		}, SpecTimeout(15*time.Minute))
	}
})
