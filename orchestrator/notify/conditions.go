package notify

import (
	"fmt"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/orchestrator/disk"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

const (
	// NearlyFull is from when on a file system's share in use is too much, in percent; beyond
	// brimful, what runs is about to fail.
	NearlyFull = 90
	brimful    = 97
	slack      = 2 // percent below NearlyFull that end a notice: at the edge, each file would be another

	unhealthyFor = 30 * time.Second // an application that recovers sooner is nobody's business
	silentFor    = 2 * time.Minute  // as a boot takes

	// OwnSlip is how soon the owner, who typed a wrong code beside the password, types the right one.
	OwnSlip = 2 * time.Minute

	mostName = 100 // bytes of a name
	mostText = 600 // bytes of what others wrote
)

// Severity says how much a condition matters.
type Severity int

// The severities, ascending.
const (
	Warning Severity = iota + 1 // something will go wrong, or protects no more
	Urgent                      // something does not work
)

func (s Severity) String() string {
	if s == Urgent {
		return "urgent"
	}
	return "warning"
}

// Kinds of conditions: the first word of their ids.
const (
	Failed     = "failed"
	Unhealthy  = "unhealthy"
	Memory     = "memory"
	Backup     = "backup"
	Revoked    = "revoked"
	Repository = "repository"
	Disk       = "disk"
	Catalog    = "catalog"
	Frozen     = "frozen"
	Engine     = "engine"
	Password   = "password"
)

// Condition is something that is not well with an application or the node. Its texts are one
// line each, and hold nothing that a terminal or a mail would obey.
type Condition struct {
	ID       string        `json:"id"` // its kind, and whose it is, such as "failed feeds"; "disk"
	Kind     string        `json:"kind"`
	App      string        `json:"app,omitempty"` // the application's id; empty where it is the node's
	Subject  string        `json:"subject"`       // what people call it
	Severity Severity      `json:"severity"`
	What     string        `json:"what"`           // what is the matter with it, after its name
	Over     string        `json:"over"`           // and what is said when it is over
	Text     string        `json:"text,omitempty"` // why
	Remedy   string        `json:"remedy"`
	Wait     time.Duration `json:"wait,omitempty"` // how long it lasts before it is a notice
}

// Known is what the daemon knows, of which conditions are made.
type Known struct {
	Views        []view.View // of all that is installed
	Stale        string      // why what is known of containers is not of now; empty where it is
	Revoked      func(app, version string) string
	Killed       map[string]string // applications of which something was killed for want of memory in the last hour: what
	HourKnown    bool              // whether all of that hour is known of
	Password     string            // when and where the right password came without the code that goes with it, in the last hours; empty for never
	HoursKnown   bool              // whether all of those hours are known of
	Repositories []Problem         // those that cannot be used
	Frozen       string            // why nothing new is taken from the signed catalog
	Catalog      string            // why none can be followed
	Disk         disk.Space        // where applications' data is; zero where that is not known
}

// Problem is what is wrong with something that has a name.
type Problem struct{ Name, What string }

// Found is what a look has found.
type Found struct {
	Conditions []Condition
	unsure     map[string]bool // ids of which nothing can be said now: what was, stays
	running    map[string]bool // applications whose owner wants them to run
}

// Look makes conditions of what is known.
func Look(k Known) Found {
	f := Found{unsure: map[string]bool{}, running: map[string]bool{}}
	for _, v := range k.Views {
		f.application(k, v)
	}
	for _, r := range k.Repositories {
		f.add(Condition{Kind: Repository, ID: Repository + " " + r.Name, Subject: "The repository " + r.Name, Severity: Warning,
			What: "cannot be used", Over: "can be used again", Text: r.What,
			Remedy: "plug in or reach what is missing, then 'archy backup APP --to " + r.Name + "'; of a damaged repository, keep what is there, and add another"})
	}
	if k.Frozen != "" {
		f.add(Condition{Kind: Frozen, Subject: "The catalog", Severity: Warning, What: "is frozen, and brings no updates", Over: "brings updates again", Text: k.Frozen,
			Remedy: "'archy refresh' asks its mirrors again; if they have nothing newer, ask its publisher"})
	}
	if k.Catalog != "" {
		f.add(Condition{Kind: Catalog, Subject: "The catalog", Severity: Warning, What: "cannot be followed", Over: "is followed again", Text: k.Catalog, Remedy: "'archy subscription' says what is followed"})
	}
	if k.Stale != "" {
		f.add(Condition{Kind: Engine, Subject: "Podman", Severity: Urgent, What: "does not answer", Over: "answers again", Text: k.Stale,
			Remedy: "applications run on, and nothing is done to them until it answers; 'archy doctor' says more", Wait: silentFor})
	}
	if k.Password != "" {
		f.add(Condition{Kind: Password, Subject: "The password of the first owner", Severity: Urgent, What: "may be known to somebody else", Over: "was typed with no wrong code for six hours, or is another one now", Text: k.Password,
			Remedy: "if that was not you, change it on the page System ('archy password'), which signs all other browsers out, and remove passkeys that you do not know", Wait: OwnSlip})
	}
	f.unsure[Password] = !k.HoursKnown
	f.room(k.Disk)
	return f
}

func (f *Found) add(c Condition) {
	if c.ID == "" {
		c.ID = c.Kind
		if c.App != "" {
			c.ID += " " + c.App
		}
	}
	c.ID, c.Subject, c.Text = cleaned(c.ID, mostName), cleaned(c.Subject, mostName), cleaned(c.Text, mostText)
	f.Conditions = append(f.Conditions, c)
}

// application finds what is not well with an application.
func (f *Found) application(k Known, v view.View) {
	id := v.Manifest.ID
	f.running[id] = v.Goal == state.Running || v.Goal == ""
	about := func(kind string, s Severity, what, over, text, remedy string) Condition {
		return Condition{Kind: kind, App: id, Subject: v.Manifest.Name, Severity: s, What: what, Over: over, Text: text, Remedy: remedy}
	}
	switch {
	case v.State == view.Failed || v.Error != "":
		f.add(about(Failed, Urgent, "failed", "is well again", v.Error, fmt.Sprintf("'archy logs %s' says more, and 'archy start %s' tries again", id, id)))
	case v.State == view.Unhealthy && k.Stale == "":
		c := about(Unhealthy, Urgent, "is not healthy", "is healthy again", "it runs, and its health check fails", fmt.Sprintf("'archy logs %s' says more, and 'archy restart %s' starts it anew", id, id))
		c.Wait = unhealthyFor
		f.add(c)
	}
	// Of one that is on its way, or whose containers nobody has seen, it is not known yet
	// whether it is well.
	if k.Stale != "" || v.State != view.Up && v.State != view.Down && v.State != view.Unhealthy {
		f.unsure[Failed+" "+id], f.unsure[Unhealthy+" "+id] = true, true
	}
	if what := k.Killed[id]; what != "" {
		f.add(about(Memory, Urgent, "ran out of memory", "has had enough memory for an hour", what, "it may use no more than its manifest says; 'archy logs "+id+"' may say what needed it"))
	}
	f.unsure[Memory+" "+id] = !k.HourKnown
	if v.Backup.Problem != "" {
		f.add(about(Backup, Warning, "has no good backup", "has a good backup again", v.Backup.Problem, "'archy backup "+id+" --to REPOSITORY' makes one now; 'archy repository list' says how the repositories are"))
	}
	if v.Goal != state.Absent && v.Goal != "" && k.Revoked != nil {
		if why := k.Revoked(id, v.Manifest.Version); why != "" {
			f.add(about(Revoked, Urgent, "runs a version that was withdrawn", "does not run a withdrawn version any more", why, "'archy update "+id+"', if there is another version; or stop it"))
		}
	}
}

// room looks at how full the disk is.
func (f *Found) room(s disk.Space) {
	if s.Total <= 0 {
		f.unsure[Disk] = true
		return
	}
	share := s.Used()
	switch {
	case share >= NearlyFull:
		severity := Warning
		if share >= brimful {
			severity = Urgent
		}
		f.add(Condition{Kind: Disk, Subject: "The disk", Severity: severity, What: "is filling", Over: "has room again",
			Text: fmt.Sprintf("%d %% of it are in use, %s are free", share, gibibytes(s.Free)), Remedy: "uninstall what you do not need with its data, or move a volume to another disk ('archy move-volume')"})
	case share >= NearlyFull-slack:
		f.unsure[Disk] = true
	}
}

func gibibytes(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// cleaned is a text that others wrote as one line of at most n bytes, and what says how much is
// missing.
func cleaned(s string, n int) string {
	s = strings.ToValidUTF8(s[:min(len(s), 4*n)], "\uFFFD")
	return plain.Clip(plain.Text(strings.Join(strings.Fields(s), " ")), n)
}
