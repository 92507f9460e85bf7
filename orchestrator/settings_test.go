package orchestrator

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// TestASecretSettingIsInOneFileOnly follows a secret setting through the life of an
// application: its value is in one file and in the engine, and nowhere else.
func TestASecretSettingIsInOneFileOnly(t *testing.T) { synctest.Test(t, aSecretSettingIsInOneFileOnly) }

func aSecretSettingIsInOneFileOnly(t *testing.T) {
	m := pair()
	m.Settings = []manifest.Setting{{Name: "api-key", Secret: true}}
	m.Containers[1].Secrets = []manifest.SecretMount{{Name: "api-key", Path: "/run/api-key"}}
	h, dir := empty(), t.TempDir()
	r := nodeWith(t, h, dir, catalog.Catalog{"pair": {Manifest: m}})
	do := func(req request.Request) {
		t.Helper()
		req.App, req.Who = "pair", "test"
		gen, err := r.Request(req)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var last view.Progress
		if err := r.Watch(ctx, "pair", gen, func(p view.Progress) error { last = p; return nil }); err != nil || last.Err != "" {
			t.Fatalf("%s: %v, %s", req.Verb, err, last.Err)
		}
	}
	// only wants a value in one private file of the daemon's, in no unit, and in the
	// engine; an empty one nowhere.
	only := func(after, value string) (spec string) {
		t.Helper()
		var in []string
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if !strings.Contains(string(b), "hunter") {
				return err
			}
			in = append(in, path)
			if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 || string(b) != value {
				t.Errorf("after %s: %s, %v, holds %q", after, info.Mode(), err, b)
			}
			return nil
		})
		if err != nil || value != "" && (len(in) != 1 || filepath.Dir(in[0]) != filepath.Join(dir, "secrets", "pair")) || value == "" && len(in) > 0 {
			t.Errorf("after %s it is in %q, %v", after, in, err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for name, body := range h.obs.Files {
			if strings.Contains(body, "hunter") {
				t.Errorf("after %s the unit %s holds it:\n%s", after, name, body)
			}
		}
		if got := h.secrets["pair.api-key"]; got != value {
			t.Errorf("after %s the engine has %q, expected %q", after, got, value)
		}
		return h.obs.Containers["pair-db"].Spec
	}
	type config = map[string]string
	do(request.Request{Verb: request.Install, Config: config{"api-key": "hunter1"}})
	first := only("the installation", "hunter1")
	do(request.Request{Verb: request.Configure, Config: config{"api-key": "hunter2"}})
	if only("another value", "hunter2") == first {
		t.Error("the container goes on with the old value")
	}
	if _, err := r.Request(request.Request{App: "pair", Verb: request.Configure, Config: config{"api-key": "hunter3", "none": ""}}); err == nil {
		t.Error("a setting that it has not was taken")
	}
	only("a refusal", "hunter2")
	do(request.Request{Verb: request.Stop})
	do(request.Request{Verb: request.Uninstall})
	h.mu.Lock()
	clear(h.secrets) // as the engine does
	h.mu.Unlock()
	do(request.Request{Verb: request.Install})
	only("another installation", "hunter2")
	do(request.Request{Verb: request.Configure, Config: config{"api-key": ""}})
	only("it was cleared", "")
	do(request.Request{Verb: request.Configure, Config: config{"api-key": "hunter4"}})
	only("it was set again", "hunter4")
	h.mu.Lock()
	clear(h.secrets)
	h.mu.Unlock()
	do(request.Request{Verb: request.Uninstall, Purge: true})
	only("a purge", "")
}
