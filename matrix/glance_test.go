package matrix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
)

// slowNode is one on which an application comes up, and on which a look takes its time.
type slowNode struct {
	up     time.Time
	takes  time.Duration
	begun  []time.Time // glances
	looked []time.Time // looks at one application
}

func (n *slowNode) glance(ctx context.Context) (*Snapshot, error) {
	n.begun = append(n.begun, time.Now())
	time.Sleep(n.takes)
	return n.at(n.begun[len(n.begun)-1]), ctx.Err()
}

// at is how the node was seen by a look that began then.
func (n *slowNode) at(t time.Time) *Snapshot {
	s := healthy()
	if t.Before(n.up) {
		s.Containers[0].State = "created"
	}
	return s
}

// TestThoseWhoWaitShareOneLook has one application, and ten, wait for the same node. Ten
// cost no more glances, and each takes one look of its own: the last word.
func TestThoseWhoWaitShareOneLook(t *testing.T) {
	counts := map[int]int{}
	for _, cells := range []int{1, 10} {
		synctest.Test(t, func(t *testing.T) {
			n := &slowNode{up: time.Now().Add(20 * time.Second), takes: 300 * time.Millisecond}
			shared := newShared(glanceEvery, n.glance)
			var mu sync.Mutex
			var wg sync.WaitGroup
			for i := range cells {
				wg.Go(func() {
					s := sight{
						glance: func(ctx context.Context) (*Snapshot, error) { s, err := shared.ask(ctx); return s.of(stack()), err },
						look: func(context.Context) (*Snapshot, error) {
							begun := time.Now()
							mu.Lock()
							n.looked = append(n.looked, begun)
							mu.Unlock()
							time.Sleep(time.Second)
							return n.at(begun), nil
						},
					}
					time.Sleep(time.Duration(i) * 130 * time.Millisecond) // they do not begin at once
					m := stack()
					err := s.await(t.Context(), time.Minute, "all of it", func(s *Snapshot) []string { return CheckUp(m, s) }, func(s *Snapshot, _ time.Time) error { return Verdict(CheckRunning(m, s)) })
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			shared.close()
			counts[cells] = len(n.begun)
			for i, begun := range n.begun[1:] {
				if since := begun.Sub(n.begun[i]); since < glanceEvery {
					t.Errorf("a glance began %s after the one before", since)
				}
			}
			if len(n.looked) != cells {
				t.Errorf("%d looks of their own by %d who waited", len(n.looked), cells)
			}
			if waited := time.Since(n.up); waited > 4*time.Second {
				t.Errorf("it was found %s late", waited)
			}
		})
	}
	if counts[10] > counts[1]+1 || counts[1] < 10 {
		t.Errorf("ten who waited cost %d glances, one cost %d", counts[10], counts[1])
	}
}

// TestALookHasTheLastWord has an application whose containers are up, and whose port opens
// later, or never.
func TestALookHasTheLastWord(t *testing.T) {
	m := stack()
	for opens, want := range map[time.Duration]string{5 * time.Second: "", time.Hour: "waited 1m0s for it: port 8080 does not answer"} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			s := sight{
				glance: func(context.Context) (*Snapshot, error) { return healthy(), nil },
				look: func(context.Context) (*Snapshot, error) {
					s := healthy()
					s.Open[8080] = time.Since(begin) >= opens
					time.Sleep(time.Second)
					return s, nil
				},
			}
			var passed time.Time
			err := s.await(t.Context(), time.Minute, "it", func(s *Snapshot) []string { return CheckUp(m, s) }, func(s *Snapshot, begun time.Time) error {
				passed = begun
				return Verdict(CheckRunning(m, s))
			})
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%v, expected %q", err, want)
			}
			if late := passed.Sub(begin.Add(opens)); err == nil && (late < 0 || late > 2*time.Second) {
				t.Errorf("the look that found it open began %s after that", late)
			}
		})
	}
}

// TestALookIsNeverOlderThanTheQuestion asks at every moment of a look.
func TestALookIsNeverOlderThanTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every, takes = time.Second, 700 * time.Millisecond
		under := 0
		shared := newShared(every, func(context.Context) (time.Time, error) {
			begun := time.Now()
			if under++; under > 1 {
				t.Error("two looks at a time")
			}
			time.Sleep(takes)
			under--
			return begun, nil
		})
		defer shared.close()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 37 * time.Millisecond)
				asked := time.Now()
				begun, err := shared.ask(t.Context())
				if err != nil || begun.Before(asked) {
					t.Errorf("asked at %s, the look began %s before that (%v)", asked.Format(time.StampMilli), asked.Sub(begun), err)
				}
				if waited := time.Since(asked); waited > every+takes {
					t.Errorf("it took %s", waited)
				}
			})
		}
		wg.Wait()
	})
}

