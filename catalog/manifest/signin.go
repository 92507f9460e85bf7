package manifest

// checkSignIn wants a sign-in in the browser to be one that can be tried and proved.
func (d *document) checkSignIn(name string, in Interface) {
	l, signedIn := in.Login, in.Expect.SignedIn
	switch {
	case l.InBrowser() && (name != "web" || !in.web()):
		d.report(at("interfaces", name, "login"), false, "the browser signs in at the http interface named \"web\" only; leave out form and basic")
	case l.InBrowser() && l.Form != nil && l.Basic:
		d.report(at("interfaces", name, "login", "basic"), false, "the browser signs in by the form or by basic authentication; leave one of them out")
	case l.InBrowser() && signedIn == nil:
		d.report(at("interfaces", name, "login"), false, "a sign-in in the browser is proved by what only the signed-in owner sees: expect.signed_in")
	case !l.InBrowser() && signedIn != nil:
		d.report(at("interfaces", name, "expect", "signed_in"), false, "nobody signs in in the browser: the login has neither form nor basic")
	}
	seen := map[string]bool{}
	for i, t := range in.Expect.Tolerate {
		if seen[t.Text] {
			d.report(at("interfaces", name, "expect", "tolerate", i, "text"), false, "%q is tolerated already", t.Text)
		}
		seen[t.Text] = true
	}
}
