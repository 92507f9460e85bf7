package compose

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// volume is a directory of the application's own, and who has it.
type volume struct {
	name     string
	uses     []*member
	uid, gid int
	written  bool // by one of them at least
}

// mount is one of a container's that the language can say.
type mount struct {
	source string // equal ones are one volume
	name   string // that it should have
	types.ServiceVolumeConfig
}

// kept gives the mounts of a member that become volumes, and lists the others where say
// is set: it is asked twice, since who shares what has to be known first.
func (im *importer) kept(m *member, say bool) (all []mount) {
	for _, v := range m.Volumes {
		at := im.place("services", m.Name, "volumes", cmp.Or(v.Target, v.Source))
		left := func(reason, instead string) {
			if say {
				im.left(m.Name, "volumes", at, reason, instead)
			}
		}
		note := func(reason string) {
			if say {
				im.note(m.Name, "volumes", at, reason)
			}
		}
		target := path.Clean(v.Target)
		if len(target) > 1 {
			v.Target = target
		}
		switch v.Type {
		case types.VolumeTypeTmpfs:
			if say {
				im.tmpfs(m, v.Target, v.Tmpfs, at)
			}
		case types.VolumeTypeVolume:
			def := im.project.Volumes[v.Source]
			switch {
			case v.Source == "":
				note("the volume without a name is kept as " + path.Base(v.Target))
				all = append(all, mount{"anonymous:" + m.Name + ":" + v.Target, cmp.Or(slug(path.Base(v.Target)), "data"), v})
				continue
			case def.DriverOpts["type"] == "tmpfs":
				if say {
					im.note("", "volumes."+v.Source+".driver_opts", im.place("volumes", v.Source, "driver_opts"), "it is a file system in memory, of its container alone")
					im.tmpfs(m, v.Target, nil, at)
				}
				continue
			case bool(def.External):
				left(fmt.Sprintf("the volume %s is somebody else's; the application gets one of its own", v.Source), "a copy of its data; requires: [{app: ID}], if it is another application's")
			case def.DriverOpts["device"] != "" || def.Driver != "" && def.Driver != "local":
				left(fmt.Sprintf("the volume %s lies elsewhere (%s); the application gets one on the node", v.Source, cmp.Or(def.DriverOpts["device"], def.Driver)), "a copy of its data; storage: [{name, path, access}], which is a folder that the owner names")
			}
			for _, o := range sortedKeys(def.DriverOpts) {
				if say {
					im.note("", "volumes."+v.Source+".driver_opts."+o, im.place("volumes", v.Source, "driver_opts", o), "volumes are directories of the node: "+def.DriverOpts[o])
				}
			}
			if v.Volume != nil && v.Volume.NoCopy {
				note("a volume begins empty, whatever the image has there")
			}
			if v.Volume != nil && v.Volume.Subpath != "" {
				left("a part of a volume is not mounted alone: "+v.Volume.Subpath, "a volume of its own for that part")
				continue
			}
			all = append(all, mount{"volume:" + v.Source, slug(v.Source), v})
		case types.VolumeTypeBind:
			carry := func(source string) {
				if say {
					im.carry(m, "volumes", source, v.Target, "", v.ReadOnly, at)
				}
			}
			if name, is := im.ownersFolder(v); is {
				if say {
					im.ownersMount(m, name, v, at)
				}
				continue
			}
			if files := im.onlyRead(v); files != nil {
				if say {
					im.carryFolder(m, v.Source, v.Target, files, at)
				}
				continue
			}
			if kept := im.bind(v, carry, left, note); kept != nil {
				all = append(all, *kept)
			}
		default:
			left(fmt.Sprintf("a mount of the type %s", v.Type), "a volume: {name, path}")
		}
	}
	return all
}

var (
	asFile   = regexp.MustCompile(`(?i)\.(conf|cfg|ini|cnf|ya?ml|json|toml|xml|sql|sh|env|pem|crt|key|html?|php|txt|lua|js|py|properties|tmpl|template|rules|list|db|sqlite3?|log|csv|acl|hcl|types|passwd|htpasswd|vcl)$|/(Caddyfile|Corefile|htpasswd|nginx\.conf|prometheus\.yml|passwd|acme\.json)$`)
	ofEngine = regexp.MustCompile(`(docker|podman|containerd|crio)[^/]*\.sock$|^/var/lib/docker(/|$)|^/var/lib/containers(/|$)`)
	ofSystem = regexp.MustCompile(`^/($|(dev|proc|sys|boot|etc|usr|lib|lib64|bin|sbin|root|run|tmp)(/|$)|var/(run|log|lib/dbus)(/|$)|lib/modules)`)
	ofClock  = regexp.MustCompile(`^/etc/(localtime|timezone)$|^/usr/share/zoneinfo`)
	ofStore  = regexp.MustCompile(`(?i)/app-?data/|^/opt/|^/srv/docker/|/docker/|/containers/|/config$|/config/`)
)

