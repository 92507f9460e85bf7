package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator"
	"github.com/archipelago-cloud/archipelago/orchestrator/access"
)

// resticOnly is an engine that does nothing else.
type resticOnly struct {
	orchestrator.Engine
	run *restictest.Runner
}

func (r resticOnly) Restic(ctx context.Context, line func([]byte), argv ...string) error {
	return r.run.Restic(ctx, line, argv...)
}

func TestRepositoriesAreMadeToldAndForgotten(t *testing.T) {
	s, _ := serverOver(t, t.TempDir(), resticOnly{run: restictest.New(t)})
	_, h := s.Handler(access.NewGuard(s.Sessions))
	disk := filepath.Join(t.TempDir(), "backups")
	ask := func(verb, body string, status int, want string) []byte {
		t.Helper()
		got := call(h, verb, "application/json", "sesame", []byte(body))
		if got.Code != status || !bytes.Contains(got.Body.Bytes(), []byte(want)) {
			t.Errorf("%s %s: status %d: %s, expected %d, %s", verb, body, got.Code, got.Body, status, want)
		}
		return got.Body.Bytes()
	}
	var added, told struct{ RecoveryKey string }
	if err := json.Unmarshal(ask("AddRepository", `{"name": "disk", "url": "`+disk+`"}`, http.StatusOK, disk), &added); err != nil || len(added.RecoveryKey) < 26 {
		t.Fatal(err)
	}
	ask("AddRepository", `{"name": "disk", "url": "`+disk+`"}`, http.StatusBadRequest, "there is a repository disk")
	ask("AddRepository", `{"name": "again", "url": "`+disk+`"}`, http.StatusBadRequest, "give its recovery key")
	ask("AddRepository", `{"name": "x", "url": "backups"}`, http.StatusBadRequest, "is no address")
	if listed := ask("ListRepositories", `{}`, http.StatusOK, disk); bytes.Contains(listed, []byte(added.RecoveryKey)) {
		t.Error("whoever lists repositories is told the recovery key")
	}
	ask("ListSnapshots", `{"repository": "disk"}`, http.StatusOK, "{}")
	ask("ListSnapshots", `{"repository": "none"}`, http.StatusNotFound, "no repository is named")
	if err := json.Unmarshal(ask("GetRecoveryKey", `{"name": "disk"}`, http.StatusOK, ""), &told); err != nil || told != added {
		t.Error(told, err)
	}
	ask("GetRecoveryKey", `{"name": "../disk"}`, http.StatusNotFound, "no repository is named")
	if err := json.Unmarshal(ask("RemoveRepository", `{"name": "disk"}`, http.StatusOK, ""), &told); err != nil || told != added {
		t.Error(told, err)
	}
	ask("ListRepositories", `{}`, http.StatusOK, "{}")
	ask("RemoveRepository", `{"name": "disk"}`, http.StatusNotFound, "no repository is named")
	ask("AddRepository", `{"name": "disk", "url": "`+disk+`", "recoveryKey": "`+added.RecoveryKey+`"}`, http.StatusOK, disk)
}
