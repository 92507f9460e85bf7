package request

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// devices refuses a manifest, with these settings, that uses a device which the node lacks,
// which its user may not use, or which another application uses. What the application has
// already is not looked at: it may be unplugged for a while. Where nobody looked for
// devices, nothing is refused.
func (d *deciding) devices(app string, m *manifest.Manifest, config map[string]string) error {
	if m == nil || d.observed.Devices == nil || len(m.Devices()) == 0 {
		return nil
	}
	filled, err := m.With(config, manifest.Node{})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	had, err := d.records.Get(app)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	has := devicesOf(had)
	for i, c := range filled.Containers {
		for j, dev := range c.Devices {
			if slices.Contains(has, dev) {
				continue
			}
			if lacks := d.lacks(m, m.Containers[i].Devices[j], dev); lacks != "" {
				return fmt.Errorf("%w: %w: %s needs %s", ErrRefused, ErrDevice, app, lacks)
			}
			for _, other := range slices.Concat(d.records.All, d.decided) {
				if other.App != app && dev.Exclusive() && slices.ContainsFunc(devicesOf(other), func(o manifest.Device) bool { return o.Node() == dev.Node() }) {
					return fmt.Errorf("%w: %s and %s both use the device %s", ErrRefused, app, other.App, dev.Node())
				}
			}
		}
	}
	return nil
}

// devicesOf are those of an application's versions, with its settings filled in.
func devicesOf(d state.Desired) (all []manifest.Device) {
	for _, m := range versions(d) {
		if filled, err := m.With(d.Config, manifest.Node{}); err == nil {
			all = append(all, filled.Devices()...)
		}
	}
	return all
}

// lacks says why a device cannot be used, and what to do; empty where it can. said is the
// device as the manifest has it, before settings are filled in.
func (d *deciding) lacks(m *manifest.Manifest, said, dev manifest.Device) string {
	have, there := d.observed.Devices[dev.Node()]
	switch {
	case !there:
		return fmt.Sprintf("the %s device %s, which this node lacks: %s", dev.Class, dev.Node(), d.missing(m, said, dev))
	case have.Open || dev.Grouped() && have.Held:
		return ""
	case !dev.Grouped():
		return fmt.Sprintf("the device %s, which not everybody may use: 'sudo chmod 0666 %s', and have udev keep it so", dev.Node(), dev.Node())
	case dev.Rule("") != "":
		return fmt.Sprintf("the device %s, which belongs to no group of the node's user: %s", dev.Node(), byRule(dev))
	case have.Group == "":
		return fmt.Sprintf("the device %s, which belongs to no group of the node's user: 'stat -Lc %%G %s' names its group, 'sudo usermod -aG GROUP USER' adds the node's user to it; then reboot", dev.Node(), dev.Node())
	}
	return fmt.Sprintf("the device %s, which belongs to the group %s: 'sudo usermod -aG %s USER' for the node's user, and reboot", dev.Node(), have.Group, have.Group)
}

// missing is what to do about a device that is not there.
func (d *deciding) missing(m *manifest.Manifest, said, dev manifest.Device) string {
	switch dev.Class {
	case "gpu":
		return "install the driver of its graphics processor"
	case "tun":
		return "'sudo modprobe tun', and 'echo tun | sudo tee /etc/modules-load.d/tun.conf' for every boot"
	case "usb":
		return "plug it in; " + byRule(dev)
	}
	var others []string
	for _, p := range slices.Sorted(maps.Keys(d.observed.Devices)) {
		if path.Dir(p) == path.Dir(dev.Node()) {
			others = append(others, path.Base(p))
		}
	}
	remedy := "plug it in"
	if len(others) > 0 {
		remedy += ", or use what there is: " + strings.Join(others, ", ")
	}
	if setting, ok := said.Setting(); ok {
		remedy += fmt.Sprintf("; which one it is, its setting %s says: 'archy install %s --set %s=NAME'", setting, m.ID, setting)
	}
	return remedy
}

// byRule has udev give a device to the node's user.
func byRule(dev manifest.Device) string {
	return fmt.Sprintf("have udev name it and give it to the node's user, by this line in /etc/udev/rules.d/70-archipelago.rules, with the user's group for GROUP: %s; then 'sudo udevadm control --reload' and 'sudo udevadm trigger'", dev.Rule("GROUP"))
}
