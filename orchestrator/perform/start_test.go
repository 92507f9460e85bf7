package perform_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/operation"
	"github.com/archipelago-cloud/archipelago/orchestrator/perform"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
)

func start() plan.Action {
	return plan.Action{App: "pair", Verb: plan.Start, Manifest: pair("1"), Units: []string{"pair-db.service", "pair.service"}, Ports: []manifest.NodePort{{Number: 8080}}}
}

// hang has units be starting until the start is given up.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return errors.New("systemctl: killed")
}

func TestStartWantsItsPortsFree(t *testing.T) {
	w := newWorld(t)
	d := w.record(t)
	w.holders = map[manifest.NodePort]string{{Number: 8080}: "nginx (pid 4)"}
	out := w.Do(t.Context(), d, start())
	if out.Err == nil || !strings.Contains(out.Err.Error(), "port 8080 of the node is taken by nginx (pid 4); stop it") || errors.Is(out.Err, perform.ErrStart) {
		t.Errorf("%v", out.Err)
	}
	// Its own waiting page makes room before anybody looks.
	if got := w.took(); got != "page off 8080, ports [8080]" {
		t.Errorf("%s", got)
	}
	w.holders = map[manifest.NodePort]string{{Number: 8080}: "pid 7 (rootlessport)"}
	if out := w.Do(t.Context(), d, start()); out.Err != nil || !strings.HasSuffix(w.took(), "start [pair-db.service pair.service]") {
		t.Errorf("Podman's forwarder is nobody else: %v", out.Err)
	}
	w.fail["ports"] = errPlanted
	if out := w.Do(t.Context(), d, start()); !errors.Is(out.Err, errPlanted) || strings.Contains(w.took(), "start ") {
		t.Errorf("%v", out.Err)
	}
}

func TestStartBringsItsNetworksUpToDateFirst(t *testing.T) {
	w := newWorld(t)
	d := w.record(t)
	a := start()
	a.Manifest.Requires = []manifest.Requirement{{App: "chain"}}
	if out := w.Do(t.Context(), d, a); out.Err != nil || !strings.HasSuffix(w.took(), ", renew pair 2, start [pair-db.service pair.service]") {
		t.Errorf("%v", out.Err)
	}
	w.fail["renew"] = errPlanted
	if out := w.Do(t.Context(), d, a); !errors.Is(out.Err, errPlanted) || errors.Is(out.Err, perform.ErrStart) || strings.Contains(w.took(), "start ") {
		t.Errorf("%v", out.Err)
	}
}

func TestStartThatIsCancelledBeforeItBeginsStartsNothing(t *testing.T) {
	w := newWorld(t)
	d := w.record(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errPlanted)
	if out := w.Do(ctx, d, start()); !errors.Is(out.Err, errPlanted) || w.took() != "" {
		t.Errorf("%v", out.Err)
	}
}

func TestStartThatFails(t *testing.T) {
	w := newWorld(t)
	d := w.record(t)
	w.fail["start"] = errPlanted
	if out := w.Do(t.Context(), d, start()); !errors.Is(out.Err, perform.ErrStart) || !errors.Is(out.Err, errPlanted) {
		t.Errorf("%v", out.Err)
	}
}

func TestCauseOfACancelReachesTheErrorOfAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.record(t)
		w.starting = hang
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan perform.Outcome, 1)
		go func() { done <- w.Do(ctx, d, start()) }()
		synctest.Wait()
		begin := time.Now()
		cancel(operation.ErrOvertaken)
		if out := <-done; !errors.Is(out.Err, operation.ErrOvertaken) || time.Since(begin) > 0 {
			t.Errorf("%v after %s", out.Err, time.Since(begin))
		}
	})
}

func TestCancelReachesAStartThatWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.record(t)
		w.starting = hang
		ctx, cancel := context.WithCancel(t.Context())
		const many = 200 // more than may start at a time
		ended := make(chan perform.Outcome, many)
		for range many {
			go func() { ended <- w.Do(ctx, d, start()) }()
		}
		synctest.Wait()
		late, overtake := context.WithCancelCause(t.Context())
		done := make(chan perform.Outcome, 1)
		go func() { done <- w.Do(late, d, start()) }()
		synctest.Wait()
		if strings.Count(w.took(), "start ") >= many {
			t.Fatal("all start at once")
		}
		overtake(operation.ErrOvertaken)
		if out := <-done; !errors.Is(out.Err, operation.ErrOvertaken) {
			t.Errorf("%v", out.Err)
		}
		cancel()
		for range many {
			<-ended
		}
	})
}

