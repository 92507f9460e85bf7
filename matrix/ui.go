package matrix

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// reachUI opens the application's page through the proxy and on its published port.
// Where there is no page, a handshake on another interface stands for it.
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
	defer rec.charge(&rec.timing.Browser)()
	b, err := env.openBrowser()
	if err != nil {
		return err
	}
	proxied, published := env.url(in, port.Host+manifest.ProxyOffset), env.url(in, port.Host)
	page, err := b.Visit(ctx, proxied, in.Expect)
	if err != nil {
		return err
	}
	if len(page.PNG) > 0 {
		if err := rec.keep("screenshot.png", page.PNG); err != nil {
			return err
		}
	}
	wrong := checkPage("proxy", page, in.Expect)
	if page, err = b.Visit(ctx, published, in.Expect); err != nil {
		return err
	}
	wrong = append(wrong, checkPage("published port", page, in.Expect)...)
	for _, script := range env.App.Scripts {
		wrong = append(wrong, checkScript(ctx, proxied, script)...)
	}
	return Verdict(wrong)
}

// url is where a web interface is on a port of the node.
func (e *Environment) url(in manifest.Interface, port int) string {
	path := in.Path
	if path == "" {
		path = "/"
	}
	return "http://" + net.JoinHostPort(e.Shard.Node.Address, strconv.Itoa(port)) + path
}

// checkPage compares what a browser saw with what the manifest promises.
func checkPage(where string, p *Page, want manifest.Expect) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, where+": "+fmt.Sprintf(format, args...)) }
	if want.Status != 0 && p.Status != want.Status {
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
func checkScript(ctx context.Context, page string, script manifest.ProviderScript) []string {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	base, err := url.Parse(page)
	if err != nil {
		return []string{err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.ResolveReference(&url.URL{Path: script.Path}).String(), nil)
	if err != nil {
		return []string{err.Error()}
	}
	wrong := func(format string, args ...any) []string {
		return []string{"provider script " + script.Path + ": " + fmt.Sprintf(format, args...)}
	}
	resp, err := http.DefaultClient.Do(req)
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
