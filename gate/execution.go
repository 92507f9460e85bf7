package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog"
	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/gate/plan"
	"github.com/archipelago-cloud/archipelago/gate/runner"
	"github.com/archipelago-cloud/archipelago/matrix"
	"github.com/archipelago-cloud/archipelago/nodes"
	"github.com/archipelago-cloud/archipelago/nodes/fleet"
	"github.com/archipelago-cloud/archipelago/nodes/lab"
	"github.com/archipelago-cloud/archipelago/reports"
)

// execution is one session of a run.
type execution struct {
	Options
	plan  *plan.Plan
	dir   string
	fresh bool // the first session, and no resumption

	before plan.Plan // as this session found it
	added  bool      // this session has results of its own
}

// carryOut does what a plan still lacks, judges the run and writes its report.
func carryOut(ctx context.Context, o Options, p *plan.Plan, dir string, fresh bool) (*Outcome, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	release, err := hold(dir)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := disarm(o.Out); err != nil {
		return nil, err
	}
	e := &execution{Options: o, plan: p, dir: dir, fresh: fresh}
	if err := e.pin(); err != nil {
		return nil, err
	}
	if err := e.levelZero(ctx); err != nil {
		return nil, err
	}
	if e.Inventory == "" {
		let, err := holdLab("run " + dir)
		if err != nil {
			return nil, err
		}
		defer let()
	}
	machines, err := e.machines(ctx)
	if err != nil {
		return nil, err
	}
	f, err := fleet.Assemble(ctx, machines)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unlock, err := runner.Lock(ctx, f, p.Run)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := oneMachine(ctx, f); err != nil {
		return nil, err
	}
	defer e.letGo(ctx, f)
	if err := e.equip(ctx, f); err != nil {
		return nil, err
	}
	if err := e.begin(f); err != nil {
		return nil, err
	}
	cut, err := e.work(ctx, f)
	if err != nil {
		return nil, err
	}
	return e.judge(cut)
}

// judge ends the session: it judges the run, writes its report and says the outcome, while
// the nodes are still held. A resumption that found nothing to do, or did nothing, leaves the
// run as it was.
func (e *execution) judge(cut error) (*Outcome, error) {
	if e.fresh || e.added {
		e.plan.Sessions[len(e.plan.Sessions)-1].Finished = time.Now().UTC()
		if err := e.others(); err != nil {
			return nil, errors.Join(cut, fmt.Errorf("%w: the ledger: %w", runner.ErrIncomplete, err))
		}
	} else {
		*e.plan = e.before
	}
	if err := reports.WriteJSON(filepath.Join(e.dir, reports.PlanFile), e.plan); err != nil {
		return nil, errors.Join(cut, fmt.Errorf("%w: %w", runner.ErrIncomplete, err))
	}
	r, err := conclude(e.dir, e.plan)
	if err != nil {
		return nil, errors.Join(cut, err)
	}
	if err := e.enterEnd(r); err != nil {
		return nil, errors.Join(cut, fmt.Errorf("%w: the ledger: %w", runner.ErrIncomplete, err))
	}
	o := &Outcome{e.dir, r}
	e.Observer.Judged(o, cut)
	return o, cut
}

// levelZero runs level 0 over the directories that the catalog was read from: all of them,
// because a directory that gave no application may hold a misspelt manifest. A catalog
// that was read from none is laid out beside the run.
func (e *execution) levelZero(ctx context.Context) error {
	dirs := e.CatalogDirs
	if len(dirs) == 0 {
		out := filepath.Join(e.dir, "catalog")
		for id, entry := range e.Catalog {
			if err := reports.Write(out, filepath.Join(id, "manifest.yaml"), entry.Canonical()); err != nil {
				return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
			}
		}
		dirs = []string{out}
	}
	for _, d := range dirs {
		if err := runner.LevelZero(ctx, e.Suite, e.Daemon, d, filepath.Join(e.dir, "level-zero.log")); err != nil {
			return fmt.Errorf("%w: %w", catalog.ErrInvalid, err)
		}
	}
	return nil
}

// machines gives the nodes of the plan, from the inventory that was named or from the
// lab, which is brought up.
func (e *execution) machines(ctx context.Context) ([]nodes.Node, error) {
	if e.Inventory == "" {
		if _, err := LabUp(ctx, e.Catalog, e.Observer); errors.Is(err, lab.ErrInUse) {
			return nil, fmt.Errorf("%w: %w", runner.ErrHeld, err)
		} else if err != nil {
			return nil, fmt.Errorf("%w: bringing up the lab: %w", runner.ErrIncomplete, err)
		}
	}
	inv, err := Inventory(e.Inventory)
	if err != nil {
		return nil, err
	}
	var out []nodes.Node
	for _, name := range e.plan.Asked.Nodes {
		n, err := inv.Node(name)
		if err != nil {
			return nil, err
		}
		if err := e.sameMachine(n); err != nil {
			return nil, err
		}
		out = append(out, *n)
	}
	return out, nil
}

