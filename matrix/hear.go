package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

// Listener asks the daemon what it says of applications, in every place where it says
// something: its RPC, My Apps' page as a signed-in owner, its metrics, and archy until all agree.
type Listener struct {
	daemon      *client.Client
	base, token string // of the daemon
	fingerprint string
	http        *http.Client

	mu       sync.Mutex
	signedIn bool
	archy    string // path of the command; empty: it is not asked, or not any more
}

// NewListener listens to the daemon at base, "https://HOST:PORT"; archy may be empty.
func NewListener(daemon *client.Client, base, token string, trusted nodes.Authority, archy string) *Listener {
	jar, _ := cookiejar.New(nil) // never fails
	return &Listener{daemon: daemon, base: base, token: token, fingerprint: trusted.Fingerprint(), archy: archy, http: &http.Client{
		Jar: jar, Timeout: clientTimeout,
		Transport:     &http.Transport{TLSClientConfig: trusted.TLS(), TLSHandshakeTimeout: clientTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close signs out of My Apps, and ends the connections.
func (l *Listener) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.signedIn {
		l.signedIn = false
		ctx, cancel := context.WithTimeout(context.Background(), portTimeout)
		defer cancel()
		if resp, err := l.form(ctx, "/logout", nil); err == nil { // a session that is left ends by itself
			resp.Body.Close()
		}
	}
	l.http.CloseIdleConnections()
}

// Check says where the daemon's words on an application are not what a snapshot shows, and
// whether it is said to wait though it runs. At the first look of a cell, "failed" may be what an
// earlier cell is red for.
func (l *Listener) Check(ctx context.Context, m *manifest.Manifest, s *Snapshot, first bool) (wrong []string, waiting bool) {
	said := l.hear(ctx, m.ID)
	wrong = checkWords(m, s, said, first)
	if len(wrong) == 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.archy = "" // it makes the same call as ListApps: to have been right once is enough
	}
	return wrong, waits(m, s, said)
}

// hear asks everywhere.
func (l *Listener) hear(ctx context.Context, app string) []saying {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	said := []saying{l.listed(ctx, app), l.got(ctx, app), l.shown(ctx, app), l.measured(ctx, app)}
	l.mu.Lock()
	archy := l.archy
	l.mu.Unlock()
	if archy != "" {
		said = append(said, l.printed(ctx, archy, app))
	}
	return said
}

func (l *Listener) listed(ctx context.Context, app string) saying {
	r, err := l.daemon.ListApps(ctx, connect.NewRequest(&api.ListAppsRequest{}))
	if err != nil {
		return saying{where: "ListApps", err: err}
	}
	return sayingOf("ListApps", listedAs(r.Msg.Apps, app), nil)
}

func (l *Listener) got(ctx context.Context, app string) saying {
	r, err := l.daemon.GetApp(ctx, connect.NewRequest(&api.GetAppRequest{Id: app}))
	switch {
	case connect.CodeOf(err) == connect.CodeNotFound && err != nil:
		return sayingOf("GetApp", nil, nil)
	case err != nil:
		return saying{where: "GetApp", err: err}
	}
	return sayingOf("GetApp", r.Msg, nil)
}

// printed is what 'archy apps --json' prints, signed in as its owner is.
func (l *Listener) printed(ctx context.Context, archy, app string) saying {
	const where = "archy apps --json"
	home, err := os.MkdirTemp("", "archy")
	if err != nil {
		return saying{where: where, err: err}
	}
	defer os.RemoveAll(home)
	run := func(stdin string, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, archy, args...)
		cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+home, "HOME="+home)
		cmd.Stdin = strings.NewReader(stdin)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("archy %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
		}
		return out, err
	}
	if _, err := run(l.token+"\n", "login", l.base, "--fingerprint", l.fingerprint); err != nil {
		return saying{where: where, err: err}
	}
	out, err := run("", "apps", "--json")
	if err != nil {
		return saying{where: where, err: err}
	}
	apps, err := printedApps(out)
	if err != nil {
		return saying{where: where, err: fmt.Errorf("archy apps --json: %w", err)}
	}
	return sayingOf(where, listedAs(apps, app), nil)
}

// printedApps reads archy's JSON, which says states in words.
func printedApps(out []byte) ([]*api.App, error) {
	var list struct {
		Apps []map[string]any `json:"apps"`
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, err
	}
	var apps []*api.App
	for _, a := range list.Apps {
		state, ok := a["state"].(string)
		if !ok {
			return nil, fmt.Errorf("an application's state is %v: expected a word", a["state"])
		}
		a["state"] = "STATE_" + strings.ToUpper(strings.ReplaceAll(state, " ", "_"))
		b, err := json.Marshal(a)
		if err != nil {
			return nil, err
		}
		app := &api.App{}
		if err := protojson.Unmarshal(b, app); err != nil {
			return nil, err
		}
		apps = append(apps, app)
	}
	return apps, nil
}

