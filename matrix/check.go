package matrix

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/reports"
)

// The checks are pure: they take a snapshot and say what is wrong with it, a
// sentence for each fault.

// Verdict is nil if nothing is wrong, and otherwise an error that names every fault.
func Verdict(wrong ...[]string) error {
	all := slices.Concat(wrong...)
	if len(all) == 0 {
		return nil
	}
	err := errors.New(strings.Join(all, "; "))
	if slices.ContainsFunc(all, speaksOfData) {
		return ofKind(reports.DataLoss, err)
	}
	return err
}

// wrap says what was being done, if it failed.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// member finds the containers with a member's name.
func (s *Snapshot) member(name string) (found []Seen) {
	for _, c := range s.Containers {
		if c.Name == name {
			found = append(found, c)
		}
	}
	return found
}

// CheckUp requires every member to run exactly once and healthy, with its unit loaded. A
// glance shows it.
func CheckUp(m *manifest.Manifest, s *Snapshot) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, c := range m.Containers {
		found := s.member(c.Name)
		switch len(found) {
		case 0:
			say("member %s is missing: there is no container of that name", c.Name)
			continue
		case 1:
		default:
			say("member %s runs %d times", c.Name, len(found))
		}
		if found[0].State != "running" {
			say("member %s is %s, not running", c.Name, found[0].State)
		} else if c.Health != nil && found[0].Health != "healthy" {
			say("member %s is %s, not healthy", c.Name, found[0].Health)
		}
		if u := s.Units[c.Name+".service"]; u.Load != "loaded" || u.Active != "active" {
			say("unit %s.service is %s and %s, not loaded and active", c.Name, cmp.Or(u.Load, "not known"), cmp.Or(u.Active, "not known"))
		}
	}
	for _, c := range s.Containers {
		if _, member := m.Container(c.Name); c.App == m.ID && !member {
			say("container %s belongs to the application and is none of its members", c.Name)
		}
	}
	return wrong
}

// CheckRunning requires an application to be up, its ports to be open, and its data and
// secrets to be in place.
func CheckRunning(m *manifest.Manifest, s *Snapshot) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, c := range m.Containers {
		for _, p := range c.Ports {
			switch {
			case p.Protocol == "udp" || s.Open[p.Host]:
			case slices.Contains(m.WebPorts(), p):
				say("port %d does not answer on the node", p.Host)
			default:
				say("port %d does not answer from outside", p.Host)
			}
		}
	}
	return slices.Concat(CheckUp(m, s), wrong, checkReached(m, s), CheckKept(m, s))
}

// CheckKept requires data and secrets to be in place, with the right owner and mode.
func CheckKept(m *manifest.Manifest, s *Snapshot) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, c := range m.Containers {
		for _, v := range c.Volumes {
			have, ok := s.Volumes[v.Name]
			if !ok {
				say(dataGone+"volume %s does not exist", v.Name)
				continue
			}
			uid, gid := s.mapped(v.UID, v.GID)
			if have.UID != uid || have.GID != gid {
				say("volume %s is owned by %d:%d, expected %d:%d, which is %d:%d in the container", v.Name, have.UID, have.GID, uid, gid, v.UID, v.GID)
			}
		}
	}
	for _, g := range m.Secrets {
		have, ok := s.Secrets[g.Name]
		if !ok {
			say("secret %s does not exist", g.Name)
		} else if have.Mode != "600" {
			say("secret %s has mode %s, expected 600", g.Name, have.Mode)
		}
		if form, made := formOf(m, g); ok && made && !slices.Contains(s.Forms[g.Name], form) {
			say("secret %s has the form %s, expected %s", g.Name, shown(strings.Join(s.Forms[g.Name], " or ")), form)
		}
	}
	return wrong
}

// mapped translates ids in a rootless container into ids on the node
// (user_namespaces(7)): root is the user, all others follow the subordinate range.
func (s *Snapshot) mapped(uid, gid int) (int, int) {
	hostUID, hostGID := s.UserID, s.UserID
	if uid > 0 {
		hostUID = s.SubUID + uid - 1
	}
	if gid > 0 {
		hostGID = s.SubGID + gid - 1
	}
	return hostUID, hostGID
}

// CheckDown requires that nothing of the application runs. A glance shows it.
func CheckDown(m *manifest.Manifest, s *Snapshot) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, c := range s.Containers {
		if _, member := m.Container(c.Name); (member || c.App == m.ID) && c.State == "running" {
			say("container %s is still running", c.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Units)) {
		if a := s.Units[name].Active; a != "inactive" && a != "failed" {
			say("unit %s is %s", name, a)
		}
	}
	return wrong
}

// CheckStopped requires an application to be down, its ports to be closed, and its data and
// secrets to be in place.
func CheckStopped(m *manifest.Manifest, s *Snapshot) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, p := range slices.Sorted(maps.Keys(s.Open)) {
		if s.Open[p] {
			say("port %d still answers", p)
		}
	}
	return slices.Concat(CheckDown(m, s), wrong, checkClosed(m, s), checkProxyOfStopped(s), CheckKept(m, s))
}

