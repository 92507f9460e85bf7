package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// TestASecondFactorInABrowser has an owner set it up, sign in with it, and turn it off by a
// recovery code.
func TestASecondFactorInABrowser(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	if err := access.NewPasswords(n.dir).Set(good); err != nil {
		t.Fatal(err)
	}
	w := open(t, n)
	shows := func(where, selector string) {
		t.Helper()
		w.do(where, visible(selector))
		if over := is[float64](w, beyond); over > 0 {
			t.Errorf("%s: %v px beyond the window", where, over)
		}
		w.look(where)
	}
	press := func(verb string) chromedp.Action[chromedp.Void] {
		return chromedp.Click(chromedp.CSS(`form[action="/system/factor/` + verb + `"] button`))
	}
	w.do("the way there", chromedp.EmulateViewport(360, 800), chromedp.Navigate(n.URL+"/system"), chromedp.Click(chromedp.CSS(`a[href="/system/factor"]`)))
	shows("before", "#is-off")
	w.do("a wrong password", chromedp.SendKeys(chromedp.CSS("#password"), "incorrect horse"), press("begin"))
	shows("after a wrong password", "[role=alert]")
	w.do("setting it up", chromedp.SendKeys(chromedp.CSS("#password"), good), press("begin"))
	shows("the secret", "img.qr")
	w.until(`(i => i.complete && i.naturalWidth > 0)(document.querySelector("img.qr"))`)
	secret := strings.ReplaceAll(is[string](w, `document.querySelector("main code").innerText`), "-", "")
	if link := is[string](w, `document.querySelector("main a[href^=otpauth]").href`); !strings.Contains(link, "secret="+secret) {
		t.Errorf("the link is %q, the secret %q", link, secret)
	}
	code := func(ahead time.Duration) string {
		c, err := totp.GenerateCode(secret, time.Now().Add(ahead))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	w.do("a wrong code", chromedp.SendKeys(chromedp.CSS("#code"), "12345"), press("confirm"))
	shows("after a wrong code", "[role=alert]")
	w.do("the code", chromedp.SendKeys(chromedp.CSS("#code"), code(0)), press("confirm"))
	shows("recovery codes", "ul.recovery")
	recovery := strings.Fields(is[string](w, `document.querySelector("ul.recovery").innerText`))
	if len(recovery) != 10 {
		t.Fatalf("recovery codes: %q", recovery)
	}
	w.do("the page again", chromedp.Navigate(n.URL+"/system/factor"))
	shows("after", "#is-on")
	if body := is[string](w, `document.body.innerText`); strings.Contains(body, recovery[0]) || strings.Contains(body, secret) {
		t.Error("the recovery codes, or the secret, are shown once more")
	}

	c := n.visitor(t)
	enter := func(password, code string) (int, string) {
		t.Helper()
		return sent(t, c, n.URL, "/login", url.Values{"token": {password}, "code": {code}})
	}
	status, wrongCode := enter(good, "000000x")
	_, wrongPassword := enter("incorrect horse", code(30*time.Second))
	if status != http.StatusUnauthorized || wrongCode != wrongPassword || !strings.Contains(wrongCode, `name="code"`) {
		t.Errorf("status %d; what was wrong can be told from\n%s\nand\n%s", status, wrongCode, wrongPassword)
	}
	if status, _ := enter(good, code(30*time.Second)); status != http.StatusOK {
		t.Errorf("password and code: status %d", status)
	}
	w.do("turning it off", chromedp.Click(chromedp.CSS("#off summary")), chromedp.SendKeys(chromedp.CSS("#password"), good), chromedp.SendKeys(chromedp.CSS("#code"), recovery[7]), press("off"))
	shows("off again", "#is-off")
	w.complaints()

	asked, err := n.pages.Reconciler.History("", historyMost)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, a := range asked {
		said = append(said, a.What+": "+a.Refused)
		for _, hidden := range append(recovery, secret, good, "incorrect horse") {
			if strings.Contains(a.What+a.Refused, hidden) {
				t.Errorf("the log holds %q: %+v", hidden, a)
			}
		}
	}
	for _, want := range []string{"second factor begin: not the password", "second factor on: ", "second factor off: "} {
		if !slices.Contains(said, want) {
			t.Errorf("the log does not hold %q: %q", want, said)
		}
	}
	if !slices.ContainsFunc(said, func(s string) bool {
		return strings.HasPrefix(s, "sign in: the password was right, and the code beside it was not")
	}) {
		t.Errorf("the log does not say that somebody knows the password: %q", said)
	}
}
