package rpc

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
	"github.com/archipelago-cloud/archipelago/orchestrator/secrets"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/subscription"
)

// service is the RPC over a reconciler that never hears from its engine.
func service(t testing.TB) (http.Handler, *state.Store) {
	t.Helper()
	h, _, store := serve(t, t.TempDir())
	return h, store
}

// serve is service over a directory of the daemon's state, and the guard before it.
func serve(t testing.TB, dir string) (http.Handler, *access.Guard, *state.Store) {
	t.Helper()
	s, store := server(t, dir)
	guard := access.NewGuard(s.Sessions)
	_, h := s.Handler(guard)
	return h, guard, store
}

func server(t testing.TB, dir string) (*Server, *state.Store) {
	t.Helper()
	return serverOver(t, dir, nil)
}

// serverOver is one whose node has an engine.
func serverOver(t testing.TB, dir string, engine orchestrator.Engine) (*Server, *state.Store) {
	t.Helper()
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	sec, err := secrets.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cat := catalog.Catalog{"feeds": {Manifest: &manifest.Manifest{ID: "feeds", Name: "Feeds", Version: "1",
		Settings:   []manifest.Setting{{Name: "api-key", Secret: true}, {Name: "mode", Default: "plain"}},
		Containers: []manifest.Container{{Name: "feeds", Secrets: []manifest.SecretMount{{Name: "api-key", Path: "/run/api-key"}}}}}}}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	passwords := access.NewPasswords(dir)
	r := orchestrator.New(engine, store, sec, cat, t.TempDir(), log)
	sub := subscription.Open(t.Context(), t.TempDir(), time.Now, r.SetCatalog)
	return &Server{Reconciler: r, Subscription: sub, Sessions: access.OpenSessions(dir, "sesame", passwords, log), Program: t.TempDir() + "/none", End: func() {}, StartedAt: time.Now()}, store
}

func call(h http.Handler, method, contentType, token string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/archipelago.v1.Orchestrator/"+method, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestBadRequestsAreRefusedAndChangeNothing(t *testing.T) {
	h, store := service(t)
	for _, c := range []struct {
		method, contentType, token, body string
		want                             int
	}{
		{"Install", "application/json", "sesame", `{"id": "nope"}`, http.StatusNotFound},
		{"Install", "application/json", "wrong", `{"id": "feeds"}`, http.StatusUnauthorized},
		{"Install", "application/json", "sesame", `{"id": `, http.StatusBadRequest},
		{"Install", "application/json", "sesame", `{"id": 7}`, http.StatusBadRequest},
		{"Install", "application/json", "sesame", `{"id": "feeds", "surprise": true}`, http.StatusBadRequest},
		{"Install", "application/json", "sesame", `{"id": "feeds", "config": {"unknown": "1"}}`, http.StatusBadRequest},
		{"Install", "text/plain", "sesame", `feeds`, http.StatusUnsupportedMediaType},
		{"Install", "application/proto", "sesame", "\xff\xff\xff", http.StatusBadRequest},
		{"Install", "application/json", "sesame", `{"id": "` + string(bytes.Repeat([]byte("x"), maxRequest)) + `"}`, http.StatusTooManyRequests},
		{"Install", "application/json", "sesame", `{"id": "../../etc/passwd"}`, http.StatusNotFound},
		{"Stop", "application/json", "sesame", `{"id": "feeds"}`, http.StatusBadRequest},
		{"SetPassword", "application/json", "sesame", `{"password": "short"}`, http.StatusBadRequest},
		{"ImportSecret", "application/json", "sesame", `{"id": "feeds", "name": "x", "value": "y"}`, http.StatusInternalServerError},
		{"EndSessions", "application/json", "sesame", `{"id": "nope"}`, http.StatusNotFound},
		{"RemovePasskeys", "application/json", "sesame", `{"id": "nope"}`, http.StatusNotFound},
		{"Nothing", "application/json", "sesame", `{}`, http.StatusNotFound},
	} {
		if got := call(h, c.method, c.contentType, c.token, []byte(c.body)); got.Code != c.want {
			t.Errorf("%s %.60s: status %d, expected %d: %s", c.method, c.body, got.Code, c.want, got.Body)
		}
	}
	if all := store.All(); len(all) > 0 {
		t.Errorf("left %+v", all)
	}
}

func TestASecretSettingGoesInAndNeverComesOut(t *testing.T) {
	h, _ := service(t)
	for _, c := range []struct{ method, body, want string }{
		{"GetApp", `{"id": "feeds"}`, ""},
		{"Install", `{"id": "feeds", "config": {"api-key": "hunter2"}}`, ""},
		{"GetApp", `{"id": "feeds"}`, "set"},
		{"ListApps", `{}`, "set"},
		{"Credentials", `{"id": "feeds"}`, ""},
		{"Configure", `{"id": "feeds", "config": {"api-key": "hunter2\u0000"}}`, ""},
		{"Configure", `{"id": "feeds", "config": {"api-key": "hunter22"}}`, ""},
		{"GetApp", `{"id": "feeds"}`, "set"},
		{"Configure", `{"id": "feeds", "config": {"api-key": ""}}`, ""},
		{"GetApp", `{"id": "feeds"}`, ""},
	} {
		got := call(h, c.method, "application/json", "sesame", []byte(c.body)).Body.String()
		if strings.Contains(got, "hunter2") {
			t.Errorf("%s %s answers %s", c.method, c.body, got)
		}
		if !strings.HasSuffix(c.method, "App") && c.method != "ListApps" {
			continue
		}
		compact := strings.ReplaceAll(got, " ", "")
		if !strings.Contains(compact, `"api-key":"`+c.want+`"`) || !strings.Contains(compact, `"secretSettings":["api-key"]`) {
			t.Errorf("%s: %s, expected the value %q", c.method, got, c.want)
		}
	}
}

