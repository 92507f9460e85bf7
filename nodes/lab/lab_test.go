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
