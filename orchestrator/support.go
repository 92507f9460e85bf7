package orchestrator

import (
	"context"
	"fmt"
	"time"

	"github.com/archipelago-cloud/archipelago/orchestrator/host"
	"github.com/archipelago-cloud/archipelago/orchestrator/state"
	"github.com/archipelago-cloud/archipelago/orchestrator/support"
)

// Supported is what a report for support asks of the node.
type Supported interface {
	Doctor(ctx context.Context, dataDir string) []host.Finding
	Logs(ctx context.Context, container string, follow bool, tail int, emit func(host.LogLine) error) error
	Version(ctx context.Context) (string, error)
}

// logTime is how long a container's log is waited for.
const logTime = 5 * time.Second

// Support makes the report that the owner gives to whoever helps. What cannot be learned in the
// context's time is said to be missing. It fails where it is not known what to leave out.
func (r *Reconciler) Support(ctx context.Context, node Supported, about []support.Fact, damaged error) (string, error) {
	secret, err := r.secretValues()
	if err != nil {
		return "", err
	}
	n := support.Node{Made: time.Now(), About: about, Asked: map[string][]state.Asked{}, Logs: map[string]support.Log{}, Secrets: support.Known(secret)}
	podman, err := node.Version(ctx)
	if err != nil {
		podman = err.Error()
	}
	heard := Hearing{}
	n.Apps, heard = r.Installed()
	n.About = append(n.About, support.Fact{Name: "Podman", Value: podman}, support.Fact{Name: "containers last seen", Value: heard.At.UTC().Format(time.RFC3339) + " " + heard.Stale})
	n.Findings = append(node.Doctor(ctx, r.dataDir), r.Findings(ctx, damaged)...)
	r.asked(&n, "")
	for _, v := range n.Apps {
		r.asked(&n, v.Manifest.ID)
		for _, c := range v.Containers {
			if c.State != "" {
				n.Logs[c.Name] = said(ctx, node, c.Name)
			}
		}
	}
	return n.Text(), nil
}

// secretValues are all that the node keeps and nobody else is to see, by what they are.
func (r *Reconciler) secretValues() (map[string]string, error) {
	all, err := r.secrets.Values()
	if err != nil {
		return nil, err
	}
	repositories, err := r.backups.To.Secrets()
	if err != nil {
		return nil, err
	}
	for name, value := range repositories {
		all["repository "+name] = value
	}
	for name, value := range r.notices.Secrets() {
		all["target "+name] = value
	}
	all["the node's access token"], err = r.store.Token()
	return all, err
}

// asked adds what was asked of an application, or of the node.
func (r *Reconciler) asked(n *support.Node, app string) {
	all, err := r.store.Asked(app, support.Asked)
	if err != nil {
		n.About = append(n.About, support.Fact{Name: "the audit log", Value: err.Error()})
	}
	if len(all) > 0 {
		n.Asked[app] = all
	}
}

// said is what a container said last.
func said(ctx context.Context, node Supported, container string) (l support.Log) {
	ctx, cancel := context.WithTimeoutCause(ctx, logTime, fmt.Errorf("its log did not come in %s", logTime))
	defer cancel()
	err := node.Logs(ctx, container, false, support.Tail, func(line host.LogLine) error {
		l.Lines = append(l.Lines, line)
		return ctx.Err()
	})
	if err != nil {
		l.Problem = err.Error()
		if cause := context.Cause(ctx); cause != nil {
			l.Problem = cause.Error()
		}
	}
	return l
}
