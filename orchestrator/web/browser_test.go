package web

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// TestMain lets a process of a test become the browser that it started.
func TestMain(m *testing.M) {
	matrix.BecomeBrowser()
	os.Exit(m.Run())
}

const browserBound = time.Minute // of what a browser does at once

// window is a tab of a browser, signed in to a node, and what its pages complained about or
// asked of others.
type window struct {
	t    *testing.T
	tab  context.Context
	node *node

	mu       sync.Mutex
	problems []string
}

func open(t *testing.T, n *node) *window {
	t.Helper()
	w := strange(t, n)
	w.do("signing in", chromedp.Navigate(n.URL+"/"), chromedp.SendKeys(chromedp.CSS("input[name=token]"), "sesame"),
		chromedp.Click(chromedp.CSS("form.login button")), chromedp.WaitVisible(chromedp.CSS("#apps")))
	return w
}

// strange is a window that is not signed in.
func strange(t *testing.T, n *node) *window {
	t.Helper()
	at, err := url.Parse(n.URL)
	if err != nil {
		t.Fatal(err)
	}
	var trusted nodes.Authority
	if err := trusted.UnmarshalText(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: n.Certificate().Raw})); err != nil {
		t.Fatal(err)
	}
	b, err := matrix.StartBrowser(t.Context(), []string{at.Host}, trusted)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	w := &window{t: t, node: n}
	tab, closeTab := chromedp.NewContext(b.Context(), chromedp.WithListener(w.hear))
	t.Cleanup(closeTab)
	w.tab = tab
	if err := chromedp.Do(tab); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *window) hear(ev any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		w.problems = append(w.problems, "exception: "+e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && !strings.Contains(e.Entry.Text, "409") && !strings.Contains(e.Entry.Text, "ERR_NETWORK_CHANGED") { // a refusal is one; and the machine's network is not the page's
			w.problems = append(w.problems, e.Entry.Text+" "+e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, w.node.URL) && !strings.HasPrefix(e.Request.URL, "data:") {
			w.problems = append(w.problems, "asked of somebody else: "+e.Request.URL)
		}
	}
}

// complaints wants none.
func (w *window) complaints() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.problems) > 0 {
		w.t.Errorf("the pages complained: %q", w.problems)
	}
}

func (w *window) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.tab, browserBound)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		page, _ := chromedp.Run(w.tab, chromedp.Evaluate[string]("document.body.outerHTML"))
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t.Fatalf("%s: %v; the pages complained: %q\n%s", what, err, w.problems, page)
	}
}

func is[T any](w *window, script string, options ...chromedp.EvaluateOption) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.tab, browserBound)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, options...))
	if err != nil {
		w.t.Fatalf("%s: %v", script, err)
	}
	return v
}

// until waits in the page until a condition holds.
func (w *window) until(condition string) {
	w.t.Helper()
	is[bool](w, `new Promise(done => { const look = () => (`+condition+`) ? done(true) : setTimeout(look, 20); look(); })`, chromedp.EvalAwaitPromise)
}

func visible(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(chromedp.CSS(selector))
}

