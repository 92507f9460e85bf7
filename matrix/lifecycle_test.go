package matrix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
)

// TestAHealthyApplicationGoesThroughItsCycle takes an application on a fake node through all
// steps, which must act on it as they say.
func TestAHealthyApplicationGoesThroughItsCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := fake(t, family())
		asked := map[string][]string{Install: {Install}, Stop: {Stop}, Start: {Start}, Restart: {Restart}, Reinstall: {Uninstall, Install}, RestartSurvive: {Stop, Start}, Uninstall: {Uninstall, "uninstall --purge"}}
		for _, step := range StepNames() {
			n.asked, n.pages = nil, nil
			canary := n.canary
			o, err := perform(t, s, n.m, step)
			if err != nil {
				t.Fatalf("%s: %v", step, err)
			}
			if !slices.Equal(n.asked, asked[step]) {
				t.Errorf("%s asks for %q, expected %q", step, n.asked, asked[step])
			}
			browsed := slices.ContainsFunc(n.pages, func(p string) bool { return strings.HasPrefix(p, "browser ") })
			if want := slices.Contains([]string{UIReachable, Restart, Reinstall, RebootSurvive}, step); browsed != want {
				t.Errorf("%s: a page was opened: %v; %q", step, browsed, n.pages)
			}
			if fresh := n.canary != canary && n.canary != ""; fresh != slices.Contains([]string{Install, Restart}, step) {
				t.Errorf("%s: the canary is %q, before %q", step, n.canary, canary)
			}
			if o.Timing.Engine < 0 || o.Seconds < 0 {
				t.Errorf("%s: %+v", step, o)
			}
		}
	})
}

// astray is a fault of a fake node, and what its step is red for.
type astray struct {
	name, step string
	plant      func(s *Session, n *fakeNode)
	want       string
}

// when has something become of the node once an operation was done, or something happened to it.
func when(what string, does func(n *fakeNode)) func(*Session, *fakeNode) {
	return func(_ *Session, n *fakeNode) {
		n.after = func(w string, n *fakeNode) {
			if w == what {
				does(n)
			}
		}
	}
}

// seen plants something in all that is seen once an operation was done.
func seen(what string, see func(s *Snapshot)) func(*Session, *fakeNode) {
	return when(what, func(n *fakeNode) { n.see = see })
}

func otherVolume(s *Snapshot) { s.Volumes["db"] = VolSeen{"78", 100099, 100101, "700"} }
func closedPort(s *Snapshot)  { s.Open[8081] = false }
func openPort(s *Snapshot)    { s.Open[8081] = true }
func aNetwork(s *Snapshot)    { s.Networks = append(s.Networks, "archipelago-pair") }
func aFolder(s *Snapshot)     { s.Folders = []string{"pair"} }
func forgets(n *fakeNode)     { n.canary = "another" }
func notSignedIn(n *fakeNode) { n.page = func(p *Page) { p.SignedIn = false } }
func notWritten(string) error { return errors.New("read-only") }
func badGateway(string) int   { return 502 }
func saysRunning(a *api.App)  { a.State = api.State_STATE_RUNNING }
func saysStopped(a *api.App)  { a.State = api.State_STATE_STOPPED }
func saysWaiting(a *api.App) {
	if a.State == api.State_STATE_RUNNING {
		a.State, a.Note = api.State_STATE_WAITING, "waiting for pair: port web does not answer"
	}
}

// oldVolumes has Podman's own volume of a container be left behind.
func oldVolumes(s *Snapshot) {
	if s.Containers[0].App == "pair" {
		s.Containers[0].running.Mounts = append(s.Containers[0].running.Mounts, bindSeen{Type: "volume", Name: "f00"})
	}
	s.Podmans = map[string]string{"f00": ""}
}

// begin has the application be where a step begins.
func begin(t *testing.T, s *Session, n *fakeNode, step string) {
	t.Helper()
	if step == Install {
		return
	}
	n.installed, n.data, n.runs, n.canary = n.m, true, step != Start, newCanary()
	if err := s.Shard.rememberPlanted(n.m.ID, n.canary); err != nil {
		t.Fatal(err)
	}
}

