package engine

import (
	"net/http"
	"os"
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