// sameMachine refuses to go on with a run on another machine than the one that had the
// node's name when the run began, by the bytes of its host key.
func (e *execution) sameMachine(n *nodes.Node) error {
	if e.fresh {
		return nil
	}
	const remedy = "name the run's own inventory with --nodes, or start a new run"
	i := slices.IndexFunc(e.plan.Nodes, func(r reports.Node) bool { return r.Name == n.Name })
	if i < 0 || e.plan.Nodes[i].HostKey == "" {
		return fmt.Errorf("%w: run %s does not say on which machine %s it began, so nothing shows that this is the same; start a new run", plan.ErrUsage, e.plan.Run, n.Name)
	}
	if began := e.plan.Nodes[i].HostKey; plan.KeyMaterial(began) != plan.KeyMaterial(n.HostKey) {
		return fmt.Errorf("%w: %s is another machine than the one that run %s began on: its host key is %q, and the run recorded %q; %s",
			plan.ErrUsage, n, e.plan.Run, n.HostKey, began, remedy)
	}
	return nil
}

// oneMachine refuses two nodes that are on the same boot of a machine of the same name: two
// users of one machine, or one whose SSH servers show different host keys.
func oneMachine(ctx context.Context, f *fleet.Fleet) error {
	seen := map[string]string{}
	for _, n := range f.Nodes {
		boot, err := n.Boot(ctx)
		if err != nil {
			return err
		}
		at := n.Identity.Host + " " + string(boot)
		if other, twice := seen[at]; twice {
			return fmt.Errorf("%w: nodes %s and %s are one machine under two names: both are %q, on boot %s; name two machines", plan.ErrUsage, other, n.Name, n.Identity.Host, boot)
		}
		seen[at] = n.Name
	}
	return nil
}

// letGoTimeout bounds what is done on the nodes after the verdict.
const letGoTimeout = time.Minute

// letGo undoes what offered earlier releases to the nodes. What fails here is mended when the
// next session begins.
func (e *execution) letGo(ctx context.Context, f *fleet.Fleet) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), letGoTimeout)
	defer cancel()
	if err := e.withdraw(ctx, f); err != nil {
		fmt.Fprintln(e.Observer, "gate:", err)
	}
}

// withdraw takes the gate's own channel off the nodes, and forgets its keys.
func (e *execution) withdraw(ctx context.Context, f *fleet.Fleet) error {
	return errors.Join(f.Unfollow(ctx), os.RemoveAll(filepath.Join(e.dir, matrix.OffersDir)))
}

