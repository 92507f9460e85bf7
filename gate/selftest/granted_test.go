//go:build lab

package selftest

import (
	"io"
	"testing"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/reports"
)

// granted gives the application page what needs its owner's consent, and limits. The one of
// processes is told systemd, though the lab's nodes have no controller for it.
var granted = []string{"    stop_timeout:", `    capabilities: [NET_BIND_SERVICE, NET_ADMIN]
    devices: [{class: tun}]
    extra_hosts: {site: page}
    cpus: 0.75
    pids: 100
    stop_timeout:`}

// openTunnels has everybody on a node of the lab be able to make tunnels, as on a machine
// whose udev sees to it; a reboot of the node undoes that.
func openTunnels(t *testing.T, nodes ...string) {
	t.Helper()
	l, err := lab.Open(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		if err := l.Exec(t.Context(), node, io.Discard, "mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200; chmod 0666 /dev/net/tun"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsGrantedIsGreen(t *testing.T) {
	openTunnels(t, ".228")
	c := planted{edit: granted, app: "page", steps: []string{matrix.Install, matrix.Stop, matrix.Start, matrix.Restart, matrix.Reinstall, matrix.Uninstall}}
	if status, r := c.gate(t, "", ".228"); status != 0 || r.Verdict != reports.Green {
		t.Errorf("exit status %d, verdict %s, first failure %+v", status, r.Verdict, r.First)
	}
}