func TestPagesInABrowser(t *testing.T) {
	n, _ := settled(t)
	w := open(t, n)
	// The same document throughout: nothing loads it anew.
	is[string](w, `window.same = "same"`)
	w.do("installing", chromedp.Click(chromedp.CSS(`#app-base form[action$="/install"] button`)), visible(`#app-base[data-state="starting"]`))
	is[bool](w, `document.querySelector('#app-base form[action$="/stop"] button').focus() ?? true`)
	w.do("stopping by keyboard", chromedp.KeyEvent("\r"), visible(`#app-base[data-state="stopped"]`))
	if got := is[string](w, `window.same + " " + document.activeElement.closest("article")?.id + " " + document.activeElement.tagName`); got != "same app-base BUTTON" {
		t.Errorf("after the swap the focus is at %q", got)
	}
	w.do("starting with the button that has the focus", chromedp.KeyEvent("\r"), visible(`#app-base[data-state="starting"]`))

	w.do("the store", chromedp.Navigate(n.URL+"/store"), visible("#q"))
	is[string](w, `window.same = "same"`)
	w.do("searching", chromedp.SendKeys(chromedp.CSS("#q"), "wik"), chromedp.WaitNotPresent(chromedp.CSS(`#found a[href="/apps/base"]`)), visible(`#found a[href="/apps/wiki"]`))
	w.until(`location.search == "?q=wik"`)
	if got := is[string](w, `window.same + " " + location.search + " " + document.activeElement.id`); got != "same ?q=wik q" {
		t.Errorf("after searching: %q", got)
	}
	w.do("an application's page", chromedp.Click(chromedp.CSS(`#found a[href="/apps/wiki"]`)), visible(`#page form[action$="/install"]`))
	is[bool](w, `(document.querySelector("#set-title").value = "long ".repeat(80)) != ""`)
	w.do("installing it", chromedp.Click(chromedp.CSS(`#page form[action$="/install"] button`)), visible(`#refused-install [role=alert]`))
	if got := is[int](w, `document.querySelector("#set-title").value.length`); got != 400 {
		t.Errorf("what was typed has %d characters left", got)
	}
	is[bool](w, `(document.querySelector("#set-title").value = "Ours") != ""`)
	w.do("once more", chromedp.Click(chromedp.CSS(`#page form[action$="/install"] button`)), visible(`#page form[action$="/configure"]`), visible(`#app-wiki[data-state="starting"]`))
	if got := is[string](w, `document.querySelector("#set-title").value + " " + document.querySelectorAll("article").length`); got != "Ours 1" {
		t.Errorf("the page of what is installed: %q", got)
	}
	w.do("stopping on its page", chromedp.Click(chromedp.CSS(`#live form[action$="/stop"] button`)), visible(`#app-wiki[data-state="stopped"]`))
	w.until(`document.querySelector('[sse-connect*="stage=stopped"]') != null`) // the whole page follows
	is[bool](w, `document.querySelector("details:has(#typed)").open = true`)
	// By the elements, not by where they are: what is opened and swapped above them moves them.
	is[bool](w, `document.querySelector("input[name=purge][value=yes]").click() ?? true`)
	const uninstall = `document.querySelector('form[action$="/uninstall"] button').focus() ?? true`
	is[bool](w, uninstall)
	w.do("deleting its data without its name", chromedp.KeyEvent("\r"), visible(`#refused-uninstall [role=alert]`))
	w.do("and with it", chromedp.SendKeys(chromedp.CSS("#typed"), "Wiki"))
	is[bool](w, uninstall)
	w.do("now it goes", chromedp.KeyEvent("\r"), visible(`#app-wiki[data-state="removing"]`))
	w.complaints()
}

