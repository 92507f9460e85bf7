package web

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAReportIsDownloadedAsItWasRead has an owner look at a report, and take that one along.
func TestAReportIsDownloadedAsItWasRead(t *testing.T) {
	n, c, e := speaker(t, nil)
	const token = "SESAMESESAMESESAMESESAMESE"
	if err := os.WriteFile(filepath.Join(n.dir, "token"), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	e.said = func(container string) []string {
		return []string{container + " says <b>hello</b>, password=hunter2", "the token is " + token}
	}
	n.pages.Reconciler.Audit("test", "look", nil)
	if _, text := get(t, c, n.URL+"/system/support.txt"); !strings.Contains(text, "<h1>Report for support</h1>") {
		t.Errorf("before one was made:\n%s", text)
	}
	status, page := get(t, c, n.URL+"/system/support")
	for _, want := range []string{"feeds-db says &lt;b&gt;hello&lt;/b&gt;, password=[left out]", "NOT WELL  clock: it is &lt;b&gt;wrong", "Podman: 5.4.2", "the token is [the node&#39;s access token]", "test: look"} {
		if status != http.StatusOK || !strings.Contains(page, want) {
			t.Errorf("status %d: no %q in\n%s", status, want, page)
		}
	}
	e.said = func(string) []string { return []string{"something else"} }
	if _, text := get(t, c, n.URL+"/system/support.txt"); !strings.HasPrefix(text, "Archipelago, report for support") || !strings.Contains(text, "feeds says <b>hello</b>") || strings.Contains(text, "hunter2") || strings.Contains(text, token) || strings.Contains(text, "something else") {
		t.Errorf("downloaded:\n%s", text)
	}
	other, _ := n.owner(t)
	if _, text := get(t, other, n.URL+"/system/support.txt"); strings.HasPrefix(text, "Archipelago, report") {
		t.Errorf("another browser's was downloaded:\n%s", text)
	}
	if _, page := get(t, c, n.URL+"/system/history"); !strings.Contains(page, "report for support") {
		t.Error("the audit log does not say that one was made")
	}
	n.pages.Engine = nil
	if status, page := get(t, c, n.URL+"/system/support"); status != http.StatusInternalServerError || !strings.Contains(page, "nothing of this node can be looked at") {
		t.Errorf("without an engine: status %d:\n%s", status, page)
	}
}
