package notify

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// mustParse gives the way to an address.
func mustParse(t *testing.T, address string) way {
	t.Helper()
	w, err := parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// hostile is a message of an application that would like to be more than text.
func hostile() message {
	v := saying{entry: entry{Condition: Condition{Subject: cleaned("Feeds\r\nBcc: all@example.org\r\n\r\n<b>", mostName), What: "failed", Text: cleaned("x\r\n.\r\nMAIL FROM:<e@example.org> ü \x1b[2J", mostText), Remedy: "look"}}}
	m := compose("box", []saying{v})
	m.ID, m.Made = "ABC", noon
	return m
}

func TestAddressesAreCheckedAndSeenWithoutTheirSecrets(t *testing.T) {
	for address, shown := range map[string]string{
		"ntfy://ntfy.example/my-topic":                                          "ntfy://ntfy.example/…",
		"ntfy://ann:hunter2@ntfy.example:8443/topic":                            "ntfy://ntfy.example:8443/…",
		"ntfy://192.0.2.7/topic?scheme=http":                                    "ntfy://192.0.2.7/…",
		"ntfy://:tk_hunter2@[::1]:80/topic?scheme=http":                         "ntfy://[::1]:80/…",
		"smtp://ann%40example.org:hunter2@mail.example/?to=ann@example.org":     "mail by mail.example to ann@example.org",
		"smtps://mail.example?from=box@example.org&to=a@example.org,b@c.org":    "mail by mail.example to a@example.org, b@c.org",
		"matrix://:syt_hunter2@matrix.example/!abc:matrix.example":              "matrix://matrix.example/!abc:matrix.example",
		"matrix://:syt_hunter2@matrix.example:8448/!abc:matrix.example:8448":    "matrix://matrix.example:8448/!abc:matrix.example:8448",
		"smtp://mail.example?from=box@example.org&to=ann%2Bnode@example.org":    "mail by mail.example to ann+node@example.org",
		"smtp://u:p%3A%2F%40@mail.example:25?from=b@example.org&to=a@b.example": "mail by mail.example to a@b.example",
	} {
		if w, err := parse(address); err != nil || w.shown() != shown {
			t.Errorf("%s: %v, %v", address, w, err)
		}
	}
	for _, address := range []string{
		"", "hunter2", "https://example.org/hunter2", "file:///etc/hunter2", "ntfy:hunter2", "ntfy:///hunter2", "ntfy://example.org", "ntfy://example.org/a/hunter2", "ntfy://example.org/top%0d%0ahunter2",
		"ntfy://example.org/t?hunter2=1", "ntfy://example.org/t?scheme=gopher", "ntfy://ann:hunter2@example.org/t?scheme=http", "ntfy://example.org:99999/hunter2", "ntfy://ex ample.org/hunter2", "ntfy://example.org/t\r\nhunter2",
		"ntfy://u:hunter2#x@example.org/t", "ntfy://u:hun/ter2@example.org/t", "ntfy://example.org/t?scheme=http&scheme=https",
		"smtp://u:hunter2@mail.example", "smtp://u:hunter2@mail.example?to=a@b.example", "smtp://mail.example?from=a@b.example&to=x%0d%0aRCPT:hunter2@b.example", "smtp://mail.example?from=Ann%20%3Ca@b.example%3E&to=a@b.example",
		"smtp://mail.example/hunter2?from=a@b.example&to=a@b.example", "smtp://mail.example?from=a@b.example&to=" + strings.Repeat("a@b.example,", mostReceivers) + "a@b.example",
		"matrix://matrix.example/!abc:matrix.example", "matrix://u:hunter2@matrix.example/!abc:x", "matrix://:hunter2@matrix.example/abc", "ntfy://example.org/" + strings.Repeat("hunter2", 1000),
	} {
		_, err := parse(address)
		if !errors.Is(err, ErrRefused) || strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// heard is what an HTTP server was asked.
type heard struct {
	path, authorization, body string
}

// listens is a server of a service, which answers with a status.
func listens(t *testing.T, status int, header ...string) (host string, got <-chan heard) {
	all := make(chan heard, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		all <- heard{r.Method + " " + r.URL.EscapedPath(), r.Header.Get("Authorization"), string(b)}
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, "you said hunter2")
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), all
}

func TestNtfyGetsTextAndNothingElse(t *testing.T) {
	host, got := listens(t, http.StatusOK)
	for user, authorization := range map[string]string{"": "", ":hunter2@": "Bearer hunter2", "ann:hunter2@": "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:hunter2"))} {
		if err := mustParse(t, "ntfy://"+user+host+"/topic?scheme=http").send(t.Context(), newLine(), hostile()); err != nil {
			t.Fatal(err)
		}
		r := <-got
		var said struct {
			Topic, Title, Message string
			Priority              int
		}
		if err := json.Unmarshal([]byte(r.body), &said); err != nil || r.path != "POST /" || r.authorization != authorization || said.Topic != "topic" || said.Title != "box: Feeds Bcc: all@example.org <b> failed" || !strings.Contains(said.Message, "MAIL FROM") {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestMatrixGetsAMessageOnce(t *testing.T) {
	host, got := listens(t, http.StatusOK)
	w := mustParse(t, "matrix://:hunter2@"+host+"/!room:example.org?scheme=http")
	if err := w.send(t.Context(), newLine(), hostile()); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.path != "PUT /_matrix/client/v3/rooms/%21room:example.org/send/m.room.message/ABC" || r.authorization != "Bearer hunter2" || !strings.Contains(r.body, `"msgtype":"m.text"`) || strings.Contains(r.body, "formatted_body") {
		t.Errorf("%+v", r)
	}
}

func TestNoRedirectionIsFollowedAndNoSecretIsSaid(t *testing.T) {
	elsewhere, got := listens(t, http.StatusOK)
	for status, want := range map[int]string{http.StatusTemporaryRedirect: "redirection", http.StatusFound: "redirection", http.StatusForbidden: "is not taken", http.StatusInternalServerError: "500"} {
		host, _ := listens(t, status, "Location", "http://"+elsewhere+"/hunter2", "X-Said", "hunter2")
		for _, address := range []string{"ntfy://ann:hunter2@" + host + "/hunter2topic?scheme=http", "matrix://:hunter2@" + host + "/!room:x?scheme=http"} {
			w := mustParse(t, address)
			err := redacted(w.send(t.Context(), newLine(), hostile()), w)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
	select {
	case r := <-got:
		t.Errorf("the other host got %+v", r)
	default:
	}
	w := mustParse(t, "ntfy://ann:hunter2@127.0.0.1:1/hunter2topic?scheme=http")
	if err := redacted(w.send(t.Context(), newLine(), hostile()), w); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody listens: %v", err)
	}
	// What is secret goes however it is repeated, and wherever the text is cut.
	mail := mustParse(t, "smtp://ann:hunter2%20%20%22x@mail.example/?from=a@b.example&to=a@b.example")
	for _, said := range []string{`hunter2  "x`, `"hunter2  \"x"`, strings.Repeat("x", mostText-7) + `hunter2  "x`, "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00ann\x00hunter2  \"x"))} {
		if err := redacted(errors.New(said), mail); strings.Contains(err.Error(), "hunt") || strings.Contains(err.Error(), "AGFubg") || !strings.Contains(err.Error(), "*") {
			t.Errorf("%q", err)
		}
	}
	if err := redacted(&url.Error{Op: "Get", URL: "http://x/hunter2topic", Err: errors.New("hunter2 is wrong\nand \x1b[2J")}, w); err.Error() != `*** is wrong and \x1b[2J` {
		t.Errorf("%q", err)
	}
}

// post office is a mail server of one conversation at a time.
type office struct {
	address string
	tls     *tls.Config // offers STARTTLS where it is there
	silent  bool        // says nothing at all
	after   string      // what it says to a letter; empty for that it is taken
	endless bool        // never ends its first line

	mu      sync.Mutex
	heard   []string // commands
	letters []string
	secure  bool
	wrote   int // bytes of a line that has no end
}

func openOffice(t *testing.T, o *office) *office {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.address = l.Addr().String()
	var under sync.WaitGroup
	t.Cleanup(func() { l.Close(); under.Wait() })
	under.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			under.Go(func() { defer c.Close(); o.serve(c) })
		}
	})
	return o
}

