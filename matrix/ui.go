package matrix

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// reachUI opens the application's page through the proxy, in a browser, and asks for it
// with every certificate checked: at its port, and by name. Where there is no page, a
// handshake on another interface stands for it.
func reachUI(ctx context.Context, env *Environment, rec *Recorder) error {
	in, port, web := env.App.Web()
	if !web {
		u, err := env.user(ctx)
		if err != nil {
			return err
		}
		defer rec.charge(&rec.timing.Witness)()
		rec.note, err = u.handshake(ctx, env.App)
		return err
	}
	wrong, err := seeUI(ctx, env, rec, in, port)
	if err != nil {
		return err
	}
	defer rec.charge(&rec.timing.Witness)()
	node := env.Shard.Node.Address
	proxied := "https://" + net.JoinHostPort(node, strconv.Itoa(port.Host+manifest.ProxyOffset))
	client := pinned(env.Shard.Trusted, "")
	wrong = append(wrong, checkStatus(ctx, "proxy", client, proxied+path(in), in.Expect.Status)...)
	host, _, _ := strings.Cut(strings.ToLower(env.Shard.Host), ".")
	named := fmt.Sprintf("https://%s.%s.local:%d%s", env.App.ID, host, manifest.ByNamePort, path(in))
	// The gate's machine need not resolve the name.
	there := pinned(env.Shard.Trusted, net.JoinHostPort(node, strconv.Itoa(manifest.ByNamePort)))
	wrong = append(wrong, checkStatus(ctx, "by name", there, named, in.Expect.Status)...)
	for _, script := range env.App.Scripts {
		wrong = append(wrong, checkScript(ctx, client, proxied+script.Path, script)...)
	}
	return Verdict(wrong)
}

// seeUI opens the page in a browser, through the proxy.
func seeUI(ctx context.Context, env *Environment, rec *Recorder, in manifest.Interface, port manifest.Port) (wrong []string, err error) {
	defer rec.charge(&rec.timing.Browser)()
	b, err := env.openBrowser()
	if err != nil {
		return nil, err
	}
	page, err := b.Visit(ctx, "https://"+net.JoinHostPort(env.Shard.Node.Address, strconv.Itoa(port.Host+manifest.ProxyOffset))+path(in), in.Expect)
	if err != nil {
		return nil, err
	}
	if len(page.PNG) > 0 {
		if err := rec.keep("screenshot.png", page.PNG); err != nil {
			return nil, err
		}
	}
	return checkPage("proxy", page, in.Expect), nil
}

// path is where the page is.
func path(in manifest.Interface) string { return cmp.Or(in.Path, "/") }

// pinned is a client that trusts a node's own authority, and no other. Connections go to
// address, unless it is empty, whatever the URL says.
func pinned(trusted nodes.Authority, address string) *http.Client {
	dialer := &net.Dialer{Timeout: clientTimeout}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: trusted.TLS(), TLSHandshakeTimeout: clientTimeout, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, asked string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, cmp.Or(address, asked))
		},
	}}
}

// checkStatus wants a page to be served with a certificate that holds, and with a status;
// 0 stands for any of 200 to 299.
func checkStatus(ctx context.Context, where string, c *http.Client, url string, want int) []string {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return []string{err.Error()}
	}
	resp, err := c.Do(req)
	if err != nil {
		return []string{where + ": " + err.Error()}
	}
	resp.Body.Close()
	if !accepted(resp.StatusCode, want) {
		return []string{fmt.Sprintf("%s: %s: status %d, expected %s", where, url, resp.StatusCode, expected(want))}
	}
	return nil
}

// checkPage compares what a browser saw with what the manifest promises.
func checkPage(where string, p *Page, want manifest.Expect) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, where+": "+fmt.Sprintf(format, args...)) }
	if p.Status/100 == 5 || want.Status != 0 && p.Status != want.Status {
		say("status %d, expected %d", p.Status, want.Status)
	}
	if !strings.Contains(p.Title, want.Title) {
		say("the title is %q, expected one with %q", p.Title, want.Title)
	}
	if want.Selector != "" && !p.Selector {
		say("nothing visible matches %q within %s", want.Selector, pageTimeout)
	}
	for _, problem := range p.Problems {
		say("%s", problem)
	}
	return wrong
}

// checkScript wants the proxy to serve a script that the manifest provides.
func checkScript(ctx context.Context, c *http.Client, url string, script manifest.ProviderScript) []string {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return []string{err.Error()}
	}
	wrong := func(format string, args ...any) []string {
		return []string{"provider script " + script.Path + ": " + fmt.Sprintf(format, args...)}
	}
	resp, err := c.Do(req)
	if err != nil {
		return wrong("%v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch kind := resp.Header.Get("Content-Type"); {
	case err != nil:
		return wrong("%v", err)
	case resp.StatusCode != http.StatusOK:
		return wrong("status %d through the proxy", resp.StatusCode)
	case !strings.HasPrefix(kind, "text/javascript"):
		return wrong("served as %q", kind)
	case string(body) != script.Source:
		return wrong("what the proxy serves is not what the manifest provides")
	}
	return nil
}
