//go:build lab

package selftest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/archipelago-cloud/archipelago/gate/labtest"
	"github.com/archipelago-cloud/archipelago/matrix"
)

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

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 800), matrix.Trusting(node.Authority))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	defer stop()
	var mu sync.Mutex
	var problems []string
	tab, closeTab := chromedp.NewContext(allocator, chromedp.WithListener(func(ev any) {
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
		chromedp.Navigate(node.RPC()+"/"),
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
	do("opening "+href, chromedp.Navigate(href), chromedp.WaitVisible(chromedp.CSS("form input[type=password]")))
	mu.Lock()
	defer mu.Unlock()
	if len(problems) > 0 {
		t.Errorf("the page complained: %q", problems)
	}
}

// TestReportFitsTheWindow opens a report with a failure in a real browser, on a
// desk and on a phone: nothing may reach beyond the window's edge, and the verdict
// and the first failure must be in the first window.
func TestReportFitsTheWindow(t *testing.T) {
	page, err := filepath.Abs(filepath.Join(root, "reports", "testdata", "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{1280, 390} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU)
			allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
			defer stop()
			tab, closeTab := chromedp.NewContext(allocator)
			defer closeTab()
			if err := chromedp.Do(tab); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(tab, time.Minute)
			defer cancel()
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(int64(width), 800), chromedp.Navigate("file://"+page), chromedp.WaitVisible(chromedp.CSS(".first"))); err != nil {
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

// chromium is the one that the gate uses, too.
func chromium(t *testing.T) string {
	t.Helper()
	path, err := matrix.Chromium()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
