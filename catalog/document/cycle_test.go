package document

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/catalog/sign"
)

// needing is a document of applications that require others, in the order of their ids,
// each given as "a:b,c".
func needing(t *testing.T, apps ...string) *Document {
	t.Helper()
	d := Next(nil, "feature", now, time.Hour)
	for _, app := range apps {
		id, others, _ := strings.Cut(app, ":")
		m := &manifest.Manifest{APIVersion: manifest.APIVersion, ID: id, Name: id, Version: "1", Containers: []manifest.Container{
			{Name: id, Image: manifest.Image{Ref: "localhost:5000/" + id, Digest: digest}}}}
		for _, other := range strings.FieldsFunc(others, func(r rune) bool { return r == ',' }) {
			m.Requires = append(m.Requires, manifest.Requirement{App: other})
		}
		e, err := NewEntry(m, "test", "")
		if err != nil {
			t.Fatal(err)
		}
		d.Entries = append(d.Entries, e)
	}
	return d
}

func TestMergeRefusesTheEntriesOfACycleByNameAndNoOthers(t *testing.T) {
	d := needing(t, "a:b", "b:c", "c:a,b", "d:a", "e", "f:g")
	// One that comes from the disk may close a circle too.
	disk := catalog.Catalog{}
	for _, m := range []*manifest.Manifest{{ID: "g", Requires: []manifest.Requirement{{App: "f"}}}, {ID: "h"}} {
		disk[m.ID] = &catalog.Entry{Manifest: m}
	}
	for range 2 { // what was known before makes no difference
		got, refused := d.Merge(disk, nil, now)
		for id, path := range map[string]string{"a": "a requires b requires c requires a", "c": "c requires a requires b requires c", "f": "f requires g requires f", "g": "g requires f requires g"} {
			if err := refused[id]; !errors.Is(err, ErrRefused) || !errors.Is(err, catalog.ErrCycle) || !strings.HasSuffix(err.Error(), id+": requirements go round in a circle: "+path) {
				t.Errorf("%s: %v, expected the path %s", id, err, path)
			}
		}
		if ids := strings.Join(got.IDs(), " "); ids != "d e h" || len(refused) != 5 {
			t.Errorf("%s are offered, expected d, e and h; refused: %v", ids, refused)
		}
	}
	// What a revocation breaks up is no circle any more.
	d.Entries = d.Entries[:0]
	d.Entries = append(d.Entries, needing(t, "a:b", "b:a").Entries...)
	d.Revoked = []Revocation{{ID: "b", Version: "1", Reason: "leaks", Since: now}}
	if got, refused := d.Merge(nil, nil, now); got["a"] == nil || errors.Is(refused["b"], catalog.ErrCycle) {
		t.Errorf("%v, %v", got.IDs(), refused)
	}
}

func TestADocumentWithARequirementCycleIsNotSigned(t *testing.T) {
	key, err := sign.NewSigner("release")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := Sign(context.Background(), needing(t, "a:b", "b:a", "c:a"), key); b != nil || !errors.Is(err, ErrRefused) || !errors.Is(err, catalog.ErrCycle) || !strings.Contains(err.Error(), "a requires b requires a") {
		t.Errorf("%s, %v", b, err)
	}
	if _, err := Sign(context.Background(), needing(t, "a:b,c", "b:d", "c:d", "d"), key); err != nil {
		t.Errorf("a diamond: %v", err)
	}
}

func TestMergeOf10000EntangledEntriesEndsInTime(t *testing.T) {
	const n = 10_000
	// A ladder: from rung to rung there are two ways, so that ways from end to end
	// double with each. The last rung leads back to the first.
	// They are on the disk, so that the time is not that of parsing.
	disk := catalog.Catalog{}
	id := func(i int) string { return fmt.Sprintf("app-%05d", i%n) }
	for i := range n {
		next := i - i%2 + 2
		disk[id(i)] = &catalog.Entry{Manifest: &manifest.Manifest{ID: id(i), Requires: []manifest.Requirement{{App: id(next)}, {App: id(next + 1)}}}}
	}
	d := needing(t)
	begin := time.Now()
	got, refused := d.Merge(disk, nil, now)
	if took := time.Since(begin); len(got) != 0 || len(refused) != n || took > 10*time.Second {
		t.Errorf("%d are offered, %d refused, in %s", len(got), len(refused), took)
	} else {
		t.Logf("refused in %s", took)
	}
	size := 0
	for _, err := range refused {
		size += len(err.Error())
	}
	if size > n*500 {
		t.Errorf("the refusals are %d bytes long", size)
	}
}
