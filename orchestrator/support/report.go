// Package support makes the report that an owner gives to whoever helps: what the node is, what is
// wrong with it, and what its applications said last. It is text, so that its owner can read all
// of it before it leaves, and holds no secret that the node knows of.
package support

import (
	"cmp"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// Bounds of a report: applications say as much as they like.
const (
	Tail    = 100      // last lines of each container
	Asked   = 100      // last lines of the audit log, of the node and of each application
	Looked  = 16 << 10 // bytes of a line in which values are looked for; no more of it is of use
	longest = 500      // bytes of a line
)

// Node is what a report is made of.
type Node struct {
	Made     time.Time
	About    []Fact // of the node and the daemon
	Findings []host.Finding
	Apps     []view.View
	Asked    map[string][]state.Asked // what was asked, the newest first, by application; of the node by the empty name
	Logs     map[string]Log           // by container
	Secrets  Secrets
}

// Fact is something with a name.
type Fact struct{ Name, Value string }

// About is what a daemon says of itself.
func About(node, version, digest string, started time.Time, catalog string) []Fact {
	return []Fact{{"name", node}, {"daemon", version}, {"SHA-256 of its program", digest}, {"started", started.UTC().Format(time.RFC3339)}, {"system", runtime.GOOS + "/" + runtime.GOARCH}, {"catalog", catalog}}
}

// Log is what a container said last, or why that is not known.
type Log struct {
	Lines   []host.LogLine
	Problem string
}

// Text is the report.
func (n Node) Text() string {
	w := &writer{secrets: n.Secrets}
	w.line("Archipelago, report for support, made %s", n.Made.UTC().Format(time.RFC3339))
	w.line("Values of secrets, mail addresses and addresses on the internet are left out. Read it before you give it away: applications may have said what is nobody else's.")
	w.title("The node")
	for _, f := range n.About {
		w.line("%s: %s", f.Name, f.Value)
	}
	w.title("What 'archy doctor' finds")
	for _, f := range n.Findings {
		how := "well    "
		if !f.OK {
			how = "NOT WELL"
		}
		w.line("%s  %s: %s", how, f.Name, f.Detail)
		if f.Remedy != "" {
			w.line("          to do: %s", f.Remedy)
		}
	}
	w.title("Applications")
	for _, v := range n.Apps {
		w.app(v)
	}
	for _, app := range slices.Sorted(maps.Keys(n.Asked)) {
		w.title("What was asked of " + cmp.Or(app, "the node"))
		for _, a := range slices.Backward(n.Asked[app]) {
			refused := ""
			if a.Refused != "" {
				refused = "; refused: " + a.Refused
			}
			w.line("%s  %s: %s%s", a.Time.UTC().Format(time.RFC3339), a.Who, a.What, refused)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.Logs)) {
		w.title("What " + name + " said last")
		l := n.Logs[name]
		for _, said := range withoutKeys(l.Lines) {
			at := "-"
			if !said.At.IsZero() {
				at = said.At.UTC().Format(time.RFC3339)
			}
			w.line("%s  %s", at, said.Text)
		}
		if l.Problem != "" {
			w.line("not known: %s", l.Problem)
		}
	}
	return w.String()
}

// writer writes lines, each without secrets and with nothing that a terminal obeys.
type writer struct {
	strings.Builder
	secrets Secrets
}

func (w *writer) line(format string, a ...any) {
	w.WriteString(plain.Block(plain.Clip(w.secrets.leaveOut(fmt.Sprintf(format, a...)), longest)) + "\n")
}

func (w *writer) title(text string) {
	w.WriteString("\n")
	w.line("== %s", text)
}

func (w *writer) app(v view.View) {
	w.line("%s %s (%s): %s, to be %s", v.Manifest.ID, v.Manifest.Version, cmp.Or(v.Source, "from the disk"), v.State, v.Goal)
	var set []string // which are not as they come; their values are the owner's
	for _, s := range v.Manifest.Settings {
		if v.Config[s.Name] != s.Default {
			set = append(set, s.Name)
		}
	}
	for _, f := range []Fact{{"error", v.Error}, {"under way", v.Doing}, {"note", v.Note}, {"set", strings.Join(set, ", ")}, {"backup", v.Backup.Problem}} {
		if f.Value != "" {
			w.line("    %s: %s", f.Name, f.Value)
		}
	}
	for _, c := range v.Containers {
		since := ""
		if !c.StartedAt.IsZero() {
			since = ", since " + c.StartedAt.UTC().Format(time.RFC3339)
		}
		w.line("    container %s: %s %s%s", c.Name, cmp.Or(c.State, "not there"), c.Health, since)
	}
}
