package catalog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder is a catalog's folder of applications that publish ports, each given as
// "NAME NUMBER PROTOCOL".
func folder(t *testing.T, apps map[string][]string) string {
	t.Helper()
	dir := t.TempDir()
	for id, ports := range apps {
		var m strings.Builder
		fmt.Fprintf(&m, "apiVersion: archipelago/v1\nid: %s\nname: %[1]s\nversion: \"1\"\ncontainers:\n  - name: %[1]s\n    image: {ref: docker.io/library/%[1]s, digest: \"sha256:%s\"}\n    ports:\n", id, strings.Repeat("0", 64))
		for _, p := range ports {
			f := strings.Fields(p)
			fmt.Fprintf(&m, "      - {name: %s, container: %s, host: %[2]s, protocol: %s}\n", f[0], f[1], f[2])
		}
		if err := os.Mkdir(filepath.Join(dir, id), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, id, "manifest.yaml"), []byte(m.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTwoApplicationsCannotPublishThePortOfOneProtocol(t *testing.T) {
	for _, c := range []struct {
		name string
		apps map[string][]string
		want string // in the error; empty for none
	}{
		{"TCP and UDP of one application", map[string][]string{"dns": {"dns 5353 tcp", "dns-udp 5353 udp"}}, ""},
		{"TCP of one, UDP of another", map[string][]string{"dns": {"dns 5353 udp"}, "web": {"web 5353 tcp"}}, ""},
		{"the same TCP port", map[string][]string{"dns": {"dns 5353 tcp"}, "web": {"web 5353 tcp"}}, "apps dns and web both use port 5353 of the node"},
		{"the same UDP port", map[string][]string{"dns": {"dns 5353 udp"}, "game": {"game 5353 udp"}}, "apps dns and game both use port 5353/udp of the node"},
	} {
		cat, err := Load(folder(t, c.apps))
		switch {
		case len(cat) != len(c.apps):
			t.Fatalf("%s: %d applications, %v", c.name, len(cat), err)
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, expected %q", c.name, err, c.want)
		}
	}
}
