package rpc

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

const anna = "blue harbour lantern" // her password

// household serves a node with an owner's password.
func household(t *testing.T) (*Server, http.Handler, *access.Guard, string) {
	t.Helper()
	dir := t.TempDir()
	s, _ := server(t, dir)
	s.Addresses = func() []string { return []string{"https://box.local:7443", "https://192.0.2.7:7443"} }
	guard := access.NewGuard(s.Sessions)
	_, h := s.Handler(guard)
	if err := s.Sessions.SetPassword("correct horse battery"); err != nil {
		t.Fatal(err)
	}
	return s, h, guard, dir
}

// joined is the cookie of a user who has taken an invitation up.
func joined(t *testing.T, g *access.Guard, name, code string) *http.Cookie {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/join", nil)
	r.TLS = &tls.ConnectionState{}
	if _, err := g.Join(w, r, name, code, anna, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return w.Result().Cookies()[0]
}

// TestAGuestIsForbiddenEachCall asks for all methods that the RPC has: one that is added, too.
func TestAGuestIsForbiddenEachCall(t *testing.T) {
	s, h, g, _ := household(t)
	invitation, err := s.Sessions.Users.Add("anna", access.Guest)
	if err != nil {
		t.Fatal(err)
	}
	guest := joined(t, g, "anna", invitation.Code)
	methods := api.File_orchestrator_proto.Services().ByName("Orchestrator").Methods()
	if methods.Len() < 50 {
		t.Fatalf("%d methods are found", methods.Len())
	}
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		for _, verb := range []string{http.MethodPost, http.MethodGet} {
			r := httptest.NewRequest(verb, procedure+name+"?encoding=json&connect=v1&message=%7B%7D", strings.NewReader("{}"))
			r.TLS = &tls.ConnectionState{}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Origin", "https://"+r.Host)
			r.AddCookie(guest)
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "permission_denied") {
				t.Errorf("%s %s: status %d: %s", verb, name, w.Code, w.Body)
			}
		}
	}
}

func TestUsersAreAddedListedSetResetAndRemoved(t *testing.T) {
	s, h, g, dir := household(t)
	ask := func(method, body string, want int, out any) string {
		t.Helper()
		w := call(h, method, "application/json", "sesame", []byte(body))
		if w.Code != want {
			t.Fatalf("%s %s: status %d: %s", method, body, w.Code, w.Body)
		}
		if out != nil {
			if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
				t.Fatal(err)
			}
		}
		return w.Body.String()
	}
	var invitation struct {
		Code, Until string
		Links       []string
	}
	ask("AddUser", `{"name": "anna", "role": "guest"}`, http.StatusOK, &invitation)
	if len(invitation.Links) != 2 || !strings.HasPrefix(invitation.Links[0], "https://box.local:7443/join?code="+invitation.Code+"&name=anna") || invitation.Until == "" {
		t.Errorf("%+v", invitation)
	}
	first := joined(t, g, "anna", invitation.Code)
	for body, want := range map[string]int{`{"name": "anna", "role": "guest"}`: http.StatusBadRequest, `{"name": "Bert", "role": "guest"}`: http.StatusBadRequest, `{"name": "bert"}`: http.StatusBadRequest} {
		ask("AddUser", body, want, nil)
	}
	ask("SetUser", `{"name": "anna", "shared": {"apps": ["feeds"]}}`, http.StatusOK, nil)
	ask("SetUser", `{"name": "anna", "shared": {"apps": ["nope"]}}`, http.StatusNotFound, nil)
	ask("SetUser", `{"name": "bert", "role": "guest"}`, http.StatusNotFound, nil)
	ask("SetUser", `{"name": "anna", "role": "king"}`, http.StatusBadRequest, nil)
	if !signedIn(g, first) {
		t.Error("what is shared, or refused, ends a session")
	}
	var list struct {
		Users []struct {
			Name, Role, Added, Invited string
			Shared                     []string
		}
	}
	said := ask("ListUsers", `{}`, http.StatusOK, &list)
	if len(list.Users) != 1 || list.Users[0].Role != "guest" || list.Users[0].Invited != "" || len(list.Users[0].Shared) != 1 || strings.Contains(said, "argon2id") {
		t.Errorf("%s", said)
	}
	if said := ask("ListSessions", `{}`, http.StatusOK, nil); !strings.Contains(said, `"user":"anna"`) {
		t.Errorf("whose the session is: %s", said)
	}
	ask("SetUser", `{"name": "anna", "role": "owner"}`, http.StatusOK, nil)
	if u, err := s.Sessions.Users.Get("anna"); err != nil || u.Role != access.Owner || len(u.Shared) != 1 || signedIn(g, first) {
		t.Errorf("another role: %+v, %v; the session goes on: %v", u, err, signedIn(g, first))
	}
	ask("ResetUser", `{"name": "anna"}`, http.StatusOK, &invitation)
	again := joined(t, g, "anna", invitation.Code)
	ask("RemoveUser", `{"name": "anna"}`, http.StatusOK, nil)
	ask("RemoveUser", `{"name": "anna"}`, http.StatusNotFound, nil)
	ask("ResetUser", `{"name": "anna"}`, http.StatusNotFound, nil)
	if signedIn(g, again) {
		t.Error("a user who is removed is signed in")
	}
	audit, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"add user anna as guest", "set user anna as guest, who sees the credentials of feeds", "set user anna as owner", "reset user anna", "remove user anna"} {
		if !strings.Contains(string(audit), `"`+what) {
			t.Errorf("no %q in\n%s", what, audit)
		}
	}
	if strings.Contains(string(audit), invitation.Code) {
		t.Error("the audit log holds a code")
	}
}
