package matrix

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// reachUI opens the application's page through the proxy, in a browser, signs in, and asks
// for it with every certificate checked: at its port, and by name.
func reachUI(ctx context.Context, env *Environment, rec *Recorder) error {
	in, port, _ := env.App.Web()
	wrong, notes, err := seeUI(ctx, env, rec, "web", in, port)
	rec.say(notes...)
	if err != nil {
		return err
	}
	defer rec.charge(&rec.timing.Witness)()
	node := env.Shard.Node.Address
	client := env.web("")
	wrong = append(wrong, checkStatus(ctx, "proxy", client, proxyOf(node, port)+path(in), unauthenticated(in))...)
	host, _, _ := strings.Cut(strings.ToLower(env.Shard.Host), ".")
	named := fmt.Sprintf("https://%s.%s.local:%d%s", env.App.ID, host, manifest.ByNamePort, path(in))
	// The gate's machine need not resolve the name.
	there := env.web(net.JoinHostPort(node, strconv.Itoa(manifest.ByNamePort)))
	wrong = append(wrong, checkStatus(ctx, "by name", there, named, unauthenticated(in))...)
	for _, script := range env.App.Scripts {
		wrong = append(wrong, checkScript(ctx, client, proxyOf(node, port)+script.Path, script)...)
	}
	return Verdict(wrong)
}

// seeUI opens the page of an interface in a browser, through the proxy, and signs in as the owner.
func seeUI(ctx context.Context, env *Environment, rec *Recorder, name string, in manifest.Interface, port manifest.Port) (wrong, notes []string, err error) {
	password := ""
	if in.Login.InBrowser() {
		u, err := env.user(ctx)
		if err != nil {
			return nil, nil, err
		}
		if password = u.secrets[in.Login.Secret]; password == "" {
			return nil, nil, fmt.Errorf("the daemon does not show the owner the secret %q, with which the manifest signs in", in.Login.Secret)
		}
	}
	defer rec.charge(&rec.timing.Browser)()
	node := env.Shard.Node.Address
	page, err := env.visit(ctx, proxyOf(node, port)+path(in), in, password)
	if err != nil {
		return nil, nil, err
	}
	where, shot := "proxy", "screenshot.png"
	if name != "web" {
		where, shot = "the "+name+" interface", "screenshot-"+name+".png"
	}
	if len(page.PNG) > 0 {
		if err := rec.keep(shot, page.PNG); err != nil {
			return nil, nil, err
		}
	}
	wrong, notes = checkPage(where, node, page, in)
	return wrong, notes, nil
}

// signInAgain has the browser sign in with what the owner is shown now, where the manifest
// says how. A run without ui-reachable has no browser, and wants none here either.
func signInAgain(ctx context.Context, env *Environment, rec *Recorder) error {
	in, port, web := env.App.Web()
	if !web || !in.Login.InBrowser() || !env.Shard.Browse {
		return nil
	}
	client := env.web("")
	if err := await(ctx, passTimeout, "the page to be served again", func() error {
		return Verdict(checkStatus(ctx, "proxy", client, proxyOf(env.Shard.Node.Address, port)+path(in), unauthenticated(in)))
	}); err != nil {
		return err
	}
	wrong, notes, err := seeUI(ctx, env, rec, "web", in, port)
	for _, note := range notes {
		if !strings.HasPrefix(note, unneeded) { // it may be needed at the first visit only
			rec.say(note)
		}
	}
	if err != nil {
		return err
	}
	return Verdict(wrong)
}

// proxyOf is where the proxy serves a web interface's port, without a path.
func proxyOf(node string, port manifest.Port) string {
	return "https://" + net.JoinHostPort(node, strconv.Itoa(port.Host+manifest.ProxyOffset))
}

// unauthenticated is the status of the page for whoever brings no credentials.
func unauthenticated(in manifest.Interface) int {
	if in.Login.InBrowser() && in.Login.Basic {
		return unauthorized
	}
	return in.Expect.Status
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

// others are the http interfaces beside the one that My Apps links to, in order.
func others(m *manifest.Manifest) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(m.Interfaces)) {
		in := m.Interfaces[name]
		if _, ok := m.Port(in.Port); ok && name != "web" && (in.Protocol == "" || in.Protocol == "http") {
			names = append(names, name)
		}
	}
	return names
}

// checkOthers wants each of them to be served by the proxy, with the status that the manifest says.
func checkOthers(ctx context.Context, m *manifest.Manifest, node string, c *http.Client) (wrong []string) {
	for _, name := range others(m) {
		in := m.Interfaces[name]
		port, _ := m.Port(in.Port)
		wrong = append(wrong, checkStatus(ctx, "the "+name+" interface", c, proxyOf(node, port)+path(in), unauthenticated(in))...)
	}
	return wrong
}

// seeOthers opens in a browser those of which the manifest says what a browser sees: a title, a
// selector, a sign-in. Of the rest, which may be no page, the status is all that is known.
func seeOthers(ctx context.Context, env *Environment, rec *Recorder) error {
	var wrong []string
	for _, name := range others(env.App) {
		in := env.App.Interfaces[name]
		if in.Expect.Title == "" && in.Expect.Selector == "" && !in.Login.InBrowser() {
			continue
		}
		port, _ := env.App.Port(in.Port)
		seen, notes, err := seeUI(ctx, env, rec, name, in, port)
		rec.say(notes...)
		if err != nil {
			return err
		}
		wrong = append(wrong, seen...)
	}
	return Verdict(wrong)
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
