package engine

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestACheckThatTakesTooLongIsEnded plays Podman 5.4, which waits for a check for ever: it
// answers once the check's process has ended.
func TestACheckThatTakesTooLongIsEnded(t *testing.T) {
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	own := strings.TrimSpace(string(cgroup)) // in place of the container's id, which stands in its cgroup
	for _, c := range []struct {
		name, id, argv string
		ended          bool
	}{
		{"the check", own, `"entrypoint": "wait", "arguments": ["-q"]`, true},
		{"another command in the container", own, `"entrypoint": "wait", "arguments": []`, false},
		{"a process that is not the container's", "another", `"entrypoint": "wait", "arguments": ["-q"]`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hangs := exec.Command("sleep", "60")
			if err := hangs.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { hangs.Wait(); close(ended) }()
			defer func() { hangs.Process.Kill(); <-ended }()
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch path := r.URL.Path; {
				case strings.HasSuffix(path, "/_ping"):
					w.Header().Set("Libpod-API-Version", "5.4.0")
				case strings.HasSuffix(path, "/containers/page/healthcheck"):
					select {
					case <-ended:
					case <-r.Context().Done():
					}
					fmt.Fprint(w, `{"Status": "unhealthy"}`)
				case strings.HasSuffix(path, "/containers/page/json"):
					fmt.Fprintf(w, `{"Id": %q, "ExecIDs": ["e"], "Config": {"Healthcheck": {"Test": ["CMD", "wait", "-q"]}}}`, c.id)
				case strings.HasSuffix(path, "/exec/e/json"):
					fmt.Fprintf(w, `{"Running": true, "Pid": %d, "ProcessConfig": {%s}}`, hangs.Process.Pid, c.argv)
				default:
					w.WriteHeader(http.StatusNotFound)
				}
			})}
			go server.Serve(l)
			defer server.Close()
			p := &Podman{socket: "unix://" + socket}
			begin := time.Now()
			passed, err := p.Check(t.Context(), "page", 200*time.Millisecond)
			if passed || (err == nil) != c.ended {
				t.Errorf("after %s: %v, %v", time.Since(begin), passed, err)
			}
			select {
			case <-ended:
				if !c.ended {
					t.Error("it was ended")
				}
			default:
				if c.ended {
					t.Error("it was not ended")
				}
			}
		})
	}
}

func TestCommandsOfChecksAreAsPodmanRunsThem(t *testing.T) {
	for want, test := range map[string][]string{"ready -q": {"CMD", "ready", "-q"}, "/bin/sh -c ready": {"CMD-SHELL", "ready"}} {
		if got := strings.Join(command(test), " "); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}
