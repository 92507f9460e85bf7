package orchestrator

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/archipelago-cloud/archipelago/catalog/manifest"
	"github.com/archipelago-cloud/archipelago/orchestrator/backup"
	"github.com/archipelago-cloud/archipelago/orchestrator/fault"
	"github.com/archipelago-cloud/archipelago/orchestrator/request"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
)

// Request records what is wanted of an application, durably, wakes the loop, and
// gives the generation to watch. What is refused leaves everything as it was.
func (r *Reconciler) Request(req request.Request) (uint64, error) {
	req.Found = req.Purge && r.found(req.App)
	gen, err := r.accept(func(records state.Records) ([]state.Desired, error) {
		decided, err := request.Decide(records, r.Offer(), r.known.Load().Observation, time.Now(), req)
		if err == nil {
			err = r.backupUnderWay(decided)
		}
		if err != nil {
			return nil, err
		}
		return decided, r.keep(decided)
	})
	what := req.Verb
	if req.Purge {
		what += " --purge"
	}
	if req.Version != "" {
		what += " to " + req.Version
	}
	r.audit(req.Who, req.App, what+settings(r.manifest(req.App), req.Config), err)
	if errors.Is(err, request.ErrDevice) || errors.Is(err, request.ErrFolder) {
		r.Wake() // it may be plugged in before the next try
	}
	if err != nil {
		return 0, err
	}
	r.log.Info("accepted", "app", req.App, "op", fmt.Sprintf("%s/%d", req.App, gen), "verb", req.Verb, "who", req.Who)
	fault.Cut("accepted", "request")
	r.Wake()
	return gen, nil
}

// backupUnderWay refuses what would meet a backup half-way: to change what is being
// restored, or to delete for ever what is being backed up.
func (r *Reconciler) backupUnderWay(decided []state.Desired) error {
	for _, d := range decided {
		purge := d.Goal == state.Absent && d.Purge
		switch w := r.backups.Under(d.App); {
		case w == backup.Restoring, w == backup.Settling, w == backup.Making && purge:
			return fmt.Errorf("%w: %s: %s; wait until that has ended", request.ErrRefused, d.App, w)
		case r.backups.Left(d.App) && !purge:
			return fmt.Errorf("%w: %s: a restoration of it was cut off, and has not been finished; restore it again, or delete what there is of it with 'archy uninstall %s --purge'", request.ErrRefused, d.App, d.App)
		}
	}
	return nil
}

// keep puts the values of secret settings where secrets are, before records refer to
// them. Where the records are not accepted after all, Sweep deletes them.
func (r *Reconciler) keep(decided []state.Desired) error {
	for i := range decided {
		d := &decided[i]
		if len(d.Typed) == 0 {
			continue
		}
		d.Config = maps.Clone(d.Config)
		for name, value := range d.Typed {
			ref, err := r.secrets.Keep(d.App, name, value)
			if err != nil {
				return err
			}
			d.Config[name] = ref
		}
		d.Typed = nil
	}
	return nil
}

// settings says which settings a request changes, for the audit log. It holds only
// values that the manifest lists: any other text may be a password or a key.
func settings(m *manifest.Manifest, config map[string]string) (said string) {
	for _, k := range slices.Sorted(maps.Keys(config)) {
		said += " " + k
		if m != nil && slices.ContainsFunc(m.Settings, func(s manifest.Setting) bool { return s.Name == k && slices.Contains(s.Values, config[k]) }) {
			said += "=" + config[k]
		}
	}
	return said
}

// accept has records decided on and written as one step, and tells operations of
// them; the generation is the last one's.
func (r *Reconciler) accept(decide func(state.Records) ([]state.Desired, error)) (gen uint64, err error) {
	accepted, err := r.store.Decide(decide)
	if err != nil {
		return 0, err
	}
	for _, d := range accepted {
		gen = d.Generation
		r.operations.Accepted(d.App, gen)
	}
	return gen, nil
}

// ImportSecret brings in the value of a generated secret, for data that was
// initialised with it elsewhere. A value in use is never replaced.
func (r *Reconciler) ImportSecret(app, name, value, who string) error {
	m := r.manifest(app)
	err := fmt.Errorf("%w %q", request.ErrUnknownApp, app)
	if m != nil {
		err = r.secrets.Import(m, name, value, len(r.store.Data(app).Volumes) == 0)
	}
	r.audit(who, app, "secret import "+name, err)
	if err != nil {
		return err
	}
	r.operations.Forgive(app)
	r.Wake()
	return nil
}

// Audit records what is not an operation on an application, such as a sign-in.
func (r *Reconciler) Audit(who, what string, refused error) { r.audit(who, "", what, refused) }

// AuditOf records what was asked of an application and refused before it became a request.
func (r *Reconciler) AuditOf(app, who, what string, refused error) { r.audit(who, app, what, refused) }

func (r *Reconciler) audit(who, app, what string, refused error) {
	if err := r.store.Audit(who, app, what, refused); err != nil {
		r.log.Error("audit", "error", err)
	}
}
