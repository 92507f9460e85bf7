//go:build lab

package faults

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/document"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/prooftest"
	"github.com/archipelago-cloud/archipelago/catalog/root"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// mirrorAddress is where the node finds the mirror: its own loopback, through SSH.
const mirrorAddress = "localhost:5081"

// channel is a publisher's channel and the mirror that serves it to the node.
type channel struct {
	keys []*sign.Signer
	gate *sign.Signer

	mu    sync.Mutex
	files map[string][]byte
	down  bool
}

func (c *channel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	b, ok := c.files[r.URL.Path]
	down := c.down
	c.mu.Unlock()
	switch {
	case down:
		http.Error(w, "planted: the mirror is down", http.StatusServiceUnavailable)
	case !ok:
		http.NotFound(w, r)
	default:
		w.Write(b)
	}
}

func (c *channel) set(path string, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files[path] = b
}

func (c *channel) root(version int64, by ...*sign.Signer) []byte {
	GinkgoHelper()
	key := root.Role{Keys: []sign.PublicKey{c.keys[version-1].PublicKey}, Threshold: 1}
	b, err := root.Sign(root.Policy{Version: version, Expires: time.Now().AddDate(1, 0, 0), Root: key, Catalog: key,
		Gate: root.Role{Keys: []sign.PublicKey{c.gate.PublicKey}, Threshold: 1}}, by...)
	Expect(err).NotTo(HaveOccurred())
	return b
}

// newChannel has two keys, of which the first signs its root.
func newChannel() *channel {
	GinkgoHelper()
	c := &channel{files: map[string][]byte{}}
	for range 2 {
		s, err := sign.NewSigner("faults")
		Expect(err).NotTo(HaveOccurred())
		c.keys = append(c.keys, s)
	}
	gate, err := sign.NewSigner("gate")
	Expect(err).NotTo(HaveOccurred())
	c.gate = gate
	c.set("/root/1.json", c.root(1, c.keys[0]))
	return c
}

// serve has the node find the mirror until the spec ends.
func (c *channel) serve() {
	life, stop := context.WithCancel(context.Background())
	var tunnel sync.WaitGroup
	tunnel.Go(func() {
		node.ServeThere(life, mirrorAddress, c, func(err error) { fmt.Fprintln(GinkgoWriter, "mirror:", err) })
	})
	DeferCleanup(func() {
		stop()
		tunnel.Wait()
	})
}

// unfollow has a node follow nothing, as if it never had.
func unfollow(ctx context.Context) {
	GinkgoHelper()
	onNode(ctx, "systemctl --user stop %[1]s; rm -rf %[2]s/_daemon/state/subscription; systemctl --user start %[1]s", nodes.DaemonUnit, nodes.DataDir)
	Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
}

// publish signs a catalog of applications, proven by a gate, and has the mirror serve it.
func (c *channel) publish(serial int64, key int, change func(*document.Document), apps ...*manifest.Manifest) {
	GinkgoHelper()
	now := time.Now().UTC().Truncate(time.Second)
	d := &document.Document{Schema: document.Schema, Channel: "beta", Serial: serial, Created: now.Add(-time.Hour), Expires: now.Add(time.Hour), Revoked: []document.Revocation{}}
	for _, m := range apps {
		e, err := document.NewEntry(m, "faults", "")
		Expect(err).NotTo(HaveOccurred())
		Expect(d.Put(e)).To(Succeed())
	}
	Expect(prooftest.Prove(d, c.gate)).To(Succeed())
	if change != nil {
		change(d)
	}
	b, err := document.Sign(context.Background(), d, c.keys[key])
	Expect(err).NotTo(HaveOccurred())
	c.set("/beta.json", b)
}

// version is an application of the published catalog in another version, which shows
// in its containers.
func version(id, v string, edits ...func(*manifest.Manifest)) *manifest.Manifest {
	m := *app(id)
	m.Version = v
	m.Containers = slices.Clone(m.Containers)
	m.Containers[0].Environment = map[string]string{"MARK": v}
	for _, e := range edits {
		e(&m)
	}
	return &m
}

// idOf is the id of a container that the witnesses saw.
func idOf(s *matrix.Snapshot, name string) string {
	i := slices.IndexFunc(s.Containers, func(c matrix.Seen) bool { return c.Name == name })
	if i < 0 {
		return ""
	}
	return s.Containers[i].ID
}

