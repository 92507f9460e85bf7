package web

import (
	"bytes"
	"crypto/tls"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// counted tells how much of a body was read.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// TestAPageOfSigningInReadsNoBody has a stranger, who needs no session for it, send files along
// with what asks for a page: Go puts such files on the disk, as long as they are.
func TestAPageOfSigningInReadsNoBody(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	for _, path := range []string{"/login", "/claim", "/join", "/"} {
		var form bytes.Buffer
		m := multipart.NewWriter(&form)
		file, err := m.CreateFormFile("name", "large")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(file, strings.NewReader(strings.Repeat("x", 4*maxForm))); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		body := &counted{Reader: &form}
		r := httptest.NewRequest(http.MethodGet, path, body)
		r.TLS = &tls.ConnectionState{}
		r.Header.Set("Content-Type", m.FormDataContentType())
		n.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
		if body.n > 0 {
			t.Errorf("GET %s: %d bytes of what a stranger sent are read", path, body.n)
		}
	}
}

// TestWhatIsTheFirstOwnersIsNobodysWhoIsSignedOut has a further owner's session end between two looks
// at it.
func TestWhatIsTheFirstOwnersIsNobodysWhoIsSignedOut(t *testing.T) {
	n := site(t, t.TempDir(), "sesame")
	w := httptest.NewRecorder()
	n.pages.first(func(http.ResponseWriter, *http.Request) { t.Error("it is let through") })(w, httptest.NewRequest(http.MethodGet, "/system/passkeys", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("status %d", w.Code)
	}
}