// TestEachThingThatAStepLooksAtIsRedInIt plants one fault at a time, where a step begins.
func TestEachThingThatAStepLooksAtIsRedInIt(t *testing.T) {
	for _, c := range []astray{
		{"something is left", Install, func(_ *Session, n *fakeNode) { n.see = aFolder }, "before the install, something is left"},
		{"the daemon lies before it", Install, func(_ *Session, n *fakeNode) { n.say = saysRunning }, `says "running" of pair, and there is nothing of it`},
		{"it is not done", Install, func(_ *Session, n *fakeNode) { n.fails = Install }, "install: operation failed: pair: planted"},
		{"a port is closed", Install, seen(Install, closedPort), "port 8081 does not answer from outside"},
		{"an invariant", Install, seen(Install, func(s *Snapshot) { s.Containers[0].Privileged = true }), "invariant: container pair-db is privileged"},
		{"what runs is not as meant", Install, seen(Install, func(s *Snapshot) {
			if unit := s.Properties["pair.service"]; unit != nil {
				unit["Restart"] = "no"
			}
		}), "invariant: container pair: its unit's Restart is no, wanted always"},
		{"the daemon lies", Install, when(Install, func(n *fakeNode) { n.say = saysStopped }), `invariant: ListApps: the daemon says "stopped" of pair`},
		{"it waits for ever", Install, when(Install, func(n *fakeNode) { n.say = saysWaiting }), "to be ready (application chain)"},
		{"what it requires could be removed", Install, func(_ *Session, n *fakeNode) { n.refuses = nil }, "the daemon took a request to uninstall chain, which pair requires"},
		{"the canary cannot be written", Install, func(_ *Session, n *fakeNode) { n.writes = notWritten }, "planting the canary"},

		{"its page is another", UIReachable, func(_ *Session, n *fakeNode) { n.page = func(p *Page) { p.Title = "no" } }, `proxy: the title is "no", expected one with "Pair"`},
		{"no sign-in", UIReachable, func(_ *Session, n *fakeNode) { notSignedIn(n) }, "sign-in: nothing visible matches"},
		{"the page by its name", UIReachable, func(_ *Session, n *fakeNode) { n.gone = badGateway }, "by name: https://pair.node-1.local"},
		{"another page is another", UIReachable, func(_ *Session, n *fakeNode) {
			n.page = func(p *Page) {
				if p.Title == "Admin" {
					p.Title = "no"
				}
			}
		}, `the admin interface: the title is "no", expected one with "Admin"`},
		{"another page shows nothing", UIReachable, func(_ *Session, n *fakeNode) { n.page = func(p *Page) { p.Selector = p.Title != "Admin" } }, `the admin interface: nothing visible matches "#admin"`},
		{"an interface is not served", UIReachable, func(_ *Session, n *fakeNode) {
			n.gone = func(path string) int {
				if path == "/api" {
					return 404
				}
				return 200
			}
		}, "the api interface: https://192.0.2.7:18080/api: status 404"},
		{"it did not stay up", UIReachable, func(_ *Session, n *fakeNode) { n.runs = false }, "before the step: "},

		{"it is not done", Stop, func(_ *Session, n *fakeNode) { n.fails = Stop }, "stop: operation failed"},
		{"it takes too long", Stop, func(_ *Session, n *fakeNode) { n.slow = 3 * time.Minute }, "stop took 3m"},
		{"a port is open", Stop, seen(Stop, openPort), "port 8081 still answers"},
		{"the data is another", Stop, seen(Stop, otherVolume), "volume db is another directory than before"},
		{"a pass starts it again", Stop, when("pass", func(n *fakeNode) { n.runs = true }), "it did not stay stopped over a reconcile pass"},

		{"it runs already", Start, func(_ *Session, n *fakeNode) { n.runs = true }, "it did not stay stopped"},
		{"it is not done", Start, func(_ *Session, n *fakeNode) { n.fails = Start }, "start: operation failed"},
		{"it takes too long", Start, func(_ *Session, n *fakeNode) { n.slow = 4 * time.Minute }, "start took 4m"},
		{"a port is closed", Start, seen(Start, closedPort), "port 8081 does not answer"},
		{"the data is another", Start, seen(Start, otherVolume), "volume db is another directory than before"},
		{"the canary is gone", Start, when(Start, forgets), "reading the canary back"},

		{"it is not done", Restart, func(_ *Session, n *fakeNode) { n.fails = Restart }, "restart: operation failed"},
		{"it takes too long", Restart, func(_ *Session, n *fakeNode) { n.slow = 5 * time.Minute }, "restart took 5m"},
		{"nothing is restarted", Restart, func(_ *Session, n *fakeNode) { n.idle = Restart }, "container pair-db was not restarted"},
		{"a port is closed", Restart, seen(Restart, closedPort), "port 8081 does not answer"},
		{"the canary is gone", Restart, when(Restart, forgets), "reading the canary back"},
		{"it does not come back", Restart, when("crash", func(n *fakeNode) { n.runs = false }), "after its main processes were killed: waited"},
		{"a port stays closed after the crash", Restart, seen("crash", closedPort), "after its main processes were killed: waited 2m0s for pair to be back, budget 2m0s: port 8081 does not answer"},
		{"the crash ends nothing", Restart, seen("crash", func(s *Snapshot) {
			for i := range s.Containers[:2] {
				s.Containers[i].StartedAt = noon
			}
		}), "after its main processes were killed: waited 2m0s for pair to be back, budget 2m0s: container pair-db was not restarted"},
		{"it crashes on and on", Restart, func(s *Session, n *fakeNode) {
			look, crashed := s.sees, false
			n.after = func(what string, _ *fakeNode) { crashed = crashed || what == "crash" }
			s.sees = func(ctx context.Context, m *manifest.Manifest, since time.Time) (*Snapshot, error) {
				if crashed {
					return nil, fmt.Errorf("%w: %w", ErrIncomplete, errEnded)
				}
				return look(ctx, m, since)
			}
		}, "after its main processes were killed: waited 2m0s for pair to be back"},
		{"the crash loses the canary", Restart, when("crash", forgets), "after its main processes were killed: reading the canary back"},
		{"the crash takes the data", Restart, seen("crash", otherVolume), "after its main processes were killed: the data is gone"},
		{"its page is not served again", Restart, when(Restart, func(n *fakeNode) { n.gone = badGateway }), "after the restart: waited 45s for the page to be served again: proxy: https://192.0.2.7:18080/: status 502"},
		{"nobody signs in again", Restart, when(Restart, notSignedIn), "after the restart: proxy: sign-in"},
		{"the canary cannot be written", Restart, func(_ *Session, n *fakeNode) { n.writes = notWritten }, "planting the canary"},

		{"it is not removed", Reinstall, func(_ *Session, n *fakeNode) { n.fails = Uninstall }, "uninstall: operation failed"},
		{"the data goes", Reinstall, when(Uninstall, func(n *fakeNode) { n.data = false }), "after uninstalling with the data kept: secret password is gone; the data is gone"},
		{"something is left", Reinstall, seen(Uninstall, func(s *Snapshot) {
			if s.Containers[0].App != "pair" {
				aNetwork(s)
			}
		}), "after uninstalling with the data kept: network archipelago-pair is left"},
		{"it comes back", Reinstall, when("pass", func(n *fakeNode) { n.installed, n.runs = n.m, true }), "it came back over a reconcile pass"},
		{"it is not done", Reinstall, func(_ *Session, n *fakeNode) { n.fails = Install }, "install: operation failed"},
		{"a port is closed", Reinstall, seen(Install, closedPort), "port 8081 does not answer"},
		{"the canary is gone", Reinstall, when(Install, forgets), "reading the canary back"},
		{"there is no backup", Reinstall, func(s *Session, n *fakeNode) {
			s.Shard.Cycle = backupFirst
			n.canary = ""
		}, "from a backup: unimplemented"},
		{"nobody signs in again", Reinstall, when(Install, notSignedIn), "after the reinstall: proxy: sign-in"},

		{"the canary is gone", RebootSurvive, when("reboot", forgets), "reading the canary back"},
		{"it is not back", RebootSurvive, when("reboot", func(n *fakeNode) { n.runs = false }), "to be back after the reboot"},
		{"a port stays closed", RebootSurvive, seen("reboot", closedPort), "to be back after the reboot, budget 3m0s: port 8081 does not answer"},
		{"what is looked at is of the boot before", RebootSurvive, func(s *Session, _ *fakeNode) {
			look := s.sees
			s.sees = func(ctx context.Context, m *manifest.Manifest, since time.Time) (*Snapshot, error) {
				now, err := look(ctx, m, since)
				now.Boot = boot
				return now, err
			}
		}, "to be back after the reboot, budget 3m0s: boot identity is boot/1, expected boot/2"},
		{"it is back too late", RebootSurvive, func(_ *Session, n *fakeNode) { n.rebooting, n.age = 4*time.Minute, 0 }, "pair was back 4m"},
		{"something else started it", RebootSurvive, seen("reboot", func(s *Snapshot) {
			s.Units["pair.service"] = UnitSeen{"loaded", "active", "running", false}
		}), "unit pair.service is not started at boot"},
		{"nobody signs in again", RebootSurvive, when("reboot", notSignedIn), "after the reboot: proxy: sign-in"},
		{"no reboot", RebootSurvive, when("reboot", func(n *fakeNode) { n.boot-- }), "boot identity is still boot/1"},

		{"a container is another", RestartSurvive, when("daemon", func(n *fakeNode) { n.starts++ }), "after the daemon was restarted: container pair-db is another one"},
		{"a port is closed", RestartSurvive, seen("daemon", closedPort), "after the daemon was restarted: port 8081 does not answer"},
		{"a port is open", RestartSurvive, seen(Stop, openPort), "a request was lost: waited"},
		{"a pass restarts it", RestartSurvive, when("pass", func(n *fakeNode) { n.starts++ }), "over a reconcile pass after the daemon was restarted: container pair-db is another one"},
		{"a request is lost", RestartSurvive, func(_ *Session, n *fakeNode) { n.idle = Stop }, "a request was lost"},
		{"it is not started", RestartSurvive, func(_ *Session, n *fakeNode) { n.fails = Start }, "start: operation failed"},
		{"the canary is gone", RestartSurvive, when(Start, forgets), "reading the canary back"},
		{"My Apps forgets it", RestartSurvive, when("daemon", func(n *fakeNode) { n.say = func(a *api.App) { a.Id = "other" } }), "it was missing from My Apps"},

		{"it is not removed", Uninstall, func(_ *Session, n *fakeNode) { n.fails = Uninstall }, "uninstall: operation failed"},
		{"it is not purged", Uninstall, func(_ *Session, n *fakeNode) { n.fails = "uninstall --purge" }, "uninstall: operation failed"},
		{"the data is left", Uninstall, func(_ *Session, n *fakeNode) { n.idle = "uninstall --purge" }, "with purge: volume db is left after a purge"},
		{"something is left", Uninstall, seen("uninstall --purge", aNetwork), "with purge: network archipelago-pair is left"},
		{"a volume of Podman's is left", Uninstall, func(_ *Session, n *fakeNode) { n.see = oldVolumes }, "the anonymous volume f00 of container pair-db is left"},
		{"the data is not kept", Uninstall, when(Uninstall, func(n *fakeNode) { n.data = false }), "after uninstalling with the data kept: secret password is gone; the data is gone"},
	} {
		t.Run(c.step+", "+c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := fake(t, family())
				begin(t, s, n, c.step)
				c.plant(s, n)
				if _, err := perform(t, s, n.m, c.step); err == nil || broken(err) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, expected %q", err, c.want)
				}
			})
		})
	}
}

