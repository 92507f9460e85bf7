package manifest

import "testing"

func TestAMovedVolumeIsElsewhereForAllThatHaveIt(t *testing.T) {
	m := &Manifest{ID: "a", Containers: []Container{
		{Name: "a", Volumes: []Volume{{Name: "db"}, {Name: "media"}}},
		{Name: "worker", Volumes: []Volume{{Name: "media", ReadOnly: true}}, Imports: []Import{{App: "b.files", Of: "b", Name: "files"}, {App: "b.rpc.password", Of: "b", Name: "media"}, {App: "c.files"}}},
	}}
	if m.WithMoved(Moved{"b": {"other": "/x"}, "c": {"media": "/y"}, "": {"": "/z"}}) != m {
		t.Error("nothing of it was moved")
	}
	moved := m.WithMoved(Moved{"a": {"media": "/srv/big/a/media"}, "b": {"files": "/srv/big/b/files", "media": "/no"}})
	digest := m.Digest()
	for _, c := range []struct{ got, want string }{
		{moved.Containers[0].Volumes[0].Dir("/data", "a"), "/data/a/db"},
		{moved.Containers[0].Volumes[1].Dir("/data", "a"), "/srv/big/a/media"},
		{moved.Containers[1].Volumes[0].Dir("/data", "a"), "/srv/big/a/media"},
		{moved.Containers[1].Imports[0].Dir("/data"), "/srv/big/b/files"},
		{moved.Containers[1].Imports[1].At, ""},
		{moved.Containers[1].Imports[2].At, ""},
		{m.Containers[0].Volumes[1].Dir("/data", "a"), "/data/a/media"},
		{m.Containers[1].Imports[0].Dir("/data"), "/data/b/files"},
		{moved.Digest(), digest},
	} {
		if c.got != c.want {
			t.Errorf("%s, expected %s", c.got, c.want)
		}
	}
}
