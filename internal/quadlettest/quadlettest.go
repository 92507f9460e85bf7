// Package quadlettest is Podman's own generator, of the version that this module names, for
// tests: what it refuses starts on no node.
package quadlettest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containers/podman/v5/pkg/systemd/parser"
	podman "github.com/containers/podman/v5/pkg/systemd/quadlet"
)

// Generate makes services of unit files, by name, as the generator does at a node's boot. What
// the generator only warns of, and leaves out, is an error.
func Generate(files map[string]string) error {
	infos := map[string]*podman.UnitInfo{}
	units := map[string]*parser.UnitFile{}
	for file, body := range files {
		u := parser.NewUnitFile()
		u.Filename = file
		if err := u.Parse(body); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		service, err := podman.GetUnitServiceName(u)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		info := &podman.UnitInfo{ServiceName: service}
		if strings.HasSuffix(file, ".container") {
			info.ResourceName = podman.GetContainerResourceName(u)
		}
		units[file], infos[file] = u, info
	}
	for _, suffix := range []string{".network", ".container"} { // containers name networks
		for file, u := range units {
			if !strings.HasSuffix(file, suffix) {
				continue
			}
			do := podman.ConvertContainer
			if suffix == ".network" {
				do = podman.ConvertNetwork
			}
			if _, warnings, err := do(u, infos, true); err != nil || warnings != nil {
				return fmt.Errorf("%s: %w", file, errors.Join(err, warnings))
			}
		}
	}
	return nil
}