// TestWithoutASignInCredentialsAreAskedForAllTheSame has the interfaces that are no page need them.
func TestWithoutASignInCredentialsAreAskedForAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := family()
		web := m.Interfaces["web"]
		web.Login, web.Expect.SignedIn = nil, nil
		m.Interfaces["web"] = web
		s, n := fake(t, m)
		begin(t, s, n, UIReachable)
		if _, err := perform(t, s, m, UIReachable); err != nil {
			t.Fatal(err)
		}
		n.mute = errors.New("none")
		if err := reach(t.Context(), &Environment{Session: s, App: m}, newRecorder(s.Shard, m.ID, UIReachable)); err == nil || !strings.Contains(err.Error(), "asking for credentials") {
			t.Error(err)
		}
	})
}

// TestAFixtureIsInstalledAndRuns has a shard begin on what its applications require.
func TestAFixtureIsInstalledAndRuns(t *testing.T) {
	for name, c := range map[string]struct {
		plant func(n *fakeNode)
		asked []string
		want  string // empty: the cell begins
	}{
		"it runs":           {func(n *fakeNode) { n.install(n.m) }, nil, ""},
		"it is not there":   {func(*fakeNode) {}, []string{Install}, ""},
		"it is stopped":     {func(n *fakeNode) { n.install(n.m); n.runs = false }, []string{Install}, ""},
		"it is not started": {func(n *fakeNode) { n.fails = Install }, []string{Install}, "pair, which it requires, does not run: install: operation failed"},
		"it does not run":   {func(n *fakeNode) { n.see = closedPort }, []string{Install}, "pair, which it requires, does not run: port 8081 does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := fake(t, family())
				s.Shard.Fixtures = []*manifest.Manifest{n.m}
				c.plant(n)
				g := s.group(Step{Name: "fake", Run: func(context.Context, *Environment, *Recorder) error { return nil }}, &manifest.Manifest{ID: "page"})
				g.perform(t.Context())
				_, err := g.conclude(t.Context(), 0)
				if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrFixture) || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%v, expected %q", err, c.want)
				}
				if !slices.Equal(n.asked, c.asked) {
					t.Errorf("asked for %q, expected %q", n.asked, c.asked)
				}
			})
		})
	}
}

