package compose

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// most is how many containers an application may have.
const most = 16

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// choose decides which services become containers.
func (im *importer) choose() error {
	if err := im.circle(); err != nil {
		return err
	}
	once := map[string]string{} // service that runs to its end -> who waits for it
	for name, s := range im.project.Services {
		for dep, d := range s.DependsOn {
			if d.Condition == types.ServiceConditionCompletedSuccessfully {
				once[dep] = max(once[dep], name)
			}
		}
	}
	for _, name := range im.services() {
		s := im.project.Services[name]
		at := im.place("services", name)
		switch {
		case name == proxyService && s.Image == "":
		case len(s.Profiles) > 0 && !slices.ContainsFunc(s.Profiles, func(p string) bool { return slices.Contains(im.Profiles, p) }):
			im.note(name, "profiles", im.place("services", name, "profiles"), fmt.Sprintf("the service is left out; --profile %s carries it", s.Profiles[0]))
		case s.GetScale() == 0:
			im.note(name, "", at, "the service is left out: it is scaled to nothing")
		case once[name] != "":
			im.left(name, "", at, fmt.Sprintf("the service runs to its end before %s starts, and a container of an application always runs", once[name]), "hooks.post_install and hooks.post_update in a container of the same image, or the entrypoint of "+once[name])
		case s.Image == "" && s.Build == nil:
			im.left(name, "image", at, "the service has no image, so it is left out", "image: {ref, digest}, or {build: DIRECTORY}")
		default:
			im.members = append(im.members, &member{ServiceConfig: s, env: map[string]*string{}})
		}
	}
	switch {
	case len(im.members) == 0:
		return fmt.Errorf("%s: none of its services can be a container of an application: %s", im.order[0].name, im.why())
	case len(im.members) > most:
		return fmt.Errorf("%s: %d services; an application has at most %d containers: make several applications of it", im.order[0].name, len(im.members), most)
	}
	return nil
}

