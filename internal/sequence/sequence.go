// Package sequence has an application live through random sequences of what can happen to it,
// power cuts among it, and says what its owner must find in the end: its version, its data in
// one place, and nothing else. It is the model; the node, a real one or one in memory, is
// whoever tests it.
package sequence

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
)

// OnDisk is the version that the node's own disk offers, where no catalog has another.
const OnDisk = "0.1"

// Made is what the data is before anybody has written it: a directory with nothing in it yet.
const Made = "made"

// Moments are how many there are to cut power at.
const Moments = 20

// Disks are how many a volume can be moved to, besides its own place.
const Disks = 2

// Node is one that an application lives on. What it accepts is to be so, though it may be done
// later; Settled waits for it.
type Node interface {
	Install() error
	Update() error
	// Rollback goes back to the version before the last update, with the data as it was then.
	Rollback() error
	Uninstall(purge bool) error
	// Offer has the node follow a catalog that has a version, or none of the application where
	// it is empty, and others revoked. One that is bad does not start, and spoils the data.
	Offer(version string, bad bool, revoked ...string)
	Unfollow()
	Move(disk int) error // 0: to its own place
	BackUp() (id string, err error)
	Restore(b Backup) error
	// Refused tells whether an error of Restore says that nothing of it was begun.
	Refused(err error) bool
	// Write has the data be something, durably.
	Write(content string) error
	// CutAt has the power be cut at a moment of what is asked for next, the first or a later one.
	CutAt(moment int)
	// Cut has it be cut now, unless it was meanwhile, and gives it back.
	Cut()
	// Settled waits until all is done, after the power cut if there is one, and gives what well
	// then finds wrong.
	Settled(well func() (wrong []string)) (wrong []string)
	Look() Found
	// Remove has the owner remove a directory that the node has named.
	Remove(dir string)
}

// Backup is one that was made.
type Backup struct{ ID, Content, Version string }

// Consent is what its owner agrees to, so that it is restored whatever is offered then.
func (b Backup) Consent() []string {
	return []string{"runs version " + b.Version + " as its backup describes it, which nothing on this node vouches for"}
}

// Found is an application as it is on a node.
type Found struct {
	Installed bool // it is to run
	Going     bool // it is not, and not gone yet
	Up        bool
	Version   string
	Said      string // of what keeps it from running

	InForce string  // where its data is on record
	Places  []Place // all where it can be
	Spare   string  // a copy that a move has left, named, and its owner's to remove; empty for none
	Wrong   []string
}

// Place is one where the data can be.
type Place struct {
	Dir     string
	There   bool
	Written bool
	Content string
}

// Sequence is one of them, and the model of what must come of it.
type Sequence struct {
	Said []string // what was done

	node Node
	rng  *rand.Rand

	follows   bool
	entry     string // that the catalog has; empty for none
	revoked   []string
	newest    int             // version that a catalog has had
	bad       map[string]bool // versions that do not start, and spoil the data
	installed bool
	version   string
	content   string // of the data; empty: there is none
	previous  *past  // what can be gone back to; nil: nothing
	writes    int
	kept      []Backup
	cut       *Backup  // whose restoration was cut off: all of it is there in the end, or nothing
	wrong     []string // that no look would show
}

// past is a version, and what the data was when it was left.
type past struct{ version, content string }

// New begins a sequence, which is always the same for a seed and a node that takes no time.
func New(seed uint64, n Node) *Sequence {
	return &Sequence{node: n, rng: rand.New(rand.NewPCG(seed, 18)), bad: map[string]bool{}}
}

func (s *Sequence) say(format string, args ...any) {
	s.Said = append(s.Said, fmt.Sprintf(format, args...))
}

// Step does something, and gives what is not as it must be then.
func (s *Sequence) Step() (wrong []string) {
	if s.next(); len(s.wrong) > 0 {
		return s.wrong
	}
	if wrong = s.node.Settled(s.well); len(wrong) > 0 {
		return wrong
	}
	s.cut = nil
	if s.installed && s.rng.IntN(2) == 0 {
		s.writes++
		s.content = "written " + strconv.Itoa(s.writes)
		s.say("%s", s.content)
		if err := s.node.Write(s.content); err != nil {
			return []string{err.Error()}
		}
	}
	return nil
}

func (s *Sequence) next() {
	can := []func(){s.install, s.install, s.install, s.install, s.restore, s.restore, s.restore, s.purge, s.newer, s.newer, s.lose}
	if s.installed {
		can = []func(){s.update, s.update, s.update, s.update, s.update, s.rollback, s.rollback, s.rollback, s.move, s.move, s.move, s.move, s.backUp, s.backUp, s.uninstall, s.purge, s.newer, s.lose, s.revoke, s.restore, s.install}
	}
	do := can[s.rng.IntN(len(can))]
	if s.rng.IntN(2) == 0 {
		moment := 1 + s.rng.IntN(Moments)
		s.say("power is cut at moment %d", moment)
		s.node.CutAt(moment)
	}
	do()
}