// TestALookThatFailsIsTakenForNothing has each look of each step fail in turn, once: the cell is
// not run, unless whoever looked waited for something, and looks again.
func TestALookThatFailsIsTakenForNothing(t *testing.T) {
	for _, step := range StepNames() {
		t.Run(step, func(t *testing.T) {
			for at, looks := 1, 1; at <= looks; at++ {
				synctest.Test(t, func(t *testing.T) {
					s, n := fake(t, family())
					begin(t, s, n, step)
					look, count := s.sees, 0
					s.sees = func(ctx context.Context, m *manifest.Manifest, since time.Time) (*Snapshot, error) {
						if count++; count == at {
							return nil, ErrIncomplete
						}
						return look(ctx, m, since)
					}
					_, err := perform(t, s, n.m, step)
					if again := count > looks; err != nil && !(errors.Is(err, ErrIncomplete) && broken(err)) || err == nil && count == at && !again {
						t.Errorf("look %d of %d: %v", at, count, err)
					}
					looks = max(looks, count)
				})
			}
		})
	}
}

// TestAStepThatIsRunByItselfBringsTheApplicationThere has nothing installed where a step begins,
// or an interrupted cycle, whose canary may not have been written.
func TestAStepThatIsRunByItselfBringsTheApplicationThere(t *testing.T) {
	for _, step := range StepNames()[1:] {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := fake(t, family())
				s.Shard.Steps = []string{step}
				if _, err := perform(t, s, n.m, step); err != nil {
					t.Error(err)
				}
				want := []string{Install}
				if step == Start {
					want = append(want, Stop)
				}
				if !slices.Equal(n.asked[:len(want)], want) {
					t.Errorf("asked for %q, expected %q first", n.asked, want)
				}
				s, n = fake(t, family())
				s.Shard.Steps, n.fails = []string{step}, Install
				if _, err := perform(t, s, n.m, step); err == nil || !strings.Contains(err.Error(), "before the step: install: operation failed") {
					t.Errorf("it was not brought there: %v", err)
				}
				s, n = fake(t, family())
				begin(t, s, n, Stop)
				n.canary, s.mend["pair"] = "half of it", true
				if _, err := perform(t, s, n.m, Stop); err != nil || n.canary == "half of it" {
					t.Errorf("the canary is %q, %v", n.canary, err)
				}
			})
		})
	}
}

