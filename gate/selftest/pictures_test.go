//go:build lab

package selftest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

var wantPictures = flag.Bool("pictures", false, "take pictures of My Apps' pages, into out/my-apps")

// pictured are the pages of My Apps that 'make pictures' has in docs/my-apps, by what the
// files are called.
var pictured = []struct{ name, path string }{
	{"home", "/"},
	{"store", "/store"},
	{"search", "/store?q=feed"},
	{"install", "/apps/miniflux"},
	{"application", "/apps/radicale"},
	{"logs", "/apps/radicale/logs"},
	{"history", "/apps/radicale/history"},
	{"credentials", "/apps/radicale/credentials"},
	{"backups", "/backups"},
	{"system", "/system"},
	{"checks", "/system/checks"},
	{"factor", "/system/factor"},
	{"passkeys", "/system/passkeys"},
	{"tokens", "/system/tokens"},
	{"support", "/system/support"},
	{"audit", "/system/history"},
	{"trust", "/trust"},
}

// pictures takes, where they are wanted, one of each page, whole, as wide as a phone, a tablet and a desk, into
// out/my-apps.
func pictures(t *testing.T, tab context.Context, node string) {
	t.Helper()
	if !*wantPictures {
		return
	}
	dir := filepath.Join(root, "out", "my-apps")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tab, 3*time.Minute)
	defer cancel()
	for _, p := range pictured {
		for _, width := range []int64{360, 768, 1440} {
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 800), chromedp.Navigate(node+p.path), chromedp.WaitVisible(chromedp.CSS("h1"))); err != nil {
				t.Fatalf("%s, %d px: %v", p.path, width, err)
			}
			png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
			if err != nil {
				t.Fatalf("%s, %d px: %v", p.path, width, err)
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.png", p.name, width)), png, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
