//go:build lab

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
)

const (
	hostilePort = 8904 // that the hostile application publishes on the node's loopback

	// What both of its containers try at least, so that a list that was cut short is not
	// taken for a node that gives nothing away.
	minAttempts, minControls = 150, 10

	// The same of its page, which waits three seconds for each attack at most; some of
	// them are requests to stop another application.
	minPageAttacks, minPageControls, minPosts = 40, 2, 5
	pageBound                                 = 3 * time.Minute

	// thisBrowser is the id of the session of whoever looks at My Apps, as the list on its page System says.
	thisBrowser = `document.querySelector("#browsers li:has(strong)")?.id.replace("session-", "") ?? ""`
)

// attempt is what the hostile application tells of one thing that it tried.
type attempt struct {
	Name    string
	Control bool // it must succeed
	Got     bool
	Detail  string
}

var _ = Describe("a hostile application", func() {
	var before *matrix.Snapshot
	var check func()
	var generation uint64
	BeforeEach(func(ctx SpecContext) {
		fresh(ctx)
		equip(ctx, "archipelago", nil, edit{"hostile": nil})
		before, check = installed(ctx, "page")
		generation = state(ctx, "page").Generation
		do(ctx, "install", "hostile") // brings ledger
	})

	// others wants the other application as it was, and takes the hostile one away.
	others := func(ctx context.Context) {
		GinkgoHelper()
		By("having left others as they were")
		Expect(matrix.CheckUntouched(app("page"), before, settled(ctx, app("page"), before, bound))).To(BeEmpty())
		Expect(state(ctx, "page").Generation).To(Equal(generation))
		check()
		purge(ctx, "hostile")
		purge(ctx, "ledger")
	}

	It("gets nothing of the node, of others and of the owner's requests", func(ctx SpecContext) {
		there := &http.Client{Transport: &http.Transport{DialContext: node.SSH.Dial, DisableKeepAlives: true}}
		ask := func(path string, answer any) {
			GinkgoHelper()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", hostilePort, path), nil)
			Expect(err).NotTo(HaveOccurred())
			resp, err := there.Do(r)
			Expect(err).NotTo(HaveOccurred())
			defer resp.Body.Close()
			Expect(resp.StatusCode).To(Equal(http.StatusOK))
			Expect(json.NewDecoder(resp.Body).Decode(answer)).To(Succeed())
		}

		By("attacking from its containers")
		q := url.Values{
			"peer": {"hostile-user:8080"}, "reach": {"hostile:8080", "hostile-user:8080"}, "offered": {"ledger:8080"},
			"name": {"page", "ledger-db"},
		}
		for _, address := range strings.Fields(onNode(ctx, "hostname -I")) {
			for _, port := range []int{manifest.DaemonPort, manifest.DaemonTLSPort, manifest.ByNamePort, 8900, 8901, 8900 + manifest.ProxyOffset, 8901 + manifest.ProxyOffset} {
				q.Add("target", net.JoinHostPort(address, fmt.Sprint(port)))
			}
		}
		for container, port := range map[string]string{"page": "8080", "ledger-db": "5432"} {
			addresses := strings.Fields(onNode(ctx, "podman inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' %s", container))
			Expect(addresses).NotTo(BeEmpty())
			for _, address := range addresses {
				q.Add("target", net.JoinHostPort(address, port))
			}
		}
		var attempts []attempt
		ask("/attack?"+q.Encode(), &attempts)
		attacks, controls := judged(attempts)
		Expect(attacks).To(BeNumerically(">=", minAttempts))
		Expect(controls).To(BeNumerically(">=", minControls))

		By("listening to what the owner's clients send through the proxy")
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s:%d/page", node.Address, hostilePort+manifest.ProxyOffset), nil)
		Expect(err).NotTo(HaveOccurred())
		r.Header.Set("Authorization", "Bearer "+node.Token)
		r.Header.Set("Cookie", sessionCookie+"=kept; theirs=given")
		outside := http.Client{Transport: &http.Transport{TLSClientConfig: node.Authority.TLS(), DisableKeepAlives: true}}
		resp, err := outside.Do(r)
		Expect(err).NotTo(HaveOccurred())
		resp.Body.Close()
		Expect(resp.StatusCode).To(Equal(http.StatusOK))
		Expect(strings.Join(resp.Header.Values("Set-Cookie"), "\n")).To(And(ContainSubstring("own=1"), Not(ContainSubstring("archipelago-session"))))
		Expect(resp.Header).NotTo(Or(HaveKey("Clear-Site-Data"), HaveKeyWithValue("Strict-Transport-Security", ContainElement("max-age=0"))))
		var recorded json.RawMessage
		ask("/recorded", &recorded)
		Expect(strings.Contains(string(recorded), node.Token)).To(BeFalse(), "the application received the token") // not printed
		Expect(string(recorded)).To(And(ContainSubstring("theirs=given"), Not(ContainSubstring("archipelago-session"))))

		others(ctx)
	}, SpecTimeout(6*time.Minute))

	It("gets nothing by its page in the browser of an owner who is signed in", func(ctx SpecContext) {
		tab := signedIn(ctx, hostilePort+manifest.ProxyOffset)
		browse(tab, chromedp.Navigate(node.RPC()+"/system"), chromedp.WaitVisible(chromedp.CSS("#browsers")))
		secret, here := session(tab), evaluate[string](tab, browserBound, thisBrowser)
		Expect(sessions(ctx)).To(ContainElement(here))

		By("attacking from another tab")
		var sent atomic.Int64
		theirs, closeTab := chromedp.NewContext(tab, chromedp.WithListener(func(ev any) {
			if r, ok := ev.(*network.EventRequestWillBeSent); ok && r.Request.Method == http.MethodPost && r.Request.URL == node.RPC()+"/apps/page/stop" {
				sent.Add(1)
			}
		}))
		defer closeTab()
		Expect(chromedp.Do(theirs)).To(Succeed(), "opening a tab")
		browse(theirs, chromedp.Navigate(fmt.Sprintf("https://%s:%d/page?%s", node.Address, hostilePort+manifest.ProxyOffset, url.Values{"myapps": {node.RPC()}, "victim": {"page"}, "session": {here}}.Encode())),
			chromedp.WaitVisible(chromedp.CSS("#page")))
		// As if the owner had clicked: a page may open windows then.
		clicked := func(p *runtime.EvaluateParams) { yes := true; p.UserGesture = &yes }
		attacks, controls := judged(evaluate[[]attempt](theirs, pageBound, "attackMyApps()", chromedp.EvalAwaitPromise, clicked))
		Expect(attacks).To(BeNumerically(">=", minPageAttacks))
		Expect(controls).To(BeNumerically(">=", minPageControls))
		Expect(sent.Load()).To(BeNumerically(">=", minPosts), "requests to stop the other application that left the page")
		closeTab()

		By("having left the owner signed in")
		browse(tab, chromedp.Navigate(node.RPC()+"/"))
		Expect(evaluate[string](tab, browserBound, "location.pathname")).To(Equal("/"), "the owner has to sign in again")
		browse(tab, chromedp.WaitVisible(chromedp.CSS(`#app-page[data-state="running"]`)))
		browse(tab, chromedp.Navigate(node.RPC()+"/system"), chromedp.WaitVisible(chromedp.CSS("#browsers")))
		Expect(evaluate[string](tab, browserBound, thisBrowser)).To(Equal(here), "the owner is in another session")
		browse(tab, chromedp.Navigate(node.RPC()+"/"), chromedp.WaitVisible(chromedp.CSS("#app-page")))
		Expect(session(tab) == secret).To(BeTrue(), "the session has another secret") // not printed
		Expect(sessions(ctx)).To(ContainElement(here), "the owner's session has ended")
		others(ctx)

		By("stopping it with My Apps' own button, as a control")
		browse(tab, chromedp.Click(chromedp.CSS(`#app-page form[action$="/stop"] button`)),
			chromedp.WaitVisible(chromedp.CSS(`#app-page[data-state="stopped"]`)))
		Expect(state(ctx, "page").Generation).To(BeNumerically(">", generation))
		eventually(ctx, app("page"), before, bound, matrix.CheckStopped)
	}, SpecTimeout(8*time.Minute))
})

// judged wants that no attack got something, and that every control did.
func judged(attempts []attempt) (attacks, controls int) {
	GinkgoHelper()
	var wrong []string
	for _, a := range attempts {
		if a.Control {
			controls++
		} else {
			attacks++
		}
		if a.Got != a.Control {
			wrong = append(wrong, fmt.Sprintf("%s: got %t, a control: %t; %s", a.Name, a.Got, a.Control, a.Detail))
		}
	}
	Expect(wrong).To(BeEmpty())
	return attacks, controls
}