// offered is the version that an installation takes; empty for none.
func (s *Sequence) offered() string {
	switch {
	case s.follows && s.entry != "":
		return s.entry
	case s.follows && slices.Contains(s.revoked, OnDisk):
		return ""
	}
	return OnDisk
}

// accepted says what came of a request.
func (s *Sequence) accepted(what string, err error) bool {
	s.say("%s: %v", what, err)
	return err == nil
}

func (s *Sequence) install() {
	if !s.installed && s.bad[s.offered()] {
		s.newer() // there is nothing yet to which an installation could be rolled back
	}
	version, had := s.offered(), s.installed
	if s.accepted("install", s.node.Install()) && !had {
		s.installed, s.version = true, version
		if s.content == "" {
			s.content = Made
		}
	}
}

func (s *Sequence) uninstall() {
	if s.accepted("uninstall", s.node.Uninstall(false)) {
		s.installed, s.version, s.previous = false, "", nil
	}
}

func (s *Sequence) purge() {
	if s.accepted("purge", s.node.Uninstall(true)) {
		s.installed, s.version, s.content, s.previous = false, "", "", nil
	}
}

func (s *Sequence) publish(version string, revoked ...string) {
	s.follows, s.entry, s.revoked = true, version, revoked
	s.node.Offer(version, s.bad[version], revoked...)
}

// newer has the catalog hold a version that it had not; one of three does not start.
func (s *Sequence) newer() {
	s.newest++
	version := strconv.Itoa(s.newest)
	s.bad[version] = s.installed && s.rng.IntN(3) == 0
	s.say("the catalog has %s, bad: %v", version, s.bad[version])
	s.publish(version)
}

func (s *Sequence) update() {
	if s.rng.IntN(3) > 0 {
		s.newer()
	}
	if version := s.offered(); s.accepted("update", s.node.Update()) && !s.bad[version] && version != s.version {
		s.previous, s.version = &past{s.version, s.content}, version
	}
}

// rollback goes back, and what is left is what a second one goes to. A node whose disk fills
// keeps nothing to go back to.
func (s *Sequence) rollback() {
	to := s.previous
	switch went := s.accepted("rollback", s.node.Rollback()); {
	case went && to == nil:
		s.wrong = append(s.wrong, "a rollback went to nothing that it could")
	case went && s.follows && slices.Contains(s.revoked, to.version):
		s.wrong = append(s.wrong, "a rollback went to what was revoked")
	case went:
		s.previous = &past{s.version, s.content}
		s.version, s.content = to.version, to.content
	}
}

func (s *Sequence) lose() {
	s.say("nothing is followed any more, or another channel")
	s.follows, s.entry, s.revoked = false, "", nil
	s.node.Unfollow()
}

func (s *Sequence) revoke() {
	s.say("%s is revoked", s.version)
	s.publish("", s.version)
}

func (s *Sequence) move() {
	disk := s.rng.IntN(Disks + 1)
	s.say("move to disk %d: %v", disk, s.node.Move(disk))
}

func (s *Sequence) backUp() {
	id, err := s.node.BackUp()
	s.say("backup %s: %v", id, err)
	if err == nil {
		s.kept = append(s.kept, Backup{id, s.content, s.version})
	}
}

// restore brings the newest backup back.
func (s *Sequence) restore() {
	if len(s.kept) == 0 {
		return
	}
	b, had := s.kept[len(s.kept)-1], s.installed || s.content != ""
	err := s.node.Restore(b)
	s.say("restore of %s, %q: %v", b.Version, b.Content, err)
	switch {
	case err == nil && had:
		s.wrong = append(s.wrong, "a restoration took the place of data")
	case err == nil:
		s.installed, s.version, s.content = true, b.Version, b.Content
	case !had && !s.node.Refused(err):
		s.node.Cut()
		s.cut = &b
	}
}

// well gives what is not as the model has it.
func (s *Sequence) well() (wrong []string) {
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	f := s.node.Look()
	if f.Spare != "" {
		s.say("its owner removes %s", f.Spare)
		s.node.Remove(f.Spare)
		f = s.node.Look()
	}
	if s.cut != nil && f.Installed {
		s.say("the restoration was finished")
		s.installed, s.version, s.content = true, s.cut.Version, s.cut.Content
		s.cut = nil
	}
	wrong = append(wrong, f.Wrong...)
	if f.Installed != s.installed {
		bad("installed: %v, %s; expected %v", f.Installed, f.Said, s.installed)
		return wrong
	}
	if !s.installed && f.Going {
		bad("it is going still: %s", f.Said)
	}
	if s.installed && (!f.Up || f.Version != s.version) {
		bad("version %s, up: %v, %s; expected %s", f.Version, f.Up, f.Said, s.version)
	}
	for _, p := range f.Places {
		switch {
		case s.content != "" && p.Dir == f.InForce:
			if !p.There || p.Content != s.content && (p.Written || s.content != Made) {
				bad("%s: there: %v, it holds %q; expected %q", p.Dir, p.There, p.Content, s.content)
			}
		case p.There:
			bad("%s is there, and not in force", p.Dir)
		}
	}
	return wrong
}