func TestUninstallDeletesDataOnlyWhereThatIsAsked(t *testing.T) {
	h, store := service(t)
	for body, purge := range map[string]bool{`{"id": "feeds"}`: false, `{"id": "feeds", "purge": false}`: false, `{"id": "feeds", "purge": true}`: true} {
		if got := call(h, "Install", "application/json", "sesame", []byte(`{"id": "feeds"}`)); got.Code != http.StatusOK {
			t.Fatalf("Install: %s", got.Body)
		}
		if got := call(h, "Uninstall", "application/json", "sesame", []byte(body)); got.Code != http.StatusOK {
			t.Errorf("Uninstall %s: %s", body, got.Body)
		}
		if d, err := store.Get("feeds"); err != nil || d.Goal != state.Absent || d.Purge != purge {
			t.Errorf("Uninstall %s: %+v, %v", body, d, err)
		}
	}
}

func TestAPasswordIsJudgedAsWhereANodeIsClaimed(t *testing.T) {
	dir := t.TempDir()
	s, _ := server(t, dir)
	s.Node = "harbour-box.local"
	_, h := s.Handler(access.NewGuard(s.Sessions))
	for password, why := range map[string]string{"margaret1987": "this password was not taken: it is guessed too soon: it is made of a name and a date. Take four", "harbour-box.local": "known of this node"} {
		if got := call(h, "SetPassword", "application/json", "sesame", []byte(`{"password": "`+password+`"}`)); got.Code != http.StatusBadRequest || !strings.Contains(got.Body.String(), why) {
			t.Errorf("%s: status %d: %s", password, got.Code, got.Body)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil || strings.Count(string(b), access.ErrWeak.Error()) != 2 || strings.Contains(string(b), "a name") {
		t.Errorf("the log: %s, %v", b, err)
	}
}

func TestTheAuditLogTellsWhoAskedForWhat(t *testing.T) {
	dir := t.TempDir()
	h, _, _ := serve(t, dir)
	if got := call(h, "Install", "application/json", "sesame", []byte(`{"id": "feeds"}`)); got.Code != http.StatusOK {
		t.Fatalf("%s", got.Body)
	}
	for _, password := range []string{"short", "correct horse battery"} {
		call(h, "SetPassword", "application/json", "sesame", []byte(`{"password": "`+password+`"}`))
	}
	call(h, "Subscribe", "application/json", "sesame", []byte(`{"channel": "beta"}`))
	b, err := os.ReadFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil || strings.Count(string(b), `"what":"set password"`) != 2 || strings.Count(string(b), `"refused"`) != 2 || strings.Count(string(b), `"who":"token from 192.0.2.1"`) != 4 || !strings.Contains(string(b), `"what":"subscribe to beta`) || strings.Contains(string(b), "correct horse") {
		t.Errorf("%s, %v", b, err)
	}
}

func FuzzDecode(f *testing.F) {
	methods := []string{"Install", "Uninstall", "Configure", "ImportSecret", "GetApp", "ListApps", "SetPassword", "EndSecondFactor", "EndSessions", "Restore", "Upgrade", "Backup"}
	types := []string{"application/json", "application/proto", "application/connect+json", "application/connect+proto", "application/grpc"}
	f.Add(0, 0, []byte(`{"id": "feeds"}`))
	f.Add(1, 1, []byte("\x0a\x05feeds\x10\x01"))
	f.Add(8, 3, []byte("\x00\x00\x00\x00\x04\x0a\x02\x0a\x00"))
	f.Add(9, 2, []byte("\x00\x00\x00\x00\x02{}"))
	f.Add(2, 0, []byte(`{"id": "feeds", "config": {"a": "b"}}`))
	h, store := service(f)
	f.Fuzz(func(t *testing.T, method, kind int, body []byte) {
		call(h, methods[uint(method)%uint(len(methods))], types[uint(kind)%uint(len(types))], "sesame", body)
		for _, d := range store.All() {
			if d.App != "feeds" {
				t.Fatalf("it recorded %+v", d)
			}
		}
	})
}

func TestUpdateTellsAndTakesNewPrivileges(t *testing.T) {
	h, store := service(t)
	old := &manifest.Manifest{APIVersion: manifest.APIVersion, ID: "feeds", Name: "Feeds", Version: "0", Containers: []manifest.Container{{Name: "feeds", User: "1000"}}}
	if _, err := store.Decide(func(state.Records) ([]state.Desired, error) {
		return []state.Desired{{App: "feeds", Goal: state.Running, Manifest: old}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	const privilege = "may run as root in its container feeds"
	if got := call(h, "GetApp", "application/json", "sesame", []byte(`{"id": "feeds"}`)); !bytes.Contains(got.Body.Bytes(), []byte(`"newPrivileges":["`+privilege)) && !bytes.Contains(got.Body.Bytes(), []byte(`"newPrivileges": ["`+privilege)) {
		t.Errorf("GetApp: %s", got.Body)
	}
	if got := call(h, "Update", "application/json", "sesame", []byte(`{"id": "feeds"}`)); !bytes.Contains(got.Body.Bytes(), []byte("failed_precondition")) || !bytes.Contains(got.Body.Bytes(), []byte(privilege)) {
		t.Errorf("without consent: status %d: %s", got.Code, got.Body)
	}
	if got := call(h, "Update", "application/json", "sesame", []byte(`{"id": "feeds", "consent": ["`+privilege+`"]}`)); got.Code != http.StatusOK {
		t.Errorf("with consent: status %d: %s", got.Code, got.Body)
	}
}