var _ = Describe("a node that follows the signed catalog", func() {
	var c *channel
	refresh := func(ctx context.Context) error {
		_, err := rpc.Refresh(ctx, connect.NewRequest(&api.RefreshRequest{}))
		return err
	}
	subscription := func(ctx context.Context) *api.Subscription {
		GinkgoHelper()
		s, err := rpc.GetSubscription(ctx, connect.NewRequest(&api.GetSubscriptionRequest{}))
		Expect(err).NotTo(HaveOccurred())
		return s.Msg
	}
	refused := func(ctx context.Context, verb, id, why string) {
		GinkgoHelper()
		_, err := rpc.Request(ctx, verb, id, false)
		Expect(err).To(MatchError(ContainSubstring(why)))
	}
	subscribe := func(ctx context.Context, automatic bool) {
		GinkgoHelper()
		_, err := rpc.Subscribe(ctx, connect.NewRequest(&api.SubscribeRequest{Channel: "beta", Mirrors: []string{"http://" + mirrorAddress}, Root: c.files["/root/1.json"], Automatic: automatic}))
		Expect(err).NotTo(HaveOccurred())
	}
	BeforeEach(func(ctx SpecContext) {
		fresh(ctx)
		unfollow(ctx)
		c = newChannel()
		c.serve()
		DeferCleanup(func(ctx SpecContext) { unfollow(ctx) })
	})

	It("installs and updates from it, and is moved by nothing that is older, revoked, expired or signed by others", func(ctx SpecContext) {
		v1, v2 := version("page", "1.1"), version("page", "1.2")
		c.publish(1, 0, nil, v1, version("chain", "1.1"))
		subscribe(ctx, false)
		Eventually(ctx, func() error { return refresh(ctx) }).WithTimeout(bound).WithPolling(poll).Should(Succeed(), "the mirror answers through the tunnel")
		Expect(state(ctx, "page").Source).To(Equal("catalog beta 1"))
		Expect(state(ctx, "ledger").Source).To(Equal("disk"), "the disk is the fallback for what the catalog does not have")
		do(ctx, "install", "page")
		before := settled(ctx, v1, nil, bound)
		check := canary(ctx, v1)

		By("updating")
		c.publish(2, 0, nil, v2, version("chain", "1.1"))
		Expect(refresh(ctx)).To(Succeed())
		Expect(state(ctx, "page").AvailableVersion).To(Equal("1.2"))
		do(ctx, "update", "page")
		running := settled(ctx, v2, nil, bound)
		Expect(running.Secrets).To(Equal(before.Secrets))
		check()
		Expect(state(ctx, "page").Source).To(Equal("catalog beta 2"))

		By("going back")
		c.publish(1, 0, nil, v1)
		Expect(refresh(ctx)).To(MatchError(ContainSubstring("its serial is 1, 2 has been seen")))
		Expect(subscription(ctx).Error).To(ContainSubstring("its serial is 1"))
		c.publish(3, 1, nil, v1)
		Expect(refresh(ctx)).To(MatchError(ContainSubstring("not trusted")))

		By("one entry that is not right")
		c.publish(3, 0, func(d *document.Document) { d.Entry("page").SHA256 = strings.Repeat("0", 64) }, v1, version("chain", "1.1"))
		Expect(refresh(ctx)).To(Succeed())
		Expect(subscription(ctx).Refused).To(HaveKeyWithValue("page", ContainSubstring("other digests")))
		refused(ctx, "update", "page", "other digests")
		Expect(state(ctx, "chain").Source).To(Equal("catalog beta 3"), "others are unaffected")
		Expect(state(ctx, "page").State).To(Equal(api.State_STATE_RUNNING))

		By("revoking what runs")
		c.publish(4, 0, func(d *document.Document) {
			Expect(d.Revoke(document.Revocation{ID: "page", Version: "1.2", Reason: "planted", Since: time.Now()})).To(Succeed())
		}, version("chain", "1.1"))
		Expect(refresh(ctx)).To(Succeed())
		Expect(state(ctx, "page").Note).To(ContainSubstring("version 1.2 was revoked"))
		Expect(state(ctx, "page").State).To(Equal(api.State_STATE_RUNNING))

		By("a restart of the daemon while the mirror is down")
		c.mu.Lock()
		c.down = true
		c.mu.Unlock()
		onNode(ctx, "systemctl --user restart %s", nodes.DaemonUnit)
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		Expect(subscription(ctx).Serial).To(BeEquivalentTo(4))
		awaitState(ctx, "page", api.State_STATE_RUNNING, bound)
		Expect(state(ctx, "page").Note).To(ContainSubstring("was revoked"))
		c.mu.Lock()
		c.down = false
		c.mu.Unlock()

		By("expiring")
		ends := time.Now().Add(4 * time.Second)
		c.publish(5, 0, func(d *document.Document) { d.Expires = ends.UTC().Truncate(time.Second) }, v2, version("chain", "1.1"))
		Expect(refresh(ctx)).To(Succeed())
		Eventually(ctx, func() error { _, err := rpc.Request(ctx, "update", "page", false); return err }).WithTimeout(bound).WithPolling(poll).
			Should(MatchError(ContainSubstring("the catalog beta 5 expired")))
		refused(ctx, "install", "chain", "the catalog beta 5 expired")
		again := settled(ctx, v2, nil, bound)
		Expect(idOf(again, "page")).To(Equal(idOf(running, "page")), "what is installed runs on, untouched")

		By("rotating the key without touching the node")
		c.set("/root/2.json", c.root(2, c.keys[0], c.keys[1]))
		c.publish(6, 0, nil, v2, version("chain", "1.1"))
		Expect(refresh(ctx)).To(MatchError(ContainSubstring("not trusted")), "the old key signs no more")
		c.publish(6, 1, nil, v2, version("chain", "1.1"))
		Expect(refresh(ctx)).To(Succeed())
		Expect(subscription(ctx).RootVersion).To(BeEquivalentTo(2))
		do(ctx, "install", "chain")
		check()

		By("an entry that no gate has proven, signed by the publisher all the same")
		c.publish(7, 1, func(d *document.Document) { d.Entry("page").Proof = nil }, version("page", "1.3"), version("chain", "1.1"))
		Expect(refresh(ctx)).To(Succeed())
		Expect(subscription(ctx).Refused).To(HaveKeyWithValue("page", ContainSubstring("carries no proof that a gate has tested it")))
		refused(ctx, "update", "page", "carries no proof")
		Expect(subscription(ctx).Refused).NotTo(HaveKey("chain"), "others are unaffected")
		onNode(ctx, "systemctl --user restart %s", nodes.DaemonUnit)
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		refused(ctx, "update", "page", "carries no proof")
		awaitState(ctx, "page", api.State_STATE_RUNNING, bound)
		Expect(idOf(settled(ctx, v2, nil, bound), "page")).To(Equal(idOf(running, "page")), "what is installed runs on, untouched")
	})

	It("keeps what came from it while it is lost, and takes it again from the mirror", func(ctx SpecContext) {
		v1 := version("page", "99.1") // newer than the disk's
		c.publish(1, 0, nil, v1)
		subscribe(ctx, true)
		Eventually(ctx, func() error { return refresh(ctx) }).WithTimeout(bound).WithPolling(poll).Should(Succeed())
		do(ctx, "install", "page")
		running := settled(ctx, v1, nil, bound)
		c.mu.Lock()
		c.down = true
		c.mu.Unlock()
		onNode(ctx, "echo damaged >%[2]s/_daemon/state/subscription/catalog.json; systemctl --user restart %[1]s", nodes.DaemonUnit, nodes.DataDir)
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		refused(ctx, "update", "page", "was installed from the catalog beta 1")
		Expect(state(ctx, "page").Note).To(ContainSubstring("does not offer it now"))
		Expect(idOf(settled(ctx, v1, nil, bound), "page")).To(Equal(idOf(running, "page")), "the automatic update leaves it alone")
		c.mu.Lock()
		c.down = false
		c.mu.Unlock()
		Eventually(ctx, func() error { return refresh(ctx) }).WithTimeout(bound).WithPolling(poll).Should(Succeed())
		Expect(subscription(ctx).Serial).To(BeEquivalentTo(1), "it is held again, though the mirror has nothing new")
		Expect(state(ctx, "page").Source).To(Equal("catalog beta 1"))
	})

	It("updates by itself where its owner wants that, and what does not come up goes back, once", func(ctx SpecContext) {
		v1, v2 := version("page", "1.1"), version("page", "1.2")
		c.publish(1, 0, nil, v1)
		subscribe(ctx, true)
		Eventually(ctx, func() error { return refresh(ctx) }).WithTimeout(bound).WithPolling(poll).Should(Succeed())
		do(ctx, "install", "page")
		settled(ctx, v1, nil, bound)
		check := canary(ctx, v1)

		begin := time.Now()
		c.publish(2, 0, nil, v2)
		Expect(refresh(ctx)).To(Succeed())
		running := settled(ctx, v2, nil, bound)
		recovered(begin, bound)
		check()

		bad := version("page", "1.3", func(m *manifest.Manifest) {
			m.Containers[0].Health = &manifest.Health{Exec: []string{"/bin/false"}}
			m.Budget.Start = manifest.Duration(4 * time.Second)
		})
		c.publish(3, 0, nil, bad)
		Expect(refresh(ctx)).To(Succeed())
		Eventually(ctx, func() string { return state(ctx, "page").Note }).WithTimeout(2 * bound).WithPolling(poll).Should(ContainSubstring("rolled back to 1.2"))
		after := settled(ctx, v2, nil, bound)
		Expect(after.Secrets).To(Equal(running.Secrets))
		check()
		generation := state(ctx, "page").Generation
		c.publish(4, 0, nil, bad)
		Expect(refresh(ctx)).To(Succeed())
		Consistently(ctx, func() uint64 { return state(ctx, "page").Generation }).WithTimeout(5*time.Second).WithPolling(poll).
			Should(Equal(generation), "a version that did not come up is not tried again by itself")
	})
})
