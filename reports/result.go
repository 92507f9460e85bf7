// Package reports owns the results of a run: their model, their store on disk, and the
// renderings that people and programs read. It does not know how a result came about.
package reports

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
)

// Status of a cell. Not run is not green.
type Status string

// The statuses.
const (
	Passed Status = "passed"
	Failed Status = "failed"
	NotRun Status = "not-run" // asked for, but unknown; Reason says why
)

// Cell is one application on one node in one cycle at one step.
type Cell struct {
	App   string `json:"app"`
	Node  string `json:"node"`
	Cycle int    `json:"cycle"` // from 1
	Step  string `json:"step"`
}

func (c Cell) String() string {
	if c.App == "" {
		return fmt.Sprintf("node %s, cycle %d", c.Node, c.Cycle)
	}
	return fmt.Sprintf("%s on %s, cycle %d, %s", c.App, c.Node, c.Cycle, c.Step)
}

// Result is what became of a cell.
type Result struct {
	Cell
	Status   Status    `json:"status"`
	Seconds  float64   `json:"seconds"`
	Timing   Timing    `json:"split,omitzero"`
	Reason   string    `json:"reason,omitempty"`
	Note     string    `json:"note,omitempty"`         // what a reader must know about a cell that passed
	Updated  string    `json:"updated_from,omitempty"` // version from which an install went through an update
	Evidence []string  `json:"evidence,omitempty"`     // files, relative to the run's directory
	At       time.Time `json:"at"`                     // when the cell ended

	// Cause says of a cell that was not run, and had begun, what kept it from its end. One
	// without a cause was never begun.
	Cause   Cause             `json:"cause,omitempty"`
	Digests map[string]string `json:"sha256,omitempty"` // of Evidence, by file
	Prev    string            `json:"prev,omitempty"`   // SHA-256 of the line before, in results.jsonl
	Vitals  *Vitals           `json:"vitals,omitempty"` // of a result that is about a node
	Kind    Failure           `json:"kind,omitempty"`   // of what failed
}

// Failure is what a failure is about, where that is more than a step that did not succeed.
// Nobody can excuse a failure that is of a kind.
type Failure string

// The kinds of failures, the worst first.
const (
	DataLoss  Failure = "data-loss" // data, a canary or a secret is gone, or another one than before
	Invariant Failure = "invariant" // what must hold in every cell did not
)

// Worse gives the worse of two kinds.
func (k Failure) Worse(o Failure) Failure {
	if k == DataLoss || o == "" {
		return k
	}
	return o
}

// Cause is what kept a cell that had begun from its end.
type Cause string

// The causes. The first two are nobody's choice: such a cell is run again in the same run.
const (
	Lost        Cause = "lost"        // the node did not answer, or its witnesses not in time
	Hung        Cause = "hung"        // the suite ended before the cell did, or said nothing for too long
	Browser     Cause = "browser"     // the gate's own could not be used
	Interrupted Cause = "interrupted" // by whoever runs the gate
)

// Rerun is a cell that was run again.
type Rerun struct {
	Cell
	Cause  Cause  `json:"cause"`
	Reason string `json:"reason"`
}

// Away is a reboot of a node while no session of its run was there to see it: between From,
// when the boot was last known, and Until, when the next session found another one.
type Away struct {
	Node   string    `json:"node"`
	Before string    `json:"before"` // boot identity
	After  string    `json:"after"`
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
}

func (a Away) String() string {
	return fmt.Sprintf("node %s rebooted while the run was away, between %s and %s UTC", a.Node, a.From.UTC().Format(time.DateTime), a.Until.UTC().Format(time.DateTime))
}

// Jump says that the clock of the gate's machine was set while its run was under way.
type Jump struct {
	At      time.Time `json:"at"`             // by the clock, once it was noticed
	Seconds float64   `json:"seconds"`        // forwards; backwards, if negative
	Away    bool      `json:"away,omitempty"` // between two sessions, by that much at least
}

