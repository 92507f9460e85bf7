package rpc

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// TestEachCallTakesItsScope asks for all methods that the RPC has: one that is added takes the
// node's own token, until somebody lists it.
func TestEachCallTakesItsScope(t *testing.T) {
	s, h, _, _ := household(t)
	secrets := map[access.Scope]string{}
	for _, scope := range access.Scopes {
		_, secret, err := s.Sessions.Tokens.Add("for-"+string(scope), scope, 1)
		if err != nil {
			t.Fatal(err)
		}
		secrets[scope] = secret
	}
	methods := api.File_orchestrator_proto.Services().ByName("Orchestrator").Methods()
	var known []string
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		known = append(known, name)
		need, listed := scopes[name]
		if !listed {
			t.Errorf("%s is not listed", name)
		}
		if rank := slices.Index(access.Scopes, need); rank != 0 { // no token below it comes through
			for _, below := range access.Scopes[:max(rank, 0)] {
				refused(t, h, name, secrets[below])
			}
			if rank < 0 {
				for _, secret := range secrets {
					refused(t, h, name, secret)
				}
			}
		}
	}
	for name := range scopes {
		if !slices.Contains(known, name) {
			t.Errorf("the RPC has no %s", name)
		}
	}
	for _, path := range []string{"Another", "ListApps/", "ListApps/../SetPassword", ""} {
		if w := call(h, path, "application/json", secrets[access.Admin], []byte("{}")); w.Code == http.StatusOK {
			t.Errorf("%q: status %d", path, w.Code)
		}
	}
}

func refused(t *testing.T, h http.Handler, method, secret string) {
	t.Helper()
	if w := call(h, method, "application/json", secret, []byte("{}")); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "permission_denied") {
		t.Errorf("%s: status %d: %s", method, w.Code, w.Body)
	}
}

func TestTokensAreMadeListedUsedAndRemoved(t *testing.T) {
	_, h, _, dir := household(t)
	ask := func(method, token, body string, want int) string {
		t.Helper()
		w := call(h, method, "application/json", token, []byte(body))
		if w.Code != want {
			t.Fatalf("%s %s: status %d: %s", method, body, w.Code, w.Body)
		}
		return w.Body.String()
	}
	var made struct {
		Token  struct{ Name, Scope, Ends string }
		Secret string
	}
	if err := json.Unmarshal([]byte(ask("AddToken", "sesame", `{"name": "timer", "scope": "operate", "days": 30}`, http.StatusOK)), &made); err != nil {
		t.Fatal(err)
	}
	if made.Token.Scope != "operate" || made.Token.Ends == "" || made.Secret == "" {
		t.Errorf("%+v", made)
	}
	for _, body := range []string{`{"name": "timer", "scope": "read", "days": 1}`, `{"name": "Timer", "scope": "read", "days": 1}`, `{"name": "other", "scope": "read"}`, `{"name": "other", "days": 1}`} {
		ask("AddToken", "sesame", body, http.StatusBadRequest)
	}
	ask("ListApps", made.Secret, `{}`, http.StatusOK)
	ask("Stop", made.Secret, `{"id": "nope"}`, http.StatusNotFound)
	ask("Install", made.Secret, `{"id": "feeds"}`, http.StatusForbidden)
	if said := ask("ListTokens", "sesame", `{}`, http.StatusOK); !strings.Contains(said, `"used":"`) || strings.Contains(said, made.Secret) {
		t.Error(said)
	}
	ask("RemoveToken", "sesame", `{"name": "timer"}`, http.StatusOK)
	ask("RemoveToken", "sesame", `{"name": "timer"}`, http.StatusNotFound)
	ask("ListApps", made.Secret, `{}`, http.StatusUnauthorized)
	audit, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{`"make token timer with the scope operate"`, `"remove token timer"`, `"token timer from `} {
		if !strings.Contains(string(audit), what) {
			t.Errorf("no %s in\n%s", what, audit)
		}
	}
	if strings.Contains(string(audit), made.Secret) {
		t.Error("the audit log holds a secret")
	}
}
