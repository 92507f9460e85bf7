//go:build lab

package faults

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

const (
	sessionCookie = "__Host-archipelago-session"

	browserBound = 30 * time.Second // of what a browser does at once
)

// archy runs the command as its owner would, with a home of its own.
func archy(ctx context.Context, home string, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, bin("archy"), args...)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+home)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// loggedIn gives a home from which archy reaches the node, by its token.
func loggedIn(ctx context.Context) (home string) {
	GinkgoHelper()
	home = GinkgoT().TempDir()
	logIn(ctx, home)
	return home
}

// logIn has archy reach the node from a home.
func logIn(ctx context.Context, home string) {
	GinkgoHelper()
	out, err := archy(ctx, home, strings.NewReader(node.Token), "login", node.RPC(), "--fingerprint", node.Authority.Fingerprint())
	Expect(err).NotTo(HaveOccurred(), out)
}

// signedIn gives the tab of a browser in which the owner has signed in to My Apps. It is
// confined as the gate's are, and reaches My Apps and the proxied ports of the node. The browser
// ends with ctx, which is a spec's.
func signedIn(ctx context.Context, proxied ...int) context.Context {
	GinkgoHelper()
	var reach []string
	for _, port := range append(proxied, manifest.DaemonTLSPort) {
		reach = append(reach, net.JoinHostPort(node.Address, strconv.Itoa(port)))
	}
	b, err := matrix.StartBrowser(ctx, reach, node.Authority)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(b.Close)
	tab, closeTab := chromedp.NewContext(b.Context())
	DeferCleanup(closeTab)
	Expect(chromedp.Do(tab)).To(Succeed(), "starting Chromium")
	browse(tab, chromedp.Navigate(node.RPC()+"/login"),
		chromedp.SendKeys(chromedp.CSS("input[name=token]"), node.Token),
		chromedp.Click(chromedp.CSS("form.login button")),
		chromedp.WaitVisible(chromedp.CSS("#apps")))
	return tab
}

// browse does steps in a tab, which it brings to the front: one in the back takes no clicks.
func browse(tab context.Context, steps ...chromedp.Action[chromedp.Void]) {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(tab, browserBound)
	defer cancel()
	_, err := chromedp.Call(ctx, page.BringToFront, cdp.Empty{})
	Expect(err).NotTo(HaveOccurred())
	Expect(chromedp.Do(ctx, steps...)).To(Succeed())
}

// evaluate gives what a script is in a tab.
func evaluate[T any](tab context.Context, within time.Duration, script string, options ...chromedp.EvaluateOption) T {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(tab, within)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, options...))
	Expect(err).NotTo(HaveOccurred(), "evaluating %s", script)
	return v
}

// session is the secret of the owner's session, as the browser keeps it.
func session(tab context.Context) string {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(tab, browserBound)
	defer cancel()
	r, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{node.RPC() + "/"}})
	Expect(err).NotTo(HaveOccurred())
	for _, c := range r.Cookies {
		if c.Name == sessionCookie {
			return c.Value
		}
	}
	Fail("the browser has no session of My Apps")
	return ""
}

// sessions are the ids of those that the node knows.
func sessions(ctx context.Context) (ids []string) {
	GinkgoHelper()
	r, err := rpc.ListSessions(ctx, connect.NewRequest(&api.ListSessionsRequest{}))
	Expect(err).NotTo(HaveOccurred())
	for _, s := range r.Msg.Sessions {
		ids = append(ids, s.Id)
	}
	return ids
}