func (j Jump) String() string {
	by := time.Duration(j.Seconds * float64(time.Second)).Round(time.Second)
	least, sign := "", "+"
	if j.Away {
		least = "at least "
	}
	if by < 0 {
		sign = ""
	}
	return fmt.Sprintf("the clock of the gate's machine jumped by %s%s%s, noticed at %s UTC", least, sign, by, j.At.UTC().Format(time.DateTime))
}

// Judge is what judged a run, as SHA-256 digests.
type Judge struct {
	Gate   string `json:"gate"`           // the program
	Suite  string `json:"suite"`          // the compiled suite
	Look   string `json:"look,omitempty"` // what its witnesses run on the nodes
	Policy string `json:"policy"`         // the release policy, as JSON
}

// Earlier is another run of the same daemon and manifests, whose cycles count too.
type Earlier struct {
	Run     string           `json:"run"`
	Results string           `json:"results"` // SHA-256 of its results
	Cycles  map[string]Tally `json:"cycles"`  // by application
}

// PastRun is an earlier run of the very same subject, or one in which the same daemon was red with
// an application as it is now, as the ledger beside the runs has it.
type PastRun struct {
	Run     string    `json:"run"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended,omitzero"`
	Verdict Verdict   `json:"verdict,omitempty"` // empty: it was cut off, or is still under way
	Smoke   bool      `json:"smoke,omitempty"`
	Passed  int       `json:"passed,omitempty"` // cells
	Failed  int       `json:"failed,omitempty"`
	NotRun  int       `json:"not_run,omitempty"`
	// Red are the applications of this run that were red there, in the very same daemon and with the
	// very same manifest; none where its nodes were. Other says that the subject was another one.
	Red   []string `json:"red,omitempty"`
	Other bool     `json:"other_subject,omitempty"`
}

// RedWith names a red run of another subject, and what of this one was red in it.
func (p PastRun) RedWith() string {
	return p.Run + " (" + cmp.Or(strings.Join(p.Red, ", "), "its nodes") + ")"
}

// Tally counts the cycles of an application, one for each node: those in which every cell
// passed, and those in which one failed. One that was not run to its end counts in neither.
type Tally struct {
	Green int `json:"green"`
	Red   int `json:"red,omitempty"`
}

// Plus adds two tallies up.
func (t Tally) Plus(o Tally) Tally { return Tally{t.Green + o.Green, t.Red + o.Red} }

// Proof is what a tally proves: with 95 % confidence, an application fails in at most a
// share Bound of cycles like these. Runs is how many runs of the same digests it rests on.
type Proof struct {
	Tally
	Runs  int     `json:"runs"`
	Bound float64 `json:"bound"`
}

// Timing says where a cell's time went, in seconds. In JSON it is called split.
type Timing struct {
	Engine  float64 `json:"engine"`  // systemd and Podman at the daemon's request, and reboots
	App     float64 `json:"app"`     // waiting for the application to be healthy
	Witness float64 `json:"witness"` // looking, from outside the daemon
	Browser float64 `json:"browser"`
	Gate    float64 `json:"gate"` // all the rest
}

// Add sums two timings.
func (t Timing) Add(o Timing) Timing {
	return Timing{t.Engine + o.Engine, t.App + o.App, t.Witness + o.Witness, t.Browser + o.Browser, t.Gate + o.Gate}
}

// Verdict on an application or a run.
type Verdict string

// The verdicts.
const (
	Green      Verdict = "green"
	Red        Verdict = "red"
	Incomplete Verdict = "incomplete" // nothing failed, but something asked for is unknown
)