// bind makes a volume of a directory that lies beside the file, or of one anywhere else
// that is the application's by its name.
func (im *importer) bind(v types.ServiceVolumeConfig, carry func(source string), left func(reason, instead string), note func(string)) *mount {
	source := v.Source
	rel := im.relative(source)
	beside := !strings.HasPrefix(rel, "..") && !filepath.IsAbs(rel)
	switch {
	case windowsPath.MatchString(strings.TrimPrefix(source, im.root+"/")):
		left(fmt.Sprintf("%s is a path of Windows, which no node has", strings.TrimPrefix(source, im.root+"/")), "a volume: {name, path}, and a copy of what is in there")
		return nil
	case ofEngine.MatchString(source):
		left("the engine's socket is never given to a container: it is the node", "nothing; an application that needs it cannot be carried")
		return nil
	case ofClock.MatchString(source):
		note("the node's clock is everybody's; the zone is the variable TZ")
		return nil
	case beside && strings.HasPrefix(rel, othersFolder+"/"):
		left(fmt.Sprintf("the data of %q is not reached from here", strings.Split(rel, "/")[1]), "requires: [{app: ID, uses: [EXPORT]}] and imports, if that application exports it")
		return nil
	case beside && strings.HasPrefix(rel, sharedFolders+"/app-data/"):
		left(fmt.Sprintf("the data of %q is not reached from here", strings.Split(rel, "/")[2]), "requires: [{app: ID, uses: [EXPORT]}] and imports, if that application exports it")
		return nil
	case beside:
		info, err := os.Stat(source)
		switch {
		case err == nil && !info.IsDir(), err != nil && asFile.MatchString(source):
			carry(source)
			return nil
		case err == nil && hasFiles(source):
			left(fmt.Sprintf("the volume of %s begins empty: what is in %s is not carried", v.Target, rel), "files: [{path, source}] for what the program only reads, and an image built with the rest")
		}
	case ofSystem.MatchString(source) && !im.near(source):
		left(fmt.Sprintf("%s is the node's own, and no container sees it", source), "nothing; what the program needs of it cannot be carried")
		return nil
	case asFile.MatchString(source):
		left(fmt.Sprintf("the file %s, at %s, is elsewhere", source, v.Target), "files: [{path: "+v.Target+", source}], with the file beside the manifest")
		return nil
	case ofStore.MatchString(source + "/"):
		note(fmt.Sprintf("%s becomes a volume of the application", source))
	default:
		left(fmt.Sprintf("%s is a folder of the owner's; it becomes a volume of the application, which begins empty", source), "storage: [{name, path, access}], which is a folder that the owner names")
	}
	name := slug(strings.TrimPrefix(rel, "data/"))
	if !beside {
		name = slug(path.Base(source))
		if generic.MatchString(name) {
			name = slug(path.Base(path.Dir(source)) + "-" + name)
		}
	}
	return &mount{"bind:" + source, cmp.Or(name, slug(path.Base(v.Target)), "files"), v}
}

// onlyRead gives the files of a directory beside the compose file that is only read.
func (im *importer) onlyRead(v types.ServiceVolumeConfig) []string {
	written := slices.ContainsFunc(im.members, func(o *member) bool {
		return slices.ContainsFunc(o.Volumes, func(other types.ServiceVolumeConfig) bool { return other.Source == v.Source && !other.ReadOnly })
	})
	if rel := im.relative(v.Source); !v.ReadOnly || written || rel == "." || strings.HasPrefix(rel, "..") || filepath.IsAbs(rel) {
		return nil
	}
	if p, err := im.inside(v.Source, im.root, Place{}); err != nil || p != v.Source {
		return nil
	}
	return im.folder(v.Source)
}

// near tells whether a path and the directory have more in common than the root of all.
func (im *importer) near(source string) bool {
	first := func(p string) string { return strings.SplitN(p, "/", 3)[1] }
	return first(source) == first(im.root)
}

var generic = regexp.MustCompile(`^(data|config|db|files|storage)$`)

func hasFiles(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() != ".gitkeep" && e.Name() != ".gitignore" })
}

// share finds out which volumes there are, before any container is written.
func (im *importer) share() {
	taken := map[string]bool{}
	for _, m := range im.members {
		for _, v := range im.kept(m, false) {
			known := im.volumes[v.source]
			if known == nil {
				name := v.name
				for n := 2; taken[name]; n++ {
					name = fmt.Sprintf("%s-%d", v.name, n)
				}
				taken[name] = true
				known = &volume{name: name}
				known.uid, known.gid = m.owner()
				im.volumes[v.source] = known
			}
			if !slices.Contains(known.uses, m) {
				known.uses = append(known.uses, m)
			}
			known.written = known.written || !v.ReadOnly
		}
	}
}

