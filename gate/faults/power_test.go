//go:build lab

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// powerCuts is how many there are; each spec has its own seed.
func powerCuts() int {
	n, err := strconv.Atoi(os.Getenv("FAULTS_CUTS"))
	if err != nil || n < 1 {
		return 6
	}
	return n
}

const cutWithin = 4000 // milliseconds after the request

var _ = Describe("the power is cut", func() {
	for seed := range powerCuts() {
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		op := []string{"install", "update", "update to one that fails", "uninstall"}[seed%4]
		after := time.Duration(random.IntN(cutWithin)) * time.Millisecond
		It(fmt.Sprintf("during an %s", op), Label(fmt.Sprintf("seed:%d", seed)), func(ctx SpecContext) {
			GinkgoWriter.Printf("seed %d: cut %s after the request\n", seed, after)
			cutPower(ctx, op, after)
		}, SpecTimeout(4*time.Minute))
	}
})

func cutPower(ctx context.Context, op string, after time.Duration) {
	fresh(ctx)
	var before *matrix.Snapshot
	check := func() {}
	if op != "install" {
		before, check = installed(ctx, "page")
	}
	verb, accepted := op, []string{"1.0"} // versions that may be found in the end
	switch op {
	case "update":
		equip(ctx, "archipelago", nil, newer)
		accepted = []string{"2.0"}
	case "update to one that fails":
		equip(ctx, "archipelago", nil, sick)
		verb = "update"
	}
	timer := time.NewTimer(after)
	_, err := rpc.Request(ctx, verb, "page", false)
	Expect(err).NotTo(HaveOccurred())
	select {
	case <-timer.C:
	case <-ctx.Done():
		Fail("interrupted")
	}
	_, err = node.SSH.PowerCut(ctx)
	Expect(err).NotTo(HaveOccurred())
	begin := time.Now()
	if verb == "uninstall" {
		eventually(ctx, app("page"), before, bootBound, matrix.CheckAbsent)
		recovered(begin, bootBound)
		check()
		return
	}
	got := awaitState(ctx, "page", api.State_STATE_RUNNING, bootBound)
	settled(ctx, app("page"), nil, bootBound)
	recovered(begin, bootBound)
	check()
	Expect(accepted).To(ContainElement(got.Version))
	// Complete in one version or the other: the program, its data, its secret.
	mark := map[string]string{"1.0": "1", "2.0": "2"}[got.Version]
	Expect(onNode(ctx, "podman exec page printenv MARK")).To(Equal(mark))
	if before != nil {
		Expect(look(ctx, app("page")).Secrets).To(Equal(before.Secrets))
	}
}

const (
	crowd     = 200
	crowdTime = 60 * time.Second
)

var _ = Describe("two hundred clients", func() {
	It("read for a minute while applications are installed and removed", Serial, Label("long"), func(ctx SpecContext) {
		fresh(ctx)
		before, check := installed(ctx, "ledger")
		stop := time.Now().Add(crowdTime)
		var mu sync.Mutex
		var took []time.Duration
		var problems []error
		var wg sync.WaitGroup
		for range crowd {
			wg.Go(func() {
				c := node.Client()
				for time.Now().Before(stop) && ctx.Err() == nil {
					begin := time.Now()
					r, err := c.ListApps(ctx, connect.NewRequest(&api.ListAppsRequest{}))
					d := time.Since(begin)
					mu.Lock()
					took = append(took, d)
					if err != nil {
						problems = append(problems, err)
					} else if len(r.Msg.Apps) != 4 {
						problems = append(problems, fmt.Errorf("%d applications", len(r.Msg.Apps)))
					}
					mu.Unlock()
					select {
					case <-time.After(100 * time.Millisecond): // a client that thinks
					case <-ctx.Done():
					}
				}
			})
		}
		for time.Now().Before(stop) {
			do(ctx, "install", "page")
			purge(ctx, "page")
		}
		wg.Wait()
		Expect(problems).To(BeEmpty())
		slices.Sort(took)
		GinkgoWriter.Printf("%d answers; median %s, p99 %s, longest %s\n", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
		AddReportEntry("p99", took[len(took)*99/100].String())
		Expect(matrix.CheckUntouched(app("ledger"), before, settled(ctx, app("ledger"), before, bound))).To(BeEmpty())
		check()
	}, SpecTimeout(5*time.Minute))
})
