package orchestrator

import (
	"errors"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
)

// What is plugged in after a refusal is seen at the next try: the node is looked at anew.
func TestARefusalForADeviceHasTheNodeLookedAtAnew(t *testing.T) {
	m := pair()
	m.Containers[0].Devices = []manifest.Device{{Class: "gpu"}}
	r := loopless(t, empty(), t.TempDir(), catalog.Catalog{"pair": {Manifest: m, Source: catalog.Source{From: catalog.FromDisk}}})
	r.known.Store(&host.Known{Observation: host.Observation{At: time.Now(), Devices: map[string]host.Device{}}})
	for len(r.wake) > 0 {
		<-r.wake
	}
	if _, err := r.Request(request.Request{App: "pair", Verb: request.Install}); !errors.Is(err, request.ErrDevice) {
		t.Fatal(err)
	}
	if len(r.wake) != 1 {
		t.Error("the node is not looked at")
	}
}