// equip empties the nodes of a fresh run, brings the daemon and the catalog onto them,
// and records what is tested there.
func (e *execution) equip(ctx context.Context, f *fleet.Fleet) error {
	selected, err := e.Catalog.Select(e.plan.Asked.Apps...)
	if err != nil {
		return err
	}
	if err := e.withdraw(ctx, f); err != nil { // of a session that was killed
		return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	if err := f.Alone(ctx); err != nil {
		return err
	}
	if e.fresh {
		if err := f.Clean(ctx); err != nil {
			return err
		}
	}
	l, err := lab.Open(io.Discard)
	if err != nil {
		return err
	}
	if f.Previous, err = e.previous(); err != nil {
		return err
	}
	fmt.Fprintln(e.Observer, "gate: publishing images, deploying the daemon")
	if err := f.Equip(ctx, e.Daemon, selected, l.Engine, e.Environment, e.Observer); err != nil {
		return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	if err := e.generated(ctx, f); err != nil {
		return err
	}
	before := e.plan.Subject
	e.plan.Identify(before.Daemon, f.Published)
	e.plan.Subject.Commands = before.Commands
	previous := e.plan.Previous
	e.plan.IdentifyPrevious(f.Previous)
	if !e.fresh && !reflect.DeepEqual(previous, e.plan.Previous) {
		return fmt.Errorf("%w: an earlier release is another one than run %s began with, and a run is about one update of each application; start a new run", plan.ErrUsage, e.plan.Run)
	}
	if why := differs(before, e.plan.Subject); !e.fresh && why != "" {
		return fmt.Errorf("%w: what is tested has changed since run %s began, and a run is about one subject: %s; put it back, or start a new run", plan.ErrUsage, e.plan.Run, why)
	}
	published := map[string][]byte{}
	for _, id := range e.plan.Asked.Apps {
		published[id] = f.Published[id].Canonical()
	}
	return e.keepManifests(published)
}

// generated wants each node's Podman to make services of what the daemon renders that start
// what is meant.
func (e *execution) generated(ctx context.Context, f *fleet.Fleet) error {
	var apps []*manifest.Manifest
	for _, id := range f.Published.IDs() {
		apps = append(apps, f.Published[id].Manifest)
	}
	for _, n := range f.Nodes {
		wrong, err := runner.CheckGenerated(ctx, e.Daemon, n.SSH, apps...)
		if err != nil {
			return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
		}
		if len(wrong) > 0 {
			return fmt.Errorf("%w: %s: what Podman makes of the daemon's unit files is not what is meant:\n%s", catalog.ErrInvalid, n, strings.Join(wrong, "\n"))
		}
	}
	return nil
}

// previous gives the earlier releases that the run's installs are to be updated from; they must
// be there again in a later session.
func (e *execution) previous() (catalog.Catalog, error) {
	out := catalog.Catalog{}
	if e.plan.Previous == nil {
		return out, nil
	}
	for id := range e.plan.Previous.Releases {
		entry := e.Request.Previous[id]
		if entry == nil {
			return nil, fmt.Errorf("%w: run %s updates %s from its release in %s; name that again with --previous", plan.ErrUsage, e.plan.Run, id, e.plan.Previous.Source)
		}
		out[id] = entry
	}
	return out, nil
}

// begin records the nodes and the session in the plan, and makes the run the latest.
func (e *execution) begin(f *fleet.Fleet) error {
	e.before = *e.plan
	e.before.Boots = maps.Clone(e.plan.Boots)
	var now []reports.Node
	for _, n := range f.Nodes {
		id := n.Identity
		now = append(now, reports.Node{Name: id.Name, Address: id.Address, HostKey: id.HostKey, OS: id.OS, Kernel: id.Kernel, Podman: id.Podman, Systemd: id.Systemd, Kind: kind(id), CPUs: id.CPUs, Memory: id.Free})
	}
	warnings := f.Warnings
	if e.fresh {
		e.plan.Nodes = now
	} else { // where earlier cells ran stays as it was recorded
		warnings = append(warnings, changed(e.plan.Nodes, now)...)
	}
	e.plan.Warnings = append(warnings, e.plan.TooLarge()...)
	if e.fresh {
		results, earlier, err := e.history()
		if err != nil {
			return err
		}
		e.plan.Learn(results)
		e.plan.Looks, e.plan.Programs = true, true
		e.plan.Earlier = earlier
	}
	if err := e.enterBegin(); err != nil {
		return fmt.Errorf("%w: the ledger: %w", runner.ErrIncomplete, err)
	}
	e.plan.Sessions = append(e.plan.Sessions, plan.Session{Started: time.Now().UTC()})
	if err := reports.WriteJSON(filepath.Join(e.dir, reports.PlanFile), e.plan); err != nil {
		return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	if err := makeLatest(e.Out, e.dir); err != nil {
		return fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	return nil
}

// makeLatest makes a run the one that is found without a name.
func makeLatest(out, dir string) error {
	link := filepath.Join(out, latest)
	tmp := fmt.Sprintf("%s.%d", link, os.Getpid())
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a gate that was killed here
		return err
	}
	return errors.Join(os.Symlink(filepath.Base(dir), tmp), os.Rename(tmp, link))
}

// changed says what of the nodes is not as it was when the run began.
func changed(began, now []reports.Node) (out []string) {
	for _, n := range now {
		i := slices.IndexFunc(began, func(b reports.Node) bool { return b.Name == n.Name })
		if i < 0 {
			continue // sameMachine has refused it
		}
		for what, v := range map[string][2]string{"OS": {began[i].OS, n.OS}, "kernel": {began[i].Kernel, n.Kernel}, "Podman": {began[i].Podman, n.Podman}, "systemd": {began[i].Systemd, n.Systemd}} {
			if v[0] != v[1] {
				out = append(out, fmt.Sprintf("node %s: its %s is %s since a resumption, and was %s", n.Name, what, v[1], v[0]))
			}
		}
	}
	slices.Sort(out)
	return out
}

// kind is what a node is made of.
func kind(id nodes.Identity) reports.Kind {
	switch {
	case id.Inside:
		return reports.Lab
	case id.Virt == "none":
		return reports.Hardware
	case id.Virt == "":
		return "" // it does not say
	}
	return reports.Virtual
}

// work runs the cells that have no result yet; cut says what cut that short.
func (e *execution) work(ctx context.Context, f *fleet.Fleet) (cut, err error) {
	results, err := reports.ReadResults(e.dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	if err := e.plan.Check(results); err != nil {
		return nil, err
	}
	store, err := reports.OpenStore(e.dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", runner.ErrIncomplete, err)
	}
	defer store.Close()
	if store.Cut > 0 {
		fmt.Fprintf(e.Observer, "gate: an unfinished last line of %d bytes was cut off %s: the gate was killed while it wrote a result, and that cell counts as not run\n", store.Cut, filepath.Join(e.dir, reports.ResultsFile))
	}
	e.Observer.Running(e.plan, results)
	r := e.runner(f, store, results)
	cut = r.Run(ctx)
	e.added = len(r.Results) > len(results)
	return cut, nil
}

// runner works on the run; results are those of earlier sessions.
func (e *execution) runner(f *fleet.Fleet, store *reports.Store, results []reports.Result) *runner.Runner {
	return &runner.Runner{Plan: e.plan, Fleet: f, Dir: e.dir, Suite: e.Suite, Store: store, Results: results, Observer: e.Observer, Red: e.enterRed}
}
