package rpc

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTargetsAreAddedListedTriedAndRemovedWithoutTheirSecrets(t *testing.T) {
	dir := t.TempDir()
	h, _, _ := serve(t, dir)
	status := http.StatusOK
	taken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer taken.Close()
	host := strings.TrimPrefix(taken.URL, "http://")
	ask := func(method, body string, code int, want string) {
		t.Helper()
		w := call(h, method, "application/json", "sesame", []byte(body))
		if w.Code != code || !strings.Contains(w.Body.String(), want) || strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("%s %s: %d %s", method, body, w.Code, w.Body)
		}
	}
	ask("AddTarget", `{"name":"phone","address":"ntfy://:hunter2@`+host+`/topic?scheme=http"}`, http.StatusOK, `"address":"ntfy://`+host+`/…"`)
	ask("AddTarget", `{"name":"other","address":"gopher://hunter2"}`, http.StatusBadRequest, "failed_precondition")
	ask("TestTarget", `{"name":"phone"}`, http.StatusOK, "{}")
	status = http.StatusForbidden
	ask("TestTarget", `{"name":"phone"}`, http.StatusInternalServerError, "answers 403")
	ask("TestTarget", `{"name":"none"}`, http.StatusNotFound, "no target is named")
	ask("ListTargets", `{}`, http.StatusOK, `"problem":"`+host+` answers 403`)
	ask("ListNotices", `{}`, http.StatusOK, "{}")
	ask("RemoveTarget", `{"name":"phone"}`, http.StatusOK, "{}")
	ask("RemoveTarget", `{"name":"phone"}`, http.StatusNotFound, "no target is named")
	// An address in the place of a name.
	ask("AddTarget", `{"name":"ntfy://:hunter2@`+host+`/topic","address":"phone"}`, http.StatusBadRequest, "failed_precondition")
	ask("RemoveTarget", `{"name":"ntfy://:hunter2@`+host+`/topic"}`, http.StatusNotFound, "no target is named")
	ask("ListTargets", `{}`, http.StatusOK, "{}")
	audit, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil || !strings.Contains(string(audit), `notify add phone"`) || !strings.Contains(string(audit), "notify remove phone") || strings.Contains(string(audit), "hunter2") {
		t.Errorf("the audit log: %s, %v", audit, err)
	}
}
