package reports

import "slices"

// Noted is a note that cells of an application carry at a step, and how many do.
type Noted struct {
	App, Step, Note string
	Cells           int
}

// Notes are what a reader must know of the cells, each note once, in the order of the
// cells that say it first.
func (r *Report) Notes() (notes []Noted) {
	for _, a := range r.Apps {
		for _, c := range a.Cells {
			if c.Note == "" {
				continue
			}
			i := slices.IndexFunc(notes, func(n Noted) bool { return n.App == c.App && n.Step == c.Step && n.Note == c.Note })
			if i < 0 {
				notes, i = append(notes, Noted{App: c.App, Step: c.Step, Note: c.Note}), len(notes)
			}
			notes[i].Cells++
		}
	}
	return notes
}
