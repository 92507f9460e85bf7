package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"
)

// TestAUnitThatSystemdDoesNotLoadIsNeverTakenForStarted has Podman's generator leave out a unit,
// which it does with status 0 (https://github.com/containers/podman/issues/18778), and systemd
// refuse one.
func TestAUnitThatSystemdDoesNotLoadIsNeverTakenForStarted(t *testing.T) {
	for name, c := range map[string]struct {
		refusal godbus.Error
		want    string
	}{
		"left out by the generator":  {godbus.Error{Name: "org.freedesktop.systemd1.NoSuchUnit", Body: []any{"Unit b.service not found."}}, "start b.service: Unit b.service not found.: Podman's generator made no service of its unit file"},
		"with a setting that is bad": {godbus.Error{Name: "org.freedesktop.systemd1.BadUnitSetting", Body: []any{"Unit b.service has a bad unit file setting."}}, "start b.service: Unit b.service has a bad unit file setting."},
	} {
		var asked []string
		err := (&Engine{}).jobs(t.Context(), "start", []string{"a.service", "b.service", "c.service"}, func(_ context.Context, unit, _ string, result chan<- string) (int, error) {
			asked = append(asked, unit)
			if unit == "b.service" {
				return 0, c.refusal
			}
			result <- "done"
			return 1, nil
		})
		if !errors.Is(err, ErrJob) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
		if !slices.Equal(asked, []string{"a.service", "b.service"}) {
			t.Errorf("%s: started are %q", name, asked)
		}
	}
}
