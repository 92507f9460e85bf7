package matrix

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// saying is what the daemon says of an application in one place.
type saying struct {
	where      string // such as "ListApps"
	state      string // as people read it: "running"; empty: the application is not listed
	note       string // what it waits for; empty where nothing is said of that
	version    string // empty: nothing is said of it there
	containers map[string]*api.Container
	silent     bool  // of containers
	err        error // there was no answer
}

// heed compares what the daemon says of an application, everywhere, with a snapshot. A daemon
// hears of events after they have happened, and looks by itself at its interval: only what is
// still wrong beyond that, beside a snapshot just taken, is a lie. Lies are judged with the
// snapshot, be the application as it may. The error is that of a look which could not be taken:
// what the daemon says was wrong until then. Or it is that an application waits for longer than it
// may take to start.
func (e *Environment) heed(ctx context.Context, rec *Recorder, s *Snapshot) (err error) {
	if slices.ContainsFunc(rec.held, func(h *Snapshot) bool { return len(h.lies) > 0 }) {
		return nil // one is enough: every further one would be waited for
	}
	look := func() (*Snapshot, error) { return e.lookAt(ctx, e.App, rec.begin) }
	first := len(rec.held) == 0 && rec.before == nil
	var waiting bool
	check := func(s *Snapshot) (wrong []string) {
		wrong, waiting = e.words.Check(ctx, e.App, s, first)
		return wrong
	}
	if s.lies, err = lies(ctx, s, look, check); err != nil || len(s.lies) > 0 || !waiting {
		return err
	}
	return awaitReady(ctx, e.App, s, look, func() []saying { return e.words.hear(ctx, e.App.ID) })
}

// wordLag is how long a snapshot stands before another is taken: most daemons that lag behind
// do so for less, and a look costs more than an answer.
const wordLag = 2 * time.Second

// lies gives what is wrong in the daemon's words and stays wrong. It hears the daemon beside
// the snapshot, and after a while beside new ones. Where the last of those could not be taken,
// nothing is known, and that is the error.
func lies(ctx context.Context, s *Snapshot, look func() (*Snapshot, error), check func(*Snapshot) []string) (wrong []string, unseen error) {
	taken := time.Now()
	err := await(ctx, passTimeout, "the daemon to say what is", func() error {
		if time.Since(taken) > wordLag {
			var now *Snapshot
			if now, unseen = look(); unseen != nil {
				return unseen
			}
			s, taken = now, time.Now()
		}
		wrong = check(s)
		return Verdict(wrong)
	})
	switch {
	case err == nil:
		return nil, nil
	case unseen != nil || ctx.Err() != nil:
		return nil, fmt.Errorf("comparing the daemon's words: %w", err)
	}
	return wrong, nil
}

// checkWords says where the daemon's words are not what the witnesses saw. At the first look
// of a cell, "failed" may be what an earlier cell is red for.
func checkWords(m *manifest.Manifest, s *Snapshot, words []saying, first bool) (wrong []string) {
	for _, w := range words {
		say := func(format string, args ...any) {
			wrong = append(wrong, w.where+": the daemon "+fmt.Sprintf(format, args...))
		}
		switch {
		case w.err != nil:
			say("gives no answer: %v", w.err)
			continue
		case w.state == "":
			say("does not list %s", m.ID)
			continue
		}
		if is, ok := s.bears(m, w.state); !ok && !(first && w.state == wordFailed) {
			say("says %q of %s, and %s", w.state, m.ID, is)
		}
		if w.version != "" && w.version != m.Version {
			say("says that %s has version %s, and it has %s", m.ID, w.version, m.Version)
		}
		if w.silent {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(w.containers)) {
			if _, member := m.Container(name); !member {
				say("names a container %s, which %s does not have", name, m.ID)
			}
		}
		for _, c := range m.Containers {
			is, said := containerWord(s, &c), saidOf(w.containers[c.Name], &c)
			if is != said {
				say("says that container %s is %s, and it is %s", c.Name, said, is)
			}
		}
	}
	return wrong
}

