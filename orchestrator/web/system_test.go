package web

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

// well is a node that is asked how it is.
type well struct{}

func (well) Doctor(context.Context, string) []host.Finding {
	return []host.Finding{{Name: "disk", OK: true, Detail: "enough is free"}, {Name: "clock", Detail: "it is <b>wrong", Remedy: "timedatectl set-ntp true"}}
}

func (well) Logs(_ context.Context, container string, _ bool, tail int, emit func(host.LogLine) error) error {
	return emit(host.LogLine{Text: container + " says <b>something"})
}

func (well) Version(context.Context) (string, error) { return "5.4.2", nil }

func TestBackupsSayThatThereIsNoRepositoryAndWhatIsWrongWithANewOne(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	c, _ := n.owner(t)
	post(t, c, n.URL+"/apps/feeds/install", nil)
	if _, page := get(t, c, n.URL+"/backups"); !strings.Contains(page, "Nothing is backed up") || !strings.Contains(page, "No backup of it is known.") {
		t.Errorf("%s", page)
	}
	for _, form := range []url.Values{{"name": {"disk"}, "url": {"no/place"}}, {"name": {"disk"}, "url": {"/mnt/disk"}, "environment": {"no value"}}} {
		if status := post(t, c, n.URL+"/backups/add", form); status != http.StatusConflict {
			t.Errorf("%v: status %d", form, status)
		}
		_, page := get(t, c, n.URL+"/backups")
		_, below, _ := strings.Cut(page, `action="/backups/add"`)
		if !strings.Contains(below, "Not done: ") || strings.Count(page, "Not done: ") != 1 {
			t.Errorf("it is not said below the form:\n%s", page)
		}
	}
	const app = `<h1>Not here</h1>
<p>none is neither installed on this node nor in its store. <a href="/store">`
	for path, want := range map[string]string{"/apps/none": app, "/apps/none/logs": app, "/apps/none/logs.txt": app, "/apps/none/credentials": app, "/apps/none/history": app, "/backups/none": `<h1>Not here</h1>
<p>This node has no repository none for backups. <a href="/backups">`} {
		if status, page := get(t, c, n.URL+path); status != http.StatusNotFound || !strings.Contains(page, want) {
			t.Errorf("%s: status %d\n%s", path, status, page)
		}
	}
}