// TestWhatTheNodeRefusesIsNotPassedOver has what a step does beside the operations fail.
func TestWhatTheNodeRefusesIsNotPassedOver(t *testing.T) {
	for _, c := range []astray{
		{"the release under test cannot be offered", Install, func(s *Session, n *fakeNode) { offers(t, s, n, stack()); n.catalogs = errors.New("full") }, "offering the release under test: bringing the node a catalog"},
		{"what was interrupted cannot be taken back", Install, func(s *Session, n *fakeNode) {
			offers(t, s, n, stack())
			n.catalogs, s.mend["pair"] = errors.New("full"), true
		}, "clearing what an interrupted cycle left: bringing the node a catalog"},
		{"it is not known which canary was planted", Stop, func(s *Session, _ *fakeNode) {
			file := s.Shard.plantedFile("pair")
			if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o755)); err != nil {
				panic(err)
			}
		}, "before the step: read"},
		{"no command is run", Stop, func(_ *Session, n *fakeNode) { n.broken = errors.New("no shell") }, "no shell"},
		{"nothing is killed", Restart, func(_ *Session, n *fakeNode) { n.broken = errors.New("no shell") }, "after its main processes were killed: killing them: no shell"},
		{"the daemon is not ended", RestartSurvive, func(_ *Session, n *fakeNode) { n.broken = errors.New("no shell") }, "no shell"},
		{"no mark after the reboot", RebootSurvive, func(_ *Session, n *fakeNode) { n.broken = errors.New("no shell") }, "no shell"},
		{"no reboot", RebootSurvive, func(_ *Session, n *fakeNode) { n.still = errors.New("not allowed") }, "not allowed"},
		{"no credentials", UIReachable, func(_ *Session, n *fakeNode) { n.mute = errors.New("none") }, "asking for credentials"},
		{"the browser fails", UIReachable, func(_ *Session, n *fakeNode) { n.blind = errRed }, "the data is gone"},
		{"the handshake fails", UIReachable, func(_ *Session, n *fakeNode) { n.deaf = errors.New("no answer") }, "the wire interface is not reached"},
	} {
		t.Run(c.step+", "+c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, n := fake(t, family())
				begin(t, s, n, c.step)
				c.plant(s, n)
				if _, err := perform(t, s, n.m, c.step); err == nil || broken(err) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, expected %q", err, c.want)
				}
			})
		})
	}
}