// circle refuses services that wait for each other.
func (im *importer) circle() error {
	done := map[string]bool{}
	var visit func(name string, trail []string) error
	visit = func(name string, trail []string) error {
		if i := slices.Index(trail, name); i >= 0 {
			return fmt.Errorf("%s: the services wait for each other: %s", im.place("services", name, "depends_on"), strings.Join(append(trail[i:], name), " depends on "))
		}
		if done[name] {
			return nil
		}
		for _, dep := range sortedKeys(im.project.Services[name].DependsOn) {
			if err := visit(dep, append(slices.Clone(trail), name)); err != nil {
				return err
			}
		}
		done[name] = true
		return nil
	}
	for _, name := range im.services() {
		if err := visit(name, nil); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) why() string {
	var all []string
	for _, i := range im.items {
		if i.service != "" {
			all = append(all, i.Field+": "+i.Reason)
		}
	}
	return strings.Join(all, "; ")
}

// main is the member that others reach, and that has the application's name: the one that
// the store or the files say, the one with the best web interface, or the one that is the
// least of the others' business.
func (im *importer) main() int {
	named, _ := im.proxied()
	for _, want := range []string{named, im.dialect.main, im.ID} {
		if i := slices.IndexFunc(im.members, func(m *member) bool { return m.Name == want || slug(m.Name) == want }); want != "" && i >= 0 {
			return i
		}
	}
	needed := map[string]bool{}
	for _, m := range im.members {
		for dep := range m.DependsOn {
			needed[dep] = true
		}
	}
	best, least := 0, 1<<30
	for i, m := range im.members {
		rank := 5000
		if _, r := webPort(m.ServiceConfig); r >= 0 {
			rank = r
		} else if len(m.Ports) > 0 {
			rank = 2000
		}
		if needed[m.Name] {
			rank += 1000
		}
		if rank < least {
			best, least = i, rank
		}
	}
	return best
}

// name gives the containers their names, and notes by what else they were reached.
func (im *importer) name() {
	main := im.main()
	taken := map[string]bool{im.ID: true}
	for i, m := range im.members {
		if i == main {
			m.name = im.ID
			continue
		}
		name := slug(m.Name)
		if !strings.HasPrefix(name, im.ID+"-") {
			name = im.ID + "-" + cmp.Or(name, "member")
		}
		if len(name) > 60 {
			name = strings.Trim(name[:60], "-")
		}
		for n, base := 2, name; taken[name]; n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		m.name, taken[name] = name, true
	}
	for _, m := range im.members {
		for _, alias := range im.called(m) {
			if _, known := im.aliases[alias]; alias != "" && !known {
				im.aliases[alias] = m.name
			}
		}
	}
	for _, m := range im.members {
		for _, link := range m.Links {
			service, alias, _ := strings.Cut(link, ":")
			if name, ok := im.aliases[service]; ok && alias != "" {
				im.aliases[alias] = name
			}
		}
	}
}

// called are the names of a service, those that count more first.
func (im *importer) called(m *member) []string {
	all := []string{m.Name, m.ContainerName, m.Hostname}
	for _, project := range []string{im.named(), im.dialect.id} {
		if project != "" {
			all = append(all, project+"_"+m.Name+"_1", project+"-"+m.Name+"-1")
		}
	}
	for _, network := range sortedKeys(m.Networks) {
		if n := m.Networks[network]; n != nil {
			all = append(all, n.Aliases...)
			all = append(all, n.Ipv4Address)
		}
	}
	return all
}

// container writes a member.
func (im *importer) container(ctx context.Context, m *member) {
	at := func(field string, rest ...string) Place {
		return im.place(append([]string{"services", m.Name, field}, rest...)...)
	}
	n := m.node
	n.set("name", scalar(m.name))
	n.set("image", im.image(ctx, m))
	im.user(m, at("user"))
	if w := im.words(m, "entrypoint", m.Entrypoint); w != nil {
		n.set("entrypoint", w.from(m.Name, "entrypoint", at("entrypoint")))
	} else if m.Entrypoint != nil {
		im.left(m.Name, "entrypoint", at("entrypoint"), "an entrypoint cannot be emptied", "entrypoint: with the program itself")
	}
	if w := im.words(m, "command", m.Command); w != nil {
		n.set("command", w.from(m.Name, "command", at("command")))
	}
	if m.WorkingDir != "" && path.Clean(m.WorkingDir) == "/" {
		im.left(m.Name, "working_dir", at("working_dir"), "the root of the container is no directory to work in: it is the image's own", "whole paths in the command, if the program needs the root")
	} else if m.WorkingDir != "" {
		n.set("working_dir", scalar(m.WorkingDir).from(m.Name, "working_dir", at("working_dir")))
	}
	if m.Init != nil && *m.Init {
		n.set("init", scalar(true))
	}
	if m.Hostname != "" && m.Hostname != m.name {
		im.note(m.Name, "hostname", at("hostname"), fmt.Sprintf("others reach the container as %s", m.name))
	}
	im.variables(m)
	if m.ReadOnly {
		n.set("read_only", scalar(true).from(m.Name, "read_only", at("read_only")))
	}
	im.mounts(m)
	im.limits(m, at)
	im.mountSecrets(m)
	im.health(m)
	im.dependencies(m)
	im.ports(m)
	if d := m.StopGracePeriod; d != nil && *d > 0 {
		if time.Duration(*d) > longestStop {
			im.left(m.Name, "stop_grace_period", at("stop_grace_period"), fmt.Sprintf("a stop takes at most %s, which it is here", longestStop), "a program that needs no more, or keeps its data whatever ends it")
		}
		n.set("stop_timeout", duration(min(time.Duration(*d), longestStop)).from(m.Name, "stop_grace_period", at("stop_grace_period")))
	}
	if m.StopSignal != "" {
		signal := strings.ToUpper(m.StopSignal)
		if !strings.HasPrefix(signal, "SIG") {
			signal = "SIG" + signal
		}
		n.set("stop_signal", scalar(signal).from(m.Name, "stop_signal", at("stop_signal")))
	}
	im.privileges(m, at)
	im.restarts(m, at)
	im.configs(m)
	im.furtherHosts(m)
	if m.ContainerName != "" && m.ContainerName != m.name {
		im.note(m.Name, "container_name", at("container_name"), "the container is called "+m.name)
	}
	if len(m.Labels) > 0 {
		im.note(m.Name, "labels", at("labels"), "labels are not carried: nothing reads them here")
	}
	for _, e := range sortedKeys(m.Extensions) {
		im.note(m.Name, e, at(e), "an extension, which other programs read")
	}
}

var numeric = regexp.MustCompile(`^[0-9]{1,5}(:[0-9]{1,5})?$`)

func (im *importer) user(m *member, at Place) {
	switch u := m.User; {
	case u == "":
		switch {
		case m.env["PUID"] != nil: // its program becomes that user, and gives it its files
			m.User = "0:0"
			m.node.set("user", scalar(m.User))
			for _, c := range becoming {
				if !slices.ContainsFunc(m.CapAdd, func(have string) bool { return capability(have) == c }) {
					m.CapAdd = append(m.CapAdd, c)
				}
			}
			im.left(m.Name, "environment.PUID", im.placeOfVariable(m, "PUID"), "the image starts as root, and changes to another user by itself; it has the capabilities that this mostly takes", "user: \"UID:GID\" without capabilities, if the image can start as that; otherwise those of them that it needs")
		case len(m.CapAdd) > 0: // whoever else it is would not have them
			m.User = "0:0"
			m.node.set("user", scalar(m.User))
			im.left(m.Name, "user", im.place("services", m.Name, "cap_add"), "capabilities are given to a user that is named, and here none is, so it is root", "user: \"UID:GID\", if the program is somebody else; no capabilities, if it needs them only to become another user")
		default:
			im.note(m.Name, "user", at, "no user is named: a program that begins as root stays root, without capabilities; if it must become somebody, name that user")
		}
	case u == "root" || u == "root:root":
		m.User = "0:0"
		m.node.set("user", scalar(m.User))
	case numeric.MatchString(u):
		m.node.set("user", scalar(u).from(m.Name, "user", at))
	default:
		im.left(m.Name, "user", at, fmt.Sprintf("only the image knows the number of the user %q", u), "user: \"UID:GID\", and the same of its volumes")
		m.User = ""
	}
}

// becoming are the capabilities by which a program that starts as root becomes another
// user, and gives it its files.
var becoming = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}

