package matrix

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"
	"filippo.io/age"
	"github.com/onsi/gomega"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/orchestrator/api"
	"github.com/archipelago-cloud/archipelago/orchestrator/client"
)

const (
	// A backup is taken and restored in these cycles: the second, the twelfth. It
	// costs as much as three steps.
	backupEvery, backupFirst = 10, 2

	passTimeout = 45 * time.Second // longer than the reconciler's interval
	pollEvery   = 200 * time.Millisecond
)

// run carries out the cell's step. A nil error is a passed cell.
func (c *cell) run(ctx context.Context) error {
	action := map[string]func(context.Context) error{
		Install: c.install, UIReachable: c.uiReachable, Stop: c.stop, Start: c.start,
		Restart: c.restart, Reinstall: c.reinstall, Uninstall: c.uninstall,
	}[c.step]
	if action == nil {
		return fmt.Errorf("step %s is not one of an application by itself", c.step)
	}
	if err := action(ctx); err != nil {
		return err
	}
	return c.invariants()
}

// invariants must hold in every snapshot of the cell.
func (c *cell) invariants() error {
	for _, s := range c.held {
		if err := Verdict(CheckInvariants(c.app, s)); err != nil {
			return fmt.Errorf("invariant: %w", err)
		}
	}
	return nil
}

// ready wants the application where a step begins: running, with the canary planted.
// For a step that is run by itself, and for the first one of a resumed cycle, it
// brings it there. After the step before it, in the order of a cycle, it only looks:
// what has changed since is a failure.
func (c *cell) ready(ctx context.Context) error {
	s, err := c.look(ctx)
	if err != nil {
		return err
	}
	planted, err := c.shard.planted(c.app.ID)
	if err != nil {
		return err
	}
	if mend := c.mayMend(c.app.ID); len(CheckRunning(c.app, s)) > 0 && (mend || !planted) {
		if err := c.do(ctx, Install, false); err != nil {
			return fmt.Errorf("before the step: %w", err)
		}
		if s, err = c.look(ctx); err != nil {
			return err
		}
	}
	if wrong := CheckRunning(c.app, s); len(wrong) > 0 {
		return fmt.Errorf("before the step: %w", Verdict(wrong))
	}
	if !planted {
		if err := c.plant(ctx); err != nil {
			return fmt.Errorf("before the step: %w", err)
		}
	}
	c.before = s
	return nil
}

// running looks, and wants the application complete, with the same data and
// secrets as before, if there was a before, and the canary where it was.
func (c *cell) running(ctx context.Context) (*Snapshot, error) {
	s, err := c.look(ctx)
	if err != nil {
		return nil, err
	}
	var same []string
	if c.before != nil {
		same = CheckSame(c.before, s)
	}
	if err := Verdict(CheckRunning(c.app, s), same); err != nil {
		return nil, err
	}
	if c.before != nil {
		return s, c.readCanary(ctx)
	}
	return s, nil
}

func (c *cell) install(ctx context.Context) error {
	s, err := c.look(ctx)
	if err != nil {
		return err
	}
	// A cycle begins on a clean node; the gate has refused nodes with data of
	// someone else's, so what is left here is of a run that was cut off.
	if len(CheckAbsent(c.app, s))+len(CheckPurged(s)) > 0 {
		if err := c.do(ctx, Uninstall, true); err != nil {
			return fmt.Errorf("clearing what an earlier run left: %w", err)
		}
		c.held = nil
	}
	if err := c.do(ctx, Install, false); err != nil {
		return err
	}
	if _, err := c.running(ctx); err != nil {
		return err
	}
	return c.plant(ctx)
}

