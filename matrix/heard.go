package matrix

import (
	"cmp"
	"context"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// The kinds of problems.
const (
	scriptError   = "script error"
	consoleError  = "console error"
	failedRequest = "failed request"
)

// hear takes what the browser says of a page.
func (v *visit) hear(ev any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		v.problem(scriptError, exception(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			v.problem(consoleError, console(e.Args))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			v.problem(consoleError, e.Entry.Text)
		}
	case *network.EventRequestWillBeSent:
		v.ask(e.Request.URL)
		v.pending[e.RequestID] = request{v.said(v.name(e.Request.URL)), e.Type == network.ResourceTypeDocument && e.FrameID == v.main, e.Type == network.ResourceTypeEventSource}
		v.stir()
	case *network.EventWebSocketCreated:
		v.ask(e.URL)
	case *network.EventWebTransportCreated:
		v.ask(e.URL)
	case *network.EventLoadingFinished:
		delete(v.pending, e.RequestID)
		v.stir()
	case *network.EventLoadingFailed:
		r, known := v.pending[e.RequestID]
		delete(v.pending, e.RequestID)
		v.stir()
		v.page.Disturbed = v.page.Disturbed || e.ErrorText == networkChanged
		switch {
		case e.Canceled || !known: // or said of a frame or a worker, and of the page
		case r.document:
			v.page.Faults = append(v.page.Faults, v.said("the page: "+r.name+": "+e.ErrorText))
		default:
			v.problem(failedRequest, r.name+": "+cmp.Or(e.ErrorText, string(e.BlockedReason)))
		}
	case *network.EventResponseReceived:
		document := e.Type == network.ResourceTypeDocument && e.FrameID == v.main
		switch failed := e.Response.Status >= 400; {
		case document && v.page.Status == 0:
			v.page.Status = int(e.Response.Status)
		case document && failed:
			v.page.Faults = append(v.page.Faults, v.said(status("the page: "+v.name(e.Response.URL), e.Response.Status)))
		case failed:
			v.problem(failedRequest, status(v.name(e.Response.URL), e.Response.Status))
		}
	case *target.EventAttachedToTarget:
		v.follow(e.TargetInfo.TargetID)
	case *fetch.EventRequestPaused:
		v.proceed(e.RequestID)
	case *fetch.EventAuthRequired:
		v.answer(e)
	}
}

// follow hears what a frame of another site, or a worker, asks for, which is not said of
// the page. It waits until it is heard.
func (v *visit) follow(id target.ID) {
	v.answers.Go(func() {
		child, cancel := chromedp.NewContext(v.tab, chromedp.WithTargetID(id), chromedp.WithDetachOnCancel(), chromedp.WithListener(func(ev any) {
			switch ev.(type) {
			case *runtime.EventExceptionThrown, *runtime.EventConsoleAPICalled, *log.EventEntryAdded: // the page says it, too
			default:
				v.hear(ev)
			}
		}))
		defer cancel()
		if chromedp.Do(child, resume) == nil {
			<-v.tab.Done()
		}
	})
}

func resume(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
	_, err := cdp.Call(ctx, t, runtime.RunIfWaitingForDebugger, cdp.Empty{})
	return chromedp.Void{}, err
}

func (v *visit) ask(address string) { v.page.ask(address, v.said(v.name(address))) }

// stir says that something was asked for, or came.
func (v *visit) stir() {
	select {
	case v.stirred <- struct{}{}:
	default:
	}
}

// problem keeps one, up to a number that no page has that works.
func (v *visit) problem(kind, text string) {
	if len(v.page.Problems) == maxProblems {
		v.page.More++
		return
	}
	v.page.Problems = append(v.page.Problems, Problem{kind, v.said(text)})
}

func exception(d *runtime.ExceptionDetails) string {
	if d.Exception != nil && d.Exception.Description != "" {
		return firstLine(d.Exception.Description)
	}
	return d.Text
}

func console(args []*runtime.RemoteObject) string {
	var words []string
	for _, a := range args {
		if a.Description != "" {
			words = append(words, firstLine(a.Description))
		} else {
			words = append(words, strings.Trim(string(a.Value), `"`))
		}
	}
	return strings.Join(words, " ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
