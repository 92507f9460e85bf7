//go:build lab

package selftest

import (
	"io"
	"testing"

	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/reports"
)

// granted gives the application page what needs its owner's consent, and limits.
var granted = []string{"    stop_timeout:", `    capabilities: [NET_BIND_SERVICE, NET_ADMIN]
    devices: [{class: tun}]
    extra_hosts: {site: page}
    cpus: 0.75
    pids: 200
    stop_timeout:`}

// lessGranted are faults of a daemon that gives it something less, more or other, with what
// the witnesses must say of each at the installation.
func lessGranted() (all []planted) {
	for _, c := range []struct{ name, old, by, reason string }{
		{"one of two capabilities is not given", "AddCapability=NET_ADMIN", "", "bounding capabilities is 0x400, wanted 0x1400"},
		{"a third capability is given", "AddCapability=NET_ADMIN", "AddCapability=NET_ADMIN\nAddCapability=SYS_PTRACE", "has capabilities, or can gain them: 0x80000"},
		{"a device is not given", "AddDevice=/dev/net/tun", "", "mount /dev/net/tun is missing"},
		{"another device is given in its place", "AddDevice=/dev/net/tun", "AddDevice=/dev/fuse:/dev/net/tun", "mount /dev/net/tun is another device, /fuse of a"},
		{"a further name is not given", ":alias=site", "", "network archipelago-page is joined, wanted joined site"},
		{"processor time is not limited", "CPUQuota=75%", "", "its unit's CPUQuotaPerSecUSec is infinity, wanted 750ms"},
		{"processes are not limited", "PidsLimit=200", "", "limit of processes is missing, wanted 200"},
	} {
		all = append(all, planted{name: c.name, fault: rendering(c.old, c.by), edit: granted, app: "page", steps: []string{matrix.Install}, red: matrix.Install, reason: c.reason})
	}
	return all
}

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
