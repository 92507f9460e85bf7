package matrix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/remote"

	"github.com/archipelago-cloud/archipelago/nodes"
)

const (
	pageTimeout    = 15 * time.Second
	browserTimeout = 20 * time.Second
)

// ErrBrowser means that the browser itself is missing or broken, which says nothing
// about the application.
var ErrBrowser = errors.New("browser")

// Browser is a Chromium. It opens each page in a context of its own.
type Browser struct {
	Address string // of DevTools, for ConnectBrowser

	root     context.Context
	stop     []context.CancelFunc
	patience time.Duration // with a page; 0: pageTimeout
}

// StartBrowser starts a headless Chromium, which Close ends. It trusts certificates that
// these authorities signed, besides those it knows; what else is wrong with such a
// certificate is for another witness to find. Without an installed or working Chromium,
// the error is an ErrBrowser.
func StartBrowser(ctx context.Context, trusted ...nodes.Authority) (*Browser, error) {
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
	// DevTools listen on a port, so that the processes of a run can share this browser.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("%w: a port for DevTools: %w", ErrBrowser, err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true),
		Trusting(trusted...), remote.WebSocket, chromedp.Flag("remote-debugging-port", strconv.Itoa(port)),
		chromedp.WindowSize(1280, 800), chromedp.WSURLReadTimeout(browserTimeout))
	allocator, cancel := chromedp.NewExecAllocator(ctx, options...)
	b, err := open(allocator, cancel)
	if err != nil {
		return nil, err
	}
	b.Address = fmt.Sprintf("http://127.0.0.1:%d", port)
	return b, nil
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

// ConnectBrowser uses a Chromium that is already running, by its DevTools address.
func ConnectBrowser(ctx context.Context, address string) (*Browser, error) {
	allocator, cancel := remote.NewAllocator(ctx, address)
	return open(allocator, cancel)
}

func open(allocator context.Context, cancel context.CancelFunc) (*Browser, error) {
	root, cancelRoot := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}), chromedp.WithLogf(func(string, ...any) {}))
	if err := chromedp.Do(root); err != nil {
		cancelRoot()
		cancel()
		return nil, fmt.Errorf("%w: %w", ErrBrowser, err)
	}
	return &Browser{root: root, stop: []context.CancelFunc{cancelRoot, cancel}}, nil
}

// Alive returns an ErrBrowser unless the browser answers.
func (b *Browser) Alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, browserTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- chromedp.Do(b.root, chromedp.Evaluate[chromedp.Void]("1")) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBrowser, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: no answer within %s", ErrBrowser, browserTimeout)
	}
}

// Close ends the connection, and the browser if it was started here.
func (b *Browser) Close() {
	for _, stop := range b.stop {
		stop()
	}
}
