package offer

import (
	"cmp"
	"slices"
	"strings"
)

// Category is one of those that applications on offer have, and how many have it.
type Category struct {
	Name  string // empty: none is said
	Count int
}

// shelf is what people look through: each application as a text, in the order of names.
type shelf struct {
	items      []item
	categories []Category
}

type item struct{ id, category, name, text string } // name and text in lower case

// stock gives the shelf, which is filled when somebody looks for the first time.
func (o *Offer) stock() *shelf {
	o.filling.Do(func() {
		ids := o.IDs()
		o.shelf.items = make([]item, 0, len(ids))
		count := map[string]int{}
		for _, id := range ids {
			it := item{id: id, name: strings.ToLower(id), text: id}
			if e := o.catalog[id]; e != nil {
				it.category, it.name = e.Category, strings.ToLower(cmp.Or(e.Name, id))
				it.text = strings.ToLower(strings.Join([]string{e.Name, id, e.Tagline, e.Summary, e.Category, e.Publisher}, "\n"))
			}
			count[it.category]++
			o.shelf.items = append(o.shelf.items, it)
		}
		slices.SortFunc(o.shelf.items, func(a, b item) int { return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.id, b.id)) })
		for name, n := range count {
			o.shelf.categories = append(o.shelf.categories, Category{name, n})
		}
		slices.SortFunc(o.shelf.categories, func(a, b Category) int { return strings.Compare(a.Name, b.Name) })
	})
	return &o.shelf
}

// Categories are those of all applications on offer, in order.
func (o *Offer) Categories() []Category { return slices.Clone(o.stock().categories) }

// Search gives the ids of the applications on offer, those that may not be installed now
// too, whose name, tagline, summary, publisher or category has all words; those first whose
// name begins with what is looked for, then those whose name has it, each in the order of
// names. An empty category stands for all.
func (o *Offer) Search(words, category string) []string {
	wanted := strings.Fields(strings.ToLower(words))
	phrase := strings.Join(wanted, " ")
	var found [3][]string
	for _, it := range o.stock().items {
		if category != "" && it.category != category || slices.ContainsFunc(wanted, func(w string) bool { return !strings.Contains(it.text, w) }) {
			continue
		}
		rank := 2
		switch {
		case strings.HasPrefix(it.name, phrase):
			rank = 0
		case strings.Contains(it.name, phrase):
			rank = 1
		}
		found[rank] = append(found[rank], it.id)
	}
	return slices.Concat(found[0], found[1], found[2])
}
