package web

import (
	"context"
	"html"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"

	"github.com/archipelago-cloud/archipelago/internal/passkeytest"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
)

// byName has a site be asked by a name, which its certificate has; browsers make passkeys for
// names alone.
func byName(t *testing.T, n *node) {
	t.Helper()
	address := n.Listener.Addr().String()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n.Client().Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	n.URL = "https://example.com:" + port
}

// makes has a device make a passkey on the node's pages, as the script does it.
func makes(t *testing.T, c *http.Client, n *node, d *passkeytest.Device, origin string, proof url.Values) (status int, page string) {
	t.Helper()
	send := func(path string, form url.Values) (int, string) {
		form.Set("form", tokenOf(t, c, n.URL+path))
		return sent(t, c, n.URL, path, form)
	}
	if status, page = send("/system/passkeys/begin", proof); status != http.StatusOK {
		return status, page
	}
	options := regexp.MustCompile(`data-passkey="([^"]+)"`).FindStringSubmatch(page)
	if options == nil {
		t.Fatalf("nothing is asked of the browser:\n%s", page)
	}
	answer, err := d.Make([]byte(html.UnescapeString(options[1])), origin)
	if err != nil {
		t.Fatal(err)
	}
	return send("/system/passkeys/add", url.Values{"answer": {answer}})
}

// enters signs in by a passkey, as the script does it.
func enters(t *testing.T, n *node, d *passkeytest.Device, origin string) (c *http.Client, status int, page string) {
	t.Helper()
	c = n.from(n.visitor(t), "127.0.0.2")
	status, options := sent(t, c, n.URL, "/login/passkey/begin", nil)
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, options)
	}
	answer, err := d.Sign([]byte(options), origin)
	if err != nil {
		t.Fatal(err)
	}
	status, page = sent(t, c, n.URL, "/login/passkey", url.Values{"answer": {answer}})
	return c, status, page
}

