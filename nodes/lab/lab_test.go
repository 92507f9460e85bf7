package lab

import (
	"net"
	"strings"
	"testing"

	"github.com/archipelago-cloud/archipelago/nodes"
)

func TestTakenPortsAreNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.77:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	err = portsFree(&nodes.Node{Name: ".77", Address: "127.0.0.77"}, []int{taken})
	if err == nil || !strings.Contains(err.Error(), "node .77: port") || !strings.Contains(err.Error(), "is taken on this machine") {
		t.Errorf("%v", err)
	}
	l.Close()
	if err := portsFree(&nodes.Node{Name: ".77", Address: "127.0.0.77"}, []int{taken}); err != nil {
		t.Errorf("free again: %v", err)
	}
}

func TestLimitsAreWithinThisProcess(t *testing.T) {
	ulimits, err := limits()
	if err != nil || len(ulimits) != 2 {
		t.Fatalf("%v, %v", ulimits, err)
	}
	for _, u := range ulimits {
		if u.Soft > u.Hard || u.Hard <= 0 {
			t.Errorf("%+v", u)
		}
	}
}

func TestStaleForwardsAreOneAddressesOwn(t *testing.T) {
	const rules = `*nat
:NETAVARK-DN-1D8721804F16F - [0:0]
-A NETAVARK-DN-1D8721804F16F -s 127.0.0.1/32 -d 127.0.0.228/32 -p tcp -m tcp --dport 22 -j NETAVARK-HOSTPORT-SETMARK
-A NETAVARK-DN-1D8721804F16F -d 127.0.0.228/32 -p tcp -m tcp --dport 22 -j DNAT --to-destination 10.88.0.43:22
-A NETAVARK-DN-1D8721804F16F -d 127.0.0.22/32 -p tcp -m tcp --dport 22 -j DNAT --to-destination 10.88.0.44:22
-A OUTPUT -d 127.0.0.228/32 -j ACCEPT
COMMIT
`
	const want = `*nat
-D NETAVARK-DN-1D8721804F16F -s 127.0.0.1/32 -d 127.0.0.228/32 -p tcp -m tcp --dport 22 -j NETAVARK-HOSTPORT-SETMARK
-D NETAVARK-DN-1D8721804F16F -d 127.0.0.228/32 -p tcp -m tcp --dport 22 -j DNAT --to-destination 10.88.0.43:22
COMMIT
`
	if got := staleForwards(rules, "127.0.0.228"); got != want {
		t.Errorf("%s", got)
	}
	if got := staleForwards(rules, "127.0.0.198"); got != "" {
		t.Errorf("%s", got)
	}
}
