package matrix

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"

	"github.com/archipelago-cloud/archipelago/nodes"
)

const (
	pageTimeout    = 15 * time.Second
	browserTimeout = 20 * time.Second
	startTimeout   = time.Minute

	blankPage = "about:blank"
)

// ErrBrowser means that the browser itself is missing or broken, which says nothing
// about the application.
var ErrBrowser = errors.New("browser")

// Browser is a Chromium. It opens each page in a context of its own.
type Browser struct {
	root     context.Context
	stop     []context.CancelFunc
	patience time.Duration // with a page; 0: pageTimeout
}

// StartBrowser starts a headless Chromium, which Close ends; it ends with this process, too.
// It runs in a sandbox, and reaches nothing but these addresses, host and port as in
// URLs. It trusts certificates that these authorities signed, besides those it knows; what
// else is wrong with such a certificate is for another witness to find. Without an
// installed or working Chromium, or on a machine that cannot confine it, the error is an
// ErrBrowser: it never runs unconfined.
func StartBrowser(ctx context.Context, reach []string, trusted ...nodes.Authority) (*Browser, error) {
	path, err := Chromium()
	if err != nil {
		return nil, err
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
		chromedp.NoInheritEnv, chromedp.Env(box.environment(path)...), chromedp.Flag("no-startup-window", true),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			// No page but those that are visited: the allocator's would have a renderer of its own.
			cmd.Args = slices.DeleteFunc(cmd.Args, func(arg string) bool { return arg == blankPage })
			box.confine(cmd)
		}))
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
	if _, err := chromedp.CallBrowser(root, browser.GetVersion, cdp.Empty{}); err != nil {
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

// Chromium finds an installed Chromium; the error is an ErrBrowser.
func Chromium() (string, error) {
	// The first has no window, no page of its own, and starts several times as fast.
	for _, name := range []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: no Chromium is installed: apt-get install chromium-headless-shell", ErrBrowser)
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

// Context is what tabs of the browser are made in (chromedp.NewContext), for tests that go their
// own way through pages. It ends with the browser.
func (b *Browser) Context() context.Context { return b.root }

// Close ends the browser, and all of its processes.
func (b *Browser) Close() {
	for _, stop := range b.stop {
		stop()
	}
}
