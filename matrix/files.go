package matrix

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// filesFolder is, below the data directory, where the texts are that an application's
// containers find as files.
func filesFolder(app string) string { return "_daemon/files/" + app }

// FileMeant is a text that a container finds as a file, and cannot write to.
type FileMeant struct {
	Place    string // on the node, without the digest that ends its name
	Mode     string // such as "644"
	UID, GID int    // as seen in the container
	SHA256   string // of the text, with {{secret:NAME}} in place of the values of secrets
}

func filesMeant(m *manifest.Manifest, c manifest.Container, dataDir string) map[string]FileMeant {
	out := map[string]FileMeant{}
	uid, gid := c.IDs()
	for _, f := range c.Files {
		sum := sha256.Sum256([]byte(f.Public()))
		meant := FileMeant{dataDir + "/" + filesFolder(m.ID) + "/" + c.Name, cmp.Or(strings.TrimPrefix(f.Mode, "0"), "644"), uid, gid, hex.EncodeToString(sum[:])}
		if f.Secret() {
			meant.Mode = "600"
		}
		out[f.Path] = meant
	}
	return out
}

var filePlace = regexp.MustCompile(`^(.*/_daemon/files/[^/]+/[^/.]+)\.[0-9a-f]{16}$`)

// withoutDigest gives a source of a mount without the digest that only the daemon knows, where that
// is one of the files.
func withoutDigest(source string) string {
	return filePlace.ReplaceAllString(source, "$1, by a digest")
}

// source is what a unit says of the file: where it is, and that it is read-only.
func (f FileMeant) source() string { return f.Place + ", by a digest, ro" }

func (f FileMeant) mounted() string { return f.Place + ", by a digest, read-only" }

func (f FileMeant) readable() string {
	return fmt.Sprintf("mode %s of %d:%d, with its text", f.Mode, f.UID, f.GID)
}

// addFile adds what a container has of a file: what Podman says where it is, unless the
// kernel says otherwise, and what it reads there.
func (s *Snapshot) addFile(p properties, r *Details, mount Mount, f FileMeant) {
	source := "something that Podman does not show, " + mount.Root
	for _, b := range r.Mounts {
		if b.Destination == mount.Target {
			source = withoutDigest(b.Source)
			if filepath.Base(b.Source) != filepath.Base(mount.Root) {
				source = "another file than Podman shows, " + mount.Root
			}
		}
	}
	p.add("mount "+mount.Target, source+", "+access(mount.Options))
	in, text := r.Inside[mount.Target], "with another text"
	if r.Texts[mount.Target] == f.SHA256 {
		text = "with its text"
	}
	p.add("file "+mount.Target, fmt.Sprintf("mode %s of %s:%s, %s", in.Mode, s.inside(in.UID, s.SubUID), s.inside(in.GID, s.SubGID), text))
}

// ownFile tells whether a file of the node is one that the daemon wrote for the application.
func ownFile(app, file string) bool {
	return filepath.Dir(file) == nodes.DataDir+"/"+filesFolder(app) && filePlace.MatchString(file)
}

var hostLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// NodeOf is what a manifest's texts say of a node, by its host name: the first part of that,
// and the name by which it is found on its network (RFC 6762); localhost where it has none.
func NodeOf(host string) manifest.Node {
	name, _, _ := strings.Cut(strings.ToLower(host), ".")
	if !hostLabel.MatchString(name) {
		return manifest.Node{Name: "localhost", Domain: "localhost"}
	}
	return manifest.Node{Name: name, Domain: name + ".local"}
}

// RenderedFor is the node of which units that are only rendered speak (archipelago render).
var RenderedFor = NodeOf("node")