// owner is whose the files of a member are: the user that its program becomes, or starts as.
func (m *member) owner() (uid, gid int) {
	number := func(key string) int {
		v := m.env[key]
		if v == nil {
			return 0
		}
		n, _ := strconv.Atoi(*v)
		return min(max(n, 0), 65535)
	}
	if m.env["PUID"] != nil && (m.User == "" || m.User == "0:0") {
		return number("PUID"), number("PGID")
	}
	return ids(m.User)
}

func ids(user string) (uid, gid int) {
	if !numeric.MatchString(user) {
		return 0, 0
	}
	u, g, _ := strings.Cut(user, ":")
	uid, _ = strconv.Atoi(u)
	gid, _ = strconv.Atoi(g)
	return uid, gid
}

// mounts writes the volumes of a container, and its file systems in memory.
func (im *importer) mounts(m *member) {
	out := sequence()
	here := map[string]bool{}
	targets := map[string]bool{}
	for _, v := range im.kept(m, true) {
		at := im.place("services", m.Name, "volumes", v.Target)
		known := im.volumes[v.source]
		switch {
		case here[v.source]:
			im.left(m.Name, "volumes", at, fmt.Sprintf("the container has the volume %s already, and may not have it twice", known.name), "one path for it, or two volumes")
			continue
		case targets[v.Target]:
			im.left(m.Name, "volumes", at, fmt.Sprintf("something is mounted at %s already", v.Target), "one mount at that path")
			continue
		case len(out.items) == mostMounts:
			im.left(m.Name, "volumes", at, fmt.Sprintf("a container has at most %d volumes", mostMounts), "one volume for several of them")
			continue
		}
		here[v.source], targets[v.Target] = true, true
		n := mapping()
		n.set("name", scalar(known.name))
		n.set("path", scalar(v.Target))
		if known.uid > 0 {
			n.set("uid", scalar(known.uid))
		}
		if known.gid > 0 {
			n.set("gid", scalar(known.gid))
		}
		if uid, gid := m.owner(); uid != known.uid || gid != known.gid {
			im.left(m.Name, "volumes", at, fmt.Sprintf("the volume %s is that of %s, too, which runs as another user, and its files have one owner", known.name, known.uses[0].name), "the same user for both containers")
		}
		if len(known.uses) > 1 {
			n.set("shared", scalar(true).from(m.Name, "volumes", at))
		}
		switch {
		case v.ReadOnly && known.written:
			n.set("read_only", scalar(true))
		case v.ReadOnly:
			im.left(m.Name, "volumes", at, fmt.Sprintf("nobody writes to the volume %s, so it can be written to here", known.name), "an image that holds what is read there")
		}
		out.add(n.from(m.Name, "volumes", at))
	}
	if len(out.items) > 0 {
		m.node.set("volumes", out)
	}
	for _, t := range m.Tmpfs {
		at := im.place("services", m.Name, "tmpfs", t)
		target, options, _ := strings.Cut(t, ":")
		var size *types.ServiceVolumeTmpfs
		for o := range strings.SplitSeq(options, ",") {
			if s, ok := strings.CutPrefix(o, "size="); ok {
				var n types.UnitBytes
				if err := n.DecodeMapstructure(s); err == nil {
					size = &types.ServiceVolumeTmpfs{Size: n}
				}
			} else if strings.HasPrefix(o, "uid=") || strings.HasPrefix(o, "gid=") || strings.HasPrefix(o, "mode=") {
				im.note(m.Name, "tmpfs", at, "everybody in the container may write to it (mode 1777)")
			}
		}
		im.tmpfs(m, target, size, at)
	}
}

// tmpfs adds a file system in memory; the one of the shared memory has a field of its own.
func (im *importer) tmpfs(m *member, target string, options *types.ServiceVolumeTmpfs, at Place) {
	var limit *node
	if options != nil {
		limit = size(options.Size)
	}
	if target == "/dev/shm" {
		if limit != nil {
			m.node.set("shm_size", limit.from(m.Name, "tmpfs", at))
		}
		return
	}
	n := scalar(target)
	if limit != nil {
		n = mapping()
		n.set("path", scalar(target))
		n.set("size", limit)
	}
	list := m.node.get("tmpfs")
	if list == nil {
		list = sequence()
		m.node.set("tmpfs", list)
	}
	list.add(n.from(m.Name, "tmpfs", at))
}
