package ready

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// What is read of an answer, in bytes. An application can send more than the daemon
// could hold.
const (
	maxAnswer = 1 << 20
	maxHeader = 64 << 10
)

// askHTTP asks the application itself, and nobody else: it goes through no proxy and
// follows no redirect, which could lead to any address that the node reaches. A 302 is a
// 302, and may be what a condition expects.
func askHTTP(ctx context.Context, m *manifest.Manifest, c *manifest.HTTPCondition) string {
	p, _ := m.Port(c.Port)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+loopback(p)+c.Path, nil)
	if err != nil {
		return err.Error()
	}
	transport := http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Sprintf("port %s does not answer", c.Port)
	}
	defer resp.Body.Close()
	want := c.Status
	if want == 0 {
		want = http.StatusOK
	}
	if resp.StatusCode != want {
		return fmt.Sprintf("%s answers with status %d", c.Path, resp.StatusCode)
	}
	if c.JSON == "" {
		return ""
	}
	var doc any
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&doc); err != nil {
		return fmt.Sprintf("%s does not answer with JSON", c.Path)
	}
	got, ok := lookup(doc, c.JSON)
	if ok && got == c.Equals {
		return ""
	}
	detail := fmt.Sprintf("%s is %s", c.JSON, firstLine(got, "missing"))
	if progress, ok := lookup(doc, c.Progress); ok && c.Progress != "" {
		detail += fmt.Sprintf(" (%s: %s)", c.Progress, firstLine(progress, "none"))
	}
	return detail
}

// lookup finds the member of a JSON document at a path of names joined by dots.
func lookup(doc any, path string) (string, bool) {
	for name := range strings.SplitSeq(path, ".") {
		object, ok := doc.(map[string]any)
		if !ok {
			return "", false
		}
		if doc, ok = object[name]; !ok {
			return "", false
		}
	}
	switch v := doc.(type) {
	case string:
		return v, true
	case map[string]any, []any, nil:
		return "", false
	default:
		b, err := json.Marshal(v)
		return string(b), err == nil
	}
}
