package perform

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/internal/plain"
	"github.com/archipelago-cloud/archipelago/orchestrator/plan"
	"github.com/archipelago-cloud/archipelago/orchestrator/quadlet"
)

const (
	lookEvery   = 500 * time.Millisecond // at the health of what is starting
	startsAlone = 30 * time.Second       // that one start may keep others waiting
	checkWords  = 200                    // bytes of what a health check says that are passed on
	unheardFor  = 3 * time.Second        // healthy so long, and systemd still waits: its notification is lost
)

type startEngine interface {
	StartUnits(ctx context.Context, units []string) error
	PortHolders(ctx context.Context, ports []manifest.NodePort) (map[manifest.NodePort]string, error)
	RenewNetworks(ctx context.Context, app string, networks []quadlet.Bridge) error
}

type unheardEngine interface {
	RestartStarting(ctx context.Context, unit string) (restarted bool, err error)
}

// Start starts units as those of an application are started, and waits until every member is
// healthy, within its budget. All that they refer to is there, and nobody is told of progress.
func (p *Performer) Start(ctx context.Context, m *manifest.Manifest, units []string) error {
	own := *p
	own.observer = nobody{}
	return own.start(ctx, plan.Action{App: m.ID, Verb: plan.Start, Manifest: m, Units: units}).Err
}

type nobody struct{}

func (nobody) Say(string, string) {}

// start starts the units and waits until every member serves, within the budget
// of the application. The prober looks at their health.
func (p *Performer) start(ctx context.Context, a plan.Action) (out Outcome) {
	begin, m := time.Now(), a.Manifest
	release, err := p.turn(ctx, a.App)
	if err != nil {
		out.Err = err
		return out
	}
	defer release()
	if out.Err = p.portsFree(ctx, m, a.Ports); out.Err != nil {
		out.Engine = time.Since(begin)
		return out
	}
	begin = time.Now()
	// An earlier version of the daemon or of the application may have made its networks.
	if out.Err = p.engine.RenewNetworks(ctx, a.App, quadlet.Bridges(m)); out.Err != nil {
		out.Engine = time.Since(begin)
		return out
	}
	budget := m.StartBudget()
	ctx, cancel := context.WithTimeoutCause(ctx, budget, fmt.Errorf("not healthy within its budget of %s", budget))
	defer cancel()
	p.say(a.App, "starting")
	var looking sync.WaitGroup
	done := make(chan struct{})
	said := ""
	looking.Go(func() { said = p.unheard(ctx, m, done) })
	err = p.engine.StartUnits(ctx, a.Units)
	close(done)
	looking.Wait()
	total := time.Since(begin)
	out.App = min(p.waited(context.WithoutCancel(ctx), m, begin), total)
	out.Engine = total - out.App
	if err != nil {
		if cause := context.Cause(ctx); ctx.Err() != nil && cause != nil {
			err = cause
			if said != "" {
				err = fmt.Errorf("%w; the health check of %s", err, said)
			}
		}
		out.Err = fmt.Errorf("%w: %w", ErrStart, err)
	}
	return out
}

// turn waits until an application may start: forty that fail at once do not start at once.
// Whoever takes long waits for itself, and does not keep the others from starting.
func (p *Performer) turn(ctx context.Context, app string) (release func(), err error) {
	select {
	case p.starts <- struct{}{}:
	default:
		p.say(app, "waiting for others to start")
		select {
		case p.starts <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	free := sync.OnceFunc(func() { <-p.starts })
	alone := time.AfterFunc(startsAlone, free)
	release = func() { alone.Stop(); free() }
	if err := context.Cause(ctx); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// unheard looks at the health of an application that is starting until done is
// closed. Podman tells systemd once that a container is healthy, by a datagram from
// a process that then ends; where that is lost, systemd would wait out the start's
// budget for an application that serves, so the unit is restarted. It gives what the last
// health check that failed said, and of which container.
func (p *Performer) unheard(ctx context.Context, m *manifest.Manifest, done <-chan struct{}) (said string) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	healthy := map[string]time.Time{} // since when, by container
	for {
		select {
		case <-done:
			return said
		case <-tick.C:
		}
		for _, c := range m.Containers {
			if c.Health == nil {
				continue
			}
			// Fails while the container is not there.
			if seen, err := p.engine.Inspect(ctx, c.Name); err != nil || seen.Health != "healthy" {
				if words := strings.Fields(seen.Checked); len(words) > 0 {
					said = fmt.Sprintf("%s says: %s", c.Name, plain.Clip(plain.Text(strings.Join(words, " ")), checkWords))
				}
				delete(healthy, c.Name)
				continue
			}
			since, known := healthy[c.Name]
			if !known {
				healthy[c.Name] = time.Now()
				continue
			}
			if time.Since(since) < unheardFor {
				continue
			}
			delete(healthy, c.Name)
			if restarted, err := p.engine.RestartStarting(ctx, quadlet.Service(c.Name)); err != nil {
				p.log.Warn("restarting a unit that is not known to be healthy", "app", m.ID, "container", c.Name, "error", err)
			} else if restarted {
				p.log.Warn("healthy, and systemd was not told: the unit is restarted", "app", m.ID, "container", c.Name)
			}
		}
	}
}

// portsFree wants nobody else to listen on the ports that the application is about
// to publish. Its own waiting page makes room first.
func (p *Performer) portsFree(ctx context.Context, m *manifest.Manifest, ports []manifest.NodePort) error {
	for _, c := range m.Containers {
		for _, port := range c.Ports {
			p.pages.Close(port.Host)
		}
	}
	holders, err := p.engine.PortHolders(ctx, ports)
	if err != nil {
		return err
	}
	for _, port := range ports {
		holder, held := holders[port]
		// Podman's forwarder of a container of ours that started since is nobody else.
		if !held || strings.Contains(holder, "(rootlessport)") || strings.Contains(holder, "(pasta") {
			continue
		}
		return fmt.Errorf("port %s of the node is taken by %s; stop it, and the application starts", port, holder)
	}
	return nil
}