// shown is what an application's card on My Apps' first page shows, or, of one that is not
// installed and has none there, on the application's own page.
func (l *Listener) shown(ctx context.Context, app string) saying {
	w := saying{where: "My Apps", silent: true}
	page, err := l.page(ctx)
	if err != nil {
		w.err = err
		return w
	}
	w.state, w.err = cardState(page, app)
	if w.state != "" || w.err != nil {
		return w
	}
	own, status, err := l.get(ctx, "/apps/"+url.PathEscape(app), "")
	switch {
	case err != nil:
		w.err = err
	case status == http.StatusOK:
		if w.state, w.err = cardState(own, app); w.err == nil && w.state != "" && w.state != wordNotInstalled {
			w.err = fmt.Errorf("its own page says %q, and the first page does not list it", w.state)
		}
	case status != http.StatusNotFound:
		w.err = fmt.Errorf("its own page: status %d", status)
	}
	return w
}

// cardState reads the state that the page shows of an application, in the card's attribute
// and in its text; empty where the page has no card of it.
func cardState(page, app string) (string, error) {
	card := regexp.MustCompile(`(?s)<article[^>]* id="app-`+regexp.QuoteMeta(html.EscapeString(app))+`"[^>]* data-state="([^"]*)".*?</article>`).FindAllStringSubmatch(page, -1)
	switch len(card) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", fmt.Errorf("it has %d cards of %s", len(card), app)
	}
	state := html.UnescapeString(card[0][1])
	text := regexp.MustCompile(`<span class="state [^"]*">([^<]*)</span>`).FindStringSubmatch(card[0][0])
	if text == nil || html.UnescapeString(text[1]) != state {
		return "", fmt.Errorf("the card of %s has the state %q, and reads otherwise", app, state)
	}
	return state, nil
}

// page gets My Apps, and signs in where it must.
func (l *Listener) page(ctx context.Context) (string, error) {
	body, status, err := l.get(ctx, "/", "")
	if err != nil || status == http.StatusOK {
		return body, err
	}
	if err := l.signIn(ctx); err != nil {
		return "", err
	}
	if body, status, err = l.get(ctx, "/", ""); err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d after signing in", status)
	}
	return body, err
}

func (l *Listener) signIn(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	resp, err := l.form(ctx, "/login", url.Values{"token": {l.token}})
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		return fmt.Errorf("signing in: status %d", resp.StatusCode)
	}
	l.signedIn = true
	return nil
}

// form sends a form as the page itself does.
func (l *Listener) form(ctx context.Context, path string, values url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.base+path, strings.NewReader(values.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", l.base)
	return l.http.Do(req)
}

func (l *Listener) get(ctx context.Context, path, token string) (body string, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+path, nil)
	if err != nil {
		return "", 0, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := l.http.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return string(b), resp.StatusCode, err
}

// measured is what the metrics say.
func (l *Listener) measured(ctx context.Context, app string) saying {
	w := saying{where: "metrics", silent: true}
	text, status, err := l.get(ctx, "/metrics", l.token)
	switch {
	case err != nil:
		w.err = err
	case status != http.StatusOK:
		w.err = fmt.Errorf("status %d", status)
	default:
		w.state, w.version, w.err = stateMetric(text, app)
	}
	return w
}

var (
	errStates  = errors.New("archipelago_app_state is not 1 for one state of the application")
	metricLine = regexp.MustCompile(`(?m)^archipelago_app_state\{(.*)\} (\S+)$`)
	labelPair  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
	labelValue = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")
)

// stateMetric reads the one state in which the metrics have an application (Prometheus's
// text format); empty where they have none.
func stateMetric(text, app string) (state, version string, err error) {
	for _, line := range metricLine.FindAllStringSubmatch(text, -1) {
		labels := map[string]string{}
		for _, pair := range labelPair.FindAllStringSubmatch(line[1], -1) {
			labels[pair[1]] = labelValue.Replace(pair[2])
		}
		if labels["app"] != app || line[2] == "0" {
			continue
		}
		if state != "" || line[2] != "1" || labels["state"] == "" {
			return "", "", errStates
		}
		state, version = labels["state"], labels["version"]
	}
	return state, version, nil
}
