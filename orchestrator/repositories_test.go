package orchestrator

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/restictest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/repository"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
)

// TestAnOverdueBackupIsSeenEverywhere: in the list of applications, in metrics and by doctor.
func TestAnOverdueBackupIsSeenEverywhere(t *testing.T) {
	h := empty()
	h.restic = restictest.New(t)
	r := node(t, h, t.TempDir())
	if _, err := r.Request(request.Request{App: "pair", Verb: request.Install}); err != nil {
		t.Fatal(err)
	}
	finding := func() host.Finding {
		all := r.Findings(t.Context(), nil)
		return all[slices.IndexFunc(all, func(f host.Finding) bool { return f.Name == "repositories" })]
	}
	if f := finding(); !f.OK || !strings.Contains(f.Detail, "no application is backed up by itself") {
		t.Errorf("%+v", f)
	}
	disk := filepath.Join(t.TempDir(), "backups")
	if _, key, err := r.AddRepository(t.Context(), repository.Added{Name: "disk", URL: disk}, "test"); err != nil || key == "" {
		t.Fatal(err)
	}
	if f := finding(); !f.OK {
		t.Errorf("%+v", f)
	}
	if err := os.Rename(disk, disk+".away"); err != nil {
		t.Fatal(err)
	}
	r.backups.Due(t.Context(), time.Now().Add(-72*time.Hour))
	v, err := r.App("pair")
	if err != nil || !strings.Contains(v.Note, "backup overdue") || !strings.Contains(v.Backup.Problem, "there is no repository") {
		t.Errorf("%+v, %v", v.Backup, err)
	}
	if f := finding(); f.OK || !strings.Contains(f.Detail, "pair: backup overdue") || f.Remedy == "" {
		t.Errorf("%+v", f)
	}
	families, err := r.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	bad := -1.0
	for _, f := range families {
		if f.GetName() == "archipelago_backup_problem" {
			bad = f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	if bad != 1 {
		t.Errorf("the metric is %v", bad)
	}
	for _, s := range []repository.Settings{{Window: "at night"}, {Hours: 10000}} {
		if _, err := r.SetRepository("disk", s, "test"); !errors.Is(err, request.ErrRefused) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if set, err := r.SetRepository("disk", repository.Settings{Hours: -1}, "test"); err != nil || set.Settings.Every() != 0 {
		t.Error(err)
	}
}

// TestAPasswordInAnAddressIsNotKept: it is refused, and neither the audit log nor the answer
// repeats it.
func TestAPasswordInAnAddressIsNotKept(t *testing.T) {
	h := empty()
	h.restic = restictest.New(t)
	dir := t.TempDir()
	r := node(t, h, dir)
	for _, address := range []string{"sftp://me:hunter2@nas//backups", "rest:https://me:hunter2@nas/", "https://me:hunter2@nas/", "s3:https://me:hunter2@nas/bucket", "me:hunter2@nas:/backups", "sftp:me:hunter2@nas:/backups", "b2:hunter2:bucket"} {
		if _, _, err := r.AddRepository(t.Context(), repository.Added{Name: "disk", URL: address}, "test"); !errors.Is(err, repository.ErrRefused) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if strings.Contains(string(b), "hunter2") {
			t.Errorf("%s has the password: %s", name, b)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
