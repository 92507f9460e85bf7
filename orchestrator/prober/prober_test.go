package prober

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
)

const (
	http30 = "30s 10s http 8080 200 /"
	http2  = "2s 10s http 8080 200 /"
	exec30 = "30s 10s exec"
)

// pass lets time pass, and gives what a container was asked in it.
func (p *podman) pass(c *container, d time.Duration) (asked, checked int) {
	p.mu.Lock()
	a, b := len(c.asked), len(c.checked)
	p.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(c.asked) - a, len(c.checked) - b
}

func (p *podman) healthOf(c *container) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.health
}

func TestWhatServesCostsNoCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPodman()
		c := p.start("web", http30)
		c.serves = false
		p.run(t, func(context.Context) {
			if asked, checked := p.pass(c, 3*time.Second); asked < 5 || asked > 15 || checked != 0 {
				t.Errorf("while it starts: %d probes and %d checks", asked, checked)
			}
			p.set(func() { c.serves = true })
			if _, checked := p.pass(c, time.Second); checked != 1 || p.healthOf(c) != healthy {
				t.Errorf("once it serves: %d checks, %s", checked, p.healthOf(c))
			}
			if asked, checked := p.pass(c, 10*time.Minute); asked < 19 || asked > 21 || checked != 0 {
				t.Errorf("in ten minutes: %d probes and %d checks", asked, checked)
			}
		})
	})
}

func TestCommandAloneIsRunAtItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPodman()
		c := p.start("db", exec30)
		c.serves = false
		p.run(t, func(context.Context) {
			if asked, checked := p.pass(c, 5*time.Second); asked != 0 || checked < 4 || checked > 6 {
				t.Errorf("while it starts: %d probes and %d checks", asked, checked)
			}
			p.set(func() { c.serves = true })
			if p.pass(c, time.Second); p.healthOf(c) != healthy {
				t.Errorf("once it serves: %s", p.healthOf(c))
			}
			if _, checked := p.pass(c, 10*time.Minute); checked < 19 || checked > 21 {
				t.Errorf("in ten minutes: %d checks", checked)
			}
		})
	})
}

func TestWhatStopsServingIsFoundInTime(t *testing.T) {
	for _, label := range []string{http30, http2, exec30} {
		synctest.Test(t, func(t *testing.T) {
			p := newPodman()
			c := p.start("web", label)
			p.run(t, func(context.Context) {
				p.pass(c, 2*time.Minute)
				interval := 30 * time.Second
				if label == http2 {
					interval = 2 * time.Second
				}
				p.set(func() { c.serves = false })
				_, checked := p.pass(c, time.Duration(c.retries)*interval+5*time.Second)
				if p.healthOf(c) != unhealthy || checked < c.retries {
					t.Fatalf("%s after %d checks: %s", label, checked, p.healthOf(c))
				}
				if _, checked := p.pass(c, 10*interval); label != exec30 && checked != 0 {
					t.Errorf("%s: %d checks of what is known to be unhealthy", label, checked)
				}
				p.set(func() { c.serves = true })
				if _, checked := p.pass(c, interval); p.healthOf(c) != healthy || checked != 1 {
					t.Errorf("%s serves again: %d checks, %s", label, checked, p.healthOf(c))
				}
			})
		})
	}
}

// The probe is a cheap look; what counts is Podman's check.
func TestPodmansCheckDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPodman()
		c := p.start("web", http2)
		p.run(t, func(context.Context) {
			p.pass(c, time.Minute)
			p.set(func() { c.refused = errors.New("timeout") })
			if _, checked := p.pass(c, time.Minute); checked < 29 || p.healthOf(c) != healthy {
				t.Errorf("a probe fails, and the check passes: %d checks, %s", checked, p.healthOf(c))
			}
			p.set(func() { c.checkFails = true })
			p.pass(c, 10*time.Second)
			p.set(func() { c.refused = nil })
			if _, checked := p.pass(c, 10*time.Second); checked < 5 || p.healthOf(c) != unhealthy {
				t.Errorf("the probe passes again, and the check fails: %d checks, %s", checked, p.healthOf(c))
			}
		})
	})
}

// What never serves is Podman's to judge, also while it starts: somebody may have
// restarted it past systemd, which gives up a start by its budget.
func TestWhatNeverServesIsCheckedAtItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPodman()
		c := p.start("web", http30)
		c.serves = false
		p.run(t, func(context.Context) {
			if _, checked := p.pass(c, 5*time.Minute); checked < 9 || checked > 11 {
				t.Errorf("%d checks", checked)
			}
		})
	})
}

func TestFortyDoNotFallTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPodman()
		for i := range 40 {
			p.start(fmt.Sprint("web", i), http30).health = healthy
		}
		begin := time.Now()
		p.run(t, func(context.Context) {
			time.Sleep(30 * time.Second)
			synctest.Wait()
			p.set(func() {
				inSecond := map[time.Duration]int{}
				for name, c := range p.containers {
					if len(c.asked) != 1 {
						t.Errorf("%s was probed %d times in its interval", name, len(c.asked))
						continue
					}
					inSecond[c.asked[0].Sub(begin)/time.Second]++
				}
				for at, n := range inSecond {
					if n > 12 {
						t.Errorf("%d probes in second %d", n, at)
					}
				}
			})
		})
	})
}

func TestEndedContainersAreForgottenAndNewOnesFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPodman()
		old := p.start("web", http2)
		p.run(t, func(context.Context) {
			p.pass(old, time.Minute)
			p.set(func() { delete(p.containers, "web") })
			p.changed <- "web"
			synctest.Wait()
			if asked, _ := p.pass(old, time.Minute); asked != 0 {
				t.Errorf("%d probes of what has ended", asked)
			}
			again := p.start("web", http2)
			p.changed <- "web"
			if asked, checked := p.pass(again, time.Second); asked == 0 || checked != 1 {
				t.Errorf("of a new one: %d probes and %d checks", asked, checked)
			}
			// A restart in place: the same container, with another process.
			p.set(func() { again.startedAt, again.health = time.Now(), "starting" })
			p.changed <- "web"
			if _, checked := p.pass(again, time.Second); checked != 1 {
				t.Errorf("after a restart in place: %d checks", checked)
			}
		})
	})
}

func TestWhatNobodyToldIsFoundByTheNextList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPodman()
		p.run(t, func(context.Context) {
			time.Sleep(5 * time.Second)
			p.changed <- "" // the stream breaks
			c := p.start("web", http30)
			if p.pass(c, 4*time.Second); p.healthOf(c) != healthy {
				t.Errorf("started while the stream was broken: %s", p.healthOf(c))
			}
			silent := p.start("other", http30)
			if p.pass(silent, listInterval+time.Second); p.healthOf(silent) != healthy {
				t.Errorf("started without an event: %s", p.healthOf(silent))
			}
		})
	})
}

func TestProbingGoesOnWhileAPodmanIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPodman()
		c := p.start("web", http2)
		p.run(t, func(context.Context) {
			p.pass(c, time.Minute)
			p.set(func() { p.broken = fmt.Errorf("%w: connection refused", host.ErrUnavailable) })
			p.changed <- "web"
			if asked, _ := p.pass(c, time.Minute); asked < 29 {
				t.Errorf("%d probes", asked)
			}
		})
	})
}

func TestAnotherUserNamespaceEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPodman()
		c := p.start("web", http2)
		c.refused = fmt.Errorf("entering: %w", unix.EPERM)
		begin := time.Now()
		err := p.run(t, func(context.Context) {
			if _, checked := p.pass(c, 30*time.Second); checked < 14 || p.healthOf(c) != healthy {
				t.Errorf("at first, Podman's check tells: %d checks, %s", checked, p.healthOf(c))
			}
			time.Sleep(time.Minute)
		})
		if !errors.Is(err, ErrNamespace) {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
	})
}

func TestALabelThatCannotBeReadStopsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPodman()
		bad, good := p.start("bad", "now and then"), p.start("good", http30)
		p.run(t, func(context.Context) {
			p.pass(good, 5*time.Second)
			if p.healthOf(good) != healthy || len(bad.asked)+len(bad.checked) != 0 {
				t.Errorf("%s; %v %v", p.healthOf(good), bad.asked, bad.checked)
			}
		})
	})
}

func TestEachIsLookedAtInItsOwnNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPodman()
		first := p.start("web", http2)
		p.run(t, func(context.Context) {
			p.pass(first, 5*time.Second)
			second := p.start("other", http2)
			p.changed <- "other"
			p.pass(second, time.Minute)
			p.set(func() { second.serves = false })
			if asked, checked := p.pass(first, 11*time.Second); asked > 6 || checked != 0 || p.healthOf(first) != healthy {
				t.Errorf("the one that serves: %d probes and %d checks, %s", asked, checked, p.healthOf(first))
			}
			if p.healthOf(second) != unhealthy {
				t.Errorf("the one that does not: %s", p.healthOf(second))
			}
		})
	})
}