// Report is a judged run: the content of report.json.
type Report struct {
	Run      string    `json:"run"`
	Results  string    `json:"results,omitempty"` // SHA-256 of the results that it follows from, as they are on disk
	Gate     string    `json:"gate"`              // version of the gate
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Oldest   time.Time `json:"oldest,omitzero"` // result that counts: the run is as old as that
	Seconds  float64   `json:"seconds"`         // of work, without the pauses between sessions
	Verdict  Verdict   `json:"verdict"`
	Smoke    bool      `json:"smoke"`
	SmokeWhy []string  `json:"smoke_reasons,omitempty"`
	Policy   Policy    `json:"policy"` // what a release must pass
	// AnotherPolicy says what the built-in policy demands and this run does not show, if
	// Policy demands less; empty otherwise.
	AnotherPolicy []string `json:"another_policy,omitempty"`
	Asked         Policy   `json:"asked"` // what this run did
	Nodes         []Node   `json:"nodes"`
	Subject       Subject  `json:"subject"`
	// Requires are, by application, those of the run that it requires, also through others.
	Requires  map[string][]string `json:"requires,omitempty"`
	Checklist []Criterion         `json:"checklist"`
	Apps      []App               `json:"apps"`
	Timing    []StepTime          `json:"timing"`
	First     *Result             `json:"first_failure,omitempty"`
	Warnings  []string            `json:"warnings,omitempty"`
	Waivers   []Waived            `json:"waivers,omitempty"`

	Judge    Judge     `json:"judge,omitzero"`
	Bare     int       `json:"bare_cycle,omitempty"` // started from nodes without any image
	Reruns   []Rerun   `json:"reruns,omitempty"`     // cells that were run again, with the reason
	Unfit    []string  `json:"unfit,omitempty"`      // what keeps the run from releasing anything, whatever its verdict
	Earlier  []Earlier `json:"earlier,omitempty"`
	Before   []PastRun `json:"before,omitempty"` // runs of the very same subject, and red ones of the same daemon and application
	Away     []Away    `json:"rebooted_while_away,omitempty"`
	Previous *Previous `json:"previous,omitempty"`

	Shards []Shard `json:"shards,omitempty"` // the runs that this one was merged from

	Health []NodeHealth `json:"node_health,omitempty"`
	CPU    *CPU         `json:"cpu,omitempty"` // nil where a node cannot show it

	Green *Comparison `json:"last_green,omitempty"` // nil: no run beside this one was green before it
}

// Comparison is how a run differs from the last green one before it.
type Comparison struct {
	Run     string     `json:"run,omitempty"`
	Started time.Time  `json:"started,omitzero"`
	Changes []string   `json:"changes,omitempty"` // in what was tested, and where
	Steps   []StepThen `json:"steps,omitempty"`   // with the applications that both have
	Why     string     `json:"why,omitempty"`     // it cannot be had
}

// StepThen is the median time of a step's cells that passed, in seconds: then and now.
type StepThen struct {
	Step string  `json:"step"`
	Then float64 `json:"then"`
	Now  float64 `json:"now"`
}

// Shard is a run that a merged one was joined from: what one machine tested.
type Shard struct {
	Machine string   `json:"machine"`        // what the names of its nodes begin with
	Host    string   `json:"host,omitempty"` // of the gate, as it calls itself
	Run     string   `json:"run"`
	Apps    []string `json:"apps"`
	Nodes   []string `json:"nodes"`
	Plan    string   `json:"plan"`    // SHA-256
	Results string   `json:"results"` // SHA-256
}

// Waived is an application that somebody excuses by a waiver, for one manifest, in one run as
// it was when the waiver was signed: for the cells that had not passed then, each for what it
// had not passed for.
type Waived struct {
	App      string   `json:"app"`
	Manifest string   `json:"manifest"` // SHA-256
	Run      string   `json:"run,omitempty"`
	Results  string   `json:"results,omitempty"` // SHA-256 of the run's results
	Cells    []Excuse `json:"cells,omitempty"`
	catalog.Waiver
}

// Excuse is a cell that did not pass, and what became of it.
type Excuse struct {
	Cell
	Status Status `json:"status"`
	Reason string `json:"reason"`
}

