package orchestrator

import (
	"context"
	"fmt"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/view"
)

// backupNode is the node as backups use it.
type backupNode struct{ r *Reconciler }

func (n backupNode) Hold(ctx context.Context, app, why string) (release func(), err error) {
	held, err := n.r.operations.Hold(ctx, app, why)
	if err != nil {
		return nil, err
	}
	return func() { held(); n.r.Wake() }, nil
}

func (n backupNode) Say(app, message string) { n.r.operations.Say(app, message) }

func (n backupNode) Watch(app string) (v view.View, busy bool, changed <-chan struct{}, err error) {
	op, changed := n.r.operations.Watch(app)
	v, err = n.r.App(app)
	return v, op.Busy, changed, err
}

func (n backupNode) Filled(m *manifest.Manifest, config map[string]string) (filled *manifest.Manifest, name string, err error) {
	filled, err = m.With(config, n.r.renderer.Node)
	return filled, n.r.renderer.Node.Domain, err
}

func (n backupNode) restored(d state.Desired, consent []string) func(state.Records) ([]state.Desired, error) {
	return func(records state.Records) ([]state.Desired, error) {
		decided, err := request.Restored(records, n.r.Offer(), time.Now(), d, consent)
		if err == nil {
			err = n.r.backupUnderWay(decided[:len(decided)-1]) // what comes along
		}
		return decided, err
	}
}

func (n backupNode) Admit(d state.Desired, consent []string) error {
	_, err := n.restored(d, consent)(n.r.store.Records())
	return err
}

func (n backupNode) Restore(d state.Desired, consent []string) (generation uint64, err error) {
	if generation, err = n.r.accept(n.restored(d, consent)); err != nil {
		return 0, fmt.Errorf("restoring %s: %w", d.App, err)
	}
	return generation, nil
}