func (o *office) serve(c net.Conn) {
	in := bufio.NewReader(c)
	if o.silent {
		io.Copy(io.Discard, c)
		return
	}
	for o.endless {
		n, err := c.Write(make([]byte, 64<<10))
		if err != nil {
			return
		}
		o.mu.Lock()
		o.wrote += n
		o.mu.Unlock()
	}
	fmt.Fprintf(c, "220 office\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		o.mu.Lock()
		o.heard = append(o.heard, strings.TrimSpace(line))
		secure := o.secure
		o.mu.Unlock()
		switch verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " "); verb {
		case "EHLO":
			if o.tls != nil && !secure {
				fmt.Fprintf(c, "250-office\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n")
			} else {
				fmt.Fprintf(c, "250-office\r\n250 AUTH PLAIN\r\n")
			}
		case "STARTTLS":
			fmt.Fprintf(c, "220 go\r\n")
			s := tls.Server(c, o.tls)
			if s.Handshake() != nil {
				return
			}
			c, in = s, bufio.NewReader(s)
			o.mu.Lock()
			o.secure = true
			o.mu.Unlock()
		case "AUTH":
			fmt.Fprintf(c, "235 ok\r\n")
		case "DATA":
			fmt.Fprintf(c, "354 go\r\n")
			var letter strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				letter.WriteString(line)
			}
			o.mu.Lock()
			o.letters = append(o.letters, letter.String())
			o.mu.Unlock()
			after := cmp.Or(o.after, "250 taken\r\n")
			if io.WriteString(c, after); !strings.HasSuffix(after, "\n") {
				return
			}
		case "QUIT":
			fmt.Fprintf(c, "221 bye\r\n")
			return
		default:
			fmt.Fprintf(c, "250 ok\r\n")
		}
	}
}

