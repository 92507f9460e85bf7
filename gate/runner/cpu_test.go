package runner

import (
	"math"
	"testing"

	"github.com/archipelago-cloud/archipelago/reports"
)

func TestWhatACycleCostsIsCountedOverAReboot(t *testing.T) {
	var m meter
	m.node("a", reports.Used{Services: 100, Sessions: 10}, true) // before the first cycle
	m.take("a")
	m.node("a", reports.Used{Services: 107, Sessions: 11}, false) // before its reboot
	m.node("b", reports.Used{Services: 50}, true)                 // another node
	m.node("a", reports.Used{Services: 3, Sessions: 0.5}, true)   // at its end
	got := m.take("a")
	if got.Services != 10 || got.Sessions != 1.5 || got.Suite != 0 {
		t.Errorf("%+v", got)
	}
	// A counter that is lower than before has begun anew, whatever else is said of the boot.
	m.node("a", reports.Used{Services: 2, Sessions: 0}, false)
	if got := m.take("a"); got.Services != 2 || got.Sessions != 0 {
		t.Errorf("%+v", got)
	}
	if got := m.take("a"); got.Services != 0 || got.Gate < 0 || math.IsNaN(got.Gate) {
		t.Errorf("%+v", got)
	}
}
