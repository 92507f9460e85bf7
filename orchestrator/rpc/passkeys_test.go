package rpc

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/archipelago-cloud/archipelago/internal/passkeytest"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

func TestPasskeysAreListedAndRemoved(t *testing.T) {
	s, _ := server(t, t.TempDir())
	_, h := s.Handler(access.NewGuard(s.Sessions))
	page := httptest.NewRequest(http.MethodPost, "https://box.local:7443/system/passkeys/begin", nil)
	page.TLS = &tls.ConnectionState{}
	var ids []string
	for _, name := range []string{"phone", "key", "computer"} {
		asked, err := s.Sessions.Passkeys.Begin("session", name, "box", page)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := passkeytest.New().Make(asked, "https://box.local:7443")
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.Sessions.Passkeys.Confirm("session", answer)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, p.ID)
	}
	list := func() string {
		t.Helper()
		w := call(h, "ListPasskeys", "application/json", "sesame", []byte("{}"))
		if w.Code != http.StatusOK {
			t.Fatalf("%d, %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	if said := list(); !strings.Contains(said, ids[1]) || !strings.Contains(said, `"name":"key"`) || !strings.Contains(said, `"host":"box.local"`) || !strings.Contains(said, `"added":`) || strings.Contains(said, `"used":`) {
		t.Errorf("%s", said)
	}
	remove := func(id, want string) {
		t.Helper()
		if w := call(h, "RemovePasskeys", "application/json", "sesame", []byte(`{"id": "`+id+`"}`)); !strings.Contains(w.Body.String(), want) {
			t.Errorf("removing %q: %s", id, w.Body)
		}
	}
	remove(ids[1], `"removed":1`)
	if said := list(); strings.Contains(said, ids[1]) || !strings.Contains(said, ids[2]) {
		t.Errorf("%s", said)
	}
	remove(ids[1], "no such passkey")
	remove("", `"removed":2`)
	if said := strings.TrimSpace(list()); said != "{}" {
		t.Errorf("%s", said)
	}
}

func TestRecoveryCodesAnewTakeACode(t *testing.T) {
	s, _ := server(t, t.TempDir())
	_, h := s.Handler(access.NewGuard(s.Sessions))
	renew := func(code string, status int, want string) {
		t.Helper()
		if w := call(h, "RenewRecoveryCodes", "application/json", "sesame", []byte(`{"code": "`+code+`"}`)); w.Code != status || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q: %d, %s", code, w.Code, w.Body)
		}
	}
	renew("123456", http.StatusBadRequest, "there is no second factor")
	secret, err := s.Sessions.Factor.Begin("session")
	if err != nil {
		t.Fatal(err)
	}
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.Sessions.Factor.Confirm("session", secret, code)
	if err != nil {
		t.Fatal(err)
	}
	renew("", http.StatusBadRequest, "none was typed")
	renew(code, http.StatusBadRequest, "that is not the code") // it was used
	renew(before[0], http.StatusOK, `"codes":["`)
	renew(before[1], http.StatusBadRequest, "that is not the code")
	if f, err := s.Sessions.Factor.Status(); err != nil || f.Recovery != 10 {
		t.Errorf("%+v, %v", f, err)
	}
}