func TestSystemShowsWhatIsWrongAndWhatToDo(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	n.pages.About = About{Version: "1.2.3", Name: "box.local"}
	c, _ := n.owner(t)
	_, page := get(t, c, n.URL+"/system")
	for _, want := range []string{"1.2.3", "box.local", "follows no signed catalog", `href="/system/checks"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	var p systemPage
	p.Checks = well{}.Doctor(t.Context(), "")
	part, err := n.pages.execute(english, "checks", p)
	if err != nil || !strings.Contains(string(part), `<li class="wrong">`) || !strings.Contains(string(part), "it is &lt;b&gt;wrong") || !strings.Contains(string(part), "<code>timedatectl set-ntp true</code>") {
		t.Errorf("%s, %v", part, err)
	}
	if status := post(t, c, n.URL+"/system/folders/add", url.Values{"name": {"photos"}, "dir": {"relative"}}); status != http.StatusConflict {
		t.Errorf("a folder that is none: status %d", status)
	}
	if _, page := get(t, c, n.URL+"/system"); !strings.Contains(page, "Not done: ") {
		t.Errorf("it is not said why:\n%s", page)
	}
	if _, page := get(t, c, n.URL+"/system/history"); !strings.Contains(page, "sign in") || !strings.Contains(page, "storage add photos relative") {
		t.Errorf("the history:\n%s", page)
	}
	if status := post(t, c, n.URL+"/system/refresh", nil); status != http.StatusConflict {
		t.Errorf("without a catalog: status %d", status)
	}
}

func TestEveryPageNeedsASession(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	n.owner(t)
	for _, path := range []string{"/store", "/backups", "/events/backups", "/backups/disk", "/system", "/system/checks", "/system/history", "/apps/feeds", "/apps/feeds/events", "/apps/feeds/logs", "/apps/feeds/credentials", "/apps/feeds/history"} {
		if status, body := get(t, n.visitor(t), n.URL+path); status != http.StatusUnauthorized || strings.Contains(body, "Feeds") {
			t.Errorf("%s: status %d, %s", path, status, body)
		}
	}
	for _, path := range []string{"/apps/feeds/backup", "/apps/feeds/prove", "/backups/add", "/backups/disk/set", "/backups/disk/key", "/backups/disk/remove", "/backups/disk/restore", "/system/refresh", "/system/folders/add", "/system/folders/photos/remove"} {
		if status := post(t, n.visitor(t), n.URL+path, nil); status != http.StatusUnauthorized {
			t.Errorf("%s, signed out: status %d", path, status)
		}
		c, _ := n.owner(t)
		if status := post(t, c, n.URL+path, url.Values{"form": {"another's"}}); status != http.StatusForbidden {
			t.Errorf("%s, with another form's token: status %d", path, status)
		}
	}
}

// storing is an engine that can do nothing but run restic.
type storing struct {
	orchestrator.Engine
	restic *restictest.Runner
}

func (s storing) Restic(ctx context.Context, line func([]byte), argv ...string) error {
	return s.restic.Restic(ctx, line, argv...)
}

func TestARepositoryIsAddedScheduledShownAndForgotten(t *testing.T) {
	dir := t.TempDir()
	n := siteOn(t, dir, t.TempDir(), storing{restic: restictest.New(t)})
	c, _ := n.owner(t)
	send := func(path string, form url.Values) (int, string) {
		t.Helper()
		form.Set("form", tokenOf(t, c, n.URL+path))
		return sent(t, c, n.URL, path, form)
	}
	disk := filepath.Join(t.TempDir(), "backups")
	status, page := send("/backups/add", url.Values{"name": {"disk"}, "url": {disk}})
	_, rest, _ := strings.Cut(page, `<pre id="recovery">`)
	key, _, _ := strings.Cut(rest, "<")
	if status != http.StatusOK || len(key) < 20 || !strings.Contains(page, "recovery key of disk") {
		t.Fatalf("%d:\n%s", status, page)
	}
	if _, page := get(t, c, n.URL+"/backups"); strings.Contains(page, key) || !strings.Contains(page, `href="/backups/disk"`) || !strings.Contains(page, "Backups every 24 hours; kept: 7 days, 4 weeks, 6 months") {
		t.Errorf("the page of backups:\n%s", page)
	}
	if _, page := get(t, c, n.URL+"/backups/disk"); strings.Contains(page, key) || !strings.Contains(page, "It holds none yet.") {
		t.Errorf("its page:\n%s", page)
	}
	schedule := url.Values{"hours": {"12"}, "window": {"02:00-05:00"}, "days": {"3"}, "weeks": {"0"}, "months": {"0"}, "last": {"2"}}
	send("/backups/disk/set", schedule)
	if _, page := get(t, c, n.URL+"/backups"); !strings.Contains(page, "Backups every 12 hours, at 02:00-05:00; kept: 2 last, 3 days") {
		t.Errorf("with another schedule:\n%s", page)
	}
	schedule.Set("window", "whenever")
	if status, page := send("/backups/disk/set", schedule); status != http.StatusConflict || !strings.Contains(page, "expected a window such as 02:00-05:00") {
		t.Errorf("a schedule that is none: %d\n%s", status, page)
	}
	if status, page := send("/backups/disk/key", url.Values{}); status != http.StatusOK || !strings.Contains(page, key) {
		t.Errorf("the key once more: %d\n%s", status, page)
	}
	if status, page := send("/backups/disk/remove", url.Values{"typed": {"dis"}}); status != http.StatusConflict || strings.Contains(page, key) {
		t.Errorf("forgotten without its name: %d\n%s", status, page)
	}
	if status, page := send("/backups/disk/remove", url.Values{"typed": {"disk"}}); status != http.StatusOK || !strings.Contains(page, key) {
		t.Errorf("forgotten: %d\n%s", status, page)
	}
	if status, _ := get(t, c, n.URL+"/backups/disk"); status != http.StatusNotFound {
		t.Errorf("its page is still there: %d", status)
	}
	audit, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil || strings.Contains(string(audit), key) || strings.Count(string(audit), "repository key disk") != 1 {
		t.Errorf("the audit log: %s, %v", audit, err)
	}
}
