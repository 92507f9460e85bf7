package engine

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

func TestUseIsReadFromTheKernelsAccounts(t *testing.T) {
	slice := t.TempDir()
	put := func(unit string, files map[string]string) {
		for name, content := range files {
			if err := os.MkdirAll(filepath.Join(slice, unit), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(slice, unit, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("wiki.service", map[string]string{"cpu.stat": "usage_usec 2500000\nuser_usec 1\n", "memory.current": "5000\n", "memory.stat": "anon 1\ninactive_file 2000\n"})
	put("_memory.service", map[string]string{"cpu.stat": "usage_usec 7\n", "memory.current": "9\n"})
	put("odd.service", map[string]string{"cpu.stat": "nothing of the kind", "memory.current": "max\n", "memory.stat": "inactive_file 2000\n"})
	got := use(slice, []string{"wiki.service", "memory.service", "odd.service", "gone.service"})
	want := map[string]host.Use{"wiki.service": {CPU: 2500 * time.Millisecond, Memory: 3000}, "memory.service": {CPU: 7 * time.Microsecond, Memory: 9}, "odd.service": {}}
	if len(got) != len(want) {
		t.Errorf("%+v", got)
	}
	for s, w := range want {
		if got[s] != w {
			t.Errorf("%s: %+v, not %+v", s, got[s], w)
		}
	}
	for own, want := range map[string]string{
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/archipelago.service\n": "/user.slice/user-1000.slice/user@1000.service/app.slice",
		"0::/user.slice/user-1000.slice/session-1.scope\n":                                 "",
		"": "",
	} {
		if got, ok := appSlice(own, 1000); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %t", own, got, ok)
		}
	}
}

func TestTrafficIsWhatPodmanCounts(t *testing.T) {
	e := serving(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
			w.Header().Set("Libpod-API-Version", "5.4.0")
		case strings.HasSuffix(r.URL.Path, "/containers/stats") && r.URL.Query().Get("stream") == "false":
			w.Write([]byte(`{"Error":null,"Stats":[{"Name":"wiki","Network":{"eth0":{"RxBytes":10,"TxBytes":1},"eth1":{"RxBytes":5,"TxBytes":2},"lo":{"RxBytes":99,"TxBytes":99}}},{"Name":"bare","Network":null}]}`))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	got, err := e.Traffic(t.Context())
	if err != nil || len(got) != 2 || got["wiki"] != (host.Traffic{Received: 15, Sent: 3}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSizesAreThoseThatDuSaysWhateverGoesMeanwhile(t *testing.T) {
	dir := t.TempDir()
	var dirs []string
	for _, name := range []string{"goes", "stays"} {
		one := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(one, 0o755), os.WriteFile(filepath.Join(one, "file"), make([]byte, 100<<10), 0o644)); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, one)
	}
	var missing error // that the helper has, too
	e := &Engine{helper: func(ctx context.Context, _ limit, _ string, argv ...string) (string, error) {
		if err := os.RemoveAll(dirs[0]); err != nil {
			t.Error(err)
		}
		out, err := exec.CommandContext(ctx, argv[2], argv[3:]...).Output() // without "podman unshare"
		return string(out), errors.Join(err, missing)
	}}
	got, err := e.Sizes(t.Context(), append(dirs, filepath.Join(dir, "none")))
	if size := got[dirs[1]]; err != nil || len(got) != 1 || size < 100<<10 || size > 1<<20 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := e.Sizes(t.Context(), []string{filepath.Join(dir, "none")}); err != nil || len(got) != 0 {
		t.Errorf("of none: %v, %v", got, err)
	}
	missing = errors.New("there is no Podman")
	if got, err := e.Sizes(t.Context(), dirs); err == nil {
		t.Errorf("without Podman: %v", got)
	}
}
