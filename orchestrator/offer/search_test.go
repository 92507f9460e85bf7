package offer

import (
	"slices"
	"testing"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
)

func TestSearchFindsAllWordsAndNamesFirst(t *testing.T) {
	app := func(id, name, tagline, category string) *catalog.Entry {
		return &catalog.Entry{Manifest: &manifest.Manifest{ID: id, Name: name, Version: "1", Listing: manifest.Listing{Tagline: tagline, Category: category}}}
	}
	o := New(nil, catalog.Catalog{
		"a": app("a", "Zebra", "Photos of all kinds", "photos"),
		"b": app("b", "My Photos", "Albums", "photos"),
		"c": app("c", "Photo frame", "On the wall", "home"),
		"d": app("d", "Wiki", "Pages", ""),
	}, nil, time.Now())
	for _, c := range []struct {
		words, category string
		want            []string
	}{
		{"", "", []string{"b", "c", "d", "a"}},
		{"photo", "", []string{"c", "b", "a"}},
		{" PHOTO ", "photos", []string{"b", "a"}},
		{"kinds photos", "", []string{"a"}},
		{"wall", "photos", nil},
		{"nothing", "", nil},
	} {
		if got := o.Search(c.words, c.category); !slices.Equal(got, c.want) {
			t.Errorf("%q in %q: %q, expected %q", c.words, c.category, got, c.want)
		}
	}
	if got, want := o.Categories(), []Category{{"", 1}, {"home", 1}, {"photos", 2}}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
