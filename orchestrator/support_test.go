package orchestrator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/support"
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

// stuck is a node whose Podman does not answer.
type stuck struct {
	babbling
	asked chan struct{}
}

func (s stuck) Version(ctx context.Context) (string, error) {
	s.asked <- struct{}{}
	<-ctx.Done()
	return "", ctx.Err()
}

// TestOneReportForSupportIsMadeAtATime: whoever waits for one, and is gone, waits no longer.
func TestOneReportForSupportIsMadeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := node(t, empty(), t.TempDir())
		os.WriteFile(filepath.Join(r.dataDir, "state", "token"), []byte("SESAMESESAMESESAMESESAMESE\n"), 0o600)
		podman, began := stuck{asked: make(chan struct{}, 1)}, time.Now()
		made := make(chan error)
		go func() {
			_, err := r.Support(context.Background(), podman, nil, nil)
			made <- err
		}()
		<-podman.asked
		gone, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		if _, err := r.Support(gone, podman, nil, nil); !errors.Is(err, operation.ErrBusy) || time.Since(began) != time.Second {
			t.Errorf("whoever is gone: %v after %s", err, time.Since(began))
		}
		if _, err := r.Support(t.Context(), podman, nil, nil); !errors.Is(err, operation.ErrBusy) || time.Since(began) != time.Second+supportWait {
			t.Errorf("whoever waits: %v after %s", err, time.Since(began))
		}
		if err := <-made; err != nil || time.Since(began) != supportTime {
			t.Errorf("the one that is made: %v after %s", err, time.Since(began))
		}
	})
}

// shouting is a node whose containers say much in a line.
type shouting struct{ babbling }

func (shouting) Logs(_ context.Context, _ string, _ bool, _ int, emit func(host.LogLine) error) error {
	return emit(host.LogLine{Text: strings.Repeat("x", 1<<20)})
}

func TestNoMoreOfALogIsHeldThanComesIn(t *testing.T) {
	if l := said(t.Context(), shouting{}, "feeds"); len(l.Lines) != 1 || len(l.Lines[0].Text) > 2*support.Looked {
		t.Errorf("%d lines, %d bytes", len(l.Lines), len(l.Lines[0].Text))
	}
}
