package reports

import (
	"fmt"
	"strings"
	"time"
)

// Vitals are what a node showed of itself at the end of a cycle, and what its journal and its
// kernel said since the look before. Cycle 0 is the node before its first one.
type Vitals struct {
	Boot   string `json:"boot"`
	Cursor string `json:"cursor"` // of its journal: what came later belongs to the next look

	// Program is the SHA-256 of what the daemon's process runs, in hex; "none" where it does not
	// run. Empty: an older gate did not ask.
	Program string `json:"program,omitempty"`

	Measures map[string]float64 `json:"measures"` // by name, in bytes where it is no number of things
	OOMKills int64              `json:"oom_kills,omitempty"`
	Restarts map[string]int     `json:"restarts,omitempty"` // by unit, as systemd counts them
	Unread   []string           `json:"unread,omitempty"`   // what the node cannot show, with the reason

	Used *Used `json:"used,omitempty"` // nil where the node cannot show it
	CPU  *CPU  `json:"cpu,omitempty"`  // that the cycle cost
}

// Used is what a node's user has used of CPUs since the boot, in seconds.
type Used struct {
	Services float64 `json:"services"` // the daemon, the prober, Podman and applications
	Sessions float64 `json:"sessions"` // in the gate's connections: what witnesses run on the node, and images that are brought
}

// CPU is what cells cost, in seconds of a CPU. What a node uses while it shuts down is not
// counted.
type CPU struct {
	Services float64 `json:"services"` // on nodes: the daemon, the prober, Podman and applications
	Sessions float64 `json:"sessions"` // on nodes, in the gate's connections: what witnesses run, and images that are brought
	Suite    float64 `json:"suite"`    // on the gate's machine: the suite's processes, with their browsers
	Gate     float64 `json:"gate"`     // on the gate's machine: the gate itself
	Cells    int     `json:"cells,omitempty"`
}

// Add sums two costs.
func (c CPU) Add(o CPU) CPU {
	return CPU{c.Services + o.Services, c.Sessions + o.Sessions, c.Suite + o.Suite, c.Gate + o.Gate, c.Cells + o.Cells}
}

// Says puts a cost into a sentence.
func (c CPU) Says() string {
	all := c.Services + c.Sessions + c.Suite + c.Gate
	return fmt.Sprintf("A cell cost %.2f seconds of a CPU (%.0f over %d cells): %.0f %% the daemon, Podman and applications, %.0f %% the gate's connections to the nodes, %.0f %% the suite and its browsers, %.0f %% the gate",
		all/float64(c.Cells), all, c.Cells, 100*c.Services/all, 100*c.Sessions/all, 100*c.Suite/all, 100*c.Gate/all)
}

// Finding is something that happened on a node and must not.
type Finding struct {
	App   string   `json:"app,omitempty"` // none: it is the node's
	What  string   `json:"what"`
	Lines []string `json:"lines"` // of the journal
}

// NodeHealth is what a run found about a node over its cycles.
type NodeHealth struct {
	Node     string    `json:"node"`
	Cycles   int       `json:"cycles"`             // at whose end it was looked at
	Trends   []Trend   `json:"trends,omitempty"`   // of its measures, and of start times that grew too much
	Starts   int       `json:"starts,omitempty"`   // series of start times that were looked at
	Problems []Problem `json:"problems,omitempty"` // each turns the run red
	Unread   []string  `json:"unread,omitempty"`
}

// Problem is what turns a run red without being any one cell's.
type Problem struct {
	Cycle    int      `json:"cycle,omitempty"` // none: it is that of all cycles
	What     string   `json:"what"`
	Evidence []string `json:"evidence,omitempty"`
}

// Trend is how a measure went over the cycles of a run, if it was measured often enough.
type Trend struct {
	What    string  `json:"what"`
	Unit    string  `json:"unit,omitempty"`
	First   float64 `json:"first"`
	Last    float64 `json:"last"`
	Slope   float64 `json:"slope"` // per cycle (Theil and Sen)
	Low     float64 `json:"low"`   // bounds of its interval
	High    float64 `json:"high"`
	Limit   float64 `json:"limit"`            // how much it may grow over the run
	Chance  float64 `json:"chance,omitempty"` // of such a rise without a trend (Mann and Kendall)
	Alpha   float64 `json:"alpha,omitempty"`  // below which Chance counts
	TooMuch bool    `json:"too_much,omitempty"`
}

func (p Problem) String() string {
	if p.Cycle > 0 {
		return fmt.Sprintf("until the end of cycle %d: %s", p.Cycle, p.What)
	}
	return p.What
}

// Says sums up what was looked at, and what could not be.
func (h NodeHealth) Says() string {
	s := fmt.Sprintf("Node %s: looked at after %d cycles, %d problems", h.Node, h.Cycles, len(h.Problems))
	if h.Starts > 0 {
		s += fmt.Sprintf("; %d series of start times", h.Starts)
	}
	if len(h.Trends) == 0 && h.Starts == 0 {
		s += "; too few cycles to say anything of what grows"
	}
	if len(h.Unread) > 0 {
		s += "; not seen: " + strings.Join(h.Unread, "; ")
	}
	return s
}

// Says puts a trend into a sentence.
func (t Trend) Says() string {
	s := fmt.Sprintf("%s went from %.1f to %.1f %s over the run: %+.2f per cycle, surely between %+.2f and %+.2f, at most %.1f in all", t.What, t.First, t.Last, t.Unit, t.Slope, t.Low, t.High, t.Limit)
	if t.Alpha > 0 {
		s += fmt.Sprintf("; by chance with a probability of %.1g, at least %.1g", t.Chance, t.Alpha)
	}
	return strings.ReplaceAll(s, "  ", " ")
}

// NodeLook is the step in the name of a Cell that holds a node's Vitals and belongs to no
// application.
const NodeLook = "node"

// OfNode tells whether a result is about a node and no application's.
func (r Result) OfNode() bool { return r.App == "" && r.Step == NodeLook }

// NodeResult is what was seen of a node at the end of a cycle.
func NodeResult(node string, cycle int, v Vitals, at time.Time) Result {
	return Result{Cell: Cell{Node: node, Cycle: cycle, Step: NodeLook}, Status: Passed, Vitals: &v, At: at}
}
