package matrix

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const (
	visiblePace   = 100 * time.Millisecond // between looks for a selector
	quietFor      = 300 * time.Millisecond // without a request: the page has what it wants
	settleTimeout = 3 * time.Second        // for a page that never stops asking

	visits         = 3 // at most
	networkChanged = "net::ERR_NETWORK_CHANGED"
)

// Visit opens the page of an interface in a fresh context and signs in, as the manifest
// says how, with the password that the owner is shown. What went wrong on the page is
// in what it gives; an error means that the browser failed, not the page. It does so
// again while the network of the gate's own machine changes: Chromium gives up requests
// then, which says nothing of the page.
func (b *Browser) Visit(ctx context.Context, url string, in manifest.Interface, password string) (*Page, error) {
	for range visits {
		p, err := b.visit(ctx, url, in, password)
		if err != nil || !p.Disturbed {
			return p, err
		}
	}
	return nil, fmt.Errorf("%w: the network of this machine changed during each of %d visits: %s", ErrBrowser, visits, networkChanged)
}

func (b *Browser) visit(ctx context.Context, url string, in manifest.Interface, password string) (*Page, error) {
	p := &Page{Hosts: map[string]string{}}
	signsIn := in.Login.InBrowser()
	if signsIn && in.Login.Basic {
		v, err := b.open(ctx, p, password)
		if err != nil {
			return nil, err
		}
		defer v.close()
		if err := v.answerChallenges(""); err != nil {
			return nil, err
		}
		loaded, err := v.load(ctx, url)
		if err != nil {
			return nil, err
		}
		if loaded {
			v.settle(ctx)
			p.Early = v.sees(in.Expect.SignedIn)
		}
		v.close()
		if p.Status == unauthorized {
			p.Faults = nil // an answer without a body is shown as an error
		}
		p.Stranger, p.Status = p.Status, 0
	}
	v, err := b.open(ctx, p, password)
	if err != nil {
		return nil, err
	}
	defer v.close()
	if signsIn && in.Login.Basic {
		if err := v.answerChallenges(in.Login.User); err != nil {
			return nil, err
		}
	}
	loaded, err := v.load(ctx, url)
	if err != nil {
		return nil, err
	}
	if !loaded {
		return p, nil
	}
	p.Selector = in.Expect.Selector == "" || v.await(ctx, &manifest.SignedIn{Selector: in.Expect.Selector})
	v.settle(ctx)
	var titleErr error
	p.Title, titleErr = chromedp.Run(v.tab, within(browserTimeout, chromedp.Title()))
	if signsIn {
		submitted := true
		if in.Login.Form != nil {
			p.Early = v.sees(in.Expect.SignedIn)
			submitted = v.fillIn(ctx, in.Login)
		}
		if submitted {
			p.SignedIn = v.await(ctx, in.Expect.SignedIn)
			v.settle(ctx)
		}
	}
	var shotErr error
	p.PNG, shotErr = chromedp.Run(v.tab, within(browserTimeout, chromedp.CaptureScreenshot()))
	if err := v.broken(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(titleErr, shotErr); err != nil {
		return nil, fmt.Errorf("%w: looking at the page: %w", ErrBrowser, err)
	}
	return p, nil
}

// visit is a tab in a context of its own. What the browser says of it goes into page.
type visit struct {
	browser *Browser
	tab     context.Context
	cancel  context.CancelFunc
	origin  string // of the page
	secret  string // the password, which no report may show

	stirred chan struct{} // something was asked for, or came
	answers sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	page     *Page
	main     cdp.FrameID
	pending  map[network.RequestID]request
	user     string // who answers challenges
	answered map[fetch.RequestID]bool
}

// request is what has not come yet.
type request struct {
	name     string // of its URL, shortened: a page may ask for much that never comes
	document bool   // of the page itself
	stream   bool   // that is not meant to end
}

func (b *Browser) open(ctx context.Context, p *Page, secret string) (*visit, error) {
	v := &visit{browser: b, secret: secret, page: p, stirred: make(chan struct{}, 1), pending: map[network.RequestID]request{}, answered: map[fetch.RequestID]bool{}}
	v.tab, v.cancel = chromedp.NewContext(b.root, chromedp.WithNewBrowserContext(), chromedp.WithListener(v.hear))
	// Workers and frames of other sites wait until they are heard, too.
	yes := true
	wait := func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, target.SetAutoAttach, target.SetAutoAttachParams{AutoAttach: true, WaitForDebuggerOnStart: true, Flatten: &yes})
		return err
	}
	if err := chromedp.Do(v.tab, chromedp.Func(wait)); err != nil {
		v.close()
		return nil, fmt.Errorf("%w: opening a tab: %w", ErrBrowser, err)
	}
	v.mu.Lock()
	v.main = cdp.FrameID(chromedp.FromContext(v.tab).Target.TargetID)
	v.mu.Unlock()
	return v, ctx.Err()
}

