package web

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestAFormThatDoesNotComeIsGivenUp(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		read := make(chan error, 1)
		s := httptest.NewUnstartedServer(inTime(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			read <- err
		}), 50*time.Millisecond))
		s.EnableHTTP2 = h2
		s.StartTLS()
		body, sender := io.Pipe() // nothing is ever sent
		done := make(chan struct{})
		go func() {
			defer close(done)
			if resp, err := s.Client().Post(s.URL, "text/plain", body); err == nil {
				resp.Body.Close()
			}
		}()
		select {
		case err := <-read:
			if err == nil {
				t.Errorf("HTTP/2 %t: it came", h2)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("HTTP/2 %t: it is waited for still", h2)
		}
		sender.Close()
		s.CloseClientConnections()
		<-done
		s.Close()
	}
}