func TestStartsThatTakeLongDoNotKeepOthersFromStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.record(t)
		w.starting = hang
		ctx, cancel := context.WithCancel(t.Context())
		const many = 100 // more than may start at a time
		begin := time.Now()
		ended := make(chan perform.Outcome, many)
		slow := start()
		slow.Manifest.Budget.Start = manifest.Duration(time.Hour)
		for range many {
			go func() { ended <- w.Do(ctx, d, slow) }()
		}
		synctest.Wait()
		atOnce := strings.Count(w.took(), "start ")
		for started := atOnce; started < many; started += strings.Count(w.took(), "start ") {
			time.Sleep(30 * time.Second)
			synctest.Wait()
		}
		if rounds := (many + atOnce - 1) / atOnce; time.Since(begin) > time.Duration(rounds)*30*time.Second {
			t.Errorf("%d starts, %d at once, had begun after %s", many, atOnce, time.Since(begin))
		}
		cancel()
		for range many {
			<-ended
		}
	})
}

// TestAStartThatWaitsForItsTurnSaysSo, and what it says when it has it is what it does.
func TestAStartThatWaitsForItsTurnSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.record(t)
		w.starting = hang
		ctx, cancel := context.WithCancel(t.Context())
		const many = 100 // more than may start at a time
		ended := make(chan perform.Outcome, many)
		for range many {
			go func() { ended <- w.Do(ctx, d, start()) }()
		}
		synctest.Wait()
		w.mu.Lock()
		said, begun := strings.Join(w.said, ", "), strings.Count(strings.Join(w.calls, ", "), "start ")
		w.mu.Unlock()
		if waiting := strings.Count(said, "waiting for others to start"); begun == 0 || waiting != many-begun {
			t.Errorf("%d have begun, %d say that they wait, of %d: %s", begun, waiting, many, said)
		}
		cancel()
		for range many {
			<-ended
		}
	})
}

func TestStartHasABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.record(t)
		w.starting = hang
		a := start()
		a.Manifest.Budget.Start = manifest.Duration(90 * time.Second)
		begin := time.Now()
		out := w.Do(t.Context(), d, a)
		if !errors.Is(out.Err, perform.ErrStart) || !strings.Contains(out.Err.Error(), "not healthy within its budget of 1m30s") || time.Since(begin) != 90*time.Second {
			t.Errorf("after %s: %v", time.Since(begin), out.Err)
		}
	})
}

func TestAStartThatFailsSaysWhatTheHealthCheckSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.record(t)
		w.starting = hang
		w.inspected = map[string]host.Inspection{
			"pair":    {Health: "healthy"},
			"pair-db": {Health: "starting", Checked: "nc: invalid\x1b[2J option\n-- 'z'"},
		}
		out := w.Do(t.Context(), d, start())
		if out.Err == nil || !strings.Contains(out.Err.Error(), "; the health check of pair-db says: nc: invalid") || strings.ContainsAny(out.Err.Error(), "\x1b\n") {
			t.Errorf("%q", out.Err)
		}
	})
}

// TestLostNotification: the container is healthy, and systemd was not told.
func TestLostNotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.record(t)
		w.healthy = true
		w.starting = func(context.Context) error { time.Sleep(2 * time.Second); return nil }
		if out := w.Do(t.Context(), d, start()); out.Err != nil || strings.Contains(w.took(), "restart") {
			t.Errorf("restarted too soon: %v", out.Err)
		}
		w.starting = func(context.Context) error { time.Sleep(4 * time.Second); return nil }
		if out := w.Do(t.Context(), d, start()); out.Err != nil || strings.Count(w.took(), "restart pair-db.service") != 1 {
			t.Errorf("not restarted: %v", out.Err)
		}
	})
}

func TestStartTellsWhereItsTimeWent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := w.record(t)
		begin := time.Now()
		at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
		w.inspected = map[string]host.Inspection{"pair-db": {StartedAt: at(1)}, "pair": {StartedAt: at(3)}}
		w.active = map[string]time.Time{"pair-db.service": at(4), "pair.service": at(6)}
		w.starting = func(context.Context) error { time.Sleep(8 * time.Second); return nil }
		out := w.Do(t.Context(), d, start())
		if out.Err != nil || out.App != 5*time.Second || out.Engine != 3*time.Second {
			t.Errorf("%+v; members that wait at the same time count once", out)
		}
	})
}

func TestHookHasATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := pair("1")
		m.Hooks.PreUpdate = []manifest.Hook{{Container: "pair", Command: []string{"hang"}, Timeout: manifest.Duration(5 * time.Second)}}
		begin := time.Now()
		out := w.Do(t.Context(), w.record(t), plan.Action{App: "pair", Verb: plan.PreUpdate, Manifest: m})
		if out.Err == nil || !strings.Contains(out.Err.Error(), "pre_update hook: it took longer than 5s") || time.Since(begin) != 5*time.Second {
			t.Errorf("after %s: %v", time.Since(begin), out.Err)
		}
	})
}
