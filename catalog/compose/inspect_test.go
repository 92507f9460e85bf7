package compose

import (
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

const digestOf = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

// TestAContainerIsReadByItsStateOrItsCommand: Podman keeps the command that made a container;
// where there is none, or it is not understood, what became of it is read.
func TestAContainerIsReadByItsStateOrItsCommand(t *testing.T) {
	state := `"HostConfig": {"Memory": 67108864, "NanoCpus": 1500000000, "PidsLimit": 100, "CapAdd": ["CAP_NET_ADMIN"], "Privileged": true, "NetworkMode": "bridge", "ShmSize": 65536000, "OomScoreAdj": 5,
  "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}, "Tmpfs": {"/run/x": "rw"}, "Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": 1024, "Hard": 1024}],
  "RestartPolicy": {"Name": "no"}, "ExtraHosts": ["printer:10.0.0.9"]},
 "Mounts": [{"Type": "volume", "Name": "data", "Source": "/var/x", "Destination": "/data", "RW": true}, {"Type": "bind", "Source": "/run/podman/podman.sock", "Destination": "/sock", "RW": true}]}]`
	for name, c := range map[string]struct {
		text       string
		has, lists []string
	}{
		"its state": {
			`[{"Name": "/page", "ImageName": "docker.io/example/page:1.2", "ImageDigest": "` + digestOf + `",
 "Config": {"User": "1000:1000", "Env": ["PATH=/bin", "LEVEL=a$b", "DB_PASSWORD=hunter22"], "Cmd": ["serve"], "StopSignal": "SIGINT", "Healthcheck": {"Test": ["CMD", "probe"], "Interval": 5000000000, "Retries": 4}}, ` + state,
			[]string{"docker.io/example/page:1.2", digestOf, `user: "1000:1000"`, "LEVEL: \"a$b\"", "memory: \"64M\"", "cpus: 1.5", "pids: 100", "capabilities: [NET_ADMIN]", "container: 80, host: 8080", "path: /data", "/run/x", "nofile: 1024", "SIGINT", "exec: [probe]", `interval: "5s"`, "retries: 4", "env: DB_PASSWORD", "command: [serve]"},
			[]string{"page.privileged", "page.volumes", "page.restart", "page.extra_hosts", "page.environment.PATH", "OomScoreAdj"},
		},
		"its command": {
			`[{"Name": "page", "Config": {"CreateCommand": ["/usr/bin/podman", "run", "-d", "--sdnotify=conmon", "--name", "page", "-p", "8080:80", "--privileged", "docker.io/example/page:1.2", "a b"]}, ` + state,
			[]string{"command: [a b]", "container: 80, host: 8080"},
			[]string{"page.privileged"},
		},
		"a command that nobody knows": {
			`[{"Name": "page", "ImageName": "docker.io/example/page:1.2", "Config": {"CreateCommand": ["podman", "run", "--unheard-of", "x"]}, ` + state,
			[]string{"container: 80, host: 8080", "pids: 100"},
			[]string{"Config.CreateCommand", "page.privileged"},
		},
	} {
		r, err := ImportInspect(t.Context(), "inspect.json", []byte(c.text), Options{Dir: t.TempDir()})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := manifest.Parse(name, r.Manifest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range c.has {
			if !strings.Contains(string(r.Manifest), want) {
				t.Errorf("%s: no %s in\n%s", name, want, r.Manifest)
			}
		}
		var all strings.Builder
		for _, i := range r.Items {
			all.WriteString(i.String() + "\n")
		}
		for _, want := range c.lists {
			if !strings.Contains(all.String(), want) {
				t.Errorf("%s: %s is not listed:\n%s", name, want, all.String())
			}
		}
		if strings.Contains(string(r.Manifest), "hunter22") {
			t.Errorf("%s: a password is in the clear", name)
		}
	}
}

func TestWhatIsNoContainerIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"": "not what inspect prints", "[]": "no container there", "[{}]": "x.json:1: expected a container", "[1]": "expected a container", "{": "not what inspect prints",
		`[{"Config": {}, "HostConfig": {}}]`: "no Name or no image",
	} {
		if r, err := ImportInspect(t.Context(), "x.json", []byte(text), Options{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v %v, expected %q", text, r, err, want)
		}
	}
}
