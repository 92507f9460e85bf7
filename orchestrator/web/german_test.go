package web

import (
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/notify"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// preferring is a browser that asks for a language.
type preferring struct {
	language string
	http.RoundTripper
}

func (p preferring) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Accept-Language", p.language)
	return p.RoundTripper.RoundTrip(r)
}

// asking is a browser with the cookies of another one, which asks for a language.
func asking(c *http.Client, language string) *http.Client {
	return &http.Client{Jar: c.Jar, Transport: preferring{language, c.Transport}}
}

// inEnglish are the words of a page that are English though they are in the catalog.
func inEnglish(page string) (left []string) {
	pieces := proseOf(page)
	for _, key := range slices.Sorted(maps.Keys(inGerman)) {
		said := inGerman[key]
		for _, part := range verb.Split(tags.ReplaceAllString(code.ReplaceAllString(key, "%s"), "%s"), -1) {
			part = html.UnescapeString(strings.TrimSpace(part))
			many := strings.Contains(part, " ")
			if part == "" || strings.Contains(said, part) || !many && part != key {
				continue
			}
			for _, p := range pieces {
				if p.text == part || many && strings.Contains(p.text, part) {
					left = append(left, p.text)
				}
			}
		}
	}
	return left
}

func TestEveryPageIsInGermanWhereTheBrowserAsksForIt(t *testing.T) {
	look := func(c *http.Client, base string, paths ...string) {
		t.Helper()
		for _, path := range paths {
			r, err := c.Get(base + path)
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			if vary := strings.Join(r.Header.Values("Vary"), ", "); !strings.Contains(vary, "Accept-Language") || !strings.Contains(vary, "Cookie") {
				t.Errorf("%s: Vary %q", path, vary)
			}
			status, page := get(t, c, base+path)
			if status >= 500 || !strings.Contains(page, `<html lang="de">`) {
				t.Errorf("%s: status %d:\n%s", path, status, page)
			}
			for _, left := range inEnglish(page) {
				t.Errorf("%s says in English %q", path, left)
			}
		}
	}
	const de = "de-AT,de;q=0.9,en;q=0.5"

	n := claimable(t)
	c := asking(n.visitor(t), de)
	look(c, n.URL, "/claim", "/login")
	_, page := sent(t, c, n.URL, "/claim", url.Values{"code": {"K7QF-M2XP"}, "password": {good}, "again": {good}})
	if !strings.Contains(page, "Das ist nicht der Code dieses Servers.") {
		t.Errorf("a code that is wrong:\n%s", page)
	}

	n, c = settled(t)
	c = asking(c, de)
	look(c, n.URL, "/", "/store", "/store?q=none", "/apps/wiki", "/apps/none")
	post(t, c, n.URL+"/apps/wiki/install", nil)
	if status, page := sent(t, c, n.URL, "/apps/base/uninstall", url.Values{"form": {tokenOf(t, c, n.URL+"/apps/base/uninstall")}}); status != http.StatusConflict || !strings.Contains(page, "Nicht ausgeführt: ") {
		t.Errorf("a refusal: %d\n%s", status, page)
	}
	n.pages.About = About{Name: "box.local", Version: "1.2.3", StartedAt: time.Now(), Fingerprint: strings.Repeat("0123", 16)}
	look(c, n.URL, "/", "/apps/wiki", "/apps/wiki/history", "/apps/wiki/credentials", "/backups", "/backups/none", "/system", "/system/checks", "/system/factor", "/system/passkeys", "/system/history", "/sheet")

	n, c = household(t)
	guest := asking(n.user(t, "anna", access.Guest), de)
	if err := n.sessions.Users.Set("anna", access.Guest, []string{"wiki"}); err != nil {
		t.Fatal(err)
	}
	look(guest, n.URL, "/", "/account", "/store", "/apps/wiki/credentials")
	c = asking(c, de)
	look(c, n.URL, "/system", "/join", "/login")
	for _, invited := range []string{"add", "bert/reset"} {
		path := "/system/users/" + invited
		_, page := sent(t, c, n.URL, path, url.Values{"name": {"bert"}, "role": {"owner"}, "form": {tokenOf(t, c, n.URL+path)}})
		for _, left := range inEnglish(page) {
			t.Errorf("%s says in English %q", path, left)
		}
	}

	n, c, _ = speaker(t, nil)
	c = asking(c, de)
	look(c, n.URL, "/", "/store", "/apps/feeds", "/apps/feeds/logs", "/apps/feeds/logs?held=yes&q=nobody")
	for path, text := range map[string]string{"/events": "zuletzt gesehen", "/apps/feeds/events": "Neu starten", "/events/backups": "Nichts wird gesichert", "/events/notify": "Bisher stehen sie nur auf diesen Seiten.", "/apps/feeds/logs/events": "Neue Zeilen kommen von selbst."} {
		message(t, tab(t, c, n.URL+path), text)
	}

	made := time.Now().Add(-time.Hour)
	f := frame{tongue: german, token: func(string) string { return "" }}
	one := stored{Repository: &repository.Repository{Name: "nas", URL: "/mnt/nas"}, Schedule: german.t("every %d hours", 24), Keeps: german.t("%d days", 7)}
	button := f.Button("/x", german.t("Restore"))
	for name, data := range map[string]any{
		"repository": &repositoryPage{frame: f, Of: one, Snapshots: []shot{{Snapshot: repository.Snapshot{ID: "0123456789", App: "feeds", Made: made, Size: 3 << 30}, Restore: &button}, {Snapshot: repository.Snapshot{ID: "123456789a", App: "feeds"}}}},
		"backups": backupsPage{frame: f, Repositories: []stored{one}, Key: "k", KeyOf: "nas", Apps: []kept{{ID: "feeds", Name: "Feeds", Said: german.backedUp(view.Backup{Made: made, Proven: made, Started: made, Size: 1, Repository: "nas"})}},
			Jobs: []jobRow{{Doing: german.doing(job{Verb: jobProve, App: "feeds", Repository: "nas"})}, {job: job{Ended: made, Problem: "it failed"}}, {job: job{Ended: made, Asked: []string{"reads it"}}}}},
		"notify":   systemPage{frame: f, Notify: notifyPart{Targets: []targetRow{{Target: notify.Target{Name: "phone", Standing: notify.Standing{Sent: made, Failed: made, Problem: "no answer", Waiting: 1, Lost: 2}}}}}},
		"passkeys": passkeysPage{frame: f, Where: "box.local", Code: true, Passkeys: []passkeyRow{{Passkey: access.Passkey{Name: "phone", Origin: "https://box.local:7443", Added: made}}, {Passkey: access.Passkey{Name: "key", Origin: "https://box.lan:7443", Added: made, Used: made}, Elsewhere: true}}},
		"checks":   systemPage{frame: f, Checked: true, Checks: []host.Finding{{Name: "disk", OK: true}, {Name: "clock", Remedy: "set it"}}},
	} {
		page, err := n.pages.execute(german, name, data)
		if err != nil {
			t.Fatal(err)
		}
		for _, left := range inEnglish(string(page)) {
			t.Errorf("%s says in English %q", name, left)
		}
	}

	for name, data := range map[string]any{
		"passkeys": passkeysPage{frame: f, Options: "{}", Name: "phone"},
		"factor":   factorPage{frame: f, FactorStatus: access.FactorStatus{On: true, Since: made, Recovery: 3}},
	} {
		page, err := n.pages.execute(german, name, data)
		if err != nil {
			t.Fatal(err)
		}
		for _, left := range inEnglish(string(page)) {
			t.Errorf("%s, otherwise, says in English %q", name, left)
		}
	}

	trust := httptest.NewServer(Trust("box", strings.Repeat("0123456789abcdef", 4), nil))
	defer trust.Close()
	look(&http.Client{Transport: preferring{de, http.DefaultTransport}}, trust.URL, "/trust")
}

