package notify

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// ErrRefused is wrapped where what the owner asks for cannot be.
var ErrRefused = errors.New("refused")

const mostAddress = 2048 // bytes

// way is where messages go, and how.
type way interface {
	send(ctx context.Context, by line, m message) error
	// shown is what may be seen of the address.
	shown() string
	// secrets are what must not be.
	secrets() []string
}

// Forms are the addresses that there are.
var Forms = []string{
	"ntfy://HOST/TOPIC",
	"ntfy://USER:PASSWORD@HOST/TOPIC",
	"ntfy://:TOKEN@HOST/TOPIC",
	"smtp://USER:PASSWORD@HOST:587/?from=ADDRESS&to=ADDRESS",
	"smtps://USER:PASSWORD@HOST/?to=ADDRESS,ADDRESS",
	"matrix://:TOKEN@HOST/!ROOM:SERVER",
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

// parse reads an address. What it says of a wrong one does not repeat it: it may hold a password.
func parse(address string) (way, error) {
	if len(address) > mostAddress {
		return nil, refused("an address of more than %d bytes", mostAddress)
	}
	if strings.ContainsFunc(address, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return nil, refused("the address has a space or a line break in it; in a password, write it as %%20")
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" {
		return nil, refused("this is no address; expected %s; in a password, write characters such as @ : / as %%40 %%3A %%2F", strings.Join(Forms, " or "))
	}
	if u.Fragment != "" {
		return nil, refused("the address has a # in it; in a password, write it as %%23")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, refused("the address's port is none")
		}
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, refused("what follows the ? in the address cannot be read; expected NAME=VALUE&NAME=VALUE")
	}
	kinds := map[string]struct {
		options []string
		make    func(*url.URL, url.Values) (way, error)
	}{"ntfy://": {[]string{"scheme"}, toTopic}, "matrix://": {[]string{"scheme"}, toMatrix}, "smtp://": {[]string{"from", "to"}, toMail}, "smtps://": {[]string{"from", "to"}, toMail}}
	kind, ok := kinds[u.Scheme+"://"]
	if !ok {
		return nil, refused("this node cannot send there; expected %s", strings.Join(Forms, " or "))
	}
	for name, values := range options {
		if !slices.Contains(kind.options, name) || len(values) != 1 {
			return nil, refused("of what follows the ?, expected each of %s once at most", strings.Join(kind.options, ", "))
		}
	}
	return kind.make(u, options)
}

// web is a service that is spoken to by HTTP.
type web struct {
	base           string // scheme and host
	host           string
	user, password string
}

// toWeb reads what is common to them. Only to the node itself may a password go unencrypted.
func toWeb(u *url.URL, options url.Values) (web, error) {
	w := web{host: u.Host, user: u.User.Username()}
	w.password, _ = u.User.Password()
	scheme := "https"
	switch options.Get("scheme") {
	case "", "https":
	case "http":
		if scheme = "http"; u.User != nil && !onLoopback(u.Hostname()) {
			return w, refused("with scheme=http, the password would go through the network for all to read: leave one of both out")
		}
	default:
		return w, refused("scheme is http or https")
	}
	w.base = scheme + "://" + u.Host
	return w, nil
}

func onLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (w web) credentials() []string {
	return []string{encoded(w.user + ":" + w.password), w.password, w.user}
}

// encoded is a password as it goes over the line, and as a server may repeat it.
func encoded(credentials string) string {
	return base64.StdEncoding.EncodeToString([]byte(credentials))
}

// topic is one of a push service that speaks ntfy://. Whoever knows its name reads it, so that
// is a secret, too.
type topic struct {
	web
	name string
}

var topicForm = regexp.MustCompile(`^[-_A-Za-z0-9]{1,64}$`)

func toTopic(u *url.URL, options url.Values) (way, error) {
	w, err := toWeb(u, options)
	if err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(u.Path, "/")
	if !topicForm.MatchString(name) {
		return nil, refused("after the host, expected the topic: up to 64 letters, digits, - and _")
	}
	return topic{w, name}, nil
}

func (t topic) shown() string     { return "ntfy://" + t.host + "/…" }
func (t topic) secrets() []string { return append(t.credentials(), t.name) }

// matrix is a room on a Matrix server.
type matrix struct {
	web
	room string
}

var roomForm = regexp.MustCompile(`^![^\s/?#]{1,254}$`)

func toMatrix(u *url.URL, options url.Values) (way, error) {
	w, err := toWeb(u, options)
	if err != nil {
		return nil, err
	}
	room := strings.TrimPrefix(u.Path, "/")
	switch {
	case !roomForm.MatchString(room):
		return nil, refused("after the host, expected the room's id, such as !abc:example.org; a client shows it in the room's settings")
	case w.password == "" || w.user != "":
		return nil, refused("before the host, expected the access token of the account that sends: matrix://:TOKEN@HOST/!ROOM:SERVER")
	}
	return matrix{w, room}, nil
}

func (m matrix) shown() string     { return "matrix://" + m.host + "/" + m.room }
func (m matrix) secrets() []string { return m.credentials() }

// mailbox is who gets mail, and the server that takes it.
type mailbox struct {
	host, port     string
	tls            bool // from the first byte; otherwise by STARTTLS
	user, password string
	from           string
	to             []string
}

const mostReceivers = 10

func toMail(u *url.URL, options url.Values) (way, error) {
	m := mailbox{host: u.Hostname(), port: u.Port(), tls: u.Scheme == "smtps", user: u.User.Username()}
	m.password, _ = u.User.Password()
	if m.port == "" {
		m.port = "587"
		if m.tls {
			m.port = "465"
		}
	}
	if u.Path != "" && u.Path != "/" {
		return nil, refused("after the host, expected ?from=ADDRESS&to=ADDRESS")
	}
	from := options.Get("from")
	if from == "" {
		from = m.user
	}
	var err error
	if m.from, err = bare(from); err != nil {
		return nil, refused("expected from=ADDRESS, by which the mail is sent; without it, the user must be one")
	}
	for to := range strings.SplitSeq(options.Get("to"), ",") {
		one, err := bare(to)
		if err != nil {
			return nil, refused("expected to=ADDRESS, or several with commas between them; a + in one is written as %%2B")
		}
		m.to = append(m.to, one)
	}
	if len(m.to) > mostReceivers {
		return nil, refused("more than %d addresses that mail goes to", mostReceivers)
	}
	return m, nil
}

// bare reads an address of mail, without a name.
func bare(s string) (string, error) {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || !printable(s) {
		return "", errors.New("no address")
	}
	return a.Address, nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (m mailbox) shown() string { return "mail by " + m.host + " to " + strings.Join(m.to, ", ") }
func (m mailbox) secrets() []string {
	return []string{encoded("\x00" + m.user + "\x00" + m.password), m.password}
}

// redacted is what may be said of a failure: no address, and nothing secret that a server may
// have repeated. What is secret goes before the text is made a short line, which might leave half
// of it.
func redacted(err error, w way) error {
	if err == nil {
		return nil
	}
	var of *url.Error
	if errors.As(err, &of) { // it has the whole address in its text
		err = of.Err
	}
	said := err.Error()
	for _, s := range w.secrets() {
		quoted := strconv.Quote(s)
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s), quoted[1 : len(quoted)-1]} {
			if form != "" {
				said = strings.ReplaceAll(said, form, "***")
			}
		}
	}
	what := errors.New(cleaned(said, mostText))
	if errors.As(err, new(seen)) {
		return seen{what}
	}
	return what
}