// TestWhoGivesUpLeavesTheOthersTheirLook wants an error to be everyone's, and the end of one
// who waits to be their own.
func TestWhoGivesUpLeavesTheOthersTheirLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blind := true
		shared := newShared(time.Second, func(ctx context.Context) (int, error) {
			select {
			case <-time.After(5 * time.Second):
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
			if blind {
				return 0, nodes.ErrLost
			}
			return 7, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := shared.ask(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		for range 2 {
			wg.Go(func() {
				if _, err := shared.ask(t.Context()); !errors.Is(err, nodes.ErrLost) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		blind = false
		if v, err := shared.ask(t.Context()); v != 7 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
		wg.Go(func() {
			if _, err := shared.ask(t.Context()); !errors.Is(err, errOver) {
				t.Errorf("after the end: %v", err)
			}
		})
		time.Sleep(2 * time.Second)
		shared.close()
		wg.Wait()
	})
}

// TestAGlanceHindersOnlyWhatALookFinds wants everything that a glance shows wrong to be wrong
// in a look of the same moment, too: it must not keep an application waiting that is there.
func TestAGlanceHindersOnlyWhatALookFinds(t *testing.T) {
	m := stack()
	glance := func(s *Snapshot) *Snapshot {
		out := newSnapshot()
		for _, c := range s.Containers {
			out.Containers = append(out.Containers, Seen{ID: c.ID, Name: c.Name, App: c.App, State: c.State, Health: c.Health, pid: c.pid})
		}
		out.Boot = s.Boot
		for name, u := range s.Units {
			if u.Load != "not-found" {
				out.Units[name] = u
			}
		}
		out.Units["dbus.service"] = UnitSeen{"loaded", "active", "running", true}
		return out.of(m)
	}
	if wrong := CheckUp(m, glance(healthy())); len(wrong) > 0 {
		t.Errorf("of a healthy one: %q", wrong)
	}
	if wrong := CheckDown(m, glance(stopped())); len(wrong) > 0 {
		t.Errorf("of a stopped one: %q", wrong)
	}
	faults := map[string]func(*Snapshot){
		"member missing":   func(s *Snapshot) { s.Containers = s.Containers[1:] },
		"member twice":     func(s *Snapshot) { s.Containers = append(s.Containers, s.Containers[0]) },
		"not running":      func(s *Snapshot) { s.Containers[0].State = "created" },
		"not healthy":      func(s *Snapshot) { s.Containers[0].Health = "starting" },
		"unit not active":  func(s *Snapshot) { s.Units["pair-db.service"] = UnitSeen{"loaded", "activating", "start", true} },
		"unit not loaded":  func(s *Snapshot) { s.Units["pair-db.service"] = UnitSeen{Load: "not-found", Active: "inactive"} },
		"stranger in it":   func(s *Snapshot) { s.Containers = append(s.Containers, Seen{Name: "pair-x", App: "pair"}) },
		"still running":    func(s *Snapshot) { s.Containers = healthy().Containers },
		"unit still there": func(s *Snapshot) { s.Units = healthy().Units },
	}
	seen := 0
	for name, plant := range faults {
		for _, of := range []struct {
			whole   func() *Snapshot
			hinders func(*manifest.Manifest, *Snapshot) []string
			judge   func(*manifest.Manifest, *Snapshot) []string
		}{{healthy, CheckUp, CheckRunning}, {stopped, CheckDown, CheckStopped}} {
			s := of.whole()
			plant(s)
			found := strings.Join(of.judge(m, s), "; ")
			for _, wrong := range of.hinders(m, glance(s)) {
				seen++
				if !strings.Contains(found, wrong) {
					t.Errorf("%s: a glance says %q, and a look only %q", name, wrong, found)
				}
			}
		}
	}
	if seen < len(faults) {
		t.Errorf("a glance shows %d of %d faults", seen, len(faults))
	}
}

// TestTheOneOfBeforeHinders takes a container that ran before, one in its place, and the same
// one with a new process.
func TestTheOneOfBeforeHinders(t *testing.T) {
	m := &manifest.Manifest{ID: "a", Containers: []manifest.Container{{Name: "a"}}}
	seen := func(id, pid string) *Snapshot { return &Snapshot{Containers: []Seen{{ID: id, Name: "a", pid: pid}}} }
	for _, c := range []struct {
		now  *Snapshot
		want int
	}{{seen("1", "10"), 1}, {seen("2", "10"), 0}, {seen("1", "11"), 0}, {seen("1", ""), 0}, {&Snapshot{}, 0}} {
		if wrong := CheckOther(m, seen("1", "10"), c.now); len(wrong) != c.want {
			t.Errorf("%+v: %q", c.now, wrong)
		}
	}
}

func TestAGlanceReadsPodmansListAndTheProgram(t *testing.T) {
	root := t.TempDir()
	systemctl := "#!/bin/sh\nprintf 'pair-db.service loaded active running A data base\\ndbus.service loaded active running D-Bus\\n'\n"
	if err := os.WriteFile(filepath.Join(root, "systemctl"), []byte(systemctl), 0o755); err != nil {
		t.Fatal(err)
	}
	homeOf(t, root)
	cmd := exec.Command("sh", "-c", command([]string{"glance"}))
	cmd.Env = append(os.Environ(), "HOME="+root, "PATH="+root+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	facts := string(out)
	list := []listed{{ID: "1", Names: []string{"pair-db"}, Labels: map[string]string{manifest.LabelApp: "pair"}, Pid: 7, State: "running", Status: "healthy"}}
	s, err := glanced(list, facts)
	if err != nil {
		t.Fatal(err)
	}
	m := stack()
	if got := fmt.Sprint(s.Containers); got != fmt.Sprint([]Seen{{ID: "1", Name: "pair-db", App: "pair", State: "running", Health: "healthy", pid: "7"}}) {
		t.Error(got)
	}
	if s.Boot == "" || len(s.of(m).Units) != 2 || s.of(m).Units["pair-db.service"].Active != "active" || s.of(m).Units["pair.service"].Load != "not-found" {
		t.Errorf("%q, %+v", s.Boot, s.of(m).Units)
	}
	for what, cut := range map[string]string{"cut off": strings.TrimSuffix(facts, "end\n"), "no systemd": "boot a/1\nfailed systemctl\nend\n", "no boot": "end\n"} {
		if _, err := glanced(list, cut); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