func TestTheLanguageIsTheChosenOneOrTheBrowsers(t *testing.T) {
	for _, c := range []struct {
		prefers, chosen string
		want            tongue
	}{
		{"", "", english}, {"de", "", german}, {"de-CH", "", german}, {"fr", "", english}, {"fr, de;q=0.7, en;q=0.3", "", german}, {"en-GB, de;q=0.9", "", english},
		{"no language at all; q=x", "", english}, {"de", "en", english}, {"en", "de", german}, {"de", "?", german},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept-Language", c.prefers)
		if c.chosen != "" {
			r.AddCookie(&http.Cookie{Name: languageCookie, Value: c.chosen})
		}
		if got := in(r); got != c.want {
			t.Errorf("%q, %q chosen: %s", c.prefers, c.chosen, spoken[got])
		}
	}
}

func TestAnOwnerChoosesTheLanguage(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	c, _ := n.owner(t)
	for _, choice := range []struct{ language, lang, option string }{{"de", "de", `value="de" lang="de" selected`}, {"en", "en", `value="en" lang="en" selected`}, {"tlh", "en", `<option value="">`}, {"", "en", `<option value="">`}} {
		if status := post(t, c, n.URL+"/system/language", url.Values{"language": {choice.language}}); status != http.StatusOK {
			t.Errorf("%q: status %d", choice.language, status)
		}
		if _, page := get(t, c, n.URL+"/system"); !strings.Contains(page, `<html lang="`+choice.lang+`">`) || !strings.Contains(page, choice.option) {
			t.Errorf("%q:\n%s", choice.language, page)
		}
	}
	if status := post(t, n.visitor(t), n.URL+"/system/language", url.Values{"language": {"de"}}); status != http.StatusUnauthorized {
		t.Errorf("signed out: status %d", status)
	}
}