func (w Waived) String() string { return w.App + " may be " + w.Waiver.String() }

// Policy is an amount of proof: what a release demands, or what a run did.
type Policy struct {
	Cycles int      `json:"cycles"`
	Nodes  []string `json:"nodes"`           // by name; of a demand, the names that are expected
	Roles  []string `json:"roles,omitempty"` // of a demand: of Nodes, in the same order
	Steps  []string `json:"steps"`
	Apps   []string `json:"apps,omitempty"`
	// Catalog, of a demand, names the applications without which a catalog is not the one
	// that is released, however little it has.
	Catalog []string `json:"catalog,omitempty"`
	// Hardware, of a demand, wants every node to be a machine of its own.
	Hardware bool `json:"hardware,omitempty"`
	// RedRuns, of a demand, is how many runs may have been red before that were of the very same
	// subject, or of the same daemon and red with one of the applications as it is.
	RedRuns int `json:"red_runs,omitempty"`
	// Update, of a demand, wants every application of which there is an earlier release to go
	// through the update from that.
	Update bool `json:"update,omitempty"`
}

// Previous is where the earlier releases of a run's applications are from, and which they are.
type Previous struct {
	Source   string             `json:"source"` // channel and serial, such as "beta 7", or a directory
	Releases map[string]Release `json:"releases,omitempty"`
}

// Release is an earlier release of an application.
type Release struct {
	Version  string `json:"version"`
	Manifest string `json:"manifest,omitempty"` // SHA-256, as it was published
	Why      string `json:"why,omitempty"`      // it cannot be updated from in this run
}

// Node is a machine that took part in a run.
type Node struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	HostKey string `json:"host_key"`
	OS      string `json:"os"`
	Kernel  string `json:"kernel"`
	Podman  string `json:"podman"`
	Systemd string `json:"systemd"`
	Kind    Kind   `json:"kind,omitempty"`
	CPUs    int    `json:"cpus,omitempty"`
	Memory  int64  `json:"memory,omitempty"` // bytes that were available when the run began
}

// Kind is what a node is made of, as it said itself (systemd-detect-virt(1)).
type Kind string

// The kinds.
const (
	Lab      Kind = "lab"      // a container
	Virtual  Kind = "virtual"  // a virtual machine
	Hardware Kind = "hardware" // a machine of its own
)

// Subject is what was tested, as SHA-256 digests.
type Subject struct {
	Daemon    string            `json:"daemon"`
	Manifests map[string]string `json:"manifests"`
	Images    map[string]string `json:"images,omitempty"`    // by container
	Installed map[string]string `json:"installed,omitempty"` // files that go out with the daemon, by name
	Commands  map[string]string `json:"commands,omitempty"`  // of the owner, that cells were asked through, by name
}

// Criterion is one line of the checklist.
type Criterion struct {
	ID   string `json:"id"`
	Text string `json:"text"`
	Met  bool   `json:"met"`
	Why  string `json:"why,omitempty"` // why it is not met
}

// App is what a run found about one application.
type App struct {
	ID      string   `json:"id"`
	Version string   `json:"version"`
	Verdict Verdict  `json:"verdict"`
	Flaky   []string `json:"flaky,omitempty"` // steps that passed and failed in this run
	Level   string   `json:"level"`           // highest of L0 to L3 reached without a gap
	Cells   []Result `json:"cells"`
	Proof   Proof    `json:"proof,omitzero"`
	Update  string   `json:"update,omitempty"` // whether it went through an update, and from what
}

// StepTime is how long a step took, over all cells that passed.
type StepTime struct {
	Step   string  `json:"step"`
	Cells  int     `json:"cells"`
	P50    float64 `json:"p50_seconds"`
	P95    float64 `json:"p95_seconds"`
	Total  float64 `json:"total_seconds"`
	Timing Timing  `json:"split"` // sums
}
