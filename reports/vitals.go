package reports

import "time"

// Vitals are what a node showed of itself at the end of a cycle, and what its journal and its
// kernel said since the look before. Cycle 0 is the node before its first one.
type Vitals struct {
	Boot   string `json:"boot"`
	Cursor string `json:"cursor"` // of its journal: what came later belongs to the next look

	Measures map[string]float64 `json:"measures"` // by name; see verdict.Measures for units
	OOMKills int64              `json:"oom_kills,omitempty"`
	Restarts map[string]int     `json:"restarts,omitempty"` // by unit, as systemd counts them
	Unread   []string           `json:"unread,omitempty"`   // what the node cannot show, with the reason
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
	Cycles   int       `json:"cycles"` // at whose end it was looked at
	Trends   []Trend   `json:"trends,omitempty"`
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

// NodeLook is the step in the name of a Cell that holds a node's Vitals and belongs to no
// application.
const NodeLook = "node"

// OfNode tells whether a result is about a node and no application's.
func (r Result) OfNode() bool { return r.App == "" && r.Step == NodeLook }

// NodeResult is what was seen of a node at the end of a cycle. Reason, if there is one, says
// what is wrong with it.
func NodeResult(node string, cycle int, v Vitals, at time.Time) Result {
	return Result{Cell: Cell{Node: node, Cycle: cycle, Step: NodeLook}, Status: Passed, Vitals: &v, At: at}
}
