// Package vitals reads what a node says of itself at the end of a cycle: measures of what
// must not grow, and what in its journal and its kernel's must not be there. It is pure: who
// asks the node gives it the answer (nodes/fleet/vitals.sh). An answer that is not whole is
// refused, because what was not seen is not absent.
package vitals

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/reports"
)

// ErrIncomplete is wrapped when the node did not answer everything that it was asked.
var ErrIncomplete = errors.New("what a node says of itself is incomplete")

// always are the measures that every node can take.
var always = []string{"containers", "volumes", "networks", "secrets", "processes", "files"}

// mostly are those that a node may not be able to take; it then says of which, and why. What is
// said of the first of a program's is said of its other ones.
var mostly = [][]string{{"daemon-memory", "daemon-files"}, {"podman-memory", "podman-files"}, {"disk"}}

// Look is an answer, read.
type Look struct {
	reports.Vitals
	Findings []reports.Finding
}

// Read reads an answer. owners says whose a unit of the node's user is: the application's
// that has the unit. before is the look before this one; the zero one asked for no journal.
func Read(answer string, owners map[string]string, before reports.Vitals) (*Look, error) {
	l := &Look{Vitals: reports.Vitals{Measures: map[string]float64{}, Restarts: map[string]int{}}}
	j := newJournal(owners)
	done := false
	for line := range strings.Lines(answer) {
		line = strings.TrimSuffix(line, "\n")
		if done {
			return nil, fmt.Errorf("%w: %q comes after its end", ErrIncomplete, line)
		}
		what, rest, _ := strings.Cut(line, " ")
		err := error(nil)
		switch what {
		case "end":
			done = true
		case "boot":
			l.Boot = rest
		case "cursor":
			l.Cursor = rest
		case "program":
			l.Program = rest
		case "unread":
			l.Unread = append(l.Unread, rest)
		case "measure":
			name, value, _ := strings.Cut(rest, " ")
			l.Measures[name], err = measured(value)
		case "used":
			l.Used, err = used(rest)
		case "oom":
			l.OOMKills, err = strconv.ParseInt(rest, 10, 64)
		case "restarts":
			unit, value, _ := strings.Cut(rest, " ")
			l.Restarts[unit], err = strconv.Atoi(value)
		case "user":
			err = j.add(rest, false)
		case "kernel":
			err = j.add(rest, true)
		case "failed":
			err = errors.New("the node could not answer")
		default:
			err = errors.New("not a fact")
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w: %.200q", ErrIncomplete, err, line)
		}
	}
	switch {
	case !done:
		return nil, fmt.Errorf("%w: it was cut off", ErrIncomplete)
	case l.Boot == "" || l.Cursor == "":
		return nil, fmt.Errorf("%w: nothing of its boot, or of the end of its journal", ErrIncomplete)
	case l.Program == "":
		return nil, fmt.Errorf("%w: nothing of the program that its daemon runs", ErrIncomplete)
	}
	for _, name := range always {
		if _, ok := l.Measures[name]; !ok {
			return nil, fmt.Errorf("%w: it does not say how many %s there are", ErrIncomplete, name)
		}
	}
	for _, names := range mostly {
		if slices.ContainsFunc(l.Unread, func(u string) bool { return strings.HasPrefix(u, names[0]+": ") }) {
			continue
		}
		for _, name := range names {
			if _, ok := l.Measures[name]; !ok {
				return nil, fmt.Errorf("%w: it says neither %s nor why not", ErrIncomplete, name)
			}
		}
	}
	if l.Used == nil && !slices.ContainsFunc(l.Unread, func(u string) bool { return strings.HasPrefix(u, "cpu: ") }) {
		return nil, fmt.Errorf("%w: it says neither what it used of CPUs nor why not", ErrIncomplete)
	}
	if before.Cursor == "" {
		return l, nil
	}
	until, err := cursorTime(l.Cursor)
	if err != nil {
		return nil, err
	}
	l.Findings = j.findings(until)
	l.counted(before, j)
	return l, nil
}

// used reads what a node has used, in microseconds.
func used(s string) (*reports.Used, error) {
	services, sessions, _ := strings.Cut(s, " ")
	a, err := measured(services)
	b, wrong := measured(sessions)
	return &reports.Used{Services: a / 1e6, Sessions: b / 1e6}, errors.Join(err, wrong)
}

// Used reads what a node said of its CPUs alone; nil where it cannot show it.
func Used(answer string) (*reports.Used, error) {
	what, rest, _ := strings.Cut(strings.TrimSpace(answer), " ")
	switch what {
	case "used":
		return used(rest)
	case "unread":
		return nil, nil
	}
	return nil, fmt.Errorf("%w: %.200q", ErrIncomplete, answer)
}

// measured reads a measure: a number that JSON has, and that sums of are numbers, too. With
// another one, a node could keep a run from being judged.
func measured(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err == nil && !(v >= 0 && v <= 1<<53) {
		err = errors.New("a measure is from 0 to 2^53")
	}
	return v, err
}

// cursorTime is when the line was logged that a cursor stands for.
func cursorTime(cursor string) (time.Time, error) {
	for field := range strings.SplitSeq(cursor, ";") {
		if hex, ok := strings.CutPrefix(field, "t="); ok {
			if us, err := strconv.ParseInt(hex, 16, 64); err == nil {
				return time.UnixMicro(us), nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("%w: the cursor %q of its journal holds no time", ErrIncomplete, cursor)
}

// counted adds what counters show and the journal does not: it may have lost lines.
func (l *Look) counted(before reports.Vitals, j *journal) {
	killed := l.OOMKills
	if l.Boot == before.Boot {
		killed -= before.OOMKills
	}
	if killed > 0 && !j.oom {
		l.Findings = append(l.Findings, reports.Finding{
			What:  fmt.Sprintf("the kernel killed %d of the user's processes for want of memory", killed),
			Lines: []string{fmt.Sprintf("memory.events: oom_kill %d, before %d", l.OOMKills, before.OOMKills)},
		})
	}
	for _, unit := range slices.Sorted(maps.Keys(l.Restarts)) {
		n := l.Restarts[unit]
		if n > before.Restarts[unit] && !j.restarted[unit] && j.watched(unit) {
			l.Findings = append(l.Findings, reports.Finding{
				App: j.owner(unit), What: unit + " restarted, and nobody asked for it",
				Lines: []string{fmt.Sprintf("NRestarts=%d, before %d", n, before.Restarts[unit])},
			})
		}
	}
}
