package plan

import (
	"testing"

	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// TestGiveUp has a step of an update fail in each phase.
func TestGiveUp(t *testing.T) {
	next := pair()
	next.Version = "2"
	in := func(phase state.Phase) state.Desired {
		return state.Desired{App: "pair", Manifest: pair(), Update: &state.Update{To: next, Phase: phase, Generation: 7}}
	}
	const why = "the update to 2 failed: no space"
	d, ended, ok := GiveUp(in(state.Staged), "no space")
	if !ok || !ended || d.Update != nil || d.Note != why+"; version 1 goes on" {
		t.Errorf("before the switch: %+v, ended %v, ok %v", d, ended, ok)
	}
	if d.Declined != next.Digest() {
		t.Errorf("before the switch: it declines %q, and so would be tried again, without end, by itself", d.Declined)
	}
	before := in(state.Switched)
	d, ended, ok = GiveUp(before, "no space")
	if !ok || ended || d.Update == nil || d.Update.Phase != state.RollingBack || d.Update.Error != why || d.Update.Generation != 7 {
		t.Errorf("after the switch: %+v, ended %v, ok %v", d.Update, ended, ok)
	}
	if before.Update.Phase != state.Switched {
		t.Error("the record that others look at was changed in place")
	}
	going := in(state.Staged)
	going.Update.Back = true
	if d, ended, ok = GiveUp(going, "no space"); !ok || !ended || d.Update != nil || d.Declined != "" || d.Note != "going back to 2 failed: no space; version 1 goes on" {
		t.Errorf("on the way back, before the switch: %+v, ended %v, ok %v", d, ended, ok)
	}
	going = in(state.Switched)
	going.Update.Back = true
	if d, ended, ok = GiveUp(going, "no space"); !ok || ended || d.Update == nil || d.Update.Phase != state.RollingBack || !d.Update.Back {
		t.Errorf("on the way back, after the switch: %+v, ended %v, ok %v", d.Update, ended, ok)
	}
	for name, same := range map[string]state.Desired{"rolling back": in(state.RollingBack), "while data and copy change places": in(state.Returning), "no update": {App: "pair", Manifest: pair()}} {
		if d, ended, ok := GiveUp(same, "no space"); ok || ended || d.Update != same.Update || d.Declined != "" {
			t.Errorf("%s: %+v, ended %v, ok %v", name, d, ended, ok)
		}
	}
}
