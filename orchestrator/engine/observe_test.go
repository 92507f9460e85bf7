package engine

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func TestPublishedPortsAreReadWithTheirProtocol(t *testing.T) {
	// As Podman lists 8080:80, 53:53/udp, a range of two, and one that is both.
	const answer = `{"Ports": [
		{"host_ip": "", "container_port": 80, "host_port": 8080, "range": 1, "protocol": "tcp"},
		{"host_ip": "", "container_port": 53, "host_port": 53, "range": 1, "protocol": "udp"},
		{"host_ip": "", "container_port": 90, "host_port": 9000, "range": 2, "protocol": "tcp"},
		{"host_ip": "", "container_port": 70, "host_port": 7000, "range": 1, "protocol": "tcp,udp"}]}`
	var c listed
	if err := json.Unmarshal([]byte(answer), &c); err != nil {
		t.Fatal(err)
	}
	want := []manifest.NodePort{{Number: 8080}, {Number: 53, UDP: true}, {Number: 9000}, {Number: 9001}, {Number: 7000}, {Number: 7000, UDP: true}}
	if got := c.nodePorts(); !slices.Equal(got, want) {
		t.Errorf("%v, expected %v", got, want)
	}
}