// The daemon's words for states, as people read them.
const (
	wordRunning      = "running"
	wordUnhealthy    = "unhealthy"
	wordWaiting      = "waiting"
	wordStopped      = "stopped"
	wordFailed       = "failed"
	wordNotInstalled = "not installed"
)

// bears tells whether a snapshot bears the daemon's word for an application's state out, and
// says what it shows.
func (s *Snapshot) bears(m *manifest.Manifest, word string) (is string, ok bool) {
	up, healthy, made := 0, true, len(s.Files)
	for _, c := range m.Containers {
		found := s.member(c.Name)
		made += len(found)
		if u := s.Units[c.Name+".service"]; u.Load == "loaded" {
			made++
		}
		if len(found) == 1 && found[0].State == "running" {
			up++
			healthy = healthy && (c.Health == nil || found[0].Health == "healthy")
		}
	}
	still := true // nothing is starting or ending
	for _, u := range s.Units {
		still = still && (u.Active == "inactive" || u.Active == "failed")
	}
	switch {
	case up == len(m.Containers) && healthy:
		waits := len(m.Ready)+len(m.Requires) > 0
		return "it runs", word == wordRunning || waits && word == wordWaiting
	case up == len(m.Containers):
		return "it runs without being healthy", !slices.Contains([]string{wordRunning, wordStopped, wordNotInstalled}, word)
	case up > 0:
		return fmt.Sprintf("%d of its %d containers run", up, len(m.Containers)), !slices.Contains([]string{wordRunning, wordUnhealthy, wordStopped, wordNotInstalled}, word)
	case made == 0:
		return "there is nothing of it", word == wordNotInstalled
	case still:
		return "it is installed and does not run", slices.Contains([]string{wordStopped, wordFailed, wordWaiting}, word)
	}
	return "none of its containers runs", !slices.Contains([]string{wordRunning, wordUnhealthy, wordStopped, wordNotInstalled}, word)
}

// containerWord is what a snapshot shows of a member, in the form of saidOf.
func containerWord(s *Snapshot, c *manifest.Container) string {
	found := s.member(c.Name)
	if len(found) == 0 {
		return "not there"
	}
	return containerState(c, found[0].ID, found[0].State, found[0].Health)
}

func saidOf(a *api.Container, c *manifest.Container) string {
	if a == nil || a.Id == "" && a.State == "" {
		return "not there"
	}
	return containerState(c, a.Id, a.State, a.Health)
}

// containerState knows what all agree on: Podman has several words for a container that does
// not run, and one without a check has no health.
func containerState(c *manifest.Container, id, state, health string) string {
	text := fmt.Sprintf("%.12s, ", id)
	switch {
	case state != "running":
		return text + "not running"
	case c.Health == nil:
		return text + "running"
	}
	return text + "running and " + health
}

// stateWord is the word of an enumeration's value.
func stateWord(s api.State) string {
	if s == api.State_STATE_UNSPECIFIED {
		return ""
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.String(), "STATE_")), "_", " ")
}

// sayingOf is what an answer says of an application; a nil answer does not list it.
func sayingOf(where string, a *api.App, err error) saying {
	w := saying{where: where, err: err, containers: map[string]*api.Container{}}
	if a == nil {
		return w
	}
	w.state, w.version, w.note = stateWord(a.State), a.Version, a.Note
	if w.state == "" {
		w.err = errors.New("it lists the application without a state")
	}
	for _, c := range a.Containers {
		w.containers[c.Name] = c
	}
	return w
}

func listedAs(apps []*api.App, id string) *api.App {
	if i := slices.IndexFunc(apps, func(a *api.App) bool { return a.Id == id }); i >= 0 {
		return apps[i]
	}
	return nil
}