func TestAnOwnerSignsInByAPasskey(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	if err := access.NewPasswords(n.dir).Set(good); err != nil {
		t.Fatal(err)
	}
	n.pages.About = About{Name: "box.local"}
	c, _ := n.owner(t)
	if _, page := get(t, c, n.URL+"/system/passkeys"); !strings.Contains(page, "by an address or a name of one word") || !strings.Contains(page, `href="https://box.local:`) || strings.Contains(page, `name="name"`) {
		t.Errorf("by an address:\n%s", page)
	}
	byName(t, n)
	c, _ = n.owner(t)
	const name = `Ann's <phone>`
	d := passkeytest.New()
	for what, proof := range map[string]url.Values{"a wrong password": {"name": {name}, "password": {"incorrect horse"}}, "no name": {"password": {good}}} {
		if status, page := makes(t, c, n, d, n.URL, proof); status != http.StatusConflict || !strings.Contains(page, `role="alert"`) {
			t.Errorf("%s: status %d", what, status)
		}
	}
	if status, _ := makes(t, c, n, d, "https://example.com:8082", url.Values{"name": {name}, "password": {good}}); status != http.StatusConflict {
		t.Errorf("for an application's page: status %d", status)
	}
	if _, page := get(t, n.visitor(t), n.URL+"/login"); strings.Contains(page, "passkey") {
		t.Errorf("where there is none, the page of signing in asks for one:\n%s", page)
	}
	status, page := makes(t, c, n, d, n.URL, url.Values{"name": {name}, "password": {good}})
	if status != http.StatusOK || !strings.Contains(page, html.EscapeString(name)) || !strings.Contains(page, "for example.com, since ") || !strings.Contains(page, "not used yet") {
		t.Errorf("status %d:\n%s", status, page)
	}
	if _, page := get(t, n.visitor(t), n.URL+"/login"); !strings.Contains(page, "Sign in with a passkey") || !strings.Contains(page, `src="/static/passkeys.js"`) {
		t.Errorf("the page of signing in:\n%s", page)
	}
	own, status, _ := enters(t, n, d, n.URL)
	if status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	if status, _ := get(t, own, n.URL+"/system"); status != http.StatusOK {
		t.Errorf("signed in: status %d", status)
	}
	if _, status, page := enters(t, n, d, "https://example.com:8082"); status != http.StatusUnauthorized || !strings.Contains(page, "That passkey does not sign in here") {
		t.Errorf("for an application's page: status %d:\n%s", status, page)
	}
	if status, _ := sent(t, n.visitor(t), n.URL, "/login/passkey/begin", nil, "Origin", "https://example.com:8082"); status != http.StatusForbidden {
		t.Errorf("an application's page asks: status %d", status)
	}

	// It goes with a second factor, whose code it takes to add another one.
	secret, err := n.sessions.Factor.Begin("session")
	if err != nil {
		t.Fatal(err)
	}
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	recovery, err := n.sessions.Factor.Confirm("session", secret, code)
	if err != nil {
		t.Fatal(err)
	}
	if sent(t, n.from(n.visitor(t), "127.0.0.2"), n.URL, "/login", url.Values{"token": {good}}); !n.suspects() {
		t.Error("nobody is told of the password without a code")
	}
	if _, status, _ := enters(t, n, d, n.URL); status != http.StatusOK || n.suspects() {
		t.Errorf("beside a second factor: status %d, or it was not the owner, whose passkey came next", status)
	}
	other := passkeytest.New()
	if status, _ := makes(t, c, n, other, n.URL, url.Values{"name": {"key"}, "password": {good}}); status != http.StatusConflict {
		t.Errorf("without a code: status %d", status)
	}
	if status, page := makes(t, c, n, other, n.URL, url.Values{"name": {"key"}, "password": {good}, "code": {recovery[0]}}); status != http.StatusOK {
		t.Errorf("with one: status %d:\n%s", status, page)
	}
	all, err := n.sessions.Passkeys.List()
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	remove := "/system/passkeys/" + all[1].ID + "/remove"
	for range 2 { // another page may have done so
		if status := post(t, c, n.URL+remove, nil); status != http.StatusOK {
			t.Errorf("removing it: status %d", status)
		}
	}
	if _, status, _ := enters(t, n, d, n.URL); status != http.StatusUnauthorized {
		t.Errorf("removed: status %d", status)
	}
	if _, status, _ := enters(t, n, other, n.URL); status != http.StatusOK {
		t.Errorf("the other one: status %d", status)
	}
	asked, err := n.pages.Reconciler.History("", historyMost)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, a := range asked {
		said = append(said, a.What+": "+a.Refused)
	}
	for _, want := range []string{"passkey begin: not the password", "passkey add " + name + ": ", "sign in by the passkey " + name + ": ", "passkey remove " + all[1].ID + ": "} {
		if !slices.Contains(said, want) {
			t.Errorf("the log does not hold %q: %q", want, said)
		}
	}
	if !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, "sign in by a passkey: "+access.ErrPasskey.Error()) }) {
		t.Errorf("the log does not say what was refused: %q", said)
	}
}

// suspects tells whether the owner is told that somebody may know the password.
func (n *node) suspects() bool {
	return slices.ContainsFunc(n.pages.Reconciler.Attention(n.pages.Reconciler.Installed()), func(c notify.Condition) bool { return c.Kind == notify.Password })
}