func TestALivePartIsRenderedOnceInEachLanguageThatIsOpen(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	begun := time.Now()
	n.pages.clock = func() time.Time { return begun }
	c, _ := n.owner(t)
	var tabs []<-chan string
	for range 3 {
		tabs = append(tabs, tab(t, asking(c, "de"), n.URL+"/events"))
	}
	for _, tab := range tabs {
		message(t, tab, "Auf diesem Server ist noch nichts installiert")
	}
	if got := n.pages.live.rendered(); got != 1 {
		t.Errorf("for three German tabs it was rendered %d times", got)
	}
	message(t, tab(t, asking(c, "en"), n.URL+"/events"), "Nothing is installed on this node yet")
	if got := n.pages.live.rendered(); got != 2 {
		t.Errorf("with an English one, it was rendered %d times", got)
	}
}

func TestNumbersTimesAndPluralsAreOfTheLanguage(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d - time.Second) }
	at := time.Date(2026, 5, 1, 3, 4, 5, 0, time.Local)
	for _, c := range []struct{ got, want string }{
		{english.ago(time.Time{}), "never"}, {german.ago(time.Time{}), "nie"},
		{english.ago(ago(0)), "less than a minute ago"}, {german.ago(ago(0)), "vor weniger als einer Minute"},
		{english.ago(ago(time.Minute)), "1 minute ago"}, {german.ago(ago(time.Minute)), "vor 1 Minute"},
		{english.ago(ago(59 * time.Minute)), "59 minutes ago"}, {german.ago(ago(59 * time.Minute)), "vor 59 Minuten"},
		{english.ago(ago(time.Hour)), "1 hour ago"}, {german.ago(ago(47 * time.Hour)), "vor 47 Stunden"},
		{english.ago(ago(49 * time.Hour)), "2 days ago"}, {german.ago(ago(49 * time.Hour)), "vor 2 Tagen"},
		{english.date(at), "2026-05-01 03:04"}, {german.date(at), "01.05.2026 03:04"}, {german.second(at), "01.05.2026 03:04:05"}, {german.day(at), "01.05.2026"},
		{english.size(1536 << 20), "1.5 GiB"}, {german.size(1536 << 20), "1,5 GiB"}, {german.percent(5), "0,5 %"}, {german.size(12345 << 30), "12.345 GiB"},
		{english.t("%d applications", 1), "1 application"}, {english.t("%d applications", 0), "0 applications"}, {german.t("%d applications", 1), "1 App"}, {german.t("%d applications", 12345), "12.345 Apps"},
		{english.t("every %d hours", 1), "every hour"}, {german.t("every %d hours", 12), "alle 12 Stunden"}, {german.t("%d last", 1), "die letzte"}, {german.t("%d last", 3), "die letzten 3"},
		{english.t("%.1[2]f, %[1]d cores", 1, 0.25), "0.2, 1 core"}, {german.t("%.1[2]f, %[1]d cores", 4, 1.5), "1,5 auf 4 Kernen"},
		{german.t("%[2]s, in %[1]d days", 1, "morgen"), "morgen, in 1 Tag"},
		{string(german.html("<strong>%s</strong> has no owner yet, and no password.", `<b>"`)), "<strong>&lt;b&gt;&#34;</strong> gehört noch niemandem und hat kein Passwort."},
		{string(german.en("<b>")), `<span lang="en">&lt;b&gt;</span>`}, {string(english.en("<b>")), "&lt;b&gt;"}, {string(german.en("")), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, expected %q", c.got, c.want)
		}
	}
}
