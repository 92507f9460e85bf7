package web

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestPagesInGermanInABrowser has an owner choose German, and sees that its longer words fit
// a phone, and that axe finds nothing in them.
func TestPagesInGermanInABrowser(t *testing.T) {
	n, c := settled(t)
	post(t, c, n.URL+"/apps/wiki/install", nil)
	w := open(t, n)
	w.do("choosing German", chromedp.EmulateViewport(360, 800), chromedp.Navigate(n.URL+"/system"), visible("#speak"),
		chromedp.SetValue(chromedp.CSS("#speak"), "de"), chromedp.Click(chromedp.CSS(`form[action="/system/language"] button`)), visible("html[lang=de] #main"))
	if got := is[string](w, `location.hash + " " + document.querySelector("#speak").value`); got != "#language de" {
		t.Errorf("after choosing: %s", got)
	}
	for _, path := range []string{"/", "/store", "/apps/base", "/apps/wiki", "/apps/wiki/history", "/apps/wiki/logs", "/backups", "/system", "/system/factor", "/system/passkeys", "/sheet"} {
		for _, width := range []int64{768, 360} {
			where := fmt.Sprintf("%s, %d px", path, width)
			w.do(where, chromedp.EmulateViewport(width, 800), chromedp.Navigate(n.URL+path), visible("html[lang=de] #main"))
			if over := is[float64](w, beyond); over > 0 {
				t.Errorf("%s: %v px beyond the window", where, over)
			}
		}
		w.look(path)
	}
	w.complaints()
}