// TestWhoKnowsThePasswordIsNamed has somebody type it without the code, and the owner read of it.
func TestWhoKnowsThePasswordIsNamed(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	if err := access.NewPasswords(n.dir).Set(good); err != nil {
		t.Fatal(err)
	}
	secret, err := n.sessions.Factor.Begin("session")
	if err != nil {
		t.Fatal(err)
	}
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	recovery, err := n.sessions.Factor.Confirm("session", secret, code)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := n.owner(t)
	enter := func(password, code string) {
		t.Helper()
		sent(t, n.visitor(t), n.URL, "/login", url.Values{"token": {password}, "code": {code}})
	}
	enter("incorrect horse", recovery[0])
	if n.suspects() {
		t.Error("a wrong password is said to be known")
	}
	enter(good, "000000")
	if !n.suspects() {
		t.Error("nobody is told")
	}
	if _, page := get(t, c, n.URL+"/"); !strings.Contains(page, `<a href="/system#password">The password of the first owner</a>`) || !strings.Contains(page, "without the right code at ") || !strings.Contains(page, " from 127.0.0.1") {
		t.Errorf("Home says\n%s", page)
	}
	enter(good, recovery[0])
	if n.suspects() {
		t.Error("it was the owner, who mistyped")
	}
	// A page that was open when the second factor was turned on asks for none of its codes.
	begin := url.Values{"password": {good}, "form": {tokenOf(t, c, n.URL+"/system/factor/begin")}}
	if status, page := sent(t, c, n.URL, "/system/factor/begin", begin); status != http.StatusConflict || !strings.Contains(page, access.ErrHasFactor.Error()) || n.suspects() {
		t.Errorf("setting up a second one: status %d, or the owner's password is said to be known:\n%s", status, page)
	}
	form := func(code string) url.Values {
		return url.Values{"password": {good}, "code": {code}, "form": {tokenOf(t, c, n.URL+"/system/factor/codes")}}
	}
	if status, _ := sent(t, c, n.URL, "/system/factor/codes", form("000000")); status != http.StatusConflict || !n.suspects() {
		t.Errorf("on the page of the second factor: status %d", status)
	}
	// Recovery codes anew, by one of those before, which are void then.
	status, page := sent(t, c, n.URL, "/system/factor/codes", form(recovery[1]))
	codes := regexp.MustCompile(`<li><code>([-0-9A-Z]{19})</code>`).FindAllStringSubmatch(page, -1)
	if status != http.StatusOK || len(codes) != 10 || !strings.Contains(page, "Those before are void.") {
		t.Fatalf("status %d:\n%s", status, page)
	}
	if status, page := sent(t, c, n.URL, "/system/factor/codes", form(recovery[2])); status != http.StatusConflict || strings.Contains(page, "<li><code>") {
		t.Errorf("one that is void: status %d", status)
	}
	next := url.Values{"before": {good}, "code": {codes[0][1]}, "password": {"blue harbour lantern"}, "again": {"blue harbour lantern"}, "form": {tokenOf(t, c, n.URL+"/system/password")}}
	if status, page := sent(t, c, n.URL, "/system/password", next); status != http.StatusOK {
		t.Fatalf("another password: status %d:\n%s", status, page)
	}
	if n.suspects() {
		t.Error("another password is known to nobody")
	}
}

// TestAPasskeyInABrowser has an owner add one, sign in by it, and stop halfway.
func TestAPasskeyInABrowser(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	if err := access.NewPasswords(n.dir).Set(good); err != nil {
		t.Fatal(err)
	}
	n.URL = strings.Replace(n.URL, "127.0.0.1", "localhost", 1) // a name that every browser knows
	w := open(t, n)
	if _, err := chromedp.Call(w.tab, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	device, err := chromedp.Call(w.tab, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	verified := func(is bool) {
		t.Helper()
		if _, err := chromedp.Call(w.tab, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: device.AuthenticatorID, IsUserVerified: is}); err != nil {
			t.Fatal(err)
		}
	}
	shows := func(where, selector string) {
		t.Helper()
		w.do(where, visible(selector))
		if over := is[float64](w, beyond); over > 0 {
			t.Errorf("%s: %v px beyond the window", where, over)
		}
		w.look(where)
	}
	begin := func(name string) {
		t.Helper()
		w.do("the page", chromedp.Navigate(n.URL+"/system/passkeys"), visible("#passkey-name"), chromedp.SendKeys(chromedp.CSS("#passkey-name"), name),
			chromedp.SendKeys(chromedp.CSS("#password"), good), chromedp.Click(chromedp.CSS(`form[action="/system/passkeys/begin"] button`)))
		shows("before it is made", "#make")
	}
	w.do("the way there", chromedp.EmulateViewport(360, 800), chromedp.Navigate(n.URL+"/system"), chromedp.Click(chromedp.CSS(`a[href="/system/passkeys"]`)))
	shows("none yet", "#passkey-name")
	begin("phone")
	w.do("making it", chromedp.Click(chromedp.CSS("#passkey button")))
	shows("one", "li[id^=passkey-]")
	begin("the same phone")
	w.do("making a second one", chromedp.Click(chromedp.CSS("#passkey button")))
	shows("which the device does not make", "[data-problem]")

	w.do("signing out", chromedp.Click(chromedp.CSS(".out button")), visible("form.login"))
	verified(false)
	w.do("a stranger with the device", chromedp.Click(chromedp.CSS("button[form=passkey]")))
	shows("nobody is signed in", "[data-problem]")
	verified(true)
	w.do("signing in", chromedp.Click(chromedp.CSS("button[form=passkey]")), visible("#apps"))
	w.complaints()
	if all, err := n.sessions.Passkeys.List(); err != nil || len(all) != 1 || all[0].Used.IsZero() || all[0].Host() != "localhost" {
		t.Errorf("%+v, %v", all, err)
	}
}
