package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	mostAnswer = 64 << 10 // bytes of a server's answer that are read
	dialTime   = 10 * time.Second
)

// line is what messages go out by. Three services on the standard library: shoutrrr, which has
// thirty, bounds no conversation with a mail server that has stopped answering, follows
// redirections, and puts a title into mail as it is.
type line struct {
	http *http.Client
	tls  *tls.Config // nil: as the system trusts
}

// newLine gives one that follows no redirection: what it would bring there, the password first
// of all, was meant for another. It keeps no connection.
func newLine() line {
	return line{http: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, TLSHandshakeTimeout: dialTime, MaxResponseHeaderBytes: mostAnswer},
	}}
}

// seen is the error of a server that has seen all of a message: it does not want this one, or may
// have taken it and could not say so.
type seen struct{ error }

// ask sends JSON, and wants to hear that it was taken.
func (l line) ask(ctx context.Context, method, address, host string, body any, authorize func(*http.Request)) error {
	var js bytes.Buffer
	e := json.NewEncoder(&js)
	e.SetEscapeHTML(false) // services bound what they take, and \u003c is six bytes of it
	if err := e.Encode(body); err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, address, &js)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "archipelago")
	authorize(r)
	answer, err := l.http.Do(r)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s gave no answer within %d s", host, int(sendTime.Seconds()))
	case err != nil:
		return err
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, io.LimitReader(answer.Body, mostAnswer))
	switch status := answer.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return fmt.Errorf("%s answers with a redirection (%d), which is not followed: the password would go along; add the address that it leads to", host, status)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fmt.Errorf("%s answers %d: the user, password or token in the address is not taken, or may not write there", host, status)
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnprocessableEntity:
		return seen{fmt.Errorf("%s answers %d %s: it does not want this message", host, status, http.StatusText(status))}
	default:
		return fmt.Errorf("%s answers %d %s", host, status, http.StatusText(status))
	}
}

// send publishes to a topic, as JSON: in headers, where the service would take a title, too, a
// text of others could end one and begin another.
func (t topic) send(ctx context.Context, by line, m message) error {
	priority, tags := 3, []string{"information_source"}
	if m.Urgent {
		priority, tags = 4, []string{"warning"}
	}
	body := map[string]any{"topic": t.name, "title": m.Title, "message": m.Body, "priority": priority, "tags": tags}
	return by.ask(ctx, http.MethodPost, t.base+"/", t.host, body, func(r *http.Request) {
		switch {
		case t.user == "" && t.password != "":
			r.Header.Set("Authorization", "Bearer "+t.password)
		case t.user != "":
			r.SetBasicAuth(t.user, t.password)
		}
	})
}

// send puts a message into a room. The server takes a second one of the same id for the first.
func (m matrix) send(ctx context.Context, by line, what message) error {
	at := m.base + "/_matrix/client/v3/rooms/" + url.PathEscape(m.room) + "/send/m.room.message/" + url.PathEscape(what.ID)
	body := map[string]any{"msgtype": "m.text", "body": what.Title + "\n\n" + what.Body}
	return by.ask(ctx, http.MethodPut, at, m.host, body, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+m.password) })
}

// send mails a message. A password goes only through TLS, or to the node itself.
func (b mailbox) send(ctx context.Context, by line, m message) error {
	name := net.JoinHostPort(b.host, b.port)
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", name)
	if err != nil {
		return err
	}
	defer conn.Close()
	end := context.AfterFunc(ctx, func() { conn.Close() }) // whatever it waits for
	defer end()
	err = b.hand(conn, by, m)
	if ctx.Err() != nil {
		late := fmt.Errorf("%s did not take the mail within %d s", name, int(sendTime.Seconds()))
		if errors.As(err, new(seen)) {
			return seen{late}
		}
		return late
	}
	return err
}

// bounded is a connection of which no more than left bytes are read: a server has little to say
// to a message, and net/smtp keeps all of it.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (n int, err error) {
	if b.left == 0 {
		return 0, fmt.Errorf("the server says more than %d bytes", mostAnswer)
	}
	n, err = b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (b mailbox) hand(conn net.Conn, by line, m message) error {
	conn = &bounded{conn, mostAnswer}
	trust := &tls.Config{}
	if by.tls != nil {
		trust = by.tls.Clone()
	}
	trust.ServerName = b.host
	if b.tls {
		conn = tls.Client(conn, trust)
	}
	c, err := smtp.NewClient(conn, b.host)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Hello(helo()); err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); !b.tls && ok {
		if err := c.StartTLS(trust); err != nil {
			return err
		}
	}
	if b.user != "" {
		if err := c.Auth(smtp.PlainAuth("", b.user, b.password, b.host)); err != nil {
			return fmt.Errorf("%s does not take the user and password: %w", b.host, err)
		}
	}
	if err := c.Mail(b.from); err != nil {
		return err
	}
	for _, to := range b.to {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	text, err := b.letter(m)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		if said := (*textproto.Error)(nil); errors.As(err, &said) && said.Code < 500 {
			return err // not now
		}
		return seen{err}
	}
	c.Quit() // it is taken
	return nil
}

// helo is what the node calls itself.
func helo() string {
	if name, err := os.Hostname(); err == nil && name != "" && printable(name) {
		return name
	}
	return "localhost"
}

// letter is a message as mail. No text of others is in a header but the subject, which is one
// encoded line.
func (b mailbox) letter(m message) ([]byte, error) {
	var out bytes.Buffer
	subject := mime.QEncoding.Encode("utf-8", cleaned(m.Title, 2*mostName))
	subject = strings.ReplaceAll(subject, "?= =?", "?=\r\n =?")
	_, at, _ := strings.Cut(b.from, "@")
	for _, h := range [][2]string{
		{"From", b.from}, {"To", strings.Join(b.to, ", ")}, {"Subject", subject},
		{"Date", m.Made.Format(time.RFC1123Z)}, {"Message-ID", "<" + m.ID + "@" + at + ">"},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
		{"Auto-Submitted", "auto-generated"},
	} {
		if strings.ContainsAny(strings.ReplaceAll(h[1], "\r\n =?", ""), "\r\n") {
			return nil, fmt.Errorf("the mail's %s has a line break in it", h[0])
		}
		fmt.Fprintf(&out, "%s: %s\r\n", h[0], h[1])
	}
	out.WriteString("\r\n")
	q := quotedprintable.NewWriter(&out)
	if _, err := q.Write([]byte(strings.ReplaceAll(m.Body, "\n", "\r\n") + "\r\n")); err != nil {
		return nil, err
	}
	return out.Bytes(), q.Close()
}