func (o *office) commands() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.heard, "\n")
}

func TestMailIsOneLetterWhateverItsTextSays(t *testing.T) {
	o := openOffice(t, &office{})
	w := mustParse(t, "smtp://"+o.address+"?from=box@example.org&to=ann@example.org,bob@example.org")
	if err := w.send(t.Context(), newLine(), hostile()); err != nil {
		t.Fatal(err)
	}
	if got := o.commands(); strings.Count(got, "MAIL FROM") != 1 || !strings.Contains(got, "MAIL FROM:<box@example.org>") || strings.Count(got, "RCPT TO") != 2 || strings.Contains(got, "all@example.org") {
		t.Errorf("it heard\n%s", got)
	}
	if len(o.letters) != 1 {
		t.Fatalf("%d letters", len(o.letters))
	}
	read, err := mail.ReadMessage(strings.NewReader(o.letters[0]))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(read.Body))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(read.Header.Get("Subject"))
	if err != nil || subject != "box: Feeds Bcc: all@example.org <b> failed" || read.Header.Get("Bcc") != "" || read.Header.Get("To") != "ann@example.org, bob@example.org" || read.Header.Get("Message-Id") != "<ABC@example.org>" {
		t.Errorf("%q, %v, %v", subject, err, read.Header)
	}
	if want := "box: "; strings.Contains(string(body), want) || !strings.Contains(string(body), "x . MAIL FROM:<e@example.org> ü \\x1b[2J\r\nWhat to do: look") {
		t.Errorf("%q", body)
	}
}

