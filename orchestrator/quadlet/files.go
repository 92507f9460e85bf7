package quadlet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

// FilesDir is the directory of the texts that an application's containers find as files.
func FilesDir(dataDir, app string) string {
	return dataDir + "/" + manifest.OwnDir + "/" + manifest.FilesDir + "/" + app
}

// FileName is the name in there of a file of a container, "CONTAINER.DIGEST". Another text,
// place, owner or mode is another name, and so another unit: the container is made anew. It
// says nothing of secrets: of those the text has what stands for them, and the value of a
// setting is followed by that.
func FileName(c manifest.Container, f manifest.File) string {
	uid, gid := c.IDs()
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d:%d\n%o\n%s", f.Path, uid, gid, f.Perm(), f.Content))
	return c.Name + "." + hex.EncodeToString(sum[:8])
}
