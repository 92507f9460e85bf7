//go:build lab

package faults

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/dist"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
)

const (
	found      = 2*2*time.Second + 5*time.Second // page's interval times its retries, and what is promised beyond
	proberBack = 5 * time.Second
	prober     = `$(pgrep -f "^$HOME/.local/bin/archipelago prober")`
)

// pageHealth is Podman's word.
func pageHealth(ctx context.Context) func() string {
	return func() string { return onNode(ctx, "podman inspect page --format '{{.State.Health.Status}}'") }
}

// sicken has the page fail, once failures count: Podman takes none for one in the start
// period, which is page's budget.
func sicken(ctx context.Context, before *matrix.Snapshot) {
	GinkgoHelper()
	Eventually(func() time.Duration { return time.Since(before.Containers[0].StartedAt) }).
		WithContext(ctx).WithTimeout(time.Minute).WithPolling(poll).Should(BeNumerically(">", app("page").StartBudget()+time.Second))
	onNode(ctx, "podman exec page rm /tmp/www/index.html")
}

var _ = Describe("the prober", func() {
	It("finds an application that stops being healthy while the daemon is down: it is restarted", func(ctx SpecContext) {
		fresh(ctx)
		before, check := installed(ctx, "page")
		onNode(ctx, "systemctl --user stop %s", nodes.DaemonUnit)
		DeferCleanup(func(ctx SpecContext) { onNode(ctx, "systemctl --user start %s", nodes.DaemonUnit) })
		sicken(ctx, before)
		Eventually(pageHealth(ctx)).WithContext(ctx).WithTimeout(found).WithPolling(poll).Should(Equal("unhealthy"))
		begin := time.Now()
		onNode(ctx, "systemctl --user start %s", nodes.DaemonUnit)
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		Eventually(func() bool {
			s := look(ctx, app("page"))
			return len(matrix.CheckRunning(app("page"), s)) == 0 && len(matrix.CheckRestarted(app("page"), before, s)) == 0
		}).WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(BeTrue())
		recovered(begin, bound)
		settled(ctx, app("page"), before, bound)
		check()
	}, SpecTimeout(3*time.Minute))

	for name, kill := range map[string]string{
		"is killed":                 "kill -KILL " + prober,
		"is killed with its parent": "systemctl --user kill --signal=KILL " + dist.ProberUnit,
	} {
		It(name+": it is back, and no container is touched", func(ctx SpecContext) {
			fresh(ctx)
			before, check := installed(ctx, "page")
			old := onNode(ctx, "echo "+prober)
			Expect(old).NotTo(BeEmpty())
			begin := time.Now()
			onNode(ctx, "%s", kill)
			Eventually(func() string { return onNode(ctx, "echo "+prober) }).WithContext(ctx).WithTimeout(proberBack).WithPolling(poll).ShouldNot(BeElementOf("", old))
			recovered(begin, proberBack)
			Expect(matrix.CheckUntouched(app("page"), before, settled(ctx, app("page"), before, bound))).To(BeEmpty())
			sicken(ctx, before)
			Eventually(func() bool { return len(matrix.CheckRestarted(app("page"), before, look(ctx, app("page")))) == 0 }).
				WithContext(ctx).WithTimeout(found+bound).WithPolling(poll).Should(BeTrue(), "it looks at what runs already")
			settled(ctx, app("page"), before, bound)
			check()
		}, SpecTimeout(3*time.Minute))
	}

	It("is stopped by hand: the daemon starts it", func(ctx SpecContext) {
		fresh(ctx)
		before, check := installed(ctx, "page")
		onNode(ctx, "systemctl --user stop %s", dist.ProberUnit)
		begin := time.Now()
		wakeUp(ctx)
		Eventually(func() string { return onNode(ctx, "systemctl --user is-active %s; true", dist.ProberUnit) }).
			WithContext(ctx).WithTimeout(bound).WithPolling(poll).Should(Equal("active"))
		recovered(begin, bound)
		Expect(matrix.CheckUntouched(app("page"), before, settled(ctx, app("page"), before, bound))).To(BeEmpty())
		check()
	}, SpecTimeout(2*time.Minute))

	It("goes on while the daemon is restarted", func(ctx SpecContext) {
		fresh(ctx)
		old := onNode(ctx, "echo "+prober)
		onNode(ctx, "systemctl --user restart %s", nodes.DaemonUnit)
		Expect(node.SSH.AwaitDaemon(ctx)).To(Succeed())
		Expect(onNode(ctx, "echo "+prober)).To(Equal(old))
	}, SpecTimeout(time.Minute))

	// The specs above must be able to fail: these are probers that do not find it.
	DescribeTable("is a bad one", func(ctx SpecContext, planted string) {
		fresh(ctx)
		equip(ctx, "archipelago-faults", []string{"ARCHIPELAGO_FAULT=" + planted}, nil)
		installed(ctx, "chain") // answers on the same port, in its own network
		before, _ := installed(ctx, "page")
		sicken(ctx, before)
		Consistently(pageHealth(ctx)).WithContext(ctx).WithTimeout(found).WithPolling(poll).Should(Equal("healthy"))
	},
		Entry("that answers from memory", fault.ProberRemembers, SpecTimeout(3*time.Minute)),
		Entry("that looks at another container", fault.ProberWrongMember, SpecTimeout(3*time.Minute)),
	)

	It("is a bad one that looks at nothing: nothing starts", func(ctx SpecContext) {
		fresh(ctx)
		equip(ctx, "archipelago-faults", []string{"ARCHIPELAGO_FAULT=" + fault.ProberDead}, nil)
		_, err := rpc.Do(ctx, "install", "page", false, nil)
		Expect(err).To(MatchError(ContainSubstring("not healthy within its budget of 20s")))
	}, SpecTimeout(2*time.Minute))
})
