package request

import (
	"fmt"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// folders refuses a manifest that is to be given a folder which the owner has not named, or
// which cannot be used now. An application that has it already, and is only to be started,
// waits for it instead.
func (d *deciding) folders(app string, m *manifest.Manifest) error {
	if m == nil {
		return nil
	}
	for _, name := range m.Storage() {
		if _, known := d.records.Folders[name]; !known {
			return fmt.Errorf("%w: %w: %s wants your folder %s, and none of that name is known here; 'archy storage add %s DIR' says where it is", ErrRefused, ErrFolder, app, name, name)
		}
		if why := d.observed.Folders[name]; why != "" {
			return fmt.Errorf("%w: %w: %s wants your folder %s: %s", ErrRefused, ErrFolder, app, name, why)
		}
	}
	return nil
}

// HaveFolder are the applications that are given a folder of the owner's.
func HaveFolder(records state.Records, folder string) (apps []string) {
	for _, d := range records.All {
		if slices.ContainsFunc(versions(d), func(m *manifest.Manifest) bool { return slices.Contains(m.Storage(), folder) }) {
			apps = append(apps, d.App)
		}
	}
	return apps
}

// ForgetFolder refuses to forget a folder that the owner has not named, or that an
// application has.
func ForgetFolder(records state.Records, folder string) error {
	if _, known := records.Folders[folder]; !known {
		return fmt.Errorf("%w: no folder is named %q; 'archy storage list' shows those that there are", ErrUnknownFolder, folder)
	}
	if apps := HaveFolder(records, folder); len(apps) > 0 {
		return fmt.Errorf("%w: the folder %s is in use by %s; uninstall that first", ErrRefused, folder, strings.Join(apps, ", "))
	}
	return nil
}
