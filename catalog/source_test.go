package catalog

import "testing"

func TestVersionsAreOrdered(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1.9", "1.10", -1}, {"2", "10", -1}, {"1.0.0", "1.0.0", 0}, {"1.0.0-rc1", "1.0.0", -1}, {"2026.01.2", "2026.1.10", -1},
		{"1.2.3.4", "1.2.3.10", -1}, {"1.2.3.4", "1.2.3", 1}, {"17alpha", "17beta", -1}, {"012", "12", 0},
	} {
		if got, back := CompareVersions(c.a, c.b), CompareVersions(c.b, c.a); got != c.want || back != -c.want {
			t.Errorf("%s and %s: %d, and back %d", c.a, c.b, got, back)
		}
	}
}

func TestSourcesAreReadAsTheyAreWritten(t *testing.T) {
	for _, s := range []Source{{From: FromDisk}, {From: FromCatalog, Document: "beta 7"}, {From: FromBoth, Document: "feature 3"}} {
		if got := ParseSource(s.String()); got != s {
			t.Errorf("%q: %+v", s, got)
		}
	}
	for _, s := range []string{"", "backup", "diskette", "catalogue beta 7"} {
		if got := ParseSource(s); got != (Source{}) {
			t.Errorf("%q: %+v", s, got)
		}
	}
}

func TestForwardIsNewerInVersionAndSerial(t *testing.T) {
	for _, c := range []struct {
		fromVersion, from, toVersion, to string
		want                             bool
	}{
		{"1", "catalog beta 7", "2", "catalog beta 8", true},
		{"2", "catalog beta 7", "1", "catalog beta 8", false},
		{"1", "catalog beta 7", "1", "catalog beta 8", true},
		{"1", "catalog beta 7", "1", "catalog beta 7", false},
		{"1", "catalog beta 8", "2", "catalog beta 7", false},
		{"1", "catalog beta 8", "1", "catalog beta 7", false},
		{"1", "catalog beta 7", "1", "catalog user 90", false},
		{"1", "catalog beta 7", "2", "catalog user 3", true},
		{"2", "catalog beta 7", "1", "catalog user 90", false},
		{"1", "catalog beta 7", "2", "disk", false},
		{"1", "catalog beta 7", "2", "disk, image by catalog beta 8", false},
		{"1", "disk, image by catalog beta 7", "2", "disk", false},
		{"1", "disk, image by catalog beta 7", "1", "disk, image by catalog beta 8", true},
		{"1", "disk", "1", "catalog beta 7", true},
		{"2", "disk", "1", "catalog beta 7", false},
		{"1", "disk", "2", "disk", true},
		{"1", "disk", "1", "disk", false},
		{"2", "disk", "1", "disk", false},
		{"1", "backup", "2", "disk", true},
		{"1", "backup", "1", "disk", false},
		{"1", "backup", "1", "catalog beta 7", true},
		{"2", "", "1", "disk", false},
	} {
		if got := ParseSource(c.to).Forward(c.toVersion, ParseSource(c.from), c.fromVersion); got != c.want {
			t.Errorf("from %s of %q to %s of %q: %v", c.fromVersion, c.from, c.toVersion, c.to, got)
		}
	}
}