// CheckAbsent requires that no container, unit, network, volume or secret in the engine
// is left, and no port of the application or its proxy.
func CheckAbsent(m *manifest.Manifest, s *Snapshot) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, c := range s.Containers {
		if _, member := m.Container(c.Name); member || c.App == m.ID {
			say("container %s is left, %s", c.Name, c.State)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Units)) {
		if u := s.Units[name]; u.Load != "not-found" {
			say("unit %s is left, %s and %s", name, u.Load, u.Active)
		}
	}
	for _, f := range s.Files {
		say("unit file %s is left", f)
	}
	for _, n := range s.Networks {
		if n == networkOf(m.ID) || strings.HasPrefix(n, networkOf(m.ID)+".") {
			say("network %s is left", n)
		}
	}
	for _, name := range s.Stored {
		say("secret %s is left in the engine", name)
	}
	if slices.Contains(s.Folders, filesFolder(m.ID)) {
		say("the folder %s is left, in which its files were", filesFolder(m.ID))
	}
	for _, p := range slices.Sorted(maps.Keys(s.Open)) {
		if s.Open[p] {
			say("port %d still answers", p)
		}
	}
	return slices.Concat(wrong, checkClosed(m, s), checkLeftInEngine(m, s))
}

// CheckPurged requires that no data, no secret and no folder is left.
func CheckPurged(s *Snapshot) (wrong []string) {
	for _, v := range slices.Sorted(maps.Keys(s.Volumes)) {
		wrong = append(wrong, fmt.Sprintf("volume %s is left after a purge", v))
	}
	for _, v := range slices.Sorted(maps.Keys(s.Secrets)) {
		wrong = append(wrong, fmt.Sprintf("secret %s is left after a purge", v))
	}
	for _, f := range s.Folders {
		wrong = append(wrong, fmt.Sprintf("the folder %s is left after a purge", f))
	}
	return wrong
}