// close ends the tab; nothing is heard of it after that.
func (v *visit) close() {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.cancel()
	v.answers.Wait()
}

// broken says what ended the visit that is not the page's fault.
func (v *visit) broken(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := cmp.Or(v.tab.Err(), v.browser.root.Err()); err != nil {
		return fmt.Errorf("%w: %w", ErrBrowser, err)
	}
	return nil
}

// bounded is the tab for as long as one is patient with a page.
func (v *visit) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	bounded, cancel := context.WithTimeout(v.tab, v.browser.patient())
	end := context.AfterFunc(ctx, cancel)
	return bounded, func() { end(); cancel() }
}

func (b *Browser) patient() time.Duration { return cmp.Or(b.patience, pageTimeout) }

// load gives false where the page did not come.
func (v *visit) load(ctx context.Context, address string) (bool, error) {
	if u, err := url.Parse(address); err == nil {
		v.mu.Lock()
		v.origin = u.Scheme + "://" + u.Host
		v.mu.Unlock()
	}
	bounded, done := v.bounded(ctx)
	defer done()
	err := chromedp.Do(bounded, chromedp.Navigate(address))
	if err == nil {
		return true, nil
	}
	if broken := v.broken(ctx); broken != nil {
		return false, broken
	}
	if strings.Contains(err.Error(), networkChanged) {
		v.mu.Lock()
		v.page.Disturbed = true
		v.mu.Unlock()
	}
	v.fault("loading %s: %v", address, err)
	return false, nil
}

// await waits until something is visible.
func (v *visit) await(ctx context.Context, what *manifest.SignedIn) bool {
	bounded, done := v.bounded(ctx)
	defer done()
	tick := time.NewTicker(visiblePace)
	defer tick.Stop()
	for {
		if v.sees(what) {
			return true
		}
		select {
		case <-tick.C:
		case <-bounded.Done():
			return false
		}
	}
}

// sees tells whether an element that matches the selector, and contains the text, is
// visible now.
func (v *visit) sees(what *manifest.SignedIn) bool {
	selector, _ := json.Marshal(what.Selector)
	text, _ := json.Marshal(what.Text)
	seen, err := chromedp.Run(v.tab, within(v.browser.patient(), chromedp.Evaluate[bool](fmt.Sprintf(`[...document.querySelectorAll(%s)].some(e =>
		e.getClientRects().length > 0 && e.checkVisibility({visibilityProperty: true, opacityProperty: true}) && e.textContent.includes(%s))`, selector, text))))
	return err == nil && seen // an error: the page is being replaced, or the selector is none
}

// within bounds an action.
func within[T any](timeout time.Duration, a chromedp.Action[T]) chromedp.Action[T] {
	return func(ctx context.Context, t *chromedp.Target) (T, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return a(ctx, t)
	}
}

// settle waits until all that the page asked for has come, and nothing was asked for
// since: what it does after it looks complete is judged, too.
func (v *visit) settle(ctx context.Context) {
	quiet, end := time.NewTimer(quietFor), time.NewTimer(settleTimeout)
	defer quiet.Stop()
	defer end.Stop()
	for {
		select {
		case <-v.stirred:
			quiet.Reset(quietFor)
		case <-quiet.C:
			if v.idle() {
				return
			}
		case <-end.C:
			return
		case <-ctx.Done():
			return
		case <-v.tab.Done():
			return
		}
	}
}

func (v *visit) idle() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.pending {
		if !r.stream {
			return false
		}
	}
	return true
}

// name is a URL as a report shows it: what is of the page's own origin without that, so
// that it reads the same on every node.
func (v *visit) name(raw string) string {
	if u, err := url.Parse(raw); err == nil && u.User != nil {
		u.User = nil
		raw = u.String()
	}
	if path, own := strings.CutPrefix(raw, v.origin+"/"); own {
		return "/" + path
	}
	return raw
}

// fault is of the page itself: no toleration covers it.
func (v *visit) fault(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.page.Faults = append(v.page.Faults, v.said(fmt.Sprintf(format, args...)))
}

// said is a text that a report may show.
func (v *visit) said(text string) string {
	if v.secret != "" {
		text = strings.ReplaceAll(text, v.secret, "[the password]")
	}
	return shorten(text)
}
