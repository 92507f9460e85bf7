package matrix

import (
	"context"
	"fmt"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// fillIn types user and password into the form and submits it, as an owner does; false
// where there is none.
func (v *visit) fillIn(ctx context.Context, l *manifest.Login) (submitted bool) {
	bounded, done := v.bounded(ctx)
	defer done()
	for _, s := range []struct {
		field, selector string
		act             chromedp.Action[chromedp.Void]
	}{
		{"user", l.Form.User, typing(l.Form.User, l.User)},
		{"password", l.Form.Password, typing(l.Form.Password, v.secret)},
		{"submit", l.Form.Submit, chromedp.Click(chromedp.CSS(l.Form.Submit), chromedp.NodeVisible)},
	} {
		if s.selector == "" {
			continue // a form that asks for the password alone
		}
		if err := chromedp.Do(bounded, s.act); err != nil {
			v.fault("sign-in: login.form.%s: nothing visible matches %q within %s (%v)", s.field, s.selector, v.browser.patient(), err)
			return false
		}
	}
	return true
}

func typing(selector, text string) chromedp.Action[chromedp.Void] {
	field := chromedp.CSS(selector)
	return chromedp.Steps(chromedp.WaitVisible(field), chromedp.Clear(field), chromedp.SendKeys(field, text))
}

// answerChallenges has the browser give user and password where the page's own origin
// asks for them, once for each request: whoever asks again has refused them. Without a
// user, it gives none to anybody.
func (v *visit) answerChallenges(user string) error {
	v.mu.Lock()
	v.user = user
	v.mu.Unlock()
	handle := true
	err := chromedp.Do(v.tab, func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, fetch.Enable, fetch.EnableParams{HandleAuthRequests: &handle})
		return chromedp.Void{}, err
	})
	if err != nil {
		return fmt.Errorf("%w: preparing to sign in: %w", ErrBrowser, err)
	}
	return nil
}

// proceed lets a request go on that was stopped, as all are while challenges are heard.
func (v *visit) proceed(id fetch.RequestID) {
	v.tell(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: id})
		return err
	})
}

// answer gives user and password to whom they are for.
func (v *visit) answer(e *fetch.EventAuthRequired) {
	response := &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
	if v.user != "" && !v.answered[e.RequestID] && e.AuthChallenge.Source == fetch.AuthChallengeSourceServer && e.AuthChallenge.Origin == v.origin {
		v.answered[e.RequestID] = true
		response = &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: v.user, Password: v.secret}
	}
	v.tell(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: e.RequestID, AuthChallengeResponse: response})
		return err
	})
}

// tell sends a command from a listener, which must not wait for its answer. A command
// that fails is of a request that is gone.
func (v *visit) tell(command func(context.Context, *chromedp.Target) error) {
	v.answers.Go(func() { _ = chromedp.Do(v.tab, chromedp.Func(command)) })
}

// checkSignIn wants what only a signed-in owner sees to be hidden before the sign-in,
// and visible after it.
func checkSignIn(p *Page, in manifest.Interface) (wrong []string) {
	want := in.Expect.SignedIn
	if !in.Login.InBrowser() || want == nil {
		return nil
	}
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if in.Login.Basic && p.Stranger != 0 && p.Stranger != unauthorized {
		say("without credentials, status %d, expected %d", p.Stranger, unauthorized)
	}
	what := fmt.Sprintf("%q", want.Selector)
	if want.Text != "" {
		what += fmt.Sprintf(" with %q", want.Text)
	}
	switch {
	case p.Early:
		say("sign-in: %s is visible before it, and proves nothing", what)
	case !p.SignedIn && len(p.Faults) == 0:
		say("sign-in: nothing visible matches %s within %s of it, with the user %s and the password that the owner is shown", what, pageTimeout, in.Login.User)
	}
	return wrong
}