func capability(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

// words are those of a command, with settings in the place of variables.
func (im *importer) words(m *member, field string, all []string) *node {
	if len(all) == 0 {
		return nil
	}
	all = im.script(m, field, all)
	out := sequence()
	for i, w := range all {
		before := ""
		if i > 0 {
			before = all[i-1]
		}
		at := im.place("services", m.Name, field)
		w = im.inTheClear(m, field, w, at)
		out.add(scalar(im.rehostWord(before, w)))
	}
	return out
}

func (im *importer) dependencies(m *member) {
	out := sequence()
	for _, dep := range sortedKeys(m.DependsOn) {
		d := m.DependsOn[dep]
		at := im.place("services", m.Name, "depends_on", dep)
		i := slices.IndexFunc(im.members, func(o *member) bool { return o.Name == dep })
		if i < 0 {
			if _, known := im.project.Services[dep]; !known {
				im.left(m.Name, "depends_on."+dep, at, "there is no such service here", "requires: [{app: ID}], if that is another application")
			}
			continue // what became of that service has been said
		}
		if d.Restart {
			im.note(m.Name, "depends_on."+dep+".restart", im.place("services", m.Name, "depends_on", dep, "restart"), "a restart of one container restarts no other")
		}
		n := mapping()
		n.set("container", scalar(im.members[i].name))
		if d.Condition == types.ServiceConditionHealthy {
			if checked(im.members[i].HealthCheck) {
				n.set("condition", scalar("healthy").from(m.Name, "depends_on."+dep+".condition", at))
			} else {
				im.left(m.Name, "depends_on."+dep+".condition", at, fmt.Sprintf("%s declares no check of its own, so nothing says that it is healthy; the order of the starts is kept", dep), "health: {exec: [COMMAND]} of that container")
			}
		}
		out.add(n.from(m.Name, "depends_on."+dep, at))
	}
	if len(out.items) > 0 {
		m.node.set("depends_on", out)
	}
}

// privileges lists what no container is given.
func (im *importer) privileges(m *member, at func(string, ...string) Place) {
	const never = "nothing; an application that needs it cannot be carried"
	if m.Privileged {
		im.left(m.Name, "privileged", at("privileged"), "no container of an application is privileged", "the one device or capability that it is about")
	}
	capabilities := sequence()
	for _, c := range m.CapAdd {
		if m.User == "" { // what the file says is no user that the language has
			im.left(m.Name, "cap_add", at("cap_add", c), "a capability is given to a user that is named by its number: "+c, "user: \"UID:GID\" with capabilities: ["+c+"]")
			continue
		}
		capabilities.add(scalar(capability(c)).from(m.Name, "cap_add", at("cap_add", c)))
	}
	if len(capabilities.items) > 0 {
		m.node.set("capabilities", capabilities)
	}
	devices := sequence()
	for _, d := range m.Devices {
		n := im.device(m, d.Source, d.Target, at("devices", d.Source))
		if n == nil {
			im.left(m.Name, "devices", at("devices", d.Source), "which device of a node "+d.Source+" is depends on its start", "devices: [{class, id}], with its name in /dev/serial/by-id or /dev/v4l/by-id; the program without it")
			continue
		}
		devices.add(n.from(m.Name, "devices", at("devices", d.Source)))
	}
	if len(devices.items) > 0 {
		m.node.set("devices", devices)
	}
	for _, o := range m.SecurityOpt {
		if o != "no-new-privileges" && o != "no-new-privileges:true" && o != "no-new-privileges=true" {
			im.left(m.Name, "security_opt", at("security_opt", o), "what confines a container is not loosened: "+o, "the program without it")
		}
	}
	switch mode := m.NetworkMode; {
	case mode == "" || mode == "bridge" || mode == "default":
	case mode == "host":
		im.left(m.Name, "network_mode", at("network_mode"), "the network of the node cannot be shared", "the ports that the program listens on, published: ports: [{name, container, host}]")
	case mode == "none":
		im.left(m.Name, "network_mode", at("network_mode"), "members of an application reach each other, also this one", "network: {internet: false}, for all of the application")
	default:
		im.left(m.Name, "network_mode", at("network_mode"), fmt.Sprintf("the network of another container cannot be joined (%s)", mode), never)
	}
}

// attached are devices whose number depends on the order in which a node finds them.
var attached = regexp.MustCompile(`^/dev/(?:(tty(?:USB|ACM|AMA|S))|(video))[0-9]+$`)

// device gives a device by its class, where its name says the class; nil elsewhere. Of
// those that the name does not tell apart, the owner says which it is.
func (im *importer) device(m *member, source, target string, at Place) *node {
	n := mapping()
	dir, id := path.Split(source)
	switch {
	case source == "/dev/net/tun":
		n.set("class", scalar("tun"))
		return n
	case source == "/dev/dri" || dir == "/dev/dri/":
		n.set("class", scalar("gpu"))
		return n
	case dir == "/dev/serial/by-id/":
		n.set("class", scalar("serial"))
	case dir == "/dev/v4l/by-id/":
		n.set("class", scalar("video"))
	case attached.MatchString(source) && len(im.settings) < mostSettings:
		class := "serial"
		if strings.HasPrefix(source, "/dev/video") {
			class = "video"
		}
		n.set("class", scalar(class))
		setting := im.secrets.unique(class + "-device")
		s := mapping()
		s.set("name", scalar(setting))
		s.set("default", scalar("none"))
		im.settings = append(im.settings, s.from(m.Name, "devices", at))
		id = "{{setting:" + setting + "}}"
		im.note(m.Name, "devices", at, fmt.Sprintf("which device %s is depends on a node's start, so its owner names it: the setting %s", source, setting))
	default:
		return nil
	}
	n.set("id", scalar(id))
	n.set("path", scalar(cmp.Or(target, source)))
	return n
}

func (im *importer) restarts(m *member, at func(string, ...string) Place) {
	switch r, _, _ := strings.Cut(m.Restart, ":"); r {
	case "no":
		im.left(m.Name, "restart", at("restart"), "a container that ends is always started again, and this one is not to be", "nothing, if its program does not end; hooks in a container of the same image, if it does")
	case "on-failure":
		im.note(m.Name, "restart", at("restart"), "a container that ends is always started again, at growing intervals")
	}
	if m.Deploy != nil && m.GetScale() > 1 {
		im.note(m.Name, "deploy.replicas", at("deploy", "replicas"), "every container runs once")
	}
	for _, from := range m.VolumesFrom {
		im.left(m.Name, "volumes_from", at("volumes_from", from), "the volumes of "+from+" have to be named", "volumes: [{name, path, shared: true}] of both containers")
	}
}
