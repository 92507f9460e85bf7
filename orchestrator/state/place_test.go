package state

import (
	"maps"
	"testing"
)

func TestWhereAVolumeIsOutlivesADaemon(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	none := func(d Data) Data { t.Error("there is no data to change"); return d }
	if err := s.UpdateData("a", none); err != nil {
		t.Error(err)
	}
	if err := s.PutData(Data{App: "a", Version: "1", Volumes: []string{"db", "media"}}); err != nil {
		t.Fatal(err)
	}
	before := s.Data("a")
	at := func(p Place) {
		t.Helper()
		if err := s.UpdateData("a", func(d Data) Data { return d.At("media", p) }); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(dir); err != nil {
			t.Fatal(err)
		}
		if got := s.Data("a").Places["media"]; got != p {
			t.Errorf("%+v, expected %+v", got, p)
		}
	}
	at(Place{To: "/srv/big/a/media"})
	if got := s.Data("a").Dir("/data", "a", "media"); got != "/data/a/media" || len(s.Records().Moved()) > 0 {
		t.Errorf("%s is in force while it is copied", got)
	}
	at(Place{Dir: "/srv/big/a/media", Left: "/data/a/media"})
	if got := s.Data("a").Dir("/data", "a", "media"); got != "/srv/big/a/media" {
		t.Error(got)
	}
	if moved := s.Records().Moved(); len(moved) != 1 || !maps.Equal(moved["a"], map[string]string{"media": "/srv/big/a/media"}) {
		t.Errorf("%v", moved)
	}
	if got := s.Data("a").Dir("/data", "a", "db"); got != "/data/a/db" {
		t.Error(got)
	}
	at(Place{})
	if before.Places != nil || s.Data("a").Places != nil {
		t.Errorf("%+v, %+v", before, s.Data("a"))
	}
}
