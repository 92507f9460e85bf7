package orchestrator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
)

// babbling is a node on which everything says all that it knows.
type babbling struct{ words string }

func (b babbling) Doctor(context.Context, string) []host.Finding {
	return []host.Finding{{Name: "disk", Detail: b.words}}
}

func (b babbling) Logs(_ context.Context, _ string, _ bool, _ int, emit func(host.LogLine) error) error {
	return errors.Join(emit(host.LogLine{Text: b.words}), errors.New(b.words))
}

func (b babbling) Version(context.Context) (string, error) { return "", errors.New(b.words) }

// TestAReportForSupportKnowsAllSecretsOfTheNode: whatever an application, Podman or restic may
// repeat of what the node keeps, the report has none of it.
func TestAReportForSupportKnowsAllSecretsOfTheNode(t *testing.T) {
	h := empty()
	h.restic = restictest.New(t)
	dir := t.TempDir()
	r := node(t, h, dir)
	if err := ask(t, r, request.Install); err != nil {
		t.Fatal(err)
	}
	_, key, err := r.AddRepository(t.Context(), repository.Added{Name: "disk", URL: filepath.Join(t.TempDir(), "backups")}, "test")
	if err != nil || key == "" {
		t.Fatal(err)
	}
	if _, err := r.AddTarget("phone", "ntfy://ann:hunter2hunter2@127.0.0.1:1/a-topic-that-is-secret?scheme=http", "test"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "state", "token"), []byte("SESAMESESAMESESAMESESAMESE\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.secrets.Keep("gone", "password", "of what is not installed any more"); err != nil {
		t.Fatal(err)
	}
	secrets := []string{key, "hunter2hunter2", "a-topic-that-is-secret", "SESAMESESAMESESAMESESAMESE", "of what is not installed any more"}
	text, err := r.Support(t.Context(), babbling{strings.Join(secrets, " and ")}, nil, errors.New("damaged"))
	if err != nil || !strings.Contains(text, "[repository disk]") || !strings.Contains(text, "[the node's access token]") || !strings.Contains(text, "damaged") || !strings.Contains(text, "What pair said last") {
		t.Errorf("%v:\n%s", err, text)
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in it:\n%s", secret, text)
		}
	}
}
