package matrix

import (
	"slices"
	"testing"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// The owner's folders stay, whatever becomes of applications.
func TestAFolderOfTheOwnersThatIsGoneIsRed(t *testing.T) {
	for at, want := range map[PlaceSeen][]string{
		{"88", witnessed}: nil,
		{"", "-"}:         {dataGone + "the owner's folder /srv/photos was deleted"},
		{"88", "-"}:       {dataGone + "what was in the owner's folder /srv/photos was deleted"},
		{"88", "ab"}:      {dataGone + "what was in the owner's folder /srv/photos was changed"},
	} {
		s := newSnapshot()
		s.Places["/srv/photos"] = at
		s.Places[nodes.DataDir+"/chain/blocks"] = PlaceSeen{"99", "-"} // another application's
		if wrong := CheckInvariants(stack(), s); !slices.Equal(wrong, want) {
			t.Errorf("%q: %q", at, wrong)
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
