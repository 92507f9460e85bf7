package client

import (
	"net/http"
	"testing"
	"time"
)

// TestAnAnswerMayTakeAsLongAsWorkOnData: what is given up here is undone on the node.
func TestAnAnswerMayTakeAsLongAsWorkOnData(t *testing.T) {
	const work = 24 * time.Hour // that the engine gives a copy
	c := httpClient("https://192.0.2.7:7443", "sesame", "")
	transport, ok := c.Transport.(*bearer).next.(*http.Transport)
	if !ok || c.Timeout != 0 || transport.ResponseHeaderTimeout < work {
		t.Errorf("an answer may take %s, and all of a call %s", transport.ResponseHeaderTimeout, c.Timeout)
	}
}
