package compose

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// most folders of the owner's that a container has.
const mostFolders = 8

const ownersWords = `(media|movies?|films?|tv|tv-?shows?|shows|series|anime|music|songs?|books?|audio-?books?|ebooks?|comics?|manga|podcasts?|photos?|pictures?|images|videos?|recordings|downloads?|torrents?|usenet|documents?|roms|games|gallery|nas|shares?|shared)`

var (
	// What people keep has one of these names somewhere on the way, and where a program sees it.
	ownersPath   = regexp.MustCompile(`(?i)^/DATA(/|$)|/` + ownersWords + `(/|$)`)
	ownersTarget = regexp.MustCompile(`(?i)^(/mnt|/data|/srv|/home/[^/]+)?/` + ownersWords + `(/|$)`)
)

// ownersFolder gives the name of a folder that is its owner's, which several applications may
// have: one that a store keeps for all, or one elsewhere on the machine whose name, or that of
// the place where the program has it, is of what people keep.
func (im *importer) ownersFolder(v types.ServiceVolumeConfig) (name string, is bool) {
	rel := im.relative(v.Source)
	beside := !strings.HasPrefix(rel, "..") && !filepath.IsAbs(rel)
	below, ofStores := strings.CutPrefix(rel+"/", sharedFolders+"/")
	switch {
	case asFile.MatchString(v.Source), ofEngine.MatchString(v.Source), windowsPath.MatchString(strings.TrimPrefix(v.Source, im.root+"/")):
		return "", false
	case beside && (!ofStores || strings.HasPrefix(below, "app-data/")):
		return "", false
	case !beside:
		if ofClock.MatchString(v.Source) || ofSystem.MatchString(v.Source) && !im.near(v.Source) || ofStore.MatchString(v.Source+"/") {
			return "", false
		}
		below = v.Source
		if strings.HasPrefix(v.Source, filepath.Dir(im.root)+"/") { // of its own place the path says nothing
			below = rel
		}
		if !ownersPath.MatchString("/"+strings.TrimPrefix(below, "/")) && !ownersTarget.MatchString(v.Target) {
			return "", false
		}
	}
	if known := im.folders[v.Source]; known != "" {
		return known, true
	}
	parts := strings.Split(strings.Trim(path.Clean("/"+below), "/"), "/")
	for len(parts) > 1 && generic.MatchString(parts[len(parts)-1]) && parts[len(parts)-2] != "data" {
		parts = parts[:len(parts)-1]
	}
	name = cmp.Or(slug(parts[len(parts)-1]), slug(path.Base(v.Target)), "files")
	for i := len(parts) - 2; im.folderNames[name] && i >= 0; i-- {
		name = cmp.Or(slug(parts[i]+"-"+name), name)
	}
	for n, base := 2, name; im.folderNames[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	im.folders[v.Source], im.folderNames[name] = name, true
	return name, true
}

// ownersMount gives a container a folder of the owner's.
func (im *importer) ownersMount(m *member, name string, v types.ServiceVolumeConfig, at Place) {
	list := m.node.get("storage")
	if list == nil {
		list = sequence()
		m.node.set("storage", list)
	}
	for _, other := range list.items {
		if other.get("name").text == quoted(name) {
			im.left(m.Name, "volumes", at, fmt.Sprintf("the container has the owner's folder %s already, and may not have it twice", name), "one path for it, or two folders")
			return
		}
	}
	if len(list.items) == mostFolders {
		im.left(m.Name, "volumes", at, fmt.Sprintf("a container has at most %d folders of the owner's", mostFolders), "one folder for several of them")
		return
	}
	n := mapping()
	n.set("name", scalar(name))
	n.set("path", scalar(v.Target))
	access := "read_write"
	if v.ReadOnly {
		access = "read_only"
	}
	n.set("access", scalar(access))
	list.add(n.from(m.Name, "volumes", at))
	source := v.Source
	if rel := im.relative(source); rel == sharedFolders || strings.HasPrefix(rel, sharedFolders+"/") {
		source = "what the store keeps for all applications, /" + strings.Trim(strings.TrimPrefix(rel, sharedFolders), "/")
	}
	im.note(m.Name, "volumes", at, fmt.Sprintf("%s is the owner's folder %s, which has to be there: archy storage add %[2]s DIR", source, name))
}
