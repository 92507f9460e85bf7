//go:build lab

package faults

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
)

const (
	hostilePort = 8904 // that the hostile application publishes on the node's loopback

	// What both of its containers try at least, so that a list that was cut short is not
	// taken for a node that gives nothing away.
	minAttempts, minControls = 200, 10
)

// attempt is what the hostile application tells of one thing that it tried.
type attempt struct {
	Name    string
	Control bool // it must succeed
	Got     bool
	Detail  string
}

var _ = Describe("a hostile application", func() {
	It("gets nothing of the node, of others and of the owner's requests", func(ctx SpecContext) {
		fresh(ctx)
		equip(ctx, "archipelago", nil, edit{"hostile": nil})
		before, check := installed(ctx, "page")
		generation := state(ctx, "page").Generation
		do(ctx, "install", "hostile") // brings ledger
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
			"name": {"page", "ledger-db"}, "scan": {""},
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
		var attacks, controls int
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
		Expect(attacks).To(BeNumerically(">=", minAttempts))
		Expect(controls).To(BeNumerically(">=", minControls))

		By("listening to what the owner's clients send through the proxy")
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s:%d/page", node.Address, hostilePort+manifest.ProxyOffset), nil)
		Expect(err).NotTo(HaveOccurred())
		r.Header.Set("Authorization", "Bearer "+node.Token)
		r.Header.Set("Cookie", "__Host-archipelago-session=kept; theirs=given")
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

		By("having left others as they were")
		Expect(matrix.CheckUntouched(app("page"), before, settled(ctx, app("page"), before, bound))).To(BeEmpty())
		Expect(state(ctx, "page").Generation).To(Equal(generation))
		check()
		purge(ctx, "hostile")
		purge(ctx, "ledger")
	}, SpecTimeout(6*time.Minute))
})
