package web

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// tab follows a page's events, and gives each message's HTML.
func tab(t *testing.T, c *http.Client, address string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	messages := make(chan string)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(messages)
		in := bufio.NewReader(resp.Body)
		var m strings.Builder
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				m.WriteString(data)
			} else if line == "\n" && m.Len() > 0 {
				select {
				case messages <- m.String():
				case <-ctx.Done():
					return
				}
				m.Reset()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		resp.Body.Close()
		<-done
	})
	return messages
}

const messageTime = 20 * time.Second

// message is the next one of a tab; it has this text.
func message(t *testing.T, tab <-chan string, text string) {
	t.Helper()
	select {
	case m, ok := <-tab:
		if !ok || !strings.Contains(m, text) {
			t.Fatalf("no %q in the message %t:\n%s", text, ok, m)
		}
	case <-time.After(messageTime):
		t.Fatalf("waited %s for a message with %q", messageTime, text)
	}
}

func quiet(t *testing.T, tab <-chan string) {
	t.Helper()
	select {
	case m := <-tab:
		t.Errorf("a message that nobody needs:\n%s", m)
	case <-time.After(3 * burst):
	}
}

// rendered is how often the live part of pages was rendered, of all that are looked at.
func (l *live) rendered() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.parts {
		p.mu.Lock()
		n += p.rendered
		p.mu.Unlock()
	}
	return n
}

func TestAChangeIsRenderedOnceForAllTabsAndSentOnce(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	begun := time.Now()
	n.pages.clock = func() time.Time { return begun } // with the minute, load and memory are others
	c, _ := n.owner(t)
	var tabs []<-chan string
	for range 5 {
		tabs = append(tabs, tab(t, c, n.URL+"/events"))
	}
	for _, tab := range tabs {
		message(t, tab, `data-state="not installed"`)
	}
	if got := n.pages.live.rendered(); got != 1 {
		t.Errorf("the first look of five tabs was rendered %d times", got)
	}
	if _, err := n.pages.Reconciler.Request(request.Request{App: "feeds", Verb: request.Install}); err != nil {
		t.Fatal(err)
	}
	for _, tab := range tabs {
		message(t, tab, `data-state="starting"`)
	}
	for _, tab := range tabs {
		quiet(t, tab)
	}
	if got := n.pages.live.rendered(); got > 3 {
		t.Errorf("one change was rendered %d times", got-1)
	}
	// Told of what changes nothing that is shown, no tab hears.
	n.pages.notes.note()
	for _, tab := range tabs {
		quiet(t, tab)
	}
}

func TestALivePartIsForgottenWhenNobodyLooks(t *testing.T) {
	var l live
	p, leave := l.watch("a")
	again, leaveAgain := l.watch("a")
	other, leaveOther := l.watch("b")
	if p != again || p == other {
		t.Error("two audiences have one part, or one has two")
	}
	leave()
	if len(l.parts) != 2 {
		t.Error("it is gone while somebody looks")
	}
	leaveAgain()
	leaveOther()
	if len(l.parts) != 0 {
		t.Errorf("left: %v", l.parts)
	}
}

func TestAnApplicationsPageIsLiveAndLoadsAnewWhenItsFormsAreForSomethingElse(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	c, _ := n.owner(t)
	_, page := get(t, c, n.URL+"/apps/feeds")
	_, rest, _ := strings.Cut(page, `sse-connect="`)
	path, _, _ := strings.Cut(rest, `"`)
	path = strings.ReplaceAll(path, "&amp;", "&")
	events := tab(t, c, n.URL+path)
	message(t, events, `data-state="not installed"`)
	post(t, c, n.URL+"/apps/feeds/install", nil)
	message(t, events, `hx-target="#page"`)
	if _, page := get(t, c, n.URL+"/apps/feeds"); strings.Contains(page, `action="/apps/feeds/install"`) || !strings.Contains(page, `action="/apps/feeds/uninstall"`) {
		t.Errorf("the page of what is installed:\n%s", page)
	}
}

func TestWhatTheEngineLastSaidIsShownAsThat(t *testing.T) {
	dir := t.TempDir()
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	seen := host.Observation{At: time.Now().Add(-2 * time.Hour), Containers: map[string]host.Container{"feeds": {ID: "1", Name: "feeds", App: "feeds", State: "running"}}}
	if err := store.Remember("observed.json", seen); err != nil {
		t.Fatal(err)
	}
	n := site(t, dir, "sesame")
	c, _ := n.owner(t)
	post(t, c, n.URL+"/apps/feeds/install", nil)
	for _, path := range []string{"/", "/apps/feeds", "/store"} {
		_, page := get(t, c, n.URL+path)
		for _, want := range []string{"2 hours ago: the engine does not answer (the engine has not answered yet)", `<small class="past">last seen</small> <span class="state running">running</span>`} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %s in\n%s", path, want, page)
			}
		}
		if n := strings.Count(page, ">running<"); n != 1 {
			t.Errorf("%s says %d times that it runs", path, n)
		}
	}
	unheard := site(t, t.TempDir(), "sesame")
	c, _ = unheard.owner(t)
	post(t, c, unheard.URL+"/apps/feeds/install", nil)
	for _, path := range []string{"/", "/apps/feeds", "/store", "/system", "/backups"} {
		if _, page := get(t, c, unheard.URL+path); !strings.Contains(page, "Waiting for the engine (the engine has not answered yet)") || strings.Contains(page, "Nothing is installed") || strings.Contains(page, ">running<") {
			t.Errorf("%s:\n%s", path, page)
		}
	}
}
