package manifest

// Interface is a way in for people or programs, by a port's name.
type Interface struct {
	Port      string     `json:"port"`
	Protocol  string     `json:"protocol,omitempty"` // http (default), mqtt or tcp
	Path      string     `json:"path,omitempty"`
	Login     *Login     `json:"login,omitempty"`
	Expect    Expect     `json:"expect,omitzero"`
	Handshake *Handshake `json:"handshake,omitempty"` // of a tcp interface
}

// Expect is what the UI check must see: the status of the document, a text that
// the title contains, a CSS selector that is visible. With a sign-in by a form, these
// are of the page before it. SignedIn is visible to the signed-in owner only.
type Expect struct {
	Status   int          `json:"status,omitempty"`
	Title    string       `json:"title,omitempty"`
	Selector string       `json:"selector,omitempty"`
	SignedIn *SignedIn    `json:"signed_in,omitempty"`
	Hosts    []string     `json:"hosts,omitempty"` // other than the node that the page may ask
	Tolerate []Toleration `json:"tolerate,omitempty"`
}

// SignedIn is a CSS selector, and a text that an element which matches it contains.
type SignedIn struct {
	Selector string `json:"selector"`
	Text     string `json:"text,omitempty"`
}

// Toleration is a problem of upstream's own on the page: a request that fails, or an
// error in the console. It covers those that contain Text, and the report shows it.
type Toleration struct {
	Text   string `json:"text"`
	Reason string `json:"reason"`
}

// Login is a user and the generated secret that is its password. Of the interface "web",
// it also says how a browser signs in: by a form, by HTTP's basic authentication, or not
// at all. Form and Basic exclude each other.
type Login struct {
	User   string     `json:"user"`
	Secret string     `json:"secret"`
	Form   *LoginForm `json:"form,omitempty"`
	Basic  bool       `json:"basic,omitempty"`
}

// LoginForm is where user and password are typed and what is clicked, as CSS selectors.
// User is empty where the form asks for the password alone.
type LoginForm struct {
	User     string `json:"user,omitempty"`
	Password string `json:"password"`
	Submit   string `json:"submit"`
}

// InBrowser tells whether the owner signs in with a browser.
func (l *Login) InBrowser() bool { return l != nil && (l.Form != nil || l.Basic) }

// Web is the interface that My Apps links to: the one named "web", if it speaks HTTP.
func (m *Manifest) Web() (Interface, Port, bool) {
	i, ok := m.Interfaces["web"]
	if !ok || !i.web() {
		return Interface{}, Port{}, false
	}
	p, ok := m.Port(i.Port)
	return i, p, ok
}

// web tells whether an interface is for browsers, and goes through the proxy.
func (i Interface) web() bool { return i.Protocol == "" || i.Protocol == "http" }
