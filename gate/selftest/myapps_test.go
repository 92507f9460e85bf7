//go:build lab

package selftest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/archipelago-cloud/archipelago/gate/labtest"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// TestMain lets a process of a test become the browser that it started.
func TestMain(m *testing.M) {
	matrix.BecomeBrowser()
	os.Exit(m.Run())
}

// TestMyAppsInABrowser signs in to a node's page, installs an application with the
// button, sees it run without reloading, and opens it through the proxy.
func TestMyAppsInABrowser(t *testing.T) {
	f, _ := labtest.OneNode(t, root, filepath.Join(root, "catalog", "apps"))
	node := f.Nodes[0]

	outside := http.Client{Transport: &http.Transport{TLSClientConfig: node.Authority.TLS(), DisableKeepAlives: true}}
	for _, path := range []string{"/events", "/archipelago.v1.Orchestrator/ListApps", "/apps/radicale/install"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, node.RPC()+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Origin", node.RPC()) // as if the page itself asked
		resp, err := outside.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s without signing in: status %d", path, resp.StatusCode)
		}
	}

	reach := []string{strings.TrimPrefix(node.RPC(), "https://")}
	for _, p := range f.Published["radicale"].NodePorts() {
		reach = append(reach, net.JoinHostPort(node.Address, strconv.Itoa(p.Number)))
	}
	b := browser(t, reach, node.Authority)
	var mu sync.Mutex
	var problems []string
	tab, closeTab := chromedp.NewContext(b.Context(), chromedp.WithListener(func(ev any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			problems = append(problems, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError {
				problems = append(problems, e.Entry.Text)
			}
		}
	}))
	defer closeTab()
	if err := chromedp.Do(tab); err != nil {
		t.Fatal(err)
	}
	shot := func(name string) {
		png, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "out", name), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	do := func(what string, steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		ctx, cancel := context.WithTimeout(tab, time.Minute)
		defer cancel()
		if err := chromedp.Do(ctx, steps...); err != nil {
			shot("my-apps-failure.png")
			t.Fatalf("%s: %v", what, err)
		}
	}
	do("signing in",
		chromedp.Navigate(node.RPC()+"/login"),
		chromedp.SendKeys(chromedp.CSS("input[name=token]"), node.Token),
		chromedp.Click(chromedp.CSS("form.login button")),
		chromedp.WaitVisible(chromedp.CSS("#app-radicale")))
	do("installing", chromedp.Click(chromedp.CSS("#app-radicale button")),
		chromedp.WaitVisible(chromedp.CSS(`#app-radicale[data-state="running"] a.open`)))
	shot("my-apps.png")
	href, err := chromedp.Run(tab, chromedp.Evaluate[string](`document.querySelector("#app-radicale a.open").href`))
	if err != nil {
		t.Fatal(err)
	}
	do("stopping", chromedp.Click(chromedp.CSS(`#app-radicale form[action$="/stop"] button`)),
		chromedp.WaitVisible(chromedp.CSS(`#app-radicale[data-state="stopped"]`)))
	do("starting", chromedp.Click(chromedp.CSS(`#app-radicale form[action$="/start"] button`)),
		chromedp.WaitVisible(chromedp.CSS(`#app-radicale[data-state="running"]`)))
	pictures(t, tab, node.RPC())
	do("opening "+href, chromedp.Navigate(href), chromedp.WaitVisible(chromedp.CSS("form input[type=password]")))
	mu.Lock()
	defer mu.Unlock()
	if len(problems) > 0 {
		t.Errorf("the page complained: %q", problems)
	}
}

// TestReportFitsTheWindow opens a report with a failure in a real browser, on a
// desk and on a phone: nothing may reach beyond the window's edge, and the verdict
// and the first failure must be in the first window. It is served, as the browser may not enter
// the directory of whoever runs the test.
func TestReportFitsTheWindow(t *testing.T) {
	report := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(root, "reports", "testdata"))))
	defer report.Close()
	b := browser(t, []string{report.Listener.Addr().String()})
	for _, width := range []int{1280, 390} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			tab, closeTab := chromedp.NewContext(b.Context())
			defer closeTab()
			if err := chromedp.Do(tab); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(tab, time.Minute)
			defer cancel()
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(int64(width), 800), chromedp.Navigate(report.URL+"/report.html"), chromedp.WaitVisible(chromedp.CSS(".first"))); err != nil {
				t.Fatal(err)
			}
			over, err := chromedp.Run(ctx, chromedp.Evaluate[float64]("document.scrollingElement.scrollWidth - window.innerWidth"))
			if err != nil || over > 0 {
				t.Errorf("it reaches %v px beyond the window, %v", over, err)
			}
			bottom, err := chromedp.Run(ctx, chromedp.Evaluate[float64](`document.querySelector(".first").getBoundingClientRect().bottom`))
			if err != nil || bottom > 800 {
				t.Errorf("the first failure ends at %v px, %v", bottom, err)
			}
			png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, "out", fmt.Sprintf("report-%d.png", width)), png, 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// browser is one as the gate starts it, in its sandbox: of the network, it has these addresses.
func browser(t *testing.T, reach []string, trusted ...nodes.Authority) *matrix.Browser {
	t.Helper()
	b, err := matrix.StartBrowser(t.Context(), reach, trusted...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}
