package matrix

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/nodes"
)

const (
	pageTimeout    = 15 * time.Second
	browserTimeout = 20 * time.Second
	startTimeout   = time.Minute
)

// ErrBrowser means that the browser itself is missing or broken, which says nothing
// about the application.
var ErrBrowser = errors.New("browser")

// Browser is a Chromium. It opens each page in a context of its own.
type Browser struct {
	root context.Context
	stop []context.CancelFunc
}

// StartBrowser starts a headless Chromium, which Close ends; it ends with this process, too.
// It runs in a sandbox, and reaches nothing but these addresses, host and port as in
// URLs. It trusts certificates that these authorities signed, besides those it knows; what
// else is wrong with such a certificate is for another witness to find. Without an
// installed or working Chromium, or on a machine that cannot confine it, the error is an
// ErrBrowser: it never runs unconfined.
func StartBrowser(ctx context.Context, reach []string, trusted ...nodes.Authority) (*Browser, error) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		return nil, fmt.Errorf("%w: no Chromium is installed: apt-get install chromium", ErrBrowser)
	}
	box, err := newSandbox(reach)
	if err != nil {
		return nil, fmt.Errorf("%w: its sandbox: %w", ErrBrowser, err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(ownProgram), chromedp.DisableGPU,
		chromedp.Flag("no-sandbox", false), // otherwise chromedp decides
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true),
		chromedp.ProxyServer("socks5://"+tunnelAddress), chromedp.Flag("proxy-bypass-list", "<-loopback>"),
		Trusting(trusted...), chromedp.WindowSize(1280, 800), chromedp.UserDataDir(box.profile),
		chromedp.NoInheritEnv, chromedp.Env(box.environment(path)...), chromedp.ModifyCmdFunc(box.confine))
	allocator, cancel := chromedp.NewExecAllocator(ctx, options...)
	var serving sync.WaitGroup
	serving.Go(box.serve)
	end := func() {
		cancel()
		box.close()
		serving.Wait()
	}
	root, cancelRoot := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}), chromedp.WithLogf(func(string, ...any) {}))
	late := time.AfterFunc(startTimeout, cancel)
	if err := chromedp.Do(root); err != nil {
		if !late.Stop() {
			err = fmt.Errorf("it does not start within %s: %w", startTimeout, err)
		}
		cancelRoot()
		end()
		return nil, fmt.Errorf("%w: %w", ErrBrowser, unconfined(err))
	}
	late.Stop()
	return &Browser{root: root, stop: []context.CancelFunc{cancelRoot, end}}, nil
}

// Trusting has a Chromium accept certificates of these authorities. Their keys are named:
// all other certificates are judged as ever. The switch needs a profile of the browser's
// own, which the allocator makes.
func Trusting(authorities ...nodes.Authority) chromedp.ExecAllocatorOption {
	var keys []string
	for _, a := range authorities {
		if !a.IsZero() {
			keys = append(keys, a.KeyHash())
		}
	}
	if len(keys) == 0 {
		return func(*chromedp.ExecAllocator) {}
	}
	return chromedp.Flag("ignore-certificate-errors-spki-list", strings.Join(keys, ","))
}

// Close ends the browser, and all of its processes.
func (b *Browser) Close() {
	for _, stop := range b.stop {
		stop()
	}
}

// Page is what a browser saw at an address.
type Page struct {
	Status   int
	Title    string
	Selector bool // the selector became visible
	Problems []string
	PNG      []byte

	more int // problems that there were, all told
}

// What a page may say: so many problems, and so many bytes in each. More of them say nothing
// new, and a page could say them without end.
const (
	maxProblems = 20
	maxProblem  = 500
)

// problem keeps one that the page has, or counts it.
func (p *Page) problem(what string) {
	if p.more++; p.more <= maxProblems {
		p.Problems = append(p.Problems, plain.Clip(what, maxProblem))
		return
	}
	p.Problems = append(p.Problems[:maxProblems], fmt.Sprintf("and %d more", p.more-maxProblems))
}

// Visit opens an address in a fresh context and waits for the selector that the
// manifest expects. What went wrong on the page is in Problems; an error means that
// the browser failed, not the page.
func (b *Browser) Visit(ctx context.Context, url string, want manifest.Expect) (*Page, error) {
	p := &Page{}
	var mu sync.Mutex
	requests := map[network.RequestID]string{}
	problem := func(format string, args ...any) { p.problem(fmt.Sprintf(format, args...)) }
	tab, cancel := chromedp.NewContext(b.root, chromedp.WithNewBrowserContext(), chromedp.WithListener(func(ev any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			problem("script error: %s", exception(e.ExceptionDetails))
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.ConsoleAPICalledTypeError {
				problem("console error: %s", console(e.Args))
			}
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
				problem("console error: %s", e.Entry.Text)
			}
		case *network.EventRequestWillBeSent:
			requests[e.RequestID] = e.Request.URL
		case *network.EventLoadingFailed:
			if !e.Canceled {
				problem("failed request: %s: %s", requests[e.RequestID], e.ErrorText)
			}
		case *network.EventResponseReceived:
			if e.Type == network.ResourceTypeDocument && p.Status == 0 {
				p.Status = int(e.Response.Status)
			} else if e.Response.Status >= 400 {
				problem("failed request: %s: status %d", e.Response.URL, e.Response.Status)
			}
		}
	}))
	defer cancel()
	if err := chromedp.Do(tab); err != nil {
		return nil, fmt.Errorf("%w: opening a tab: %w", ErrBrowser, err)
	}
	bounded, done := context.WithTimeout(tab, pageTimeout)
	defer done()
	end := context.AfterFunc(ctx, done)
	defer end()
	if err := chromedp.Do(bounded, chromedp.Navigate(url)); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if tab.Err() != nil || b.root.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ErrBrowser, err)
		}
		mu.Lock()
		defer mu.Unlock()
		problem("loading %s: %v", url, err)
		return p, nil
	}
	var err error
	if want.Selector != "" {
		err = chromedp.Do(bounded, chromedp.WaitVisible(chromedp.CSS(want.Selector)))
	}
	shot, shotDone := context.WithTimeout(tab, browserTimeout)
	defer shotDone()
	title, titleErr := chromedp.Run(shot, chromedp.Title())
	png, shotErr := chromedp.Run(shot, chromedp.CaptureScreenshot())
	if err := errors.Join(titleErr, shotErr); err != nil {
		return nil, fmt.Errorf("%w: looking at the page: %w", ErrBrowser, err)
	}
	mu.Lock()
	defer mu.Unlock()
	p.Selector, p.Title, p.PNG = err == nil, plain.Clip(title, maxProblem), png
	return p, nil
}

func exception(d *runtime.ExceptionDetails) string {
	if d.Exception != nil && d.Exception.Description != "" {
		return firstLine(d.Exception.Description)
	}
	return d.Text
}

func console(args []*runtime.RemoteObject) string {
	var words []string
	for _, a := range args {
		if a.Description != "" {
			words = append(words, firstLine(a.Description))
		} else {
			words = append(words, strings.Trim(string(a.Value), `"`))
		}
	}
	return strings.Join(words, " ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
