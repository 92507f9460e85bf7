package prober

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

const (
	pageTimeout  = 10 * time.Second
	maxPage      = 1 << 20 // bytes that are read of a page
	maxHeader    = 64 << 10
	maxTitle     = 200 // bytes of a title
	maxRedirects = 10
)

// Page asks a port in a container's network for a page. Redirects are followed, but never out
// of there: wherever they lead, that port is asked. as is the host under which a proxy has the
// page by TLS, empty to ask without one.
func Page(ctx context.Context, in Inside, port int, path, as string) (page host.Page, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, pageTimeout, fmt.Errorf("no answer within %s", pageTimeout))
	defer cancel()
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return in.Dial(ctx, port) },
		DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader,
	}
	defer transport.CloseIdleConnections()
	jar, err := cookiejar.New(nil)
	if err != nil {
		return page, err
	}
	own := net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	client := http.Client{Transport: transport, Jar: jar, CheckRedirect: func(next *http.Request, before []*http.Request) error {
		if len(before) > maxRedirects {
			return http.ErrUseLastResponse
		}
		dress(next, own, as)
		return nil
	}}
	at, err := url.ParseRequestURI(path)
	if err != nil {
		return page, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+own+at.RequestURI(), nil)
	if err != nil {
		return page, err
	}
	dress(req, own, as)
	resp, err := client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // not the address, which nobody has asked for
		}
		return page, err
	}
	defer resp.Body.Close()
	page.Status = resp.StatusCode
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/html" && kind != "application/xhtml+xml" {
		return page, nil
	}
	page.Title, page.Scripted = titleOf(io.LimitReader(resp.Body, maxPage))
	return page, nil
}

// dress has a request come to the port as a browser's does, or as the proxy passes it on.
func dress(req *http.Request, own, as string) {
	req.URL.Scheme, req.URL.Host = "http", own
	req.Header.Set("User-Agent", "archipelago-prober")
	req.Header.Set("Accept", "text/html,*/*;q=0.8")
	req.Header.Del("Referer")
	req.Host = own
	if as == "" {
		return
	}
	req.Host = as
	req.Header.Set("X-Forwarded-For", "127.0.0.1")
	req.Header.Set("X-Forwarded-Host", as)
	req.Header.Set("X-Forwarded-Proto", "https")
}

// titleOf gives the title of a page as it is served, and whether scripts run in it.
func titleOf(r io.Reader) (title string, scripted bool) {
	found := false
	for z := html.NewTokenizer(r); ; {
		switch z.Next() {
		case html.ErrorToken:
			return plain.Clip(plain.Text(strings.Join(strings.Fields(title), " ")), maxTitle), scripted
		case html.StartTagToken:
			name, _ := z.TagName()
			switch atom.Lookup(name) {
			case atom.Script:
				scripted = true
			case atom.Title:
				if !found && z.Next() == html.TextToken {
					title = string(z.Text())
				}
				found = true
			}
		}
	}
}