// CheckSame requires data and secrets to be the very same as before.
func CheckSame(before, after *Snapshot) (wrong []string) {
	for _, name := range slices.Sorted(maps.Keys(before.Secrets)) {
		if a, ok := after.Secrets[name]; !ok {
			wrong = append(wrong, fmt.Sprintf("secret %s is gone", name))
		} else if a.SHA256 != before.Secrets[name].SHA256 {
			wrong = append(wrong, fmt.Sprintf("secret %s has another value than before", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before.Volumes)) {
		if a, ok := after.Volumes[name]; !ok {
			wrong = append(wrong, fmt.Sprintf(dataGone+"volume %s was deleted", name))
		} else if a.Inode != before.Volumes[name].Inode {
			wrong = append(wrong, fmt.Sprintf(dataGone+"volume %s is another directory than before", name))
		}
	}
	return wrong
}

// CheckUntouched requires the very same containers, running since the same instant.
func CheckUntouched(m *manifest.Manifest, before, after *Snapshot) (wrong []string) {
	for _, c := range m.Containers {
		b, a := before.member(c.Name), after.member(c.Name)
		switch {
		case len(b) == 0:
		case len(a) == 0:
			wrong = append(wrong, fmt.Sprintf("container %s is gone", c.Name))
		case a[0].ID != b[0].ID:
			wrong = append(wrong, fmt.Sprintf("container %s is another one: %.12s, before %.12s", c.Name, a[0].ID, b[0].ID))
		case !a[0].StartedAt.Equal(b[0].StartedAt):
			wrong = append(wrong, fmt.Sprintf("container %s was started again at %s", c.Name, a[0].StartedAt.Format(time.RFC3339Nano)))
		}
	}
	return wrong
}

// CheckAnew requires every member to have started anew.
func CheckAnew(m *manifest.Manifest, before, after *Snapshot) (wrong []string) {
	for _, c := range m.Containers {
		b, a := before.member(c.Name), after.member(c.Name)
		if len(b) == 0 || len(a) == 0 {
			continue // CheckRunning says so
		}
		if !a[0].StartedAt.After(b[0].StartedAt) {
			wrong = append(wrong, fmt.Sprintf("container %s was not restarted: it has been running since %s", c.Name, a[0].StartedAt.Format(time.RFC3339Nano)))
		}
	}
	return wrong
}

// CheckOther requires that no member is still the very process of before. A glance shows it,
// which knows no start time to less than a second.
func CheckOther(m *manifest.Manifest, before, after *Snapshot) (wrong []string) {
	for _, c := range m.Containers {
		for _, a := range after.member(c.Name) {
			if slices.ContainsFunc(before.member(c.Name), func(b Seen) bool { return b.ID == a.ID && b.pid == a.pid }) {
				wrong = append(wrong, fmt.Sprintf("container %s was not restarted: its main process is still that of before", c.Name))
			}
		}
	}
	return wrong
}

// CheckRestarted requires every member to have started anew, after those that it
// depends on.
func CheckRestarted(m *manifest.Manifest, before, after *Snapshot) (wrong []string) {
	wrong = CheckAnew(m, before, after)
	for _, c := range m.Containers {
		a := after.member(c.Name)
		if len(a) == 0 {
			continue
		}
		for _, d := range c.DependsOn {
			if dep := after.member(d.Container); len(dep) > 0 && dep[0].StartedAt.After(a[0].StartedAt) {
				wrong = append(wrong, fmt.Sprintf("container %s started before %s, on which it depends", c.Name, d.Container))
			}
		}
	}
	return wrong
}

// CheckBoot requires systemd itself to start every member at boot: one that came
// back only because something else started it would stay down without that.
func CheckBoot(m *manifest.Manifest, s *Snapshot) (wrong []string) {
	for _, c := range m.Containers {
		if !s.Units[c.Name+".service"].Boot {
			wrong = append(wrong, fmt.Sprintf("unit %s.service is not started at boot: default.target does not want it ([Install] is missing)", c.Name))
		}
	}
	return wrong
}

// CheckInvariants requires what must hold in every cell, whatever the step.
func CheckInvariants(m *manifest.Manifest, s *Snapshot) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	users := map[string]string{}
	for _, c := range s.Containers {
		wrong = append(wrong, checkNetworks(m, c)...)
		if _, member := m.Container(c.Name); !member && c.App != m.ID {
			if c.App != "" {
				continue // checked in the cells of its own application
			}
			for _, src := range c.Mounts {
				if strings.HasPrefix(src, dataDir(m)+"/") {
					say("the unmanaged container %s mounts %s, which is data of the application", c.Name, src)
				}
			}
			continue
		}
		if c.Privileged {
			say("container %s is privileged", c.Name)
		}
		if c.NetworkMode == "host" {
			say("container %s shares the host's network", c.Name)
		}
		if more := c.Capabilities &^ grantedTo(m, c.Name); more != 0 {
			say("container %s has capabilities, or can gain them: %#x", c.Name, more)
		}
		if !c.Rootless && c.State == "running" {
			say("container %s does not run in a user namespace of the node's user", c.Name)
		}
		for _, src := range c.Mounts {
			if strings.HasSuffix(src, "podman.sock") || strings.HasSuffix(src, "docker.sock") {
				say("container %s mounts the engine's socket %s", c.Name, src)
			}
			if ownFile(m.ID, src) {
				continue
			}
			if !strings.HasPrefix(src, dataDir(m)+"/") && !imports(m, c.Name, src) {
				// Anything else is the image's own volume, or where all data is, the daemon's too.
				if root := nodes.DataDir + "/"; strings.HasPrefix(src, root) || strings.HasPrefix(root, strings.TrimSuffix(src, "/")+"/") {
					say("container %s mounts %s, which holds more than its own data", c.Name, src)
				}
				continue
			}
			if other, shared := users[src]; shared && !(shares(m, c.Name, src) && shares(m, other, src)) {
				say("containers %s and %s share the volume %s", other, c.Name, src)
			}
			users[src] = c.Name
		}
	}
	for _, p := range slices.Sorted(maps.Keys(s.Exposed)) {
		if s.Exposed[p] {
			say("port %d of a web interface answers from outside, where only the proxy may", p)
		}
	}
	for _, where := range s.Leaks {
		say("a secret's value stands in the %s", where)
	}
	return slices.Concat(wrong, checkOwners(s))
}

// shares tells whether a member has a directory of the node together with others.
func shares(m *manifest.Manifest, member, dir string) bool {
	c, ok := m.Container(member)
	return ok && slices.ContainsFunc(c.Volumes, func(v manifest.Volume) bool {
		return v.Shared && manifest.VolumeDir(nodes.DataDir, m.ID, v.Name) == dir
	})
}

func networkOf(app string) string { return "archipelago-" + app }

// checkNetworks requires a member to be on the application's network and, if it is the main
// one, on a link to each application of which a container is reached; and nobody to be on a
// network that is not theirs.
func checkNetworks(m *manifest.Manifest, c Seen) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	own := c.App == m.ID
	main := c.App == c.Name
	if own {
		want := []string{networkOf(m.ID)}
		for _, r := range m.Requires {
			if main && r.Linked() {
				want = append(want, networkOf(m.ID)+"."+r.App)
			}
		}
		for _, n := range want {
			if !slices.Contains(c.Networks, n) {
				say("container %s is not on network %s", c.Name, n)
			}
		}
	}
	for _, n := range c.Networks {
		app, ours := strings.CutPrefix(n, networkOf(""))
		app, required, link := strings.Cut(app, ".")
		if !own && (!ours || app != m.ID && required != m.ID) {
			continue // checked in the cells of its own application
		}
		may := c.App == app
		switch r, requires := m.Requirement(required); {
		case !link:
		case c.App == app:
			may = main
		case c.App != required:
		case required == m.ID:
			may = serves(m, c.Name)
		default:
			may = requires && (r.Reaches == nil && main || slices.Contains(r.Reaches, c.Name))
		}
		if app == m.ID && link {
			r, requires := m.Requirement(required)
			may = may && requires && r.Linked()
		}
		if !ours || !may {
			say("container %s is on network %s", c.Name, n)
		}
	}
	return wrong
}
