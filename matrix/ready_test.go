package matrix

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// TestAnApplicationWaitsNoLongerThanItMayTakeToStart has one become ready sooner and later, by its
// conditions of each form.
func TestAnApplicationWaitsNoLongerThanItMayTakeToStart(t *testing.T) {
	m := stack()
	m.Requires = nil
	m.Ready = []manifest.Condition{{TCP: "web"}, {HTTP: &manifest.HTTPCondition{Port: "web", Path: "/ready"}},
		{Exec: &manifest.ExecCondition{Container: "pair", Command: []string{"is", "ready"}}}, {Socket: &manifest.SocketCondition{Container: "pair-db", Path: "/run/s"}}}
	const never = 24 * time.Hour
	budget := m.StartBudget() + machineShare
	for _, c := range []struct {
		name    string
		ran     time.Duration // for so long, when it was seen
		ready   time.Duration // after so long
		want    string        // empty: it is not red
		atLeast time.Duration // that was waited for one that is never ready
		last    *Snapshot     // that was seen last; nil: none can be
	}{
		{"ready at once", 0, 0, "", 0, nil},
		{"ready in time", 0, budget - time.Second, "", 0, nil},
		{"never ready", 0, never, "waited 3m30s for pair to be ready (tcp port web; http /ready on port web; exec is ready in pair; socket /run/s in pair-db), which its start budget of 2m0s and 1m30s for the machine are for: ListApps: the daemon says \"waiting\": port web does not answer", budget, healthy()},
		{"never ready, and seen late", time.Minute, never, "waited 2m30s for pair to be ready", budget - time.Minute, healthy()},
		{"the daemon was restarted long after", time.Hour, 10 * time.Second, "", 0, nil},
		{"waiting again, long after", time.Hour, never, "waited 45s for pair to be ready", passTimeout, healthy()},
		{"it has stopped since, and waits for what it requires", 0, never, "", 0, stopped()},
		{"nobody sees whether it still runs", 0, never, "incomplete, after it had waited 3m30s", budget, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, asked := time.Now(), 0
				s := healthy()
				for i := range s.Containers {
					s.Containers[i].StartedAt = begin.Add(-c.ran)
				}
				last := func() (*Snapshot, error) {
					if c.last == nil {
						return nil, ErrIncomplete
					}
					return c.last, nil
				}
				err := awaitReady(t.Context(), m, s, last, func() []saying {
					asked++
					a := truthful()
					if time.Since(begin) < c.ready {
						a.State, a.Note = api.State_STATE_WAITING, "port web does not answer"
					}
					return []saying{sayingOf("ListApps", a, nil), {where: "metrics", state: stateWord(a.State)}}
				})
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, expected %q", err, c.want)
				}
				if err != nil && broken(err) != (c.last == nil) {
					t.Errorf("%v: not run is %v", err, broken(err))
				}
				took := time.Since(begin)
				if c.want != "" && (took < c.atLeast || took > c.atLeast+time.Second) {
					t.Errorf("it took %s", took)
				}
				if most := int(took/glanceEvery) + 1; asked > most {
					t.Errorf("the daemon was asked %d times in %s", asked, took)
				}
			})
		})
	}
}

// TestOnlyWhatRunsIsWaitedFor has what is stopped with what it requires wait for that for ever.
func TestOnlyWhatRunsIsWaitedFor(t *testing.T) {
	waiting := []saying{{where: "metrics", state: wordRunning}, {where: "ListApps", state: wordWaiting}}
	ill := healthy()
	ill.Containers[0].Health = "starting"
	for s, want := range map[*Snapshot]bool{healthy(): true, stopped(): false, absent(): false, ill: false} {
		if got := waits(stack(), s, waiting); got != want {
			t.Errorf("it is waited for: %v, expected %v", got, want)
		}
	}
	if waits(stack(), healthy(), waiting[:1]) {
		t.Error("nobody says that it waits")
	}
}

// TestALookWaitsUntilTheApplicationIsReady has a daemon take its time to ask.
func TestALookWaitsUntilTheApplicationIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := fake(t, family())
		n.after = func(what string, n *fakeNode) {
			if begun := time.Now(); what == Install {
				n.say = func(a *api.App) {
					if time.Since(begun) < 10*time.Second {
						saysWaiting(a)
					}
				}
			}
		}
		begun := time.Now()
		if _, err := perform(t, s, n.m, Install); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