func (c *cell) uiReachable(ctx context.Context) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	if _, _, web := c.url(0); !web {
		u, err := c.user(ctx)
		if err != nil {
			return err
		}
		begin := time.Now()
		c.note, err = u.handshake(ctx, c.app)
		c.split.Witness += time.Since(begin).Seconds()
		return err
	}
	begin := time.Now()
	defer func() { c.split.Browser += time.Since(begin).Seconds() }()
	b, err := c.openBrowser()
	if err != nil {
		return err
	}
	var wrong []string
	for _, way := range []struct {
		name   string
		offset int
	}{{"proxy", manifest.ProxyOffset}, {"published port", 0}} {
		url, in, _ := c.url(way.offset)
		page, err := b.Visit(ctx, url, in.Expect)
		if err != nil {
			return err
		}
		if len(page.PNG) > 0 && way.offset != 0 {
			if err := c.keep("screenshot.png", page.PNG); err != nil {
				return err
			}
		}
		wrong = append(wrong, checkPage(way.name, page, in.Expect)...)
	}
	for _, script := range c.app.Scripts {
		page, _, _ := c.url(manifest.ProxyOffset)
		wrong = append(wrong, checkScript(ctx, page, script)...)
	}
	return Verdict(wrong)
}

// checkScript wants the proxy to serve a script that the manifest provides.
func checkScript(ctx context.Context, page string, script manifest.ProviderScript) []string {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	base, err := url.Parse(page)
	if err != nil {
		return []string{err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.ResolveReference(&url.URL{Path: script.Path}).String(), nil)
	if err != nil {
		return []string{err.Error()}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return []string{fmt.Sprintf("provider script %s: %v", script.Path, err)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch kind := resp.Header.Get("Content-Type"); {
	case err != nil:
		return []string{fmt.Sprintf("provider script %s: %v", script.Path, err)}
	case resp.StatusCode != http.StatusOK:
		return []string{fmt.Sprintf("provider script %s: status %d through the proxy", script.Path, resp.StatusCode)}
	case !strings.HasPrefix(kind, "text/javascript"):
		return []string{fmt.Sprintf("provider script %s: served as %q", script.Path, kind)}
	case string(body) != script.Source:
		return []string{fmt.Sprintf("provider script %s: what the proxy serves is not what the manifest provides", script.Path)}
	}
	return nil
}

func (c *cell) stop(ctx context.Context) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	if err := c.do(ctx, Stop, false); err != nil {
		return err
	}
	s, err := c.look(ctx)
	if err != nil {
		return err
	}
	if err := Verdict(CheckStopped(c.app, s), CheckSame(c.before, s)); err != nil {
		return err
	}
	if err := c.awaitPass(ctx); err != nil {
		return err
	}
	if s, err = c.look(ctx); err != nil {
		return err
	}
	if err := Verdict(CheckStopped(c.app, s)); err != nil {
		return fmt.Errorf("it did not stay stopped over a reconcile pass: %w", err)
	}
	return nil
}

// awaitPass waits until the daemon has made a pass that began after now. SIGHUP has
// it make one; the time it says it observed at is used for waiting only, never as
// a witness.
func (c *cell) awaitPass(ctx context.Context) error {
	begin := time.Now()
	defer func() { c.split.Engine += time.Since(begin).Seconds() }()
	last, err := c.observedAt(ctx)
	if err != nil {
		return err
	}
	if _, err := c.ssh.Run(ctx, "systemctl --user kill --signal=HUP "+nodes.DaemonUnit); err != nil {
		return err
	}
	return await(ctx, passTimeout, "a reconcile pass", func() error {
		now, err := c.observedAt(ctx)
		if err != nil {
			return err
		}
		if !now.After(last) {
			return errors.New("the last pass is still the one before")
		}
		return nil
	})
}

func (c *cell) observedAt(ctx context.Context) (time.Time, error) {
	r, err := c.rpc.Status(ctx, connect.NewRequest(&api.StatusRequest{}))
	if err != nil {
		return time.Time{}, fmt.Errorf("asking the daemon's status: %w", err)
	}
	return r.Msg.ObservedAt.AsTime(), nil
}

// await polls a condition until it holds; at the deadline the error says what was
// waited for and what stood in the way last.
func await(ctx context.Context, timeout time.Duration, what string, condition func() error) error {
	var failure error
	g := gomega.NewGomega(func(string, ...int) { failure = errors.New("deadline") })
	var last error
	g.Eventually(func() error { last = condition(); return last }).WithContext(ctx).WithTimeout(timeout).WithPolling(pollEvery).Should(gomega.Succeed())
	switch {
	case failure == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("waiting for %s: %w: %w", what, context.Cause(ctx), last)
	}
	return fmt.Errorf("waited %s for %s: %w", timeout, what, last)
}

func (c *cell) start(ctx context.Context) error {
	s, err := c.look(ctx)
	if err != nil {
		return err
	}
	if len(CheckStopped(c.app, s)) > 0 {
		if err := c.ready(ctx); err != nil {
			return err
		}
		if err := c.do(ctx, Stop, false); err != nil {
			return fmt.Errorf("before the step: %w", err)
		}
	} else {
		c.before = s
	}
	if err := c.do(ctx, Start, false); err != nil {
		return err
	}
	_, err = c.running(ctx)
	return err
}

func (c *cell) restart(ctx context.Context) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	if err := c.do(ctx, Restart, false); err != nil {
		return err
	}
	s, err := c.running(ctx)
	if err != nil {
		return err
	}
	return Verdict(CheckRestarted(c.app, c.before, s))
}

// uninstallKeeping uninstalls, and wants nothing to be left but data and secrets.
func (c *cell) uninstallKeeping(ctx context.Context) error {
	if err := c.ready(ctx); err != nil {
		return err
	}
	if err := c.do(ctx, Uninstall, false); err != nil {
		return err
	}
	s, err := c.look(ctx)
	if err != nil {
		return err
	}
	if err := Verdict(CheckAbsent(c.app, s), CheckSame(c.before, s)); err != nil {
		return fmt.Errorf("after uninstalling with the data kept: %w", err)
	}
	return nil
}

// purge uninstalls with all data, and wants nothing at all to be left.
func (c *cell) purge(ctx context.Context) error {
	if err := c.do(ctx, Uninstall, true); err != nil {
		return err
	}
	s, err := c.look(ctx)
	if err != nil {
		return err
	}
	if err := Verdict(CheckAbsent(c.app, s), CheckPurged(s)); err != nil {
		return fmt.Errorf("with purge: %w", err)
	}
	return nil
}

func (c *cell) reinstall(ctx context.Context) error {
	if err := c.uninstallKeeping(ctx); err != nil {
		return err
	}
	if err := c.do(ctx, Install, false); err != nil {
		return err
	}
	if _, err := c.running(ctx); err != nil {
		return err
	}
	if c.shard.Cycle%backupEvery != backupFirst {
		return nil
	}
	if err := c.backupAndRestore(ctx); err != nil {
		return fmt.Errorf("from a backup: %w", err)
	}
	return nil
}

// backupAndRestore takes a backup, purges the application and brings it back: the
// same secrets, and the canary where it was.
func (c *cell) backupAndRestore(ctx context.Context) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	begin := time.Now()
	var file bytes.Buffer
	if _, err := c.rpc.SaveBackup(ctx, c.app.ID, []string{id.Recipient().String()}, &file); err != nil {
		return err
	}
	c.split.Engine += time.Since(begin).Seconds()
	if err := c.purge(ctx); err != nil {
		return err
	}
	begin = time.Now()
	z, err := zip.NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		return err
	}
	b, err := client.OpenBackup(z, []age.Identity{id})
	if err != nil {
		return err
	}
	defer b.Close()
	op, err := c.rpc.RestoreBackup(ctx, b)
	if err != nil {
		return err
	}
	if _, err := c.rpc.Await(ctx, op, nil); err != nil {
		return err
	}
	c.split.Engine += time.Since(begin).Seconds()
	s, err := c.look(ctx)
	if err != nil {
		return err
	}
	// The directories are new; what was in them must not be.
	secrets := CheckSame(&Snapshot{Secrets: c.before.Secrets}, s)
	if err := Verdict(CheckRunning(c.app, s), secrets); err != nil {
		return err
	}
	c.before = s
	return c.readCanary(ctx)
}

func (c *cell) uninstall(ctx context.Context) error {
	if err := c.uninstallKeeping(ctx); err != nil {
		return err
	}
	return c.purge(ctx)
}

// broken tells errors that say something of the gate or the node, not of what is
// tested: such a cell is not run, never red.
func broken(err error) bool {
	return errors.Is(err, nodes.ErrLost) || errors.Is(err, nodes.ErrRefused) || errors.Is(err, ErrBrowser) || errors.Is(err, context.Canceled)
}
