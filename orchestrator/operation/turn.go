package operation

import "time"

// Proposal is what a pass would have done for an application.
type Proposal struct {
	App        string
	Generation uint64
	Turns      uint64 // of the status before anything was looked at that the proposal rests on
	Waiting    string // what it waits for; empty for nothing
	Blocked    string // why nothing can be done; empty where something can
	Actions    bool   // there is something to do
	Starts     bool   // a start is among it
}

// Turn is what comes of a proposal. The zero value: nothing, until the next pass.
type Turn struct {
	Busy    bool          // something else is under way, or has been since the proposal's look: nothing came of it
	Begin   bool          // the application is the caller's until Done, Pending, Fail or Rest
	Repair  bool          // what begins is a start that nobody asked for
	Blocked bool          // it has been blocked by this proposal, and was not before
	GiveUp  string        // why it goes into crash-loop back-off; it is the caller's, to stop, until Rest
	Again   time.Duration // until it is worth proposing again without an event; 0 for no such time
}

// TryBegin takes an application for what is proposed, where nothing else is under
// way for it and its time has come.
func (t *Tracker) TryBegin(p Proposal) Turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.record(p.App)
	if o.Busy || o.Held != "" || o.Turns != p.Turns || o.accepted > p.Generation {
		return Turn{Busy: true} // what ends, or is accepted, has a pass made
	}
	now := time.Now()
	if o.Waiting != p.Waiting || p.Waiting != "" && !p.Actions && o.Message != p.Waiting {
		o.Waiting, o.Message = p.Waiting, p.Waiting
		t.notify(p.App)
	}
	if p.Blocked != "" {
		return t.block(o, p, now)
	}
	if o.blocked { // what stood in the way is gone
		o.blocked, o.notBefore = false, time.Time{}
	}
	switch {
	case !p.Actions:
		o.released = false
		if p.Waiting == "" && (o.Observed < p.Generation || o.Error != "" && !o.InBackoff) {
			o.Observed, o.Error, o.Message = p.Generation, "", ""
			o.succeed()
			t.notify(p.App)
		}
		return Turn{}
	case o.InBackoff && o.Failed == p.Generation:
		return Turn{}
	case now.Before(o.notBefore) && o.Failed == p.Generation:
		return Turn{Again: o.notBefore.Sub(now)}
	}
	turn := Turn{Begin: true, Repair: p.Starts && o.Observed >= p.Generation && !o.released}
	if p.Starts {
		o.released = false
	}
	if turn.Repair {
		if why := o.repair(now); why != "" {
			o.giveUp(p.Generation, why)
			t.notify(p.App)
			return Turn{Repair: true, GiveUp: why}
		}
	}
	o.begin(p.Generation)
	if o.Observed < p.Generation && o.Failed < p.Generation {
		o.Error = ""
	}
	o.Engine, o.App = 0, 0
	t.notify(p.App)
	return turn
}

// block records that nothing can be done, and when to look again at the latest. The
// lock is held.
func (t *Tracker) block(o *record, p Proposal, now time.Time) Turn {
	if o.InBackoff && o.Failed == p.Generation {
		return Turn{}
	}
	turn := Turn{Blocked: !o.blocked || o.Failed != p.Generation || o.Error != p.Blocked}
	if turn.Blocked {
		o.blocked, o.Failed, o.Error = true, p.Generation, p.Blocked
		o.Engine, o.App = 0, 0
		t.notify(p.App)
	}
	if !now.Before(o.notBefore) {
		o.fail(now)
	}
	turn.Again = o.notBefore.Sub(now)
	return turn
}

// giveUp puts an application into crash-loop back-off; it stays busy until it has
// been stopped.
func (o *record) giveUp(generation uint64, why string) {
	o.begin(generation)
	o.InBackoff, o.Failed, o.Error, o.Message = true, generation, why, ""
}

// Done ends an operation that has been carried out. The next pass finds whether the
// generation is; gone says that nothing of the application is left to find.
func (t *Tracker) Done(app string, generation uint64, gone bool) {
	t.change(app, func(o *record) {
		o.end()
		o.succeed()
		if gone {
			o.Observed, o.Error = generation, ""
		}
	})
}

// Pending ends an operation that has neither been carried out nor failed, and says
// what it waits for; empty leaves what was said.
func (t *Tracker) Pending(app, why string) {
	t.change(app, func(o *record) {
		o.end()
		if why != "" {
			o.Message = why
		}
	})
}

// Fail ends an operation that failed, to be tried again after a while. Where it was
// a start, and one too many, giveUp says why: the application is the caller's, to
// stop, until Rest.
func (t *Tracker) Fail(app string, generation uint64, err string, start bool) (giveUp string) {
	t.change(app, func(o *record) {
		o.end()
		o.Failed, o.Error = generation, err
		o.fail(time.Now())
		if !start {
			return
		}
		if giveUp = o.failStart(err); giveUp != "" {
			o.giveUp(generation, giveUp)
		}
	})
	return giveUp
}

// Rest ends the stopping of an application in crash-loop back-off.
func (t *Tracker) Rest(app string) { t.change(app, (*record).end) }

func (o *record) begin(generation uint64) {
	o.Busy, o.generation = true, generation
	o.Turns++
}

func (o *record) end() {
	o.Busy, o.Doing, o.cancel = false, "", nil
	o.Turns++
}

// Do notes what the work under way has come to, which holds until the next such note or its end,
// unless the work on one of the others has come to what this must not be beside; it gives that one.
func (t *Tracker) Do(app, verb string, others []string, not string) (beside string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, other := range others {
		if o, ok := t.apps[other]; ok && o.Doing == not {
			return other
		}
	}
	t.record(app).Doing = verb
	return ""
}