// A message that the server has seen is offered less often than one that never got there.
func TestWhoHasSeenAMessageIsToldFromWhoHasNot(t *testing.T) {
	within := 20 * time.Second
	try := func(address string, want bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		w := mustParse(t, address)
		if err := redacted(w.send(ctx, newLine(), hostile()), w); err == nil || errors.As(err, new(seen)) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
	mail := func(o *office) string {
		return "smtp://" + openOffice(t, o).address + "?from=box@example.org&to=ann@example.org"
	}
	for after, want := range map[string]bool{"554 spam\r\n": true, "451 later\r\n": false, "250-and it is gone": true} {
		try(mail(&office{after: after}), want)
	}
	for status, want := range map[int]bool{
		http.StatusBadRequest: true, http.StatusRequestEntityTooLarge: true, http.StatusUnprocessableEntity: true,
		http.StatusForbidden: false, http.StatusTooManyRequests: false, http.StatusBadGateway: false,
	} {
		host, _ := listens(t, status)
		try("ntfy://"+host+"/topic?scheme=http", want)
	}
	within = 2 * time.Second
	try(mail(&office{after: "250-and the rest comes never\r\n"}), true)
	try(mail(&office{silent: true}), false)
}

func TestAServerThatNeverEndsItsLineIsLeft(t *testing.T) {
	o := openOffice(t, &office{endless: true})
	w := mustParse(t, "smtp://"+o.address+"?from=box@example.org&to=ann@example.org")
	if err := w.send(t.Context(), newLine(), hostile()); err == nil || !strings.Contains(err.Error(), "says more than") {
		t.Error(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wrote > 16<<20 { // what buffers of the kernel take
		t.Errorf("%d bytes were taken from it", o.wrote)
	}
}

func TestALongSubjectInAnotherScriptIsALetterToo(t *testing.T) {
	m := hostile()
	m.Title = strings.Repeat("Фотографии ", 30)
	b := mustParse(t, "smtp://mail.example?from=box@example.org&to=ann@example.org").(mailbox)
	text, err := b.letter(m)
	if err != nil {
		t.Fatal(err)
	}
	read, err := mail.ReadMessage(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(read.Header.Get("Subject"))
	if err != nil || !strings.HasPrefix(subject, "Фотографии Фотографии") {
		t.Errorf("%q, %v", subject, err)
	}
	for line := range strings.Lines(string(text)) {
		if len(line) > 100 {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
	}
	m.ID = "x\r\nBcc: all@example.org"
	if _, err := b.letter(m); err == nil {
		t.Error("a header with a line break is written")
	}
}

// pair is a certificate of a mail server, and who trusts it.
func pair(t *testing.T) (server, client *tls.Config) {
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	return &tls.Config{Certificates: s.TLS.Certificates}, s.Client().Transport.(*http.Transport).TLSClientConfig
}

func TestAPasswordOfMailGoesThroughTLSAlone(t *testing.T) {
	server, trust := pair(t)
	o := openOffice(t, &office{tls: server})
	address := "smtp://ann:hunter2@" + o.address + "?from=box@example.org&to=ann@example.org"
	l := newLine()
	l.tls = trust
	if err := mustParse(t, address).send(t.Context(), l, hostile()); err != nil {
		t.Fatal(err)
	}
	if got := o.commands(); !o.secure || strings.Index(got, "AUTH PLAIN") < strings.Index(got, "STARTTLS") || len(o.letters) != 1 {
		t.Errorf("secure: %v\n%s", o.secure, got)
	}
	// A server that nobody vouches for gets neither.
	stranger := openOffice(t, &office{tls: server})
	if err := mustParse(t, strings.ReplaceAll(address, o.address, stranger.address)).send(t.Context(), newLine(), hostile()); err == nil || strings.Contains(stranger.commands(), "AUTH") || len(stranger.letters) > 0 {
		t.Errorf("%v\n%s", err, stranger.commands())
	}
	// Nor one elsewhere that has no TLS: the name is another, the machine this one.
	plain := openOffice(t, &office{})
	b := mustParse(t, strings.ReplaceAll(address, o.address, plain.address)).(mailbox)
	conn, err := net.Dial("tcp", plain.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b.host = "mail.example"
	if err := b.hand(conn, l, hostile()); err == nil || strings.Contains(plain.commands(), "AUTH") {
		t.Errorf("%v\n%s", err, plain.commands())
	}
}

func TestWhoNeverAnswersIsLeft(t *testing.T) {
	o := openOffice(t, &office{silent: true})
	hold := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(hold)
	for _, address := range []string{"smtp://" + o.address + "?from=box@example.org&to=ann@example.org", "smtps://" + o.address + "?from=box@example.org&to=ann@example.org",
		"ntfy://" + strings.TrimPrefix(s.URL, "http://") + "/topic?scheme=http"} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		w := mustParse(t, address)
		err := redacted(w.send(ctx, newLine(), hostile()), w)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "within 20 s") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
