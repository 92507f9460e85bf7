package matrix

import (
	"slices"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// The owner's folders stay, whatever becomes of applications.
func TestAFolderOfTheOwnersThatIsGoneIsRed(t *testing.T) {
	for inode, want := range map[string][]string{"88": nil, "": {dataGone + "the owner's folder /srv/photos was deleted"}} {
		s := newSnapshot()
		s.Places["/srv/photos"] = inode
		if wrong := CheckInvariants(stack(), s); !slices.Equal(wrong, want) {
			t.Errorf("inode %q: %q", inode, wrong)
		}
	}
}

func TestALookIsForTheFoldersToo(t *testing.T) {
	m := stack()
	m.Containers[1].Storage = []manifest.StorageMount{{Name: "photos", Path: "/photos", Access: manifest.ReadOnly, Dir: "/srv/photos"}}
	q := asMeant(nil).ask(m, nodes.DataDir, noon)
	if !slices.Contains(q.volumes, "/srv/photos") || !slices.Contains(q.inside, "200:/photos") {
		t.Errorf("asked for are %q and %q", q.volumes, q.inside)
	}
}
