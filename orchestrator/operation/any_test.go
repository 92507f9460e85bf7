package operation

import "testing"

func TestWhoWatchesAnyHearsOfEachChange(t *testing.T) {
	tr := New()
	before, changed := tr.WatchAny()
	heard := func() bool {
		select {
		case <-changed:
		default:
			return false
		}
		now, next := tr.WatchAny()
		ok := now > before
		before, changed = now, next
		return ok
	}
	if heard() {
		t.Error("nothing has changed")
	}
	for what, change := range map[string]func(){
		"accepted":             func() { tr.Accepted("feeds", 1) },
		"said":                 func() { tr.Say("feeds", "pulling") },
		"what is beside it":    func() { tr.Changed("feeds") },
		"what is of the node":  func() { tr.Changed("") },
		"of what nobody knows": func() { tr.Changed("other") },
	} {
		if change(); !heard() {
			t.Errorf("%s: not heard", what)
		}
	}
}