func TestPagesWorkWithoutScripts(t *testing.T) {
	n, _ := settled(t)
	w := open(t, n)
	if _, err := chromedp.Call(w.tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	w.do("searching", chromedp.Navigate(n.URL+"/store"), chromedp.SendKeys(chromedp.CSS("#q"), "wik"), chromedp.Click(chromedp.CSS(".search button")), chromedp.WaitNotPresent(chromedp.CSS(`#found a[href="/apps/base"]`)))
	w.do("installing", chromedp.Click(chromedp.CSS(`#found a[href="/apps/wiki"]`)), chromedp.Click(chromedp.CSS(`#page form[action$="/install"] button`)), visible(`#app-wiki[data-state="starting"]`))
	w.do("a refusal", chromedp.Navigate(n.URL+"/apps/base"), chromedp.Click(chromedp.CSS("summary")))
	w.do("uninstalling what is required", chromedp.Click(chromedp.CSS(`form[action$="/uninstall"] button`)), visible(`#refused-uninstall [role=alert]`))
	w.do("stopping", chromedp.Navigate(n.URL+"/"), chromedp.Click(chromedp.CSS(`#app-base form[action$="/stop"] button`)), visible(`#app-base[data-state="stopped"]`))
	w.do("the node's checks", chromedp.Navigate(n.URL+"/system"), chromedp.Click(chromedp.CSS(`a[href="/system/checks"]`)), visible("#checks"))
	w.complaints()
}

// axe is the program that looks at a page as people do who cannot see it, or not well.
func axe(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// look has axe look at the page.
func (w *window) look(where string) {
	w.t.Helper()
	is[bool](w, axe(w.t)+";true")
	found := is[[]string](w, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ": " + n.html.slice(0, 200) + " (" + n.failureSummary.slice(0, 300) + ")")))`, chromedp.EvalAwaitPromise)
	for _, f := range found {
		w.t.Errorf("%s: %s", where, f)
	}
}

// beyond is how many pixels a page is wider than its window.
const beyond = "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"

// theme has pages be light or dark, at once: a colour on its way to another has no contrast.
func (w *window) theme(name string) {
	w.t.Helper()
	if _, err := chromedp.Call(w.tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}}); err != nil {
		w.t.Fatal(err)
	}
}

// TestALogIsFollowedInABrowser has a log come to a page, which keeps the last of it and obeys
// nothing in it.
func TestALogIsFollowedInABrowser(t *testing.T) {
	n, _, e := speaker(t, func(string) []string { return []string{"up", strings.Repeat("wide", 200)} })
	w := open(t, n)
	w.do("the logs", chromedp.EmulateViewport(360, 800), chromedp.Navigate(n.URL+"/apps/feeds/logs"), visible("#log li"))
	w.until(`document.querySelector("[sse-swap=state]").textContent.startsWith("Followed")`)
	e.more <- "<img src=x onerror=alert(1)>\x1b[2J"
	w.until(`document.querySelector("#log li:last-child span").textContent == "<img src=x onerror=alert(1)>\\x1b[2J"`)
	is[bool](w, `(document.querySelector("[data-most]").dataset.most = 20) == 20`)
	for i := range 30 {
		e.more <- fmt.Sprint("line ", i)
	}
	w.until(`document.querySelector("#log li:last-child span").textContent == "line 29" && document.querySelectorAll("#log li").length == 20`)
	if got := is[string](w, `document.querySelectorAll("#log img").length + " " + document.querySelectorAll("#log ol").length`); got != "0 1" {
		t.Errorf("pictures and lists in the log: %s", got)
	}
	if over := is[float64](w, beyond); over > 0 {
		t.Errorf("%v px beyond the window", over)
	}
	for _, theme := range []string{"light", "dark"} {
		w.theme(theme)
		w.look(theme)
	}
	w.do("filtering by keyboard", chromedp.SendKeys(chromedp.CSS("#q"), "wide\r"), chromedp.WaitNotPresent(chromedp.CSS("#log li:nth-child(3)")))
	if got := is[string](w, `location.search + " " + document.querySelectorAll("#log li").length`); got != "?q=wide&member= 2" {
		t.Errorf("filtered: %s", got)
	}
	w.complaints()
}

// TestPagesAreForEverybody has axe look at each page (WCAG 2.2, A and AA), light and dark, on a
// phone, a tablet and a desk; nothing may reach beyond the window's edge.
func TestPagesAreForEverybody(t *testing.T) {
	n, c := settled(t)
	n.pages.Engine = well{}
	post(t, c, n.URL+"/apps/base/install", nil)
	post(t, c, n.URL+"/apps/wiki/install", nil)
	post(t, c, n.URL+"/apps/base/uninstall", nil) // refused
	for name, address := range map[string]string{"phone": "ntfy://127.0.0.1:1/topic?scheme=http", "mail": "smtps://mail.example?from=box@example.org&to=someone-with-a-long-name@a-long-domain.example.org"} {
		if _, err := n.pages.Reconciler.AddTarget(name, address, "test"); err != nil {
			t.Fatal(err)
		}
	}
	post(t, c, n.URL+"/system/notify/phone/test", nil) // not taken
	w := open(t, n)
	paths := []string{"/", "/store", "/store?q=nothing+like+it", "/apps/base", "/apps/wiki", "/apps/wiki/history", "/apps/wiki/logs", "/apps/wiki/credentials", "/apps/none", "/backups", "/system", "/system/factor", "/system/passkeys", "/system/tokens", "/system/support", "/system/history", "/sheet"}
	for theme, widths := range map[string][]int{"light": {720, 768, 360}, "dark": {1440}} { // 720 is 1440 at 200 %
		w.theme(theme)
		for i, width := range widths {
			for _, path := range paths {
				where := fmt.Sprintf("%s, %s, %d px", path, theme, width)
				w.do(where, chromedp.EmulateViewport(int64(width), 800), chromedp.Navigate(n.URL+path), visible("#main"))
				if over := is[float64](w, beyond); over > 0 {
					t.Errorf("%s: %v px beyond the window", where, over)
				}
				if i == len(widths)-1 {
					w.look(where)
				}
			}
		}
	}
	// The eye must find the faults where there are some.
	if over := is[float64](w, `(document.querySelector("main").insertAdjacentHTML("beforeend", "<pre>"+"wide".repeat(2000)+"</pre>"), `+beyond+`)`); over <= 0 {
		t.Error("a text that is wider than the window is not seen")
	}
	is[bool](w, `document.querySelector("main").insertAdjacentHTML("beforeend", "<img src='/static/logo.svg'><button></button>") ?? true`)
	is[bool](w, axe(t)+";true")
	if n := is[int](w, `axe.run().then(r => r.violations.length)`, chromedp.EvalAwaitPromise); n < 2 {
		t.Errorf("axe finds %d of two planted faults", n)
	}
}
