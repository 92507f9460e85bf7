package matrix

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
)

// visited is a visit of a page at https://192.0.2.228:18900, without a browser.
func visited() *visit {
	return &visit{origin: "https://192.0.2.228:18900", secret: "sesame", main: "main", stirred: make(chan struct{}, 1), page: &Page{Hosts: map[string]string{}}, pending: map[network.RequestID]request{}, answered: map[fetch.RequestID]bool{}}
}

func TestARequestThatFailsIsHeldAgainstWhoeverFailed(t *testing.T) {
	fail := func(e *network.EventLoadingFailed, document bool) *Page {
		v := visited()
		frame := network.EventRequestWillBeSent{RequestID: "1", Request: &network.Request{URL: "https://owner:sesame@192.0.2.228:18900/x"}}
		if document {
			frame.Type, frame.FrameID = network.ResourceTypeDocument, "main"
		}
		v.hear(&frame)
		if v.idle() {
			t.Error("idle while a request is under way")
		}
		v.hear(e)
		if !v.idle() {
			t.Error("not idle after its end")
		}
		return v.page
	}
	if p := fail(&network.EventLoadingFailed{RequestID: "1", ErrorText: "net::ERR_FAILED"}, false); len(p.Problems) != 1 || p.Problems[0].String() != "failed request: /x: net::ERR_FAILED" || len(p.Faults) > 0 || p.Disturbed {
		t.Errorf("of the page's: %+v", p)
	}
	if p := fail(&network.EventLoadingFailed{RequestID: "1", ErrorText: "net::ERR_FAILED"}, true); len(p.Faults) != 1 || len(p.Problems) > 0 {
		t.Errorf("of the page itself: %+v", p)
	}
	if p := fail(&network.EventLoadingFailed{RequestID: "1", Canceled: true}, false); len(p.Problems) > 0 {
		t.Errorf("given up by the page: %+v", p)
	}
	if p := fail(&network.EventLoadingFailed{RequestID: "1", ErrorText: networkChanged}, false); !p.Disturbed {
		t.Errorf("of this machine's network: %+v", p)
	}
}

func TestAnotherHostIsShownWithoutThePassword(t *testing.T) {
	v := visited()
	v.hear(&network.EventWebSocketCreated{URL: "wss://owner:sesame@a.example/?p=sesame"})
	if got := v.page.Hosts["a.example"]; got != "wss://a.example/?p=[the password]" {
		t.Errorf("%q", got)
	}
}

func TestProblemsAreKeptUpToANumber(t *testing.T) {
	v := visited()
	for range maxProblems + 7 {
		v.problem(consoleError, "sesame "+strings.Repeat("x", 1000))
	}
	if len(v.page.Problems) != maxProblems || v.page.More != 7 || strings.Contains(v.page.Problems[0].Text, "sesame") || len(v.page.Problems[0].Text) > maxText {
		t.Errorf("%d kept, %d more: %q", len(v.page.Problems), v.page.More, v.page.Problems[0].Text)
	}
	v.closed = true
	if v.hear(&network.EventWebSocketCreated{URL: "wss://a.example/"}); len(v.page.Hosts) > 0 {
		t.Error("heard after the end")
	}
}

// A page may ask for long addresses that never come: no more is kept of one than a report shows.
func TestWhatAPageWaitsForIsKeptShort(t *testing.T) {
	v := visited()
	v.hear(&network.EventRequestWillBeSent{RequestID: "1", Request: &network.Request{URL: v.origin + "/sesame/" + strings.Repeat("x", 2<<20)}})
	if name := v.pending["1"].name; len(name) > maxText || !strings.HasPrefix(name, "/[the password]/xx") {
		t.Errorf("%d bytes: %.50s", len(name), name)
	}
}
