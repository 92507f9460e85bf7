package quadlet

import (
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func TestProbeIsReadAsItIsWritten(t *testing.T) {
	ports := []manifest.Port{{Name: "web", Container: 8080, Host: 9000}}
	for want, h := range map[string]*manifest.Health{
		"30s 10s exec":                 {},
		"2s 500ms tcp 8080":            {TCP: &manifest.TCPProbe{Port: "web"}, Interval: manifest.Duration(2 * time.Second), Timeout: manifest.Duration(500 * time.Millisecond)},
		"30s 10s http 8080 200 /":      {HTTP: &manifest.HTTPProbe{Port: "web", Path: "/"}},
		"30s 10s http 8080 401 /a?b=%": {HTTP: &manifest.HTTPProbe{Port: "web", Path: "/a?b=%", Status: 401}},
	} {
		p := probe(manifest.Container{Ports: ports, Health: h})
		if p.String() != want {
			t.Errorf("%q, expected %q", p, want)
		}
		if again, err := ParseProbe(want); err != nil || again != p {
			t.Errorf("%q is read as %+v, %v", want, again, err)
		}
	}
	for _, bad := range []string{"", "exec", "30s 10s", "30s 10s exec 8080", "30s 10s tcp", "30s 10s tcp 0", "30s 10s tcp 65536", "30s 10s http 8080 200", "30s 10s http 8080 200 a", "30s 10s http x 200 /", "30s 10s udp 53", "0s 10s exec", "30s never exec", "-1s 10s exec"} {
		if p, err := ParseProbe(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, p)
		}
	}
}
