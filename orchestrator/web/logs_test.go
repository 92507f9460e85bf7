package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// talking is a node whose containers have said something, and go on when they are followed.
type talking struct {
	well
	said  func(container string) []string // before
	mu    sync.Mutex
	more  chan string // what the container "feeds" says; closed where it ends
	gone  chan string // names those whose follower has ended
	fails error       // in place of an answer
}

func (n *talking) Logs(ctx context.Context, container string, follow bool, tail int, emit func(host.LogLine) error) error {
	if n.fails != nil {
		return n.fails
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	said := n.said(container)
	for i, text := range said[max(0, len(said)-tail):] {
		if err := emit(host.LogLine{At: at.Add(time.Duration(i) * time.Second), Text: text}); err != nil {
			return err
		}
	}
	if !follow {
		return nil
	}
	defer func() { n.gone <- container }()
	n.mu.Lock()
	more := n.more
	n.mu.Unlock()
	if container != "feeds" {
		more = nil
	}
	for {
		select {
		case text, ok := <-more:
			if !ok {
				return nil
			}
			if err := emit(host.LogLine{At: time.Now(), Text: text}); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// speaker is a signed-in node that has containers, which talk.
func speaker(t *testing.T, said func(container string) []string) (*node, *http.Client, *talking) {
	t.Helper()
	dir := t.TempDir()
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	seen := host.Observation{At: time.Now(), Containers: map[string]host.Container{"feeds": {ID: "1", Name: "feeds", App: "feeds", State: "running"}, "feeds-db": {ID: "2", Name: "feeds-db", App: "feeds", State: "running"}}}
	if err := store.Remember("observed.json", seen); err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	feeds := &manifest.Manifest{ID: "feeds", Name: "Feeds", Version: "1", Containers: []manifest.Container{{Name: "feeds"}, {Name: "feeds-db"}}}
	log := slog.New(slog.DiscardHandler)
	sessions := access.OpenSessions(dir, "sesame", access.NewPasswords(dir), log)
	n := &node{sessions: sessions, dir: dir, pages: &Server{Reconciler: orchestrator.New(bare{}, store, sec, catalog.Catalog{"feeds": {Manifest: feeds}}, "/d", log), Guard: access.NewGuard(sessions), Sessions: sessions, Log: log}}
	n.Server = httptest.NewTLSServer(n.pages.Handler())
	t.Cleanup(n.Close)
	if said == nil {
		said = func(container string) []string { return []string{container + " is up"} }
	}
	e := &talking{said: said, more: make(chan string), gone: make(chan string, 100)}
	n.pages.Engine = e
	c, _ := n.owner(t)
	if _, err := n.pages.Reconciler.Request(request.Request{App: "feeds", Verb: request.Install}); err != nil {
		t.Fatal(err)
	}
	return n, c, e
}

func TestLogsAreShownAsTextWhateverTheyHold(t *testing.T) {
	n, c, _ := speaker(t, func(string) []string {
		return []string{"<script>alert(1)</script>", "red \x1b[31m\u202etxt\r", strings.Repeat("wide", logLine)}
	})
	_, page := get(t, c, n.URL+"/apps/feeds/logs")
	for _, want := range []string{"&lt;script&gt;", `red \x1b[31m\u202etxt\r`, "bytes more)", `sse-connect="/apps/feeds/logs/events"`, `href="/apps/feeds/logs.txt"`, `href="/apps/feeds/logs?held=yes"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	if strings.Contains(page, "<script>alert") || strings.ContainsAny(page, "\x1b\u202e\r") || len(page) > 64<<10 {
		t.Errorf("a page of %d bytes obeys a log:\n%s", len(page), page)
	}
	if _, page := get(t, c, n.URL+"/apps/feeds/logs?held=yes"); strings.Contains(page, "sse-connect") {
		t.Error("a page that is held is followed")
	}
}

func TestLogsAreFilteredAndBounded(t *testing.T) {
	n, c, _ := speaker(t, func(string) []string {
		said := []string{"the Needle"}
		for i := range 2 * logShown {
			said = append(said, fmt.Sprintf("hay %d", i))
		}
		return said
	})
	_, page := get(t, c, n.URL+"/apps/feeds/logs?q=needle")
	if !strings.Contains(page, "the Needle") || strings.Contains(page, "hay") || !strings.Contains(page, `sse-connect="/apps/feeds/logs/events?q=needle"`) {
		t.Errorf("%s", page)
	}
	_, page = get(t, c, n.URL+"/apps/feeds/logs?q=hay")
	if got := strings.Count(page, "<time"); got != logShown || !strings.Contains(page, fmt.Sprintf("hay %d<", 2*logShown-1)) || !strings.Contains(page, fmt.Sprintf("%d lines before this not shown", 3*logShown)) {
		t.Errorf("%d lines:\n%s", got, page)
	}
	if _, page := get(t, c, n.URL+"/apps/feeds/logs?q=nobody+says+this"); !strings.Contains(page, "No line has this text.") {
		t.Errorf("%s", page)
	}
	// What is asked for is text, too, and a container that the application does not have is none.
	_, page = get(t, c, n.URL+"/apps/feeds/logs?member=other&q=%22%3E%3Cscript%3E"+strings.Repeat("x", 200))
	if strings.Contains(page, "><script>x") || strings.Contains(page, "member=other") || strings.Contains(page, strings.Repeat("x", logText)) {
		t.Errorf("%s", page)
	}
}

func TestAPageOfLogsIsFollowedAndItsFollowersEndWithIt(t *testing.T) {
	n, c, e := speaker(t, nil)
	events := tab(t, c, n.URL+"/apps/feeds/logs/events")
	message(t, events, "Followed")
	message(t, events, "feeds is up")
	e.more <- "<b>something new"
	message(t, events, "&lt;b&gt;something new")
	e.more <- "sly\r\revent: state\rdata: forged" // each would end a line of the stream
	message(t, events, `sly\r\revent: state\rdata: forged`)
	quiet(t, events)
	close(e.more)
	message(t, events, "It has ended")
	if got := <-e.gone; got != "feeds" {
		t.Errorf("%s has ended", got)
	}

	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL+"/apps/feeds/logs/events?q=up", nil)
	if err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	e.more = make(chan string) // it runs again
	e.mu.Unlock()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	// Whoever leaves before it is followed ends no follower.
	for said := bufio.NewScanner(resp.Body); said.Scan() && !strings.Contains(said.Text(), "feeds is up"); {
	}
	leave()
	resp.Body.Close()
	select {
	case <-e.gone:
	case <-time.After(messageTime):
		t.Error("the browser is gone, and its log is read still")
	}
}

func TestFollowersOfLogsAreFewAndEndWithTheSession(t *testing.T) {
	n, c, e := speaker(t, nil)
	var tabs []<-chan string
	for range logFollowers {
		tabs = append(tabs, tab(t, c, n.URL+"/apps/feeds/logs/events"))
		message(t, tabs[len(tabs)-1], "Followed")
	}
	message(t, tab(t, c, n.URL+"/apps/feeds/logs/events"), english.tooManyLogs())
	if status, _ := get(t, c, n.URL+"/apps/feeds/logs.txt"); status != http.StatusServiceUnavailable {
		t.Errorf("a download: status %d", status)
	}
	if status, page := get(t, c, n.URL+"/apps/feeds/logs"); status != http.StatusOK || !strings.Contains(page, "feeds is up") {
		t.Errorf("the page: status %d", status)
	}
	post(t, c, n.URL+"/logout", nil)
	for range 2 * logFollowers {
		select {
		case <-e.gone:
		case <-time.After(messageTime):
			t.Fatal("the session has ended, and a log is read still")
		}
	}
	c, _ = n.owner(t)
	deadline := time.After(messageTime)
	for {
		if status, _ := get(t, c, n.URL+"/apps/feeds/logs.txt"); status == http.StatusOK {
			break
		}
		select {
		case <-deadline:
			t.Fatal("there is no room again")
		default:
		}
	}
}

func TestADownloadOfLogsIsTextThatSorts(t *testing.T) {
	n, c, e := speaker(t, func(container string) []string { return []string{container + " \x1b[1mis up", "<b>"} })
	resp, err := c.Get(n.URL + "/apps/feeds/logs.txt?member=feeds")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := "2026-03-01T12:00:00.000000Z feeds: feeds \\x1b[1mis up\n2026-03-01T12:00:01.000000Z feeds: <b>\n"
	h := resp.Header
	if string(b) != want || h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Disposition"), `attachment; filename="feeds-log-`) {
		t.Errorf("%q, %v", b, h)
	}
	e.fails = errors.New("Podman is <b>down \x1b[2J")
	if _, text := get(t, c, n.URL+"/apps/feeds/logs.txt"); !strings.Contains(text, `feeds: (archipelago) Podman is <b>down \x1b[2J`) {
		t.Errorf("%q", text)
	}
	if _, page := get(t, c, n.URL+"/apps/feeds/logs"); !strings.Contains(page, `Podman is &lt;b&gt;down \x1b[2J`) {
		t.Errorf("%s", page)
	}
}

func TestABrowserThatTakesNothingIsGivenUp(t *testing.T) {
	done := make(chan error, 1)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &patient{ResponseController: http.NewResponseController(w), to: w, within: 100 * time.Millisecond}
		var err error
		for range 4 << 10 {
			if _, err = out.Write(make([]byte, 64<<10)); err != nil {
				break
			}
		}
		done <- err
	}))
	defer s.Close()
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	select {
	case err := <-done:
		if err == nil {
			t.Error("it took everything")
		}
	case <-time.After(messageTime):
		t.Error("it is waited for still")
		s.CloseClientConnections()
	}
}
